"""One fold: fixed epochs, no look at the test subject, same seed same bytes, checkpoints that reload."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import torch
from safetensors import safe_open

from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.train import fit_module as module
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import ClipSet, load_clips, load_features
from fdpbench.bench.train.fit import fit
from fdpbench.bench.train.fit_module import fit_module
from fdpbench.bench.train.provenance import read_provenance
from fdpbench.bench.train.seeds import seed_of
from fdpbench.bench.train.stage import train_run
from fdpbench.bench.train.step import Standardiser, resolve_device, resolve_precision
from fdpbench.models.common.registry import create_model
from fdpbench.prep.runtime.scratch import Scratch, hash_file
from tests.support.builders import run_of, task_rows, torch_as_it_was, train_fold, write_features, write_task

HELD_OUT = "synthetic/s02"
MODELS = ("majority", "flow_histogram", "ststnet")


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    write_task(folder)
    return folder


@pytest.fixture(scope="module")
def clips(task: Path) -> ClipSet:
    return load_clips(task, ("flow",), keep=lambda subject: subject != HELD_OUT)


@pytest.fixture(scope="module")
def test_clips(task: Path) -> ClipSet:
    return load_clips(task, ("flow",), keep=lambda subject: subject == HELD_OUT)


@pytest.mark.parametrize("model", MODELS)
def test_same_seed_same_bytes(task: Path, tmp_path: Path, model: str) -> None:
    torch.manual_seed(1)
    one = train_fold(run_of(model), task, tmp_path / "a", HELD_OUT)
    torch.manual_seed(2)  # what went on before must not matter
    torch.set_num_threads(2)
    other = train_fold(run_of(model), task, tmp_path / "b", HELD_OUT)
    assert set(one) == {"curve.json", "model.safetensors", "predictions.parquet"}
    assert one == other


def test_seeds_differ_by_fold_and_repetition(task: Path, tmp_path: Path) -> None:
    run = run_of("ststnet")
    seeds = set()
    for fold, repetition in (("synthetic/s01", 0), ("synthetic/s02", 0), ("synthetic/s02", 1)):
        out = tmp_path / f"{fold[-3:]}-{repetition}"
        train_fold(run, task, out, fold, repetition)
        rows = read_predictions(out / "predictions.parquet")
        (seed,) = {row["seed"] for row in rows}
        assert seed == seed_of(1, "tiny", "ststnet", fold, repetition)
        assert {row["subject"] for row in rows} == {fold} == {row["fold"] for row in rows}
        seeds.add(seed)
    assert len(seeds) == 3


def test_another_seed_gives_other_weights(clips: ClipSet) -> None:
    weights = []
    for seed in (1, 2):
        fitted = fit_module(run_of("ststnet", epochs=1), clips, 3, seed, "cpu", lambda message: None)
        weights.append(fitted.model.state_dict()["fc.weight"].clone())
    assert not torch.equal(*weights)


@pytest.mark.parametrize("model", MODELS)
def test_the_test_subject_changes_no_weight(task: Path, tmp_path: Path, model: str) -> None:
    """Its pixels, flow and labels are replaced; the checkpoint must keep every byte."""
    rows = task_rows()
    strange = copy.deepcopy(rows)
    noise = np.random.default_rng(5)
    for row in strange:
        if row["subject"] == HELD_OUT:
            row["flow"] = noise.normal(50, 9, len(row["flow"])).astype(np.float32).tolist()
            row["label"] = 0
    write_task(tmp_path / "task", strange)
    one = train_fold(run_of(model), task, tmp_path / "a", HELD_OUT)
    other = train_fold(run_of(model), tmp_path / "task", tmp_path / "b", HELD_OUT)
    assert one["model.safetensors"] == other["model.safetensors"]
    assert one["curve.json"] == other["curve.json"]
    assert one["predictions.parquet"] != other["predictions.parquet"]


def test_a_training_subject_changes_weights(task: Path, tmp_path: Path) -> None:
    """Else the test above could not fail."""
    rows = task_rows()
    for row in rows:
        if row["subject"] == "synthetic/s01":
            row["flow"] = (np.array(row["flow"]) + 1).tolist()
    write_task(tmp_path / "task", rows)
    one = train_fold(run_of("ststnet"), task, tmp_path / "a", HELD_OUT)
    other = train_fold(run_of("ststnet"), tmp_path / "task", tmp_path / "b", HELD_OUT)
    assert one["model.safetensors"] != other["model.safetensors"]


def test_inputs_are_standardised_over_training_clips(clips: ClipSet) -> None:
    fitted = fit_module(run_of("ststnet", epochs=1), clips, 3, 0, "cpu", lambda message: None)
    flow = clips.inputs["flow"].astype(np.float64)
    standardiser = fitted.standardiser
    assert standardiser.mean["flow"].ravel().tolist() == pytest.approx(flow.mean(axis=(0, 2, 3)).tolist(), rel=1e-5)
    assert standardiser.scale["flow"].ravel().tolist() == pytest.approx(flow.std(axis=(0, 2, 3)).tolist(), rel=1e-5)


@pytest.mark.parametrize("name", ["frames", "dynamic_image", "flow"])
def test_standardised_inputs_have_mean_0_and_variance_1_in_each_channel(task: Path, name: str) -> None:
    clips = load_clips(task, (name,))
    standardiser = Standardiser.of(clips, (name,), torch.device("cpu"))
    scaled = standardiser({name: torch.from_numpy(clips.inputs[name])})[name].double()
    channel = scaled.ndim - 3
    axes = [axis for axis in range(scaled.ndim) if axis != channel]
    assert scaled.shape == clips.inputs[name].shape
    assert torch.allclose(scaled.mean(dim=axes), torch.zeros(scaled.shape[channel], dtype=torch.double), atol=1e-5)
    assert torch.allclose(
        scaled.var(dim=axes, correction=0), torch.ones(scaled.shape[channel], dtype=torch.double), atol=1e-4
    )


def test_a_flat_input_stays_finite(task: Path) -> None:
    clips = load_clips(task, ("flow",))
    flat = ClipSet(clips.clip_ids, clips.subjects, clips.labels, {"flow": np.full_like(clips.inputs["flow"], 0.5)})
    fitted = fit_module(run_of("ststnet"), flat, 3, 0, "cpu", lambda message: None)
    assert np.isfinite(fitted.predict(flat).scores).all()


def test_number_of_epochs_is_fixed_and_reported(clips: ClipSet) -> None:
    reports: list[dict[str, Any]] = []
    fitted = fit_module(run_of("ststnet", epochs=3), clips, 3, 0, "cpu", reports.append)
    assert [(message["epoch"], message["epochs"]) for message in reports] == [(1, 3), (2, 3), (3, 3)]
    assert [row["epoch"] for row in fitted.curve] == [1, 2, 3]
    for row, message in zip(fitted.curve, reports, strict=True):
        terms = [value for key, value in row.items() if key not in {"epoch", "loss"}]
        assert terms and row["loss"] == pytest.approx(sum(terms)) == message["loss"]


def test_it_learns_what_is_there_to_learn(task: Path, tmp_path: Path, clips: ClipSet, test_clips: ClipSet) -> None:
    fitted = fit_module(run_of("ststnet", epochs=40, lr=0.01), clips, 3, 0, "cpu", lambda message: None)
    assert fitted.curve[-1]["loss"] < 0.5 * fitted.curve[0]["loss"]
    assert (fitted.predict(test_clips).scores.argmax(axis=1) == test_clips.labels).all()
    run = run_of("flow_histogram")
    features = write_features(run, task, tmp_path / "features.parquet")
    histogram = fit(run, load_features(features, task), 3, 0, "cpu", lambda message: None)
    known = load_features(features, task)
    assert (histogram.predict(known).scores.argmax(axis=1) == known.labels).all()


def test_training_mode_comes_back_after_scoring(clips: ClipSet, test_clips: ClipSet) -> None:
    fitted = fit_module(run_of("ststnet", epochs=1), clips, 3, 0, "cpu", lambda message: None)
    network = fitted.model
    for mode in (True, False):
        network.train(mode)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        first, second = fitted.predict(test_clips).scores, fitted.predict(test_clips).scores
        assert network.training is mode and network.get_submodule("dropout").training is mode
        assert (first == second).all()  # no dropout while scoring
        assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_scores_are_probabilities_whatever_the_batch(clips: ClipSet) -> None:
    scores = []
    for size in (2, 5, 64):
        fitted = fit_module(run_of("ststnet", epochs=1, batch_size=64), clips, 3, 0, "cpu", lambda message: None)
        fitted.run = run_of("ststnet", epochs=1, batch_size=size)
        scores.append(fitted.predict(clips).scores)
    assert scores[0].shape == (len(clips), 3)
    assert np.allclose(scores[0].sum(axis=1), 1)
    assert np.allclose(scores[0], scores[1], atol=1e-6) and np.allclose(scores[0], scores[2], atol=1e-6)


def some(clips: ClipSet, count: int) -> ClipSet:
    return ClipSet(
        clips.clip_ids[:count], clips.subjects[:count], clips.labels[:count], {"flow": clips.inputs["flow"][:count]}
    )


@pytest.mark.parametrize("batch_size", [2, 3, 4, 16])
def test_no_batch_is_of_one_clip(clips: ClipSet, batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norm cannot be trained on one."""
    sizes: list[int] = []

    def spied(*arguments: Any, **options: Any) -> Any:
        network = create_model(*arguments, **options)
        network.register_forward_pre_hook(lambda m, args, kwargs: sizes.append(len(kwargs["flow"])), with_kwargs=True)
        return network

    monkeypatch.setattr(module, "create_model", spied)
    run = run_of("ststnet", epochs=1, batch_size=batch_size)
    for count in range(2, len(clips) + 1):
        sizes.clear()
        fit_module(run, some(clips, count), 3, 0, "cpu", lambda message: None)
        assert sum(sizes) == count, "every clip once in an epoch"
        assert min(sizes) > 1, f"{count} clips in batches of {batch_size}: {sizes}"
        assert max(sizes) <= 1.5 * batch_size


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_precision_runs_on_the_cpu(clips: ClipSet, test_clips: ClipSet, precision: str) -> None:
    fitted = fit_module(run_of("ststnet", {"precision": precision}), clips, 3, 0, "cpu", lambda message: None)
    scores = fitted.predict(test_clips).scores
    assert scores.dtype == np.float64 and np.isfinite(scores).all()
    assert {value.dtype for value in fitted.model.parameters()} == {torch.float32}


