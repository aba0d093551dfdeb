"""Studies in parts: what is kept of finished runs, what is taken up of it, and what is trained anew and said so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fdpbench.bench.plan.part as part
import fdpbench.bench.plan.resolve as resolving
import fdpbench.bench.train.stage as stage
from fdpbench.bench.evaluate.evaluation import read_clips, read_evaluation
from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.evaluate.stage import evaluate_runs
from fdpbench.bench.plan.ensembles import evaluated
from fdpbench.bench.plan.part import take_up
from fdpbench.bench.plan.resolve import resolve
from fdpbench.bench.report.gallery import draw_gallery
from fdpbench.bench.report.kept import keep_runs
from fdpbench.bench.report.tables import write_tables
from fdpbench.bench.train.artifacts import TAKEN, Artifacts
from fdpbench.bench.train.kept import difference, read_kept
from fdpbench.bench.train.provenance import read_provenance
from fdpbench.commands import app
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.store import paths, shards
from tests.bench.train.test_arrays import run_here
from tests.support.builders import (
    checked_params,
    task_rows,
    torch_as_it_was,
    write_params,
    write_perception_data,
    write_task,
)

SUBJECTS = tuple(f"synthetic/s{k:02d}" for k in range(1, 6))
KEPT = Path("kept")
RUNS = ("tiny-majority", "tiny-ststnet", "tiny-fdp")


def content(**sections: Any) -> dict[str, Any]:
    made = checked_params(synth={"subjects": 5}, **sections)
    made["runs"] = {
        "tiny-majority": {"task": "tiny", "model": "majority"},
        "tiny-ststnet": {"task": "tiny", "model": "ststnet", "split": {"subject_kfold": 2}},
        "tiny-fdp": {"task": "tiny", "model": "fdp", "set": {"epochs": 1, "batch_size": 8}},
    }
    return made


def lay_out() -> None:
    write_params(content())
    rows = task_rows(SUBJECTS, per_class=1, side=48)
    write_task(paths.task("tiny"), rows)
    write_perception_data(rows)


@pytest.fixture
def study(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A study whose runs are to be trained."""
    lay_out()
    monkeypatch.setattr(stage, "run_units", run_here)
    with torch_as_it_was():
        yield project


def train(*runs: str) -> None:
    for run in runs:
        stage.run(resolve("train", run, read_params()), 1)


def tables() -> dict[str, bytes]:
    """Evaluate what params.yaml lists and print it: every file of results."""
    runs = evaluated()
    evaluate_runs(runs, 1, releases={"tiny": ["synthetic"]}, seed=1)
    write_tables(read_evaluation(), read_clips(), Path("results"))
    shown = [run for run in runs if run == "tiny-fdp"]
    draw_gallery(
        paths.task("tiny"), shown[0] if shown else None, read_clips().get("tiny-fdp", []), Path("results/g.png")
    )
    return {path.as_posix(): path.read_bytes() for path in sorted(Path("results").rglob("*")) if path.is_file()}


def forget() -> None:
    """What a fresh clone does not have; the data are made again."""
    for folder in ("artifacts", "results", ".scratch"):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """All runs, trained and kept, once for all tests: where they are kept, and their results."""
    place = tmp_path_factory.mktemp("trained")
    with chdir(place), pytest.MonkeyPatch.context() as patch, torch_as_it_was():
        patch.setattr(stage, "run_units", run_here)
        lay_out()
        train(*RUNS)
        results = tables()
        keep_runs(evaluated(), KEPT)
    return place / KEPT, results


@pytest.fixture
def finished(study: Path, trained_once: tuple[Path, dict[str, bytes]]) -> dict[str, bytes]:
    """All runs, trained and kept in a study that is gone: its results."""
    shutil.copytree(trained_once[0], KEPT)
    return trained_once[1]


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: Any) -> Any:
        raise AssertionError("trained")

    monkeypatch.setattr(stage, "run_units", refused)


