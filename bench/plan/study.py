"""`fdpbench new`: a study, a folder with a params.yaml of its own in which `dvc repro` runs the whole pipeline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import fdpbench
from fdpbench.prep.settings.params import PARAMS_FILE
from fdpbench.prep.settings.problems import ParamsError, near
from fdpbench.prep.settings.profile import overlay
from fdpbench.prep.settings.yaml_edit import replace_section

__all__ = ["EMPTY", "PROFILES", "lay_out", "packaged"]

# What every study has, as it lies in the project's repository and in the installed package.
FILES = ("dvc.yaml", ".dvcignore", ".gitignore", "results/published.csv")

PROFILES = ("smoke", "calm", "pretrained", "full", "baselines", "weights", "tuning")

CACHE = Path(".dvc/cache")

# Sections of a study that is to hold data of one's own alone.
EMPTY: dict[str, list[str] | dict[str, str]] = {"releases": [], "tasks": {}, "runs": {}}


def packaged(name: str) -> Path:
    """A file that a study is laid out of: in a clone at its root, else in the installed package."""
    for root in map(Path, fdpbench.__path__):
        for path in (root / name, root / "study" / name):
            if path.is_file():
                return path
    raise ParamsError(f"{name} is not in this installation of fdpbench; install it anew")


def lay_out(
    folder: Path, profile: str | None = None, *, again: bool = False, alone: bool = False, empty: bool = False
) -> list[str]:
    """Lay out a study.

    Its params.yaml is that of the working directory, where there is one, else the project's, with the sections of the
    profile in place. From within a study, links to releases, weights and DVC's cache are shared with the new one.

    Parameters
    ----------
    folder
        A new folder, or an empty one.
    profile
        One of `PROFILES`, or a file with some sections of params.yaml.
    again
        Write params.yaml and dvc.yaml anew where the folder is a study already; what it has made stays.
    alone
        Share nothing with the working directory.
    empty
        List no release, task and run: `describe` and `link` add those of one's own.

    Returns
    -------
    What was shared, in words.

    Raises
    ------
    ParamsError
        If the folder holds something else, or params.yaml or the profile cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise ParamsError(f"{folder} is a file; a study is a folder")
    laid_out = (folder / "dvc.yaml").is_file() and (folder / PARAMS_FILE).is_file()
    if folder.is_dir() and any(folder.iterdir()) and not (laid_out and again):
        what = "a study already; --again writes its params.yaml and dvc.yaml anew" if laid_out else "not empty"
        raise ParamsError(f"{folder} is {what}; name a new folder")
    if shutil.which("git") is None:
        raise ParamsError("git not found on the PATH: DVC needs it; install it first")
    here = PARAMS_FILE if PARAMS_FILE.is_file() else packaged("params.yaml")
    text = overlay(_profile(profile), here) if profile else here.read_text(encoding="utf-8")
    for section in EMPTY if empty else ():
        text = replace_section(text, section, f"{section}: {EMPTY[section]}\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PARAMS_FILE).write_text(text, encoding="utf-8")
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(packaged(name), folder / name)
    (folder / "data/raw").mkdir(parents=True, exist_ok=True)
    (folder / "weights").mkdir(exist_ok=True)
    if not (folder / ".git").exists():
        subprocess.run(["git", "init", "--quiet", "."], cwd=folder, check=True)
    if not (folder / ".dvc").exists():
        _dvc(folder, "init", "--quiet")
        _dvc(folder, "config", "core.analytics", "false")
    return [] if alone else _share(folder)


def _dvc(folder: Path, *command: str) -> None:
    """Run this Python's DVC, whether or not its commands are on the path."""
    subprocess.run([sys.executable, "-m", "dvc", *command], cwd=folder, check=True)


def _profile(name: str) -> Path:
    if name in PROFILES:
        return packaged(f"params.{name}.yaml")
    if not Path(name).is_file():
        raise ParamsError(f"no profile {name!r}{near(name, PROFILES)}: give {', '.join(PROFILES)}, or a YAML file")
    return Path(name)


def _share(folder: Path) -> list[str]:
    """Links to releases, weights and DVC's cache of the study that the working directory is."""
    shared = []
    for place in ("data/raw", "weights"):
        for old in (folder / place).iterdir():
            if old.is_symlink():
                old.unlink()
    for link in sorted(path for path in Path("data/raw").glob("*") if path.is_symlink()):
        (folder / link).symlink_to(link.resolve())
        shared.append(f"release {link.name}")
    for weights in sorted(path for path in Path("weights").glob("[!.]*") if path.name != "README.md"):
        (folder / weights).symlink_to(weights.resolve())
        shared.append(f"weights {weights.name}")
    if CACHE.is_dir():
        place = os.path.relpath(CACHE.resolve(), folder.resolve())
        _dvc(folder, "cache", "dir", "--local", place)
        shared.append("DVC's cache")
    return shared