def test_precision_is_not_without_effect(clips: ClipSet, test_clips: ClipSet) -> None:
    full, half = (
        fit_module(run_of("ststnet", {"precision": precision}), clips, 3, 0, "cpu", lambda message: None)
        .predict(test_clips)
        .scores
        for precision in ("float32", "bfloat16")
    )
    assert not (full == half).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_that_is_not_there() -> None:
    with pytest.raises(
        ValueError, match=r"train\.device is cuda, but torch sees no CUDA device; set it to auto or cpu"
    ):
        resolve_device("cuda")
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    assert resolve_precision("auto", "cpu") == "float32"


def test_loss_that_is_no_number_is_an_error(clips: ClipSet) -> None:
    with pytest.raises(ValueError, match=r"loss is (nan|inf) in epoch \d; lower options\.ststnet\.lr"):
        fit_module(run_of("ststnet", epochs=9, lr=1e30), clips, 3, 0, "cpu", lambda message: None)


def test_a_checkpoint_of_a_network_reloads(task: Path, tmp_path: Path, test_clips: ClipSet) -> None:
    train_fold(run_of("ststnet"), task, tmp_path / "a", HELD_OUT)
    path = tmp_path / "a/model.safetensors"
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["fdpbench"])
        assert list(file.metadata()) == ["fdpbench"]  # more than one key and the bytes do not repeat
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert about["model"] == "ststnet" and about["task"] == "tiny" and about["settings"]["epochs"] == 2
    network = create_model(about["model"], 3, shapes=test_clips.shapes, **about["settings"]["model"])
    network.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("standardise.")})
    network.eval()
    flow = (torch.from_numpy(test_clips.inputs["flow"]) - tensors["standardise.flow.mean"]) / tensors[
        "standardise.flow.scale"
    ]
    with torch.no_grad():
        scores = torch.softmax(network(flow=flow).logits.double(), dim=1).numpy()
    rows = {row["clip_id"]: row for row in read_predictions(tmp_path / "a/predictions.parquet")}
    assert list(rows) == list(test_clips.clip_ids)
    assert np.allclose([row["scores"] for row in rows.values()], scores, atol=1e-6)
    assert {row["epoch"] for row in rows.values()} == {2}