def test_finished_runs_are_taken_up_and_give_the_same_tables(
    finished: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    lines = take_up(KEPT, ["tiny-ststnet"])
    assert [line.partition(": ")[0] for line in lines] == list(RUNS)
    assert all("finished: taken from kept/" in line for line in lines)
    no_training(monkeypatch)
    train(*RUNS)
    assert capfd.readouterr().err.count("taken up from committed predictions") == 3
    assert tables() == finished
    assert [path.name for path in Artifacts("tiny-ststnet").checkpoints.iterdir()] == ["none.txt"]


def test_a_part_then_the_rest_give_the_tables_of_all_at_once(
    study: Path, finished: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(KEPT)
    first = take_up(KEPT, ["tiny-fdp"])
    assert first[2] == "tiny-fdp: trained, unless it is up to date here: not finished before"
    assert first[0] == "tiny-majority: in no table of this part: not finished before; name it in RUNS to train it"
    assert list(read_params()["runs"]) == ["tiny-fdp"]
    train("tiny-fdp")
    assert b"tiny-fdp" in tables()["results/tables.md"]
    keep_runs(evaluated(), KEPT)
    forget()
    write_params(content())
    second = take_up(KEPT, ["tiny-ststnet", "tiny-majority"])
    assert "tiny-fdp: finished" in second[2] and list(read_params()["runs"]) == list(RUNS)
    monkeypatch.setattr(stage, "_train_fold", fold_of_others(stage._train_fold))
    train(*RUNS)
    assert tables() == finished
    assert sorted(path.name for path in keep_runs(evaluated(), KEPT)) == sorted(f"{run}.parquet" for run in RUNS)


def fold_of_others(train_fold: Any) -> Any:
    """Training that refuses folds of the run that is finished."""

    def checked(work: Any, context: Any) -> None:
        assert work[0].run.name != "tiny-fdp"
        train_fold(work, context)

    return checked


def test_what_is_kept_again_is_the_same_file(finished: dict[str, bytes]) -> None:
    before = {path.name: path.read_bytes() for path in sorted(KEPT.iterdir())}
    assert list(before) == sorted(f"{run}.parquet" for run in RUNS)
    take_up(KEPT, [])
    train(*RUNS)
    tables()
    keep_runs(evaluated(), KEPT)
    assert {path.name: path.read_bytes() for path in sorted(KEPT.iterdir())} == before


def test_predictions_without_images_are_those_of_training_to_the_byte(study: Path) -> None:
    train(*RUNS)
    trained = {run: Artifacts(run).predictions.read_bytes() for run in RUNS}
    images = {(row["clip_id"], row["drawn"]) for row in read_predictions(Artifacts("tiny-fdp").predictions)}
    tables()
    keep_runs(evaluated(), KEPT)
    forget()
    take_up(KEPT, [])
    train(*RUNS)
    assert all(Artifacts(run).predictions.read_bytes() == trained[run] for run in ("tiny-majority", "tiny-ststnet"))
    kept = read_predictions(Artifacts("tiny-fdp").predictions)
    shown = {(row["clip_id"], row["drawn"]) for row in kept if row["drawn"]}
    assert len(shown) == 3 and shown < images  # a clip of each class


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"options": {"ststnet": {"epochs": 3, "batch_size": 4}}}, "settings (epochs)"),
        ({"train": {"seed": 2}}, "train (seed)"),
        ({"train": {"repetitions": 2}}, "train (repetitions)"),
    ],
)
def test_other_settings_are_trained_anew_and_said(
    finished: dict[str, bytes], sections: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = content()
    for key, value in sections.items():
        made[key] = made[key] | value
    write_params(made)
    line = take_up(KEPT, RUNS)[1]
    assert line == (
        "tiny-ststnet: trained, unless it is up to date here: kept/tiny-ststnet.parquet was made of other " + said
    )
    assert not (TAKEN / "tiny-ststnet.parquet").exists()
    no_training(monkeypatch)
    with pytest.raises(AssertionError, match="trained"):
        train("tiny-ststnet")


def test_finished_runs_are_not_lost_unasked(finished: dict[str, bytes]) -> None:
    made = content()
    made["options"]["ststnet"]["epochs"] = 3
    del made["runs"]["tiny-fdp"]
    written = write_params(made).read_bytes()
    with pytest.raises(ParamsError) as caught:
        take_up(KEPT, ["tiny-majority"])
    assert caught.value.problems == (
        "finished runs would be lost; nothing was done",
        "kept/tiny-fdp.parquet: params.yaml lists no such run; list it, or delete the file: rm kept/tiny-fdp.parquet",
        "kept/tiny-ststnet.parquet was made of other settings (epochs); name tiny-ststnet in RUNS to train it again, "
        "or delete the file to do without the run: rm kept/tiny-ststnet.parquet",
    )
    assert Path("params.yaml").read_bytes() == written and not TAKEN.exists()
    (KEPT / "tiny-fdp.parquet").unlink()
    assert "tiny-ststnet: trained" in take_up(KEPT, ["tiny-ststnet"])[1]  # named
    (KEPT / "tiny-ststnet.parquet").unlink()
    assert "tiny-ststnet: in no table of this part: not finished before" in take_up(KEPT, ["tiny-majority"])[1]


def test_other_data_code_and_versions_are_told(finished: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(paths.task("tiny"), task_rows(SUBJECTS, per_class=1, side=48, seed=7))
    assert all("other data (data/task/tiny/clips.parquet)" in line for line in take_up(KEPT, []))
    _, kept = read_kept(KEPT / "tiny-ststnet.parquet")
    for key, changed, said in (
        ("code", {"models/ststnet.py": "0", "a": "1", "b": "2", "c": "3"}, "code (models/ststnet.py, a, b and 1 more)"),
        ("versions", {"torch": "0"}, "versions (torch)"),
        ("files", {"weights/x": "0"}, "files (weights/x)"),
    ):
        now = kept.provenance | {key: kept.provenance[key] | changed}
        assert difference(kept, now, {}) == said
    for hardware, said in (
        (["cuda", "bfloat16"], "cpu, float32, now cuda, bfloat16; CUDA_VISIBLE_DEVICES= hides the device"),
        (["cpu", "bfloat16"], "cpu, float32, now cpu, bfloat16"),
    ):
        now = kept.provenance | {"hardware": hardware}
        assert difference(kept, now, {}) == f"device or precision ({said})"
    monkeypatch.setattr("fdpbench.bench.train.kept.arithmetic", lambda: "native")
    assert difference(kept, kept.provenance, {}) == "arithmetic (pinned, now native)"


def test_runs_of_another_device_are_not_taken_up_unasked(
    finished: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    hardware = stage._hardware
    monkeypatch.setattr(
        stage, "_hardware", lambda run: hardware(run) if run.model.kind == "estimator" else ("cuda", 1, "bfloat16")
    )
    with pytest.raises(ParamsError, match=r"ststnet.parquet was made of other device or precision \(cpu, float32, now"):
        take_up(KEPT, ["tiny-fdp"])
    lines = take_up(KEPT, ["tiny-fdp", "tiny-ststnet"])
    assert "finished" in lines[0] and all("trained, unless" in line for line in lines[1:])


def test_other_measures_of_images_train_what_has_images_alone(
    finished: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_up(KEPT, [])
    planned = {run: resolve("train", run, read_params()).as_json() for run in RUNS}
    for module in (part, resolving):
        monkeypatch.setattr(module, "measured_by", lambda: {"bench/evaluate/perception.py": "0"})
    # DVC sees it, and training does not take up what `fdpbench part` found before
    changed = [run for run in RUNS if resolve("train", run, read_params()).as_json() != planned[run]]
    assert changed == ["tiny-fdp"]
    with monkeypatch.context() as patch:
        no_training(patch)
        train("tiny-majority", "tiny-ststnet")
        with pytest.raises(AssertionError, match="trained"):
            train("tiny-fdp")
    lines = take_up(KEPT, [])
    assert "made of other code that measures generated images" in lines[2]
    assert all("finished" in line for line in lines[:2])
    assert "measured_by" not in resolve("train", "tiny-fdp", read_params()).settings  # it is trained, and measured then


def test_training_itself_looks_again(finished: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between `fdpbench part` and training somebody edited params.yaml."""
    take_up(KEPT, [])
    made = content()
    made["options"]["ststnet"]["epochs"] = 3
    write_params(made)
    no_training(monkeypatch)
    train("tiny-majority")
    with pytest.raises(AssertionError, match="trained"):
        train("tiny-ststnet")


def test_a_damaged_file_is_named(finished: dict[str, bytes]) -> None:
    path = KEPT / "tiny-ststnet.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"kept/tiny-ststnet\.parquet"):
        take_up(KEPT, [])
    shutil.copyfile(paths.task("tiny") / "clips.parquet", path)
    with pytest.raises(ValueError, match=r"tiny-ststnet\.parquet: not the file of a finished run"):
        take_up(KEPT, [])


def test_names_and_ensembles(finished: dict[str, bytes]) -> None:
    with pytest.raises(ParamsError, match="no run 'tiny-ststnat' .did you mean 'tiny-ststnet'"):
        take_up(KEPT, ["tiny-ststnat"])
    made = content(train={"repetitions": 2})
    made["ensembles"] = {"seeds": ["tiny-ststnet"]}
    write_params(made)
    for run in ("tiny-ststnet", "tiny-fdp"):  # of one repetition
        (KEPT / f"{run}.parquet").unlink()
    take_up(KEPT, ["tiny-majority"])
    assert read_params()["ensembles"] == {} and list(read_params()["runs"]) == ["tiny-majority"]


def test_the_commands(finished: dict[str, bytes]) -> None:
    result = CliRunner().invoke(app, ["part", "kept", "tiny-majority"])
    assert result.exit_code == 0, result.output
    assert "tiny-fdp: finished: taken from" in " ".join(result.output.split())
    (KEPT / "gone.parquet").write_bytes(b"")
    result = CliRunner().invoke(app, ["part", "kept"])
    assert result.exit_code == 1 and result.output.count("error part: ") == 2
    (KEPT / "gone.parquet").unlink()
    train(*RUNS)
    tables()
    result = CliRunner().invoke(app, ["keep", "elsewhere"])
    assert result.exit_code == 0 and "keep: 3 runs in elsewhere" in result.output
    assert read_provenance(Artifacts("tiny-fdp").provenance)["command"] == "fdpbench train tiny-fdp"
    assert shards.read_notes(Artifacts("tiny-ststnet").predictions) == {"folds": "2 folds"}
