"""The real command line through DVC, killed in every way at many points: it goes on, and gives the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.project import Project, descendants, executed, wait_until, workers

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]


# Where to strike: the stage whose scratch is watched, and how many finished units it has by then. The first unit of
# training is its decoded inputs.
STRIKES = (("synthesize", 3), ("align-synthetic", 2), ("train-synthetic-ststnet", 2), ("train-synthetic-fdp", 2))


def enough_units(project: Project, stage: str, units: int) -> bool:
    return project.finished_units(stage) >= units


def kill_dvc(process) -> None:
    os.kill(process.pid, signal.SIGKILL)


def kill_worker(process) -> None:
    victims = workers(process)
    if victims:  # between two units there may be none
        victims[0].kill()


def kill_group(process) -> None:
    os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_dvc, kill_worker, kill_group])
def test_killed_at_several_points(kill, tmp_path: Path) -> None:
    project = Project(tmp_path)
    for stage, units in STRIKES:
        process = project.start("dvc", "repro", jobs=1)
        wait_until(partial(enough_units, project, stage, units), process)
        below = descendants(process)
        kill(process)
        process.wait(timeout=60)
        if kill is not kill_dvc:  # after a kill of dvc alone the next run starts at once, beside the orphan
            psutil.wait_procs(below, timeout=20)
    before = project.log()
    project.run("dvc", "repro", jobs=2)
    project.assert_golden()
    # what was finished was not done again
    assert project.log().count("going on,") >= len(STRIKES), project.log()
    assert "Traceback" not in project.log()[len(before) :]


ALIGN = ("fdpbench", "align", "synthetic")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project up to its manifest, and what an undisturbed align makes of it."""
    project = Project(tmp_path_factory.mktemp("indexed"))
    project.run("fdpbench", "synthesize")
    project.run("fdpbench", "index", "synthetic")
    project.run(*ALIGN)
    return project


def manifest_alone(indexed: Project, folder: Path) -> Project:
    project = Project(folder)
    for place in ("data/raw", "data/manifest"):
        shutil.copytree(indexed.folder / place, project.folder / place, dirs_exist_ok=True)
    return project


def kept_units(project: Project) -> dict[str, tuple[int, int]]:
    """Files of the clips that align has finished: which file each is, and when it was written."""
    files = (project.folder / ".scratch/align-synthetic").glob("*/units/*/*")
    return {file.parent.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.mark.parametrize("kill", [kill_dvc, kill_worker, kill_group])
def test_align_killed_in_the_middle(kill, indexed: Project, tmp_path: Path) -> None:
    """It goes on with the clips that are left, and the shards, their contents and checksums come out the same."""
    project = manifest_alone(indexed, tmp_path)
    process = project.start(*ALIGN, jobs=1)
    wait_until(partial(enough_units, project, "align-synthetic", 3), process)
    below = descendants(process)
    kill(process)
    assert process.wait(timeout=60) != 0
    psutil.wait_procs(below, timeout=20)
    assert not (project.folder / "data/aligned/synthetic").exists()
    kept = kept_units(project)
    total = len(kept_units(indexed))
    assert 3 <= len(kept) < total

    output = project.run(*ALIGN, jobs=2)
    assert f"align synthetic: going on, {len(kept)} of {total} clips" in output
    after = kept_units(project)
    assert len(after) == total and {name: after[name] for name in kept} == kept  # none was done again
    aligned = project.hashes("data/aligned")
    assert aligned == indexed.hashes("data/aligned")
    names = {Path(name).name for name in aligned}
    assert names == {"SHA256SUMS", "clips.parquet", "frames-000.parquet", "rejected.parquet"}


def test_align_killed_as_it_publishes(indexed: Project, tmp_path: Path) -> None:
    project = manifest_alone(indexed, tmp_path)
    process = project.start(*ALIGN, jobs=2)
    staging = project.folder / "data/aligned/.staging-synthetic"
    wait_until(lambda: staging.exists() or (project.folder / "data/aligned/synthetic").exists(), process)
    kill_group(process)
    process.wait(timeout=60)
    total = len(kept_units(indexed))
    assert f"going on, {total} of {total} clips" in project.run(*ALIGN)
    assert project.hashes("data/aligned") == indexed.hashes("data/aligned")


def test_a_worker_that_starts_as_its_stage_dies_ends_too(tmp_path: Path) -> None:
    project = Project(tmp_path)
    process = project.start("fdpbench", "synthesize", jobs=2)
    wait_until(lambda: bool(workers(process)), process)
    orphans = workers(process)
    process.kill()  # the workers are still importing
    process.wait(timeout=60)
    _, alive = psutil.wait_procs(orphans, timeout=20)
    assert not alive


def test_killed_between_publishing_and_recording(tmp_path: Path) -> None:
    project = Project(tmp_path)
    process = project.start("dvc", "repro", jobs=2)
    published = project.folder / "artifacts/predictions/synthetic-fdp.parquet"
    wait_until(published.exists, process)
    kill_group(process)
    process.wait(timeout=60)
    output = project.run("dvc", "repro")
    project.assert_golden()
    if "train@synthetic-fdp" in executed(output):  # no fold of it was trained again
        assert "train synthetic-fdp: going on, 3 of 3 folds" in output
