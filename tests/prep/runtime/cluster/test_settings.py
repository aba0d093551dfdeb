"""Whether a cluster is asked for: the variable, local.yaml, what is refused by name; else Ray is never imported."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fdpbench.prep.runtime.cluster import LOCAL_FILE, may_be_asked_for
from fdpbench.prep.runtime.cluster.settings import ClusterError, ClusterSettings, cluster_settings
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.runtime.workers import Unit, run_units
from fdpbench.prep.settings.problems import ParamsError
from tests.support import units

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(autouse=True)
def nothing_asked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FDPBENCH_CLUSTER", raising=False)


def test_nothing_is_asked_for() -> None:
    assert not may_be_asked_for() and cluster_settings() is None


def test_by_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDPBENCH_CLUSTER", "auto")
    assert may_be_asked_for() and cluster_settings() == ClusterSettings(address="auto")


@pytest.mark.parametrize("text", ["cluster: 10.0.0.1:6379\n", "cluster: {address: '10.0.0.1:6379'}\n"])
def test_by_the_file(text: str) -> None:
    LOCAL_FILE.write_text(text)
    assert may_be_asked_for() and cluster_settings() == ClusterSettings(address="10.0.0.1:6379")


def test_the_variable_goes_before_the_files_address_and_keeps_its_placement(monkeypatch: pytest.MonkeyPatch) -> None:
    LOCAL_FILE.write_text("cluster: {address: auto, cpus: 2, memory: 4, gpus: 0.5, retries: 0, wait: 60}\n")
    monkeypatch.setenv("FDPBENCH_CLUSTER", "h:1")
    expected = ClusterSettings(address="h:1", cpus=2, memory=4, gpus=0.5, retries=0, wait=60)
    assert cluster_settings() == expected


def test_an_empty_variable_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    LOCAL_FILE.write_text("cluster: auto\n")
    monkeypatch.setenv("FDPBENCH_CLUSTER", "")
    assert cluster_settings() is None


@pytest.mark.parametrize("text", ["", "cluster:\n", "cluster: {cpus: 2}\n"])
def test_a_file_without_an_address_asks_for_nothing(text: str) -> None:
    LOCAL_FILE.write_text(text)
    assert cluster_settings() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clusters: auto\n", "local.yaml: clusters: unknown .did you mean 'cluster'"),
        ("- auto\n", "local.yaml: .'auto'.: unknown"),
        ("cluster: {adress: auto}\n", "local.yaml: cluster.adress: unknown key .did you mean 'address'"),
        ("cluster: {address: auto, cpus: 0}\n", "local.yaml: cluster.cpus: Input should be greater than 0"),
        ("cluster: {address: auto, retries: many}\n", "local.yaml: cluster.retries: "),
        ("cluster: 3\n", "local.yaml: cluster: "),
        ("cluster: [\n", "local.yaml is not valid YAML"),
    ],
)
def test_what_is_wrong_with_the_file_is_named(text: str, said: str) -> None:
    LOCAL_FILE.write_text(text)
    with pytest.raises(ParamsError, match=said):
        cluster_settings()


@pytest.mark.parametrize("address", ["ray://h:10001", "http://h:8265"])
def test_other_ways_to_rays_clusters_are_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDPBENCH_CLUSTER", address)
    with pytest.raises(ClusterError, match=f"cluster {address}: give auto or HOST:PORT"):
        cluster_settings()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDPBENCH_CLUSTER", "auto")
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else known(name))
    with open_scratch("stage", "key") as scratch, pytest.raises(ClusterError, match=r"pip install .*\[cluster\]"):
        list(run_units([Unit("a", "a")], units.write, scratch, jobs=1))


def test_a_stage_with_nothing_to_do_needs_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FDPBENCH_CLUSTER", "nowhere:1")
    with open_scratch("stage", "key") as scratch:
        assert list(run_units([], units.write, scratch, jobs=1)) == []


def test_ray_and_settings_are_not_imported_where_no_cluster_is_asked_for() -> None:
    script = (
        "import sys, fdpbench.bench.train.stage, fdpbench.prep.runtime.workers\n"
        "print(*(name for name in sys.modules if name == 'ray' or name.startswith('fdpbench.prep.runtime.cluster')))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fdpbench.prep.runtime.cluster"]
