"""The smoke pipeline on a head and two nodes: the same bytes as on one machine."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.cluster import RayCluster
from tests.support.project import GOLDEN, Project, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def project(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The smoke profile up to training, all of it on the cluster."""
    project = Project(tmp_path_factory.mktemp("smoke"))
    project.run("dvc", "repro", "train", FDPBENCH_CLUSTER=cluster.address)
    return project


def outs(path: Path) -> dict[str, str]:
    """Hashes of outputs by their paths."""
    stages = yaml.safe_load(path.read_text())["stages"]
    return {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}


def test_every_output_is_the_same_bytes(project: Project) -> None:
    found, golden = outs(project.folder / "dvc.lock"), outs(GOLDEN)
    common = found.keys() & golden.keys()
    kinds = {name.partition("/synthetic")[0] for name in common}
    assert kinds >= {"data/raw", "data/aligned", "data/task", "artifacts/predictions", "artifacts/checkpoints"}
    assert {name: found[name] for name in common} == {name: golden[name] for name in common}


def test_its_units_were_built_on_the_nodes(project: Project) -> None:
    log = " ".join(project.log().split())
    for stage in ("synthesize: 12 clips", "align synthetic: 12 clips", "train synthetic-fdp: 3 folds"):
        assert re.search(rf"{stage} in (\d+ min )?\d+ s, on [12] nodes?, [12] workers?\b", log), log
    assert "2 nodes, 2 workers" in log, log
    assert "lost" not in log and "Traceback" not in log


def test_a_training_whose_node_and_driver_are_killed_gives_the_same_bytes(
    cluster: RayCluster, project: Project
) -> None:
    run, stage = "synthetic-fdp", "train-synthetic-fdp"
    places = (f"artifacts/predictions/{run}.parquet", f"artifacts/checkpoints/{run}", f"artifacts/curves/{run}.csv")
    reference = project.hashes(*places)
    shutil.rmtree(project.folder / ".scratch" / stage)
    before = len(project.log())
    process = project.start("fdpbench", "train", run, FDPBENCH_CLUSTER=cluster.address)
    wait_until(lambda: any(node.workers() for node in cluster.nodes), process)
    next(node for node in cluster.nodes if node.workers()).kill()
    wait_until(lambda: project.finished_units(stage) >= 2, process)  # the decoded inputs, and a fold
    process.kill()
    process.wait()
    project.run("fdpbench", "train", run, FDPBENCH_CLUSTER=cluster.address)
    said = " ".join(project.log()[before:].split())
    assert project.hashes(*places) == reference
    assert "cluster: lost node" in said and f"train {run}: going on, " in said, said
