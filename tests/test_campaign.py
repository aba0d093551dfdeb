"""Campaigns of faults on the real command line: kills at random moments, bits flipped in every Parquet output.

Every kill's run prints its seed; ``FDPBENCH_KILL_SEED=N`` repeats one run of kills with that seed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from fdpbench.prep.store import shards
from tests.support.project import Project, descendants, workers

RUNS, KILLS = 20, 12  # 200 kills and more in all: some strike nobody, or come too late
FLIPS = 40
SEEDS = [int(os.environ["FDPBENCH_KILL_SEED"])] if "FDPBENCH_KILL_SEED" in os.environ else range(RUNS)


SECONDS = 100.0  # about what the smoke profile takes: kills are spread over it


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("undisturbed"))
    project.run("dvc", "repro", jobs=2)
    return project


def kill_somebody(process, generator: random.Random) -> str:
    """Kill DVC, all of its group, a worker, or any one process below DVC."""
    victim = generator.choice(("dvc", "group", "worker", "any"))
    if victim == "group":
        os.killpg(process.pid, signal.SIGKILL)
        return victim
    below = workers(process) if victim == "worker" else descendants(process) if victim == "any" else []
    target = generator.choice(below) if below else psutil.Process(process.pid)
    try:
        target.kill()
    except psutil.NoSuchProcess:  # it ended in between
        return "nobody"
    return victim


def killed_to_its_end(folder: Path, seed: int, kills: int) -> int:
    """Kill a project's run again and again, let it end, and compare; return the number of kills."""
    generator, project, struck = random.Random(seed), Project(folder), 0
    for _ in range(kills):
        project.run("fdpbench", "repair")
        process = project.start("dvc", "repro", jobs=2)
        end = time.monotonic() + generator.uniform(0.2, 1.5) * SECONDS / kills
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            break  # it was faster than the kills
        below = descendants(process)
        who = kill_somebody(process, generator)
        struck += who != "nobody"
        print(f"seed {seed}: killed {who}")
        process.wait(timeout=900)  # where a helper process was struck, the run goes on to its end
        if generator.random() < 0.5:  # else the next run starts beside the orphans
            psutil.wait_procs(below, timeout=20)
    before = project.log()
    project.run("fdpbench", "repair")
    project.run("dvc", "repro", jobs=2)
    project.assert_golden()
    assert "Traceback" not in project.log()[len(before) :]
    return struck


@pytest.fixture(scope="module")
def struck() -> dict[int, int]:
    """Kills by seed."""
    return {}


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", SEEDS)
def test_killed_at_random_moments(seed: int, struck: dict[int, int], tmp_path: Path) -> None:
    struck[seed] = killed_to_its_end(tmp_path, seed, KILLS)
    print(f"seed {seed}: {struck[seed]} kills")
    shutil.rmtree(tmp_path)


@pytest.mark.campaign
@pytest.mark.skipif(len(SEEDS) < RUNS, reason="one seed alone was asked for")
def test_there_were_two_hundred_kills(struck: dict[int, int]) -> None:
    assert set(struck) == set(SEEDS) and sum(struck.values()) >= 200, struck


@pytest.mark.pipeline
@pytest.mark.timeout(900)
@pytest.mark.parametrize("torn", [b"", b"schema: '2.0'\nstages:\n  synthesize:\n    outs:\n    - path: [da"])
def test_a_torn_lock_is_repaired_and_restored(torn: bytes, undisturbed: Project) -> None:
    project = undisturbed
    lock, rwlock = project.folder / "dvc.lock", project.folder / ".dvc/tmp/rwlock"
    whole = lock.read_bytes()
    lock.write_bytes(torn)
    rwlock.write_bytes(torn)
    assert project.attempt("dvc", "repro")[0] != 0  # what DVC says of it
    said = " ".join(project.run("fdpbench", "repair").split())
    assert "dvc.lock: " in said and "rwlock: " in said
    output = project.run("dvc", "repro")
    assert "Stage 'train@synthetic-fdp' is cached" in output or "train@synthetic-fdp' didn't change" in output
    assert lock.read_bytes() == whole
    project.assert_golden()


def silent_changes(path: Path, generator: random.Random, flips: int) -> int:
    """Flip random bits of a file, one at a time, the modification time kept or not; count the changes unseen."""
    schema, status, data = pq.read_schema(path), path.stat(), path.read_bytes()
    true, silent = shards.read_table(path, schema), 0
    for number in range(flips):
        changed = bytearray(data)
        changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        if number % 2:
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        try:
            silent += not shards.read_table(path, schema).equals(true)
        except shards.ShardError as error:
            assert path.name in str(error) and "run `dvc repro`" in str(error)
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return silent


@pytest.mark.pipeline
@pytest.mark.timeout(900)
def test_bits_flipped_in_every_kind_of_output(undisturbed: Project) -> None:
    generator, folder = random.Random(0), undisturbed.folder
    kinds: dict[tuple[str, str], Path] = {}
    for path in sorted([*folder.glob("data/*/**/*.parquet"), *folder.glob("artifacts/**/*.parquet")]):
        kinds.setdefault((path.relative_to(folder).parts[1], path.stem.split("-")[0]), path)
    assert {kind for kind, _ in kinds} >= {"manifest", "aligned", "flow", "dynamic", "task", "predictions"}
    found = {kind: silent_changes(path, generator, FLIPS) for kind, path in kinds.items()}
    assert found == dict.fromkeys(kinds, 0)
