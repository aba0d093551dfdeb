"""Nodes with other code, and nodes that cannot reach the raw frames, are refused by name; others do the work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdpbench.prep.store import paths
from tests.support.cluster import ROOT, RayCluster
from tests.support.project import Project

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project up to its manifest, and what align makes of it on this machine."""
    project = Project(tmp_path_factory.mktemp("indexed"))
    project.run("fdpbench", "synthesize")
    project.run("fdpbench", "index", "synthetic")
    project.run("fdpbench", "align", "synthetic")
    return project


@pytest.fixture
def reference(indexed: Project) -> dict[str, str]:
    """Hashes of what align made; it is moved aside meanwhile, and nothing of it is kept in scratch."""
    found = indexed.hashes("data/aligned")
    shutil.rmtree(indexed.folder / "data/aligned")
    shutil.rmtree(indexed.folder / ".scratch")
    return found


@pytest.fixture
def empty_cluster() -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
    started = RayCluster()
    yield started
    started.stop()


def copied_code(folder: Path) -> Path:
    """A copy of the code with another version of a model."""
    for name in ("bench", "models", "prep", "fdpbench", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    with (folder / "models/ststnet.py").open("a") as stream:
        stream.write("# another version\n")
    return folder


def test_a_node_with_another_version_is_refused(
    empty_cluster: RayCluster, indexed: Project, reference: dict[str, str], tmp_path: Path
) -> None:
    empty_cluster.add_node(PYTHONPATH=str(copied_code(tmp_path)))
    where = empty_cluster.address
    code, output = indexed.attempt("fdpbench", "align", "synthetic", FDPBENCH_CLUSTER=where)
    said = " ".join(output.split())
    assert code == 1
    assert re.search(r"cluster: node \S+ \([^)]*\) is not used: models/ststnet.py differs", said), said
    assert re.search(r"error align: cluster \S+: no node can be used: .*models/ststnet.py differs", said), said
    assert "Traceback" not in output and not indexed.finished_units("align-synthetic")

    empty_cluster.add_node()  # of this code
    assert "align synthetic: 12 clips" in indexed.run("fdpbench", "align", "synthetic", FDPBENCH_CLUSTER=where)
    assert indexed.hashes("data/aligned") == reference


def can_hide_folders() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_hide_folders(), reason="no right to hide a folder from a process (unshare -m)")
def test_a_node_that_cannot_reach_the_raw_frames_is_refused(
    empty_cluster: RayCluster, indexed: Project, reference: dict[str, str]
) -> None:
    """Else its clips would be left out as if their frames were missing."""
    raw = (indexed.folder / paths.raw("synthetic")).resolve()
    hide = f'mount -t tmpfs none {raw} && exec "$@"'
    empty_cluster.add_node(wrapper=("unshare", "-m", "sh", "-c", hide, "hidden"))
    where = empty_cluster.address
    code, output = indexed.attempt("fdpbench", "align", "synthetic", FDPBENCH_CLUSTER=where)
    said = " ".join(output.split())
    assert code == 1
    name = rf"data/raw/synthetic/\S+ \({re.escape(str(raw))}/\S+\) is not there; raw frames are not sent"
    assert re.search(rf"error align: cluster \S+: no node can be used: .*{name}", said), said

    empty_cluster.add_node()
    indexed.run("fdpbench", "align", "synthetic", FDPBENCH_CLUSTER=where)
    assert indexed.hashes("data/aligned") == reference


def test_nothing_answers(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (extra `cluster`)")
    call = "from tests.support.cluster_work import main; main(2, 0.1)"
    done = subprocess.run(
        [sys.executable, "-c", call],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "FDPBENCH_CLUSTER": "127.0.0.1:9"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "error: cluster 127.0.0.1:9: nothing answers there" in " ".join(done.stderr.split())
