"""Arithmetic is pinned before anything computes, names that do not exist are found, and what is unpinned says so."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdpbench import arithmetic

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = [ROOT / "fdpbench/__main__.py", ROOT / "tests/conftest.py", ROOT / "tests/support/portable.py"]

# An AVX2 processor without AVX-512, one with it, and one with neither.
AVX2 = "model name : Some\nflags\t: fpu sse2 avx avx2 fma\n"
AVX512 = "flags\t: fpu sse2 avx avx2 fma avx512f avx512bw\n"
OLD = "flags\t: fpu sse2 avx\n"


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No pin is set, no library imported, and /proc/cpuinfo is a file of the test's own."""
    monkeypatch.setattr(os, "environ", os.environ.copy())  # what is pinned here stays here
    for name in (*arithmetic.PINS, arithmetic.NATIVE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(arithmetic, "LIBRARIES", ("no_such_library",))
    monkeypatch.setattr(arithmetic, "CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(AVX2)
    return tmp_path / "cpuinfo"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, without the pins of this one."""
    kept = {name: value for name, value in os.environ.items() if name not in arithmetic.PINS}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=kept | environment, capture_output=True, text=True
    )


def test_the_tests_run_pinned() -> None:
    if arithmetic._pins() and os.environ.get(arithmetic.NATIVE, "0") == "0":
        assert arithmetic.arithmetic() == "pinned"


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_entry_points_pin_before_they_import_anything_that_computes(path: Path) -> None:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    calls = [k for k, node in enumerate(body) if ast.unparse(node) == "pin_arithmetic()"]
    assert len(calls) == 1
    for node in body[: calls[0]]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert module in {"__future__", "fdpbench.arithmetic"}, ast.unparse(node)


def test_pinning_imports_no_library() -> None:
    code = "import sys; from fdpbench.arithmetic import LIBRARIES, pin_arithmetic; pin_arithmetic(); "
    done = run(code + "print([name for name in LIBRARIES if name in sys.modules])")
    assert done.stdout == "[]\n", done.stderr


def test_commands_compute_pinned() -> None:
    """Each library, asked after the whole command line was imported, has taken what was pinned."""
    code = """
import runpy, sys
sys.argv = ["fdpbench", "--help"]
try:
    runpy.run_module("fdpbench", run_name="__main__")
except SystemExit:
    pass
import numpy, torch
from numpy._core._multiarray_umath import __cpu_features__ as features
from fdpbench.arithmetic import PINS, arithmetic
assert arithmetic() == "pinned"
assert not any(features[name] for name in PINS["NPY_DISABLE_CPU_FEATURES"].split())
assert torch.backends.cpu.get_cpu_capability() == "AVX2" and torch.get_num_threads() == 1
"""
    if not arithmetic._pins():
        pytest.skip("this processor has no AVX2: nothing is pinned")
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_numpy_knows_every_feature_that_is_disabled() -> None:
    """An unknown name is an ImportWarning, and a disabled baseline feature an error; both end this process."""
    done = run("import numpy", NPY_DISABLE_CPU_FEATURES=arithmetic.PINS["NPY_DISABLE_CPU_FEATURES"])
    assert done.returncode == 0, done.stderr
    assert run("import numpy", NPY_DISABLE_CPU_FEATURES="X86_V9").returncode != 0, "the test would not see it"


def test_numpy_has_no_feature_beyond_avx2_that_is_left_enabled() -> None:
    from numpy._core._multiarray_umath import (  # type: ignore[import-not-found]  # numpy tells it nowhere else
        __cpu_dispatch__ as dispatched,
    )

    assert set(dispatched) - {"X86_V3"} == set(arithmetic.PINS["NPY_DISABLE_CPU_FEATURES"].split())


def test_opencv_knows_every_feature_that_is_disabled() -> None:
    done = run("import cv2", OPENCV_CPU_DISABLE=arithmetic.PINS["OPENCV_CPU_DISABLE"])
    assert done.returncode == 0 and "unknown" not in done.stdout + done.stderr
    done = run("import cv2", OPENCV_CPU_DISABLE="AVX9")
    assert "unknown" in done.stdout + done.stderr, "the test would not see it"
    features = run("import cv2; print(cv2.getCPUFeaturesLine())").stdout.split()
    beyond = {name.strip("*?") for name in features if "512" in name}
    assert beyond == set(arithmetic.PINS["OPENCV_CPU_DISABLE"].split(","))


def test_opencv_is_silent_on_this_processor() -> None:
    done = run("from fdpbench.arithmetic import pin_arithmetic; pin_arithmetic(); import cv2; cv2.ipp.useIPP()")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_users_own_variables_are_replaced(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    arithmetic.pin_arithmetic()
    assert os.environ["OPENBLAS_CORETYPE"] == "Haswell" and arithmetic.arithmetic() == "pinned"
    assert arithmetic.unpinned_notice() is None
    assert "OPENCV_CPU_DISABLE" not in os.environ, "OpenCV would print a line"


def test_variables_that_contradict_the_pins_are_dropped(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCV_CPU_DISABLE", "AVX2")
    monkeypatch.setenv("NPY_ENABLE_CPU_FEATURES", "AVX2")
    for name, value in arithmetic._pins().items():
        monkeypatch.setenv(name, value)
    assert arithmetic.arithmetic() == "native", "OpenCV would compute without AVX2"
    arithmetic.pin_arithmetic()
    assert arithmetic.arithmetic() == "pinned"
    assert not {"OPENCV_CPU_DISABLE", "NPY_ENABLE_CPU_FEATURES"} & set(os.environ)


def test_avx512_is_disabled_where_it_is(clean: Path) -> None:
    clean.write_text(AVX512)
    arithmetic.pin_arithmetic()
    assert {name: os.environ[name] for name in arithmetic.PINS} == arithmetic.PINS


def test_the_opt_out_sets_nothing_and_is_said(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(arithmetic.NATIVE, "1")
    arithmetic.pin_arithmetic()
    assert not set(arithmetic.PINS) & set(os.environ) and arithmetic.arithmetic() == "native"
    assert "FDPBENCH_NATIVE" in (arithmetic.unpinned_notice() or "")


@pytest.mark.parametrize(("machine", "info"), [("x86_64", OLD), ("aarch64", AVX2), ("x86_64", "")])
def test_nothing_is_pinned_without_avx2(clean: Path, monkeypatch: pytest.MonkeyPatch, machine: str, info: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    clean.write_text(info)
    arithmetic.pin_arithmetic()
    assert not set(arithmetic.PINS) & set(os.environ) and arithmetic.arithmetic() == "native"
    assert "AVX2" in (arithmetic.unpinned_notice() or "")


def test_a_library_that_was_imported_too_early_is_an_error(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "LIBRARIES", ("no_such_library", "json"))
    with pytest.raises(RuntimeError, match="json imported before the arithmetic was pinned.*FDPBENCH_NATIVE=1"):
        arithmetic.pin_arithmetic()
    for name, value in arithmetic._pins().items():
        monkeypatch.setenv(name, value)
    arithmetic.pin_arithmetic()  # set before Python started: nothing is too early


def test_a_command_says_first_that_it_is_not_pinned() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fdpbench", "releases"],
        cwd=ROOT,
        env=os.environ | {arithmetic.NATIVE: "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.startswith("releases: the arithmetic is not pinned (FDPBENCH_NATIVE is set)")