@pytest.mark.parametrize("model", ["majority", "flow_histogram"])
def test_a_checkpoint_of_an_estimator_reloads(task: Path, tmp_path: Path, test_clips: ClipSet, model: str) -> None:
    train_fold(run_of(model), task, tmp_path / "a", HELD_OUT)
    estimator = create_model(model, 3)
    estimator.load_state(safetensors.numpy.load_file(tmp_path / "a/model.safetensors"))
    inputs: dict[str, Any] = test_clips.inputs
    if estimator.hand_crafted:
        inputs = {"features": estimator.features(inputs)}
    scores = np.broadcast_to(estimator.scores(inputs), (len(test_clips), 3))
    rows = read_predictions(tmp_path / "a/predictions.parquet")
    assert [row["scores"] for row in rows] == scores.tolist()
    assert {row["epoch"] for row in rows} == {None}


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_joined_to_their_clips(tmp_path: Path, model: str) -> None:
    """Rows of the task in another order: each clip keeps its prediction."""
    rows = task_rows()
    write_task(tmp_path / "one", rows)
    write_task(tmp_path / "other", rows[::-1])
    found = []
    for name in ("one", "other"):
        train_fold(run_of(model), tmp_path / name, tmp_path / f"out-{name}", HELD_OUT)
        found.append({row["clip_id"]: row for row in read_predictions(tmp_path / f"out-{name}/predictions.parquet")})
    assert found[0] == found[1]
    assert {clip: row["y_true"] for clip, row in found[0].items()} == {
        row["clip_id"]: row["label"] for row in rows if row["subject"] == HELD_OUT
    }


