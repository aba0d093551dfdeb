"""The tests of rank pooling fail when its code is wrong: each test here breaks one line of a copy.

Only `make test-long` runs them: every one is a whole run of tests/prep/dynamic/test_rank_pooling.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[3]
CODE = "prep/dynamic/rank_pooling.py"
TESTS = "tests/prep/dynamic/test_rank_pooling.py"

# What runs in the copy: says which code it tests, then tests it, in the fast profile.
RUN = f"""
import sys, pytest, fdpbench.prep.dynamic.rank_pooling
print("code under test:", fdpbench.prep.dynamic.rank_pooling.__file__, flush=True)
sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", {TESTS!r}]))
"""
CONFTEST = f"""
from hypothesis import settings
settings.register_profile("copy", max_examples={settings.get_profile("fast").max_examples}, deadline=None,
                          derandomize=True)
settings.load_profile("copy")
"""

# name: lines of the code, and what breaks them
MUTATIONS: dict[str, list[tuple[str, str]]] = {
    "sign flipped": [("beta = 2 * t - length - 1", "beta = length + 1 - 2 * t")],
    "index shifted": [("np.cumsum((beta / t)[::-1])[::-1].copy()", "np.roll(np.cumsum((beta / t)[::-1])[::-1], 1)")],
    "index counted from 2": [("t = np.arange(1, length + 1,", "t = np.arange(2, length + 2,")],
    "rules swapped": [
        ('if rule == "linear":\n        return beta', 'if rule == "harmonic":\n        return beta'),
        ('if rule == "harmonic":\n        # alpha_t', 'if rule == "linear":\n        # alpha_t'),
    ],
    "T for T + 1": [("beta = 2 * t - length - 1", "beta = 2 * t - length")],
    "T + 2 for T + 1": [("beta = 2 * t - length - 1", "beta = 2 * t - length - 2")],
    "sum from the wrong end": [("np.cumsum((beta / t)[::-1])[::-1].copy()", "np.cumsum(beta / t)")],
    "result not turned back": [("np.cumsum((beta / t)[::-1])[::-1].copy()", "np.cumsum((beta / t)[::-1])")],
    "division forgotten": [("np.cumsum((beta / t)[::-1])", "np.cumsum(beta[::-1])")],
    "batch ignores the rule": [("images[index] = dynamic_image(clip, rule)", "images[index] = dynamic_image(clip)")],
    "static float32 pixels left as they are": [("chosen = doubtful if", "chosen = doubtful[:0] if")],
    "rounding bound too small": [("2.0**-24", "2.0**-30")],
    "blocks of pixels mixed up": [("image[start : start + PIXELS_AT_ONCE]", "image[:PIXELS_AT_ONCE]")],
    "float32 tolerance too large": [("STATIC_TOLERANCE_SINGLE = 1e-5", "STATIC_TOLERANCE_SINGLE = 1e-4")],
    "float32 tolerance as of float64": [("STATIC_TOLERANCE_SINGLE = 1e-5", "STATIC_TOLERANCE_SINGLE = 1e-9")],
    "float64 tolerance too large": [("STATIC_TOLERANCE = 1e-9", "STATIC_TOLERANCE = 1e-1")],
    "scaled without the guard": [("if high - low <= tolerance * magnitude:", "if high == low:")],
    "scaled upside down": [("return (image - low) / (high - low)", "return (high - image) / (high - low)")],
    "stream counts one frame too many": [("enumerate(frames, start=2)", "enumerate(frames, start=3)")],
    "stream ignores the rule": [("    totals *= 2\n    if rule", "    totals *= 2\n    if False and rule")],
    "stream keeps a view of the first frame": [
        ("first.astype(np.float64))", "first.astype(np.float64, copy=False))"),
    ],
    "stream keeps all frames": [("stream = _checked(frames, length)", "stream = iter(list(_checked(frames, length)))")],
    "stream takes any length": [("if length is not None and count < length:", "if False:")],
    "means off by one": [("np.arange(1, len(clip) + 1, dtype", "np.arange(2, len(clip) + 2, dtype")],
    "inverse not normed": [("weights / (weights @ weights)", "weights")],
}  # fmt: skip

pytestmark = pytest.mark.skipif(
    os.environ.get("HYPOTHESIS_PROFILE") != "long", reason="minutes of test runs: only in `make test-long`"
)


def run_tests(folder: Path, mutations: list[tuple[str, str]]) -> subprocess.CompletedProcess[str]:
    """Run the tests of rank pooling in a copy of the code with some of its text replaced."""
    for package in ("fdpbench", "prep"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests/prep/dynamic").mkdir(parents=True)
    for name in (TESTS, "tests/__init__.py", "pyproject.toml"):
        shutil.copyfile(ROOT / name, folder / name)
    code = (folder / CODE).read_text(encoding="utf-8")
    for line, broken in mutations:
        assert code.count(line) == 1, f"{line!r} stands {code.count(line)} times in {CODE}: mend the mutation"
        code = code.replace(line, broken)
    (folder / CODE).write_text(code, encoding="utf-8")
    (folder / "tests/conftest.py").write_text(CONFTEST, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-c", RUN],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert f"code under test: {folder / CODE}\n" in result.stdout, result.stdout + result.stderr
    return result


def test_the_code_as_it_is_passes(tmp_path: Path) -> None:
    result = run_tests(tmp_path, [])
    assert result.returncode == pytest.ExitCode.OK and " passed in " in result.stdout, result.stdout


@pytest.mark.parametrize("name", MUTATIONS)
def test_broken_code_fails(name: str, tmp_path: Path) -> None:
    result = run_tests(tmp_path, MUTATIONS[name])
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert f"FAILED {TESTS}::" in result.stdout, result.stdout + result.stderr
