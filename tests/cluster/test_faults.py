"""Nodes, workers, driver and head killed in mid-run: what was finished is kept, and nothing is done twice."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support.cluster import ROOT, RayCluster, RayNode

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

UNITS = 12


class Work:
    """A run of `tests.support.cluster_work` in a folder."""

    def __init__(self, folder: Path, cluster: RayCluster) -> None:
        self.folder, self.cluster = folder, cluster

    def start(self, kind: str = "", seconds: float = 0.5, **variables: str) -> subprocess.Popen:
        call = f"from tests.support.cluster_work import main; main({UNITS}, {seconds}, {kind!r})"
        command = [sys.executable, "-c", call]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "FDPBENCH_CLUSTER": self.cluster.address} | variables
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def run(self, kind: str = "", **variables: str) -> int:
        return self.start(kind, 0.5, **variables).wait(timeout=120)

    @property
    def log(self) -> str:
        return " ".join((self.folder / "log").read_text().split())

    def finished(self) -> list[str]:
        return re.findall(r"finished (u/\d+)", self.log)

    def kept(self) -> dict[str, str]:
        units = (self.folder / ".scratch/work/key/units").iterdir()
        return {path.name.replace("%2F", "/"): (path / "value").read_text() for path in units}

    def begun(self) -> Counter[str]:
        lines = (self.folder / "built").read_text().splitlines()
        return Counter(line.split()[0] for line in lines)

    def wait_for(self, count: int, process: subprocess.Popen) -> None:
        end = time.monotonic() + 90
        while len(self.finished()) < count:
            assert process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def assert_whole(self) -> None:
        """Every unit is there, with the bytes that a run without faults gives, and was kept once."""
        expected = {f"u/{k}": hashlib.sha256(f"u/{k}".encode()).hexdigest() for k in range(UNITS)}
        assert self.kept() == expected
        assert sorted(self.finished()) == sorted(expected)

    def assert_retries(self, count: int) -> None:
        """So many tries were made again, and the last line says so."""
        assert sum(self.begun().values()) - UNITS == count
        assert f"{count} unit{'s' * (count != 1)} tried again" in self.log


@pytest.fixture
def work(tmp_path: Path, cluster: RayCluster) -> Work:
    while sum(alive(node) for node in cluster.nodes) < 2:
        cluster.add_node()
    return Work(tmp_path, cluster)


def alive(node: RayNode) -> bool:
    return any(process.name() == "raylet" for process in node.processes())


def at_work(cluster: RayCluster) -> tuple[RayNode, psutil.Process]:
    """A node, and a process there that builds a unit."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for node in cluster.nodes:
            if alive(node) and (found := node.workers()):
                return node, found[0]
    raise AssertionError("no worker")


def test_undisturbed(work: Work) -> None:
    assert work.run() == 0, work.log
    work.assert_whole()
    assert "tried again" not in work.log and "lost" not in work.log
    assert max(work.begun().values()) == 1


def kill_process(cluster: RayCluster) -> None:
    at_work(cluster)[1].kill()


def kill_actor(cluster: RayCluster) -> None:
    (at_work(cluster)[1].parent() or psutil.Process()).kill()


@pytest.mark.parametrize("kill", [kill_process, kill_actor])
def test_a_worker_is_killed(kill: Callable[[RayCluster], None], work: Work) -> None:
    process = work.start()
    work.wait_for(2, process)
    kill(work.cluster)
    assert process.wait(timeout=120) == 0, work.log
    work.assert_whole()
    work.assert_retries(1)
    assert re.search(
        r"cluster: u/\d+: its worker on node \S+ \([^)]*\) was lost \(.+?\); tried again, 1 of 3", work.log
    )
    assert "0 nodes lost" in work.log


def test_a_node_is_killed(work: Work) -> None:
    process = work.start()
    work.wait_for(2, process)
    node, _ = at_work(work.cluster)
    node.kill()
    assert process.wait(timeout=120) == 0, work.log
    work.assert_whole()
    assert re.search(r"cluster: lost node \S+ \([^)]*\) \(.+?\); 1 unit to others", work.log), work.log
    work.assert_retries(1)
    assert "1 node lost" in work.log


def test_the_driver_is_killed_and_started_again(work: Work) -> None:
    process = work.start()
    work.wait_for(4, process)
    process.kill()
    process.wait()
    kept = work.kept()
    before = work.begun()
    assert 4 <= len(kept) < UNITS
    assert work.run() == 0, work.log
    assert f"work: going on, {len(kept)} of {UNITS} units were finished before" in work.log
    assert len(work.kept()) == UNITS
    again = work.begun() - before
    assert set(again) == {f"u/{k}" for k in range(UNITS)} - set(kept)  # those in flight alone were begun twice
    assert max(again.values()) == 1 and sum(before.values()) - len(kept) <= 2


def test_a_unit_that_fails_stops_the_stage_by_its_name(work: Work) -> None:
    assert work.run("fails") == 1
    assert "error: u/3: RuntimeError: this one cannot be built" in work.log
    assert "in build raise RuntimeError" in work.log  # its traceback
    assert "u/3" not in work.kept() and work.begun()["u/3"] == 1


def test_a_unit_that_kills_its_worker_is_not_tried_for_ever(work: Work) -> None:
    (work.folder / "local.yaml").write_text("cluster: {retries: 2}\n")
    assert work.run("dies") == 1
    assert work.begun()["u/3"] == 3
    assert "error: u/3: its worker was lost 3 times" in work.log and "exit code -9" in work.log


def test_the_head_is_killed(work: Work) -> None:
    """Last of all: the cluster is gone then."""
    process = work.start(RAY_gcs_rpc_server_reconnect_timeout_s="5")
    work.wait_for(4, process)
    work.cluster.head.kill()
    assert process.wait(timeout=120) == 1
    assert "was lost: its head does not answer" in work.log and "run the same command again" in work.log
    kept = work.kept()
    before = work.begun()
    assert 4 <= len(kept) < UNITS

    for node in work.cluster.nodes:
        node.kill()
    other = RayCluster()
    try:
        other.add_node()
        assert work.run(FDPBENCH_CLUSTER=other.address) == 0, work.log
    finally:
        other.stop()
    work.assert_whole()
    assert set(work.begun() - before) == {f"u/{k}" for k in range(UNITS)} - set(kept)
