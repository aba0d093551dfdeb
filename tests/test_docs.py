"""The texts agree with the project: the results table of the README, links, commands, options."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_in_the_readme_is_the_committed_one() -> None:
    rows = [line for line in (ROOT / "results/tables.md").read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    assert rows and "\n".join(rows) in README


def test_every_listed_run_is_in_the_committed_results() -> None:
    runs = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["runs"]
    table = (ROOT / "results/tables.md").read_text(encoding="utf-8")
    assert [run for run in runs if f"| {run} " not in table] == []


def test_links_lead_somewhere() -> None:
    for text in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / text).read_text(encoding="utf-8")):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{text}: {target}"


def test_make_targets_of_the_texts_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for text in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        named = set(re.findall(r"(?:`|^)make ([a-z-]+)", (ROOT / text).read_text(encoding="utf-8"), re.M))
        assert named <= targets, f"{text}: {named - targets}"


def test_models_of_the_readme_are_those_of_the_registry() -> None:
    from models.registry import list_models

    section = README.split("| model | reads | what it is |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", section, re.M)) == list_models()
