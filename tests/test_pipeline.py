"""The real command line through DVC on a very small profile: repeated, edited, killed."""

from __future__ import annotations

import os
import shutil
import signal
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.project import Project, descendants, wait_until, workers

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]

FINAL = ("artifacts/predictions", "artifacts/checkpoints", "artifacts/curves", "artifacts/provenance", "results")
TINY = {"options": {"fdp": {"epochs": 2, "batch_size": 4, "weight_decay": 0.0}}}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("undisturbed"), **TINY)
    project.run("dvc", "repro", jobs=2)
    return project


@pytest.fixture(scope="module")
def reference(undisturbed: Project) -> dict[str, str]:
    """Hashes of the final files, taken before a test edits the project."""
    return undisturbed.hashes(*FINAL)


def executed(output: str) -> set[str]:
    """Names of the stages that DVC says it ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")}


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_tables_hold_every_run(undisturbed: Project, reference: dict[str, str]) -> None:
    assert "results/tables.md" in reference
    text = (undisturbed.folder / "results/tables.md").read_text()
    for run in ("synthetic-majority", "synthetic-lbp_top", "synthetic-ststnet", "synthetic-fdp"):
        assert f"| {run} " in text
    assert (undisturbed.folder / "results/dynamic_images.png").stat().st_size > 10_000
    report = (undisturbed.folder / "results/report/runs/synthetic-fdp.html").read_text()
    assert "<img " in report and "fdpbench train synthetic-fdp" in report


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_second_run_executes_nothing(undisturbed: Project) -> None:
    assert executed(undisturbed.run("dvc", "repro")) == {"plan"}
    assert undisturbed.run("dvc", "status").split() == ["plan:", "always", "changed"]


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_metrics_and_plots_are_known_to_dvc(undisturbed: Project) -> None:
    assert "uf1" in undisturbed.run("dvc", "metrics", "show")
    undisturbed.run("dvc", "plots", "show", "--out", "plots_html")
    assert "synthetic-fdp" in (undisturbed.folder / "plots_html/index.html").read_text()


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_one_worker_gives_the_same_bytes(undisturbed: Project, reference: dict[str, str], tmp_path: Path) -> None:
    other = Project(tmp_path, **TINY)
    other.run("dvc", "repro", jobs=1)
    assert other.hashes(*FINAL) == reference
    assert (other.folder / "dvc.lock").read_bytes() == (undisturbed.folder / "dvc.lock").read_bytes()


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_editing_a_model_retrains_it_alone(undisturbed: Project) -> None:
    path = undisturbed.code / "models/ststnet.py"
    before, results = path.read_text(), undisturbed.hashes(*FINAL)
    path.write_text(before + "\n# edited\n")
    assert executed(undisturbed.run("dvc", "repro")) == {"plan", "train@synthetic-ststnet", "report"}
    after = undisturbed.hashes(*FINAL)
    differ = {name for name in results if after[name] != results[name]}
    # a comment changes no figure, so the tables are not made again; the report says of which code the run is
    provenance = {"artifacts/provenance/synthetic-ststnet.json", "results/report/runs/synthetic-ststnet.html"}
    assert set(after) == set(results) and differ == provenance
    path.write_text(before)


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_changing_one_models_options_retrains_it_alone(undisturbed: Project) -> None:
    undisturbed.edit_params(options={"ststnet": {"epochs": 3, "batch_size": 8}})
    ran = executed(undisturbed.run("dvc", "repro"))
    assert {stage for stage in ran if stage.startswith("train")} == {"train@synthetic-ststnet"}
    assert "tables" in ran


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_changing_a_models_features_trains_its_runs_alone(undisturbed: Project) -> None:
    undisturbed.edit_params(options={"lbp_top": {"model": {"grid": 4}}})
    ran = executed(undisturbed.run("dvc", "repro"))
    assert ran >= {"train@synthetic-lbp_top", "tables"}
    assert [stage for stage in ran if stage.startswith("train")] == ["train@synthetic-lbp_top"]


@pytest.mark.xdist_group("pipeline-undisturbed")
def test_a_run_taken_off_the_list_leaves_the_tables(undisturbed: Project) -> None:
    undisturbed.edit_params(runs={"synthetic-ststnet": None})
    output = undisturbed.run("dvc", "repro")
    assert "artifacts/predictions/synthetic-ststnet.parquet: params.yaml does not list it any more" in output
    assert not [stage for stage in executed(output) if stage.startswith("train")]
    text = (undisturbed.folder / "results/tables.md").read_text()
    assert "synthetic-ststnet" not in text and "synthetic-fdp" in text
    assert not list((undisturbed.folder / "results").rglob("*ststnet*"))
    assert executed(undisturbed.run("dvc", "repro")) == {"plan"}


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
    for place in ("data/raw", "data/manifest", "artifacts/plan"):
        shutil.copytree(indexed.folder / place, project.folder / place, dirs_exist_ok=True)
    return project


def kept_units(project: Project) -> dict[str, tuple[int, int]]:
    """Files of the clips that align has finished: which file each is, and when it was written."""
    files = (project.folder / ".scratch/align-synthetic").glob("*/units/*/*")
    return {file.parent.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


@pytest.mark.xdist_group("pipeline-indexed")
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


@pytest.mark.xdist_group("pipeline-indexed")
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
    project = Project(tmp_path, **TINY)
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


def test_a_release_that_is_not_linked(tmp_path: Path) -> None:
    project = Project(tmp_path)
    path = project.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["releases"].append("samm")
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    for command in (("fdpbench", "check"), ("dvc", "repro")):
        code, output = project.attempt(*command)
        assert code != 0
        assert "fdpbench link samm" in output


def test_names_are_checked_before_any_stage_hands_them_to_a_shell(tmp_path: Path) -> None:
    """Plain `dvc repro` plans first, and then nothing: a name would be words of a command."""
    project = Project(tmp_path)
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    project.edit_params(
        tasks={"t; touch pwned-task": params["tasks"]["synthetic"]},
        runs={"r; touch pwned-run": params["runs"]["synthetic-majority"]},
    )
    path = project.folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["releases"].append("$(touch pwned-release)")
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    code, output = project.attempt("dvc", "repro")
    assert code != 0 and executed(output) == {"plan"}
    assert output.count("a name may hold letters, digits, - and _ only") == 3
    assert not list(project.folder.rglob("pwned*")) and not list((project.folder / "data/raw").iterdir())
