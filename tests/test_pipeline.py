"""The real command line through DVC on a very small profile: repeated, edited, killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.project import Project, executed

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]

FINAL = (
    "artifacts/pretrained",
    "artifacts/predictions",
    "artifacts/checkpoints",
    "artifacts/curves",
    "artifacts/provenance",
    "results",
)
STARTED = {"task": "broad", "model": "off_apexnet", "init": "rendered"}  # a network that no other run has
TINY: dict[str, dict[str, Any]] = {
    "options": {"fdp": {"epochs": 2, "batch_size": 4, "weight_decay": 0.0}},
    "corpora": {"rendered": {"generator": "flow", "identities": 4, "clips_per_identity": 6, "seed": 1}},
    "pretrain": {"rendered": {"corpus": "rendered", "model": "off_apexnet", "set": {"epochs": 1, "batch_size": 8}}},
    "tasks": {
        "broad": {
            "releases": ["synthetic"],
            "classes": {"negative": ["disgust", "repression"], "positive": ["happiness"], "surprise": ["surprise"]},
            "flow": {"size": 28, "scaling": "per_image"},
        }
    },
    "runs": {
        "broad-shot": STARTED | {"protocol": "zero_shot"},
        "broad-tuned": STARTED | {"set": {"epochs": 1, "batch_size": 4}},
    },
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("undisturbed"), **TINY)
    project.run("dvc", "repro", jobs=2)
    return project


@pytest.fixture(scope="module")
def reference(undisturbed: Project) -> dict[str, str]:
    """Hashes of the final files, taken before a test edits the project."""
    return undisturbed.hashes(*FINAL)


def test_tables_hold_every_run(undisturbed: Project, reference: dict[str, str]) -> None:
    assert "results/tables.md" in reference
    text = (undisturbed.folder / "results/tables.md").read_text()
    for run in ("synthetic-majority", "synthetic-lbp_top", "synthetic-ststnet", "synthetic-fdp"):
        assert f"| {run} " in text
    assert (undisturbed.folder / "results/dynamic_images.png").stat().st_size > 10_000
    report = (undisturbed.folder / "results/report/runs/synthetic-fdp.html").read_text()
    assert "<img " in report and "fdpbench train synthetic-fdp" in report


def test_pretrained_runs_have_a_table_of_their_own(undisturbed: Project, reference: dict[str, str]) -> None:
    files = {name for name in reference if name.startswith("artifacts/pretrained/")}
    assert files == {f"artifacts/pretrained/rendered/{name}" for name in ("0.safetensors", "card.json", "card.md")}
    text = (undisturbed.folder / "results/tables.md").read_text()
    table = text.split("### broad: pretrained")[1].split("\n#")[0]
    assert "zero_shot from rendered" in table and "honest from rendered" in table
    provenance = (undisturbed.folder / "artifacts/provenance/broad-shot.json").read_text()
    assert reference["artifacts/pretrained/rendered/0.safetensors"] in provenance


def test_second_run_executes_nothing(undisturbed: Project) -> None:
    assert executed(undisturbed.run("dvc", "repro")) == {"plan"}
    assert undisturbed.run("dvc", "status").split() == ["plan:", "always", "changed"]


def test_metrics_and_plots_are_known_to_dvc(undisturbed: Project) -> None:
    assert "uf1" in undisturbed.run("dvc", "metrics", "show")
    undisturbed.run("dvc", "plots", "show", "--out", "plots_html")
    assert "synthetic-fdp" in (undisturbed.folder / "plots_html/index.html").read_text()


def test_one_worker_gives_the_same_bytes(undisturbed: Project, reference: dict[str, str], tmp_path: Path) -> None:
    other = Project(tmp_path, **TINY)
    other.run("dvc", "repro", jobs=1)
    assert other.hashes(*FINAL) == reference
    assert (other.folder / "dvc.lock").read_bytes() == (undisturbed.folder / "dvc.lock").read_bytes()


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


def test_changing_one_models_options_retrains_it_alone(undisturbed: Project) -> None:
    undisturbed.edit_params(options={"ststnet": {"epochs": 3, "batch_size": 8}})
    ran = executed(undisturbed.run("dvc", "repro"))
    assert {stage for stage in ran if stage.startswith("train")} == {"train@synthetic-ststnet"}
    assert "tables" in ran and not {"corpus@rendered", "pretrain@rendered", "init"} & ran


def test_other_weights_train_the_runs_that_start_from_them_alone(undisturbed: Project) -> None:
    undisturbed.edit_params(pretrain={"rendered": TINY["pretrain"]["rendered"] | {"unit_weight": 1.0}})
    ran = executed(undisturbed.run("dvc", "repro"))
    assert {"pretrain@rendered", "init", "tables"} < ran and "corpus@rendered" not in ran
    assert {stage for stage in ran if stage.startswith("train")} == {"train@broad-shot", "train@broad-tuned"}


def test_changing_a_models_features_trains_its_runs_alone(undisturbed: Project) -> None:
    undisturbed.edit_params(options={"lbp_top": {"model": {"grid": 4}}})
    ran = executed(undisturbed.run("dvc", "repro"))
    assert ran >= {"train@synthetic-lbp_top", "tables"}
    assert [stage for stage in ran if stage.startswith("train")] == ["train@synthetic-lbp_top"]


def test_a_run_taken_off_the_list_leaves_the_tables(undisturbed: Project) -> None:
    undisturbed.edit_params(runs={"synthetic-ststnet": None})
    output = undisturbed.run("dvc", "repro")
    assert "artifacts/predictions/synthetic-ststnet.parquet: params.yaml does not list it any more" in output
    assert not [stage for stage in executed(output) if stage.startswith("train")]
    text = (undisturbed.folder / "results/tables.md").read_text()
    assert "synthetic-ststnet" not in text and "synthetic-fdp" in text
    assert not list((undisturbed.folder / "results").rglob("*ststnet*"))
    assert executed(undisturbed.run("dvc", "repro")) == {"plan"}


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
