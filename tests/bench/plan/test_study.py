"""`fdpbench new`, and `make study`: a user's own runs in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from fdpbench.bench.plan.study import EMPTY, PROFILES, lay_out, packaged
from fdpbench.commands import app
from fdpbench.prep.settings.params import check_params, read_params
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.profile import overlay
from tests.support.own_data import german
from tests.support.project import ROOT


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that is no study."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_study_is_whole(here: Path) -> None:
    result = CliRunner().invoke(app, ["new", "mine"])
    assert result.exit_code == 0 and "Next: cd mine && dvc repro" in result.output
    study = here / "mine"
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "params.yaml", "results/published.csv"):
        assert (study / name).read_bytes() == (ROOT / name).read_bytes()
    assert (study / ".git").is_dir() and "analytics = false" in (study / ".dvc/config").read_text()
    subprocess.run(["git", "add", "-A"], cwd=study, check=True)
    assert subprocess.run(["dvc", "status"], cwd=study, capture_output=True, text=True).returncode == 0


def test_a_virtual_environment_need_not_be_activated(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands, DVC's among them, are then not on the path."""
    git = shutil.which("git")
    assert git
    commands = here / "commands"
    commands.mkdir()
    monkeypatch.setenv("PATH", str(commands))
    with pytest.raises(ParamsError, match="git not found"):
        lay_out(Path("mine"))
    assert not Path("mine").exists()
    (commands / "git").symlink_to(git)
    lay_out(Path("mine"))
    assert "analytics = false" in Path("mine/.dvc/config").read_text()


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_stands_in_place_of_its_sections(here: Path, profile: str) -> None:
    lay_out(Path("mine"), profile)
    expected = yaml.safe_load(overlay(ROOT / f"params.{profile}.yaml", ROOT / "params.yaml"))
    assert read_params(Path("mine/params.yaml")) == check_params(expected)


def test_an_empty_study_holds_what_is_added(here: Path) -> None:
    """Data of one's own alone: the embedded release is neither rendered nor trained on."""
    assert "add data by fdpbench describe" in CliRunner().invoke(app, ["new", "mine", "--empty"]).output
    os.chdir("mine")
    plain = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert read_params() | {key: plain[key] for key in EMPTY} == check_params(plain)
    root = german(here / "data set")
    for arguments in (
        ("describe", "--name", "lab", "--fps", "200", "--add"),
        ("link", "lab", "--runs", "majority,ststnet"),
    ):
        result = CliRunner().invoke(app, [*arguments, str(root)])
        assert result.exit_code == 0, result.output
    assert CliRunner().invoke(app, ["check"]).exit_code == 0
    made = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    assert (list(made["releases"]), list(made["tasks"])) == (["lab"], ["lab"])
    assert list(made["runs"]) == ["lab-majority", "lab-ststnet"]
    assert "\n  lab-majority: {" in Path("params.yaml").read_text(encoding="utf-8"), "a line for each run"


@pytest.mark.pipeline
def test_from_within_a_study_all_is_shared(here: Path, tmp_path: Path) -> None:
    lay_out(Path("first"))
    os.chdir("first")
    for folder in (tmp_path / "release", Path(".dvc/cache")):
        folder.mkdir()
    Path("data/raw/casme2").symlink_to(tmp_path / "release")
    Path("weights/vit.safetensors").write_bytes(b"weights")
    Path("mine.yaml").write_text("runs:\n  my-run: {task: synthetic, model: majority}\n", encoding="utf-8")
    params = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(params.replace("size: 96", "size: 64"), encoding="utf-8")
    for again in (False, True):
        shared = lay_out(Path("build/mine"), "mine.yaml", again=again)
        assert shared == ["release casme2", "weights vit.safetensors", "DVC's cache"]
        study = Path("build/mine")
        assert list(read_params(study / "params.yaml")["runs"]) == ["my-run"]
        assert read_params(study / "params.yaml")["align"]["size"] == 64  # of this study's own params.yaml
        assert (study / "data/raw/casme2").resolve() == tmp_path / "release"
        assert (study / "weights/vit.safetensors").read_bytes() == b"weights"
        place = subprocess.run(["dvc", "cache", "dir"], cwd=study, capture_output=True, text=True, check=True).stdout
        assert (study / place.strip()).resolve() == Path(".dvc/cache").resolve()
    Path("data/raw/casme2").unlink()
    lay_out(Path("build/mine"), "mine.yaml", again=True)
    assert not Path("build/mine/data/raw/casme2").is_symlink()
    assert lay_out(Path("build/alone"), alone=True) == [] and not list(Path("build/alone/weights").iterdir())


def test_what_is_there_is_not_written_over(here: Path) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("mine")
    Path("file").write_text("")
    lay_out(Path("study"))
    for name, said in (("mine", "not empty"), ("file", "is a file"), ("study", "--again writes its params.yaml")):
        with pytest.raises(ParamsError, match=said):
            lay_out(Path(name))
    with pytest.raises(ParamsError, match="not empty"):
        lay_out(Path("mine"), again=True)
    with pytest.raises(ParamsError, match=r"no profile 'smokee' \(did you mean 'smoke'\?\)"):
        lay_out(Path("other"), "smokee")
    assert sorted(path.name for path in here.iterdir()) == ["file", "mine", "study"]


def test_the_wheel_is_told_of_every_file(here: Path) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "results/published.csv", "params.yaml"):
        assert packaged(name).is_file() and f'"{name}" = "fdpbench/study/{name}"' in text
    for profile in PROFILES:
        assert f'"params.{profile}.yaml" = "fdpbench/study/params.{profile}.yaml"' in text


# Stands in for dvc: what it is called with.
DVC = '#!/bin/sh\necho "dvc $* in $PWD" >> "$CALLS"\n[ "$1" != init ] || mkdir -p .dvc\n'


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder with the project's Makefile, the set-up taken as done and dvc stood in for."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/dvc").write_text(DVC, encoding="utf-8")
    (folder / "bin/dvc").chmod(0o755)
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = os.environ | {"PATH": path, "CALLS": str(folder / "calls"), "PYTHONPATH": str(ROOT)}
    command = ["make", "--old-file=install", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)


@pytest.mark.pipeline
def test_make_study_checks_before_dvc_is_started(here: Path) -> None:
    (here / "params.mine.yaml").write_text("align: {size: ninety}\nflow: {method: raft}\n", encoding="utf-8")
    result = make(here, "study", "NAME=mine")
    assert result.returncode != 0 and "align.size: Input should be a valid integer" in result.stderr, result.stderr
    assert "(found 'raft')" in result.stderr and not (here / "calls").exists()
    none = make(here, "study")
    assert none.returncode != 0 and "make study NAME=mine reads params.mine.yaml" in none.stdout


@pytest.mark.parametrize("change", [("\nruns:", "\nrunz:"), ("\nruns:", "\nruns: [")])
def test_make_repro_says_what_is_wrong_before_dvc_does(change: tuple[str, str], here: Path) -> None:
    """Of a missing section DVC says "Could not find 'runs'", of bad YAML that the structure is corrupted."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8").replace(*change, 1)
    (here / "params.yaml").write_text(text, encoding="utf-8")
    result = make(here, "repro")
    assert result.returncode != 0 and result.stderr.startswith("error check: params.yaml"), result.stderr
    assert "Traceback" not in result.stderr and not (here / "calls").exists()
