"""`make study`: a user's own runs in a folder of their own; `make repro` checks before DVC is started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdpbench.prep.settings.params import read_params
from tests.support.project import ROOT

FILES = ("bench", "models", "prep", "weights", "Makefile", "params.yaml", "results/published.csv", ".gitignore")

# Stands in for dvc: what it is called with, and a results table where there is none.
DVC = """#!/bin/sh
echo "dvc $* in $PWD" >> "$CALLS"
if [ "$1" = repro ]; then mkdir -p results && echo "| table |" > results/tables.md; fi
"""


class Copy:
    """The project's code and params.yaml in a folder of their own, with a stand-in for dvc."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.calls = folder / "calls"
        listed = subprocess.run(["git", "ls-files", "-z", "--", *FILES], cwd=ROOT, capture_output=True, text=True)
        for name in filter(None, listed.stdout.split("\0")):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes((ROOT / name).read_bytes())
        (folder / "bin").mkdir()
        (folder / "bin/dvc").write_text(DVC, encoding="utf-8")
        (folder / "bin/dvc").chmod(0o755)
        self.environment = os.environ | {
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "CALLS": str(self.calls),
        }
        self.environment.pop("PYTHONPATH", None)
        for command in (["git", "init", "--quiet", "."], ["git", "add", "."]):
            subprocess.run(command, cwd=self.root, check=True)

    def make(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run make, with the set-up taken as done."""
        command = ["make", "--old-file=install", *arguments]
        return subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True)

    def called(self) -> list[str]:
        return self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_study_leaves_the_project_as_it_is(copy: Copy, tmp_path: Path) -> None:
    committed = copy.root / "results/tables.md"
    committed.write_text("| committed |\n", encoding="utf-8")
    before = (copy.root / "params.yaml").read_bytes()
    (copy.root / "params.mine.yaml").write_text("runs:\n  my-run: {task: synthetic, model: majority}\n")
    (tmp_path / "release").mkdir()
    (copy.root / "data/raw").mkdir(parents=True)
    (copy.root / "data/raw/casme2").symlink_to(tmp_path / "release")
    (copy.root / "weights/vit.safetensors").write_bytes(b"weights")
    for _ in range(2):  # again: it goes on in the same folder
        result = copy.make("study", "NAME=mine")
        assert result.returncode == 0, result.stdout + result.stderr
        study = copy.root / "build/mine"
        assert "my-run: majority on synthetic" in result.stdout and "| table |" in result.stdout
        assert list(read_params(study / "params.yaml")["runs"]) == ["my-run"]
        assert (study / "data/raw/casme2").resolve() == tmp_path / "release"
        assert (study / "weights/vit.safetensors").read_bytes() == b"weights"
        assert copy.called()[-1] == f"dvc repro in {study}"
        copy.root.joinpath("data/raw/casme2").unlink(missing_ok=True)
        (copy.root / "data/raw/casme2").symlink_to(tmp_path / "release")
    assert committed.read_text(encoding="utf-8") == "| committed |\n"
    assert (copy.root / "params.yaml").read_bytes() == before
    status = subprocess.run(["git", "status", "--short"], cwd=copy.root, capture_output=True, text=True).stdout
    assert [line for line in status.splitlines() if line.startswith("??")] == ["?? results/tables.md"]


def test_a_link_that_was_taken_away_is_taken_away_from_the_study(copy: Copy, tmp_path: Path) -> None:
    (copy.root / "params.mine.yaml").write_text("train: {seed: 1}\n", encoding="utf-8")
    stale = copy.root / "build/mine/data/raw/casme2"
    stale.parent.mkdir(parents=True)
    stale.symlink_to(tmp_path)
    copy.make("study", "NAME=mine")
    assert not stale.is_symlink()


def test_a_study_that_is_wrong_is_refused_before_dvc(copy: Copy) -> None:
    (copy.root / "params.mine.yaml").write_text("align: {size: ninety}\nflow: {method: raft}\n", encoding="utf-8")
    result = copy.make("study", "NAME=mine")
    assert result.returncode != 0
    assert "align.size: Input should be a valid integer" in result.stderr and "(found 'raft')" in result.stderr
    assert not [call for call in copy.called() if call.startswith("dvc repro")]


@pytest.mark.parametrize("arguments", [(), ("NAME=none",)])
def test_a_study_without_a_file(arguments: tuple[str, ...], copy: Copy) -> None:
    result = copy.make("study", *arguments)
    assert result.returncode != 0 and "make study NAME=mine reads params.mine.yaml" in result.stdout
    assert not (copy.root / "build").exists()


@pytest.mark.parametrize("change", [("\nruns:", "\nrunz:"), ("size: 96", "size: ninety"), ("\nruns:", "\nruns: [")])
def test_repro_says_what_is_wrong_before_dvc_does(change: tuple[str, str], copy: Copy) -> None:
    """Of a missing section DVC says "Could not find 'runs'", of bad YAML that the structure is corrupted."""
    path = copy.root / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(*change, 1), encoding="utf-8")
    for target in ("repro", "check"):
        result = copy.make(target)
        assert result.returncode != 0
        assert result.stderr.startswith("error check: params.yaml"), result.stderr
        assert "Traceback" not in result.stderr
    assert copy.called() == []