@pytest.mark.pipeline
def test_a_whole_run(project: Path) -> None:
    """Real workers: one row for each clip, a checkpoint for each fold, the same bytes with one worker or two."""
    rows = write_task(project / "data/task/tiny")
    outputs = []
    for jobs in (1, 2):
        train_run(run_of("ststnet", {"repetitions": 2}), project / "data/task/tiny", Artifacts("it"), jobs, 1)
        files = {path.relative_to("artifacts").as_posix(): path.read_bytes() for path in Path("artifacts").rglob("*.*")}
        outputs.append(files)
        for scratch in Path(".scratch/train-it").iterdir():
            for marker in ("published", "units"):
                place = scratch / marker
                assert place.exists()
            for unit in (scratch / "units").iterdir():
                shutil.rmtree(unit)
    assert outputs[0] == outputs[1]
    predictions = read_predictions(Artifacts("it").predictions)
    assert sorted(row["clip_id"] for row in predictions) == sorted(2 * [row["clip_id"] for row in rows])
    names = {name for name in outputs[0] if name.startswith("checkpoints/")}
    assert names == {f"checkpoints/it/{k}-synthetic-s0{s}.safetensors" for k in range(2) for s in (1, 2, 3)}
    header = outputs[0]["curves/it.csv"].decode().splitlines()[0]
    assert re.match(r"repetition,fold,epoch,loss", header)
    assert len(outputs[0]["curves/it.csv"].decode().splitlines()) == 1 + 2 * 3 * 2
    assert pq.read_schema(Artifacts("it").predictions).names[0] == "run"


def test_finished_folds_are_not_trained_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(project / "data/task/tiny")
    made_by = {"code": {"models/majority.py": "a"}, "versions": {"torch": "2"}, "files": {}}
    train_run(run_of("majority"), project / "data/task/tiny", Artifacts("it"), 1, 1, made_by)
    before = Artifacts("it").predictions.read_bytes()
    made_of = read_provenance(Artifacts("it").provenance)
    assert made_of["run"]["model"] == "majority" and made_of["train"]["seed"] == 1
    clips = project / "data/task/tiny/clips.parquet"
    assert made_of["data"][clips.as_posix()] == hash_file(clips)
    assert {key: made_of[key] for key in made_by} == made_by
    asked: list[str] = []
    missing = Scratch.missing

    def spied(self: Scratch, names: Any) -> list[str]:
        left = missing(self, names)
        asked.extend(left)
        return left

    monkeypatch.setattr(Scratch, "missing", spied)
    Artifacts("it").predictions.unlink()
    train_run(run_of("majority"), project / "data/task/tiny", Artifacts("it"), 1, 1, made_by)
    assert asked == [] and Artifacts("it").predictions.read_bytes() == before
    rows = task_rows(seed=1)  # other data: nothing that was kept may be used
    write_task(project / "data/task/tiny", rows)
    train_run(run_of("majority"), project / "data/task/tiny", Artifacts("it"), 1, 1, made_by)
    assert len(asked) == 3
    edited = made_by | {"code": {"models/majority.py": "b"}}
    train_run(run_of("majority"), project / "data/task/tiny", Artifacts("it"), 1, 1, edited)
    assert len(asked) == 6
