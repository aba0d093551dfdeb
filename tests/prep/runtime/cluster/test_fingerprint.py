"""Fingerprints: what differs between two machines is named, and every file that a stage depends on counts."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fdpbench.bench.plan.closure import closure
from fdpbench.bench.plan.stages import STAGES
from fdpbench.prep.runtime.cluster.fingerprint import differences, fingerprint, in_package, needed_packages

ROOT = Path(__file__).resolve().parents[4]


def test_two_of_one_machine_do_not_differ() -> None:
    packages = needed_packages()
    assert differences(fingerprint((), packages), fingerprint((), packages)) == []


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_a_stage_depends_on_counts(stage: str) -> None:
    files = closure(STAGES[stage]).files
    found = fingerprint(files, ())
    assert [name for name in files if not found.get(name)] == []
    assert all(in_package(name) == path for name, path in files.items())


def test_the_packages_that_are_required_count_and_those_of_tools_do_not() -> None:
    packages = needed_packages()
    assert {"numpy", "torch", "opencv-python", "pyarrow", "dlib-bin"} <= set(packages)
    assert not {"pytest", "ruff", "ray", "playwright"} & set(packages)
    found = fingerprint((), [*packages, "cv2", "yaml"])
    assert found["package cv2"] == found["package opencv-python"] != ""  # by the names that plans have, too
    assert found["package yaml"] == found["package pyyaml"] != ""


def test_what_differs_is_named() -> None:
    ours = {"package numpy": "2.4.6", "package dlib": "", "bench/a.py": "1", "bench/b.py": "2", "prep/c.py": ""}
    theirs = {"package numpy": "2.4.5", "package dlib": "20", "bench/a.py": "1", "bench/b.py": "3", "prep/c.py": "4"}
    assert differences(ours, theirs) == [
        "bench/b.py differs",
        "dlib 20 there, missing here",
        "numpy 2.4.5 there, 2.4.6 here",
        "prep/c.py is not here",
    ]
    assert differences({"bench/a.py": "1"}, {}) == ["bench/a.py is not there"]


def test_many_are_counted() -> None:
    lines = differences({f"bench/{k}.py": "1" for k in range(20)}, {})
    assert len(lines) == 6 and lines[-1] == "15 more"


def test_a_file_of_a_plug_in_and_one_anywhere_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "acme_faces"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "net.py").write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("acme_faces/net.py", str(package / "net.py"), "acme_faces/none.py", "acme_none/net.py")
    found = fingerprint(names, ())
    assert found[names[0]] == found[names[1]] != "" and found[names[2]] == found[names[3]] == ""


def test_a_copy_of_the_code_has_the_same_and_an_edited_one_differs_by_name(tmp_path: Path) -> None:
    for name in ("bench", "models", "prep", "fdpbench"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    def of_copy() -> dict[str, str]:
        script = "from fdpbench.prep.runtime.cluster.fingerprint import *; print(fingerprint(['models/x.bin'], []))"
        command = [sys.executable, "-c", script]
        done = subprocess.run(
            command, cwd="/", env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=True
        )
        found = ast.literal_eval(done.stdout)
        del found["arithmetic"]  # it was not pinned there
        return found

    ours = fingerprint(["models/x.bin"], [])
    del ours["arithmetic"]
    assert of_copy() == ours
    with (tmp_path / "bench/train/fit.py").open("a") as stream:
        stream.write("# edited\n")
    (tmp_path / "prep/new.py").write_text("")
    assert differences(ours, of_copy()) == ["bench/train/fit.py differs", "prep/new.py is not here"]
