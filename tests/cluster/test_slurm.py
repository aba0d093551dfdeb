"""The Slurm script on a real Slurm: a worker job is cancelled while it works, another joins; the same bytes."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.test_smoke import outs
from tests.support.project import GOLDEN, ROOT, Project
from tests.support.slurm import PROGRAMS, Slurm

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(any(map(lambda name: shutil.which(name) is None, PROGRAMS)), reason="no Slurm (slurm-wlm) here"),
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm's daemons are started as root here"),
]

SCRIPT = ROOT / "examples/slurm/cluster.sh"


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
    started = Slurm()
    yield started
    started.stop()


def rays() -> list[str]:
    """Commands of processes of the script's nodes."""
    found = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [command for command in found if "/fdpbench-ray-" in command]


def test_a_worker_job_is_cancelled_while_it_works(slurm: Slurm, tmp_path: Path) -> None:
    project = Project(tmp_path)
    log = project.folder / "slurm.log"
    variables = project.environment() | {
        "FDPBENCH_WORKERS": "--array=1-4%1 --cpus-per-task=2 --time=1:00:00",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ("sbatch", "--parsable", "--cpus-per-task=1", f"--output={log}", str(SCRIPT), "dvc", "repro", "train")
    job = slurm.run(*command, cwd=project.folder, **variables).strip()
    assert job.isdigit()

    def said(pattern: str) -> bool:
        return log.is_file() and re.search(pattern, " ".join(log.read_text().split())) is not None

    def running() -> list[str]:
        return slurm.jobs("fdpbench-worker")

    slurm.wait_for(lambda: said("on 2 nodes, 3 workers") or said("Error|error"), 900)
    (first,) = running()
    slurm.run("scancel", first)
    slurm.wait_for(lambda: running() not in ([first], []), 300)  # Slurm starts another of the array in its place
    slurm.wait_for(lambda: not slurm.jobs("fdpbench") and not slurm.jobs("fdpbench", "COMPLETING"), 1200)
    text = log.read_text()
    assert "cluster: lost node" in text or "was lost" in text, text
    assert not re.search("Traceback|error", text), text
    found, golden = outs(project.folder / "dvc.lock"), outs(GOLDEN)
    common = found.keys() & golden.keys()
    assert {name for name in common if name.startswith("artifacts/predictions/")}
    assert {name: found[name] for name in common} == {name: golden[name] for name in common}
    slurm.wait_for(lambda: running() == [], 60)  # no worker job outlives the head, and no process any job
    slurm.wait_for(lambda: not rays(), 60)
    assert not list(project.folder.glob(".slurm-*"))
