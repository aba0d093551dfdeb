"""The texts agree with the project: the results table of the README, links, commands, options."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def committed(path: str) -> str:
    """A file as committed: what a user's own runs write into the work tree is no fault of the texts."""
    result = subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True)
    if result.returncode and subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("not in a git checkout here")
    assert result.returncode == 0, f"{path} is not committed"
    return result.stdout


def test_the_tables_in_the_readme_are_the_committed_ones() -> None:
    tables = re.findall(r"(?:^\|.*\n)+", committed("results/tables.md"), re.M)
    assert len(tables) == 2 and [table for table in tables if table not in committed("README.md")] == []


def test_every_listed_run_is_in_the_committed_results() -> None:
    table = committed("results/tables.md")
    assert [run for run in yaml.safe_load(committed("params.yaml"))["runs"] if f"| {run} " not in table] == []


@pytest.mark.parametrize("results", ["results/baselines", "results/full"])
def test_every_run_of_a_kept_study_is_in_its_tables(results: str) -> None:
    """A study of hours is kept with a file for each finished run, or was with its dvc.lock before there were any.

    The README says which runs of its profile came later.
    """
    stages = yaml.safe_load(committed(f"{results}/dvc.lock"))["stages"]
    runs = [path.stem for path in (ROOT / results / "runs").glob("*.parquet")] or [
        name.partition("@")[2] for name in stages if name.startswith("train@")
    ]
    table = committed(f"{results}/tables.md")
    assert runs and [run for run in runs if f"| {run} " not in table] == []
    profile = yaml.safe_load(committed(f"params.{results.rpartition('/')[2]}.yaml"))["runs"]
    later = [run for run in profile if run not in runs]
    assert [
        run
        for run in later
        if f"`{run.removeprefix('synthetic-').removeprefix('loso-')}`" not in committed("README.md")
    ] == []


def test_links_lead_somewhere() -> None:
    for text in (
        "README.md",
        "CONTRIBUTING.md",
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
    ):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / text).read_text(encoding="utf-8")):
            assert target.startswith("https://") or (ROOT / text).parent.joinpath(target).exists(), f"{text}: {target}"


def test_make_targets_of_the_texts_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for text in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/fdp.md"):
        named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / text).read_text(encoding="utf-8"), re.M))
        assert named <= targets, f"{text}: {named - targets}"


def test_models_of_the_readme_are_those_of_the_registry() -> None:
    section = committed("README.md").split("| model | reads | what it is |")[1].split("\n\n")[0]
    listing = subprocess.run(
        ["git", "ls-tree", "--name-only", "HEAD", "models/"], cwd=ROOT, capture_output=True, text=True
    )
    files = {Path(name).stem for name in listing.stdout.split() if name.endswith(".py")}
    models = {name for name in files - {"registry", "blocks"} if not name.startswith("_")}
    assert set(re.findall(r"^\| `(\w+)`", section, re.M)) == models
