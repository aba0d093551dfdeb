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

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


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


def test_a_node_with_another_version_is_refused(empty_cluster: RayCluster, tmp_path: Path) -> None:
    other = copied_code(tmp_path / "other")
    empty_cluster.add_node(PYTHONPATH=str(other))
    project = Project(tmp_path / "project")
    project.run("fdpbench", "synthesize")
    project.run("fdpbench", "index", "synthetic")
    before = {"FDPBENCH_CLUSTER": empty_cluster.address}
    code, output = project.attempt("fdpbench", "align", "synthetic", **before)
    said = " ".join(output.split())
    assert code == 1
    refused = r"node \S+ \([^)]*\) is not used: models/ststnet.py differs"
    assert re.search(f"cluster: {refused}", said), said
    assert re.search(r"error align: cluster \S+: no node can be used: .*models/ststnet.py differs", said), said
    assert "Traceback" not in output and not project.finished_units("align-synthetic")

    empty_cluster.add_node()  # of this code
    output = " ".join(project.run("fdpbench", "align", "synthetic", **before).split())
    assert "align synthetic: 12 clips" in output
    (folder,) = (project.folder / ".scratch/align-synthetic").iterdir()
    assert len(list((folder / "units").iterdir())) == 12


def can_hide_folders() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_hide_folders(), reason="no right to hide a folder from a process (unshare -m)")
def test_a_node_that_cannot_reach_the_raw_frames_is_refused(empty_cluster: RayCluster, tmp_path: Path) -> None:
    """Else its clips would be left out as if their frames were missing."""
    project = Project(tmp_path / "project")
    project.run("fdpbench", "synthesize")
    project.run("fdpbench", "index", "synthetic")
    project.run("fdpbench", "align", "synthetic")
    reference = project.hashes("data/aligned")
    shutil.rmtree(project.folder / "data/aligned")
    shutil.rmtree(project.folder / ".scratch")
    raw = (project.folder / paths.raw("synthetic")).resolve()
    hide = f'mount -t tmpfs none {raw} && exec "$@"'
    empty_cluster.add_node(wrapper=("unshare", "-m", "sh", "-c", hide, "hidden"))
    before = {"FDPBENCH_CLUSTER": empty_cluster.address}
    code, output = project.attempt("fdpbench", "align", "synthetic", **before)
    said = " ".join(output.split())
    assert code == 1
    name = rf"data/raw/synthetic/\S+ \({re.escape(str(raw))}/\S+\) is not there; raw frames are not sent"
    assert re.search(rf"error align: cluster \S+: no node can be used: .*{name}", said), said

    empty_cluster.add_node()
    project.run("fdpbench", "align", "synthetic", **before)
    assert project.hashes("data/aligned") == reference


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
