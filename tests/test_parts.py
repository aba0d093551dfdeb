"""A study in parts through the real command line: what `make baselines RUNS=...` does, on the smoke profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.project import Project, executed

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(2400)]


def part(project: Project, kept: Path, *runs: str) -> tuple[str, str]:
    """What the Makefile does: what `fdpbench part` says, and what DVC printed."""
    project.run("dvc", "repro", "task", "init")
    said = project.run("fdpbench", "part", str(kept), *runs)
    done = project.run("dvc", "repro")
    project.run("fdpbench", "keep", str(kept))
    return said, done


def test_two_parts_in_two_clones_are_all_at_once(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    whole = Project(tmp_path / "whole")
    whole.run("dvc", "repro")
    expected = whole.hashes("results", "artifacts/predictions", "artifacts/curves", "artifacts/provenance")

    first = Project(tmp_path / "first")
    said, done = part(first, kept, "synthetic-fdp", "synthetic-majority")
    assert {stage for stage in executed(done) if stage.startswith("train")} == {
        "train@synthetic-fdp",
        "train@synthetic-majority",
    }
    assert "synthetic-lbp_top: in no table of this part" in said
    assert sorted(path.stem for path in kept.iterdir()) == ["synthetic-fdp", "synthetic-majority"]
    text = (first.folder / "results/tables.md").read_text()
    assert "synthetic-fdp" in text and "synthetic-ststnet" not in text

    second = Project(tmp_path / "second")
    said, done = part(second, kept, "synthetic-ststnet", "synthetic-lbp_top")
    assert said.count("finished: taken from") == 2 and done.count("taken up from committed predictions") == 2
    found = second.hashes("results", "artifacts/predictions", "artifacts/curves", "artifacts/provenance")
    differ = {name for name in expected | found if expected.get(name) != found.get(name)}
    # of the images that a network gave those that are shown are there, and the report names the file by its hash
    assert differ == {"artifacts/predictions/synthetic-fdp.parquet", "results/report/runs/synthetic-fdp.html"}

    second.edit_params(options={"fdp": {"epochs": 2}})
    code, said = second.attempt("fdpbench", "part", str(kept), "synthetic-ststnet")
    assert code == 1 and "made of other settings (epochs)" in said and f"rm {kept}/synthetic-fdp.parquet" in said
    (kept / "synthetic-fdp.parquet").unlink()
    said, done = part(second, kept, "synthetic-ststnet")
    assert "synthetic-fdp: in no table of this part: not finished before" in said
    assert not [stage for stage in executed(done) if stage.startswith("train")]
    assert "synthetic-fdp" not in (second.folder / "results/tables.md").read_text()
