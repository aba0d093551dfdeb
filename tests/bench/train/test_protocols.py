"""Protocols: whose clips choose the epoch, who reads the test subject and when, and each released fault."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

import fdpbench.bench.train.stage
import fdpbench.prep.runtime.training
from fdpbench.bench.evaluate.predictions import PredictionError, read_predictions
from fdpbench.bench.train import fit_module as module
from fdpbench.bench.train.arrays import StoredClips
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import ClipSet, load_clips
from fdpbench.bench.train.fit import Fitted, fit
from fdpbench.bench.train.protocols import INNER_SHARE, Faults, best_epoch, inner_subjects, protocol_text
from fdpbench.bench.train.settings import Run
from fdpbench.bench.train.stage import train_run
from fdpbench.models.common.registry import create_model
from fdpbench.prep.runtime.workers import Unit
from tests.support.builders import run_of, task_rows, torch_as_it_was, train_fold, write_task

SUBJECTS = tuple(f"synthetic/s0{k}" for k in range(1, 6))
HELD_OUT = SUBJECTS[1]
EPOCHS = 6
RECIPE = {"epochs": EPOCHS, "batch_size": 8, "lr": 0.01}


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


def noisy_rows(
    strange: str | None = None, subjects: Sequence[str] = SUBJECTS, noise: float = 1
) -> list[dict[str, Any]]:
    """Clips whose flow is mostly noise, so that accuracy wanders; of a ``strange`` subject all else is noise too."""
    rng = np.random.default_rng(3)
    rows = task_rows(subjects=subjects, length=2)
    for row in rows:
        row["flow"] = (np.array(row["flow"]) + rng.normal(0, noise, len(row["flow"]))).astype(np.float32).tolist()
    for number, row in enumerate(rows):
        if row["subject"] == strange:
            row["flow"] = rng.normal(2, 3, len(row["flow"])).astype(np.float32).tolist()
            row["label"] = (row["label"] + 1 + number % 2) % 3
    return rows


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    write_task(folder, noisy_rows())
    return folder


@pytest.fixture(scope="module")
def clips(task: Path) -> ClipSet:
    return load_clips(task, ("flow",), keep=lambda subject: subject != HELD_OUT)


@pytest.fixture(scope="module")
def test_clips(task: Path) -> ClipSet:
    return load_clips(task, ("flow",), keep=lambda subject: subject == HELD_OUT)


def silent(message: dict[str, Any]) -> None:
    pass


def noisy_run(protocol: str = "honest", faults: dict[str, Any] | None = None, **settings: Any) -> Run:
    return run_of("ststnet", protocol=protocol, faults=faults, **(RECIPE | settings))


def fitted(run: Run, train: ClipSet, seed: int, test: ClipSet | None = None) -> Fitted:
    return fit(run, train, 3, seed, "cpu", silent, test)


def weights(model: Fitted) -> dict[str, bytes]:
    state = model.model.state_dict()  # type: ignore[attr-defined]
    return {name: value.numpy().tobytes() for name, value in state.items()}


def tensors(files: dict[str, bytes]) -> dict[str, bytes]:
    """A checkpoint's tensors, without its metadata, which names the protocol."""
    loaded = safetensors.numpy.load(files["model.safetensors"])
    return {name: value.tobytes() for name, value in loaded.items()}


def first_seed(wanted: Callable[[Fitted], bool], run: Run, train: ClipSet, test: ClipSet | None) -> tuple[int, Fitted]:
    """First seed whose training is as a test needs it, so that the test could fail."""
    for seed in range(30):
        model = fitted(run, train, seed, test)
        if wanted(model):
            return seed, model
    raise AssertionError("no seed gives what this test needs")


def chosen_before_the_end(model: Fitted) -> bool:
    return model.epoch is not None and 1 < model.epoch < EPOCHS


@pytest.fixture(scope="module")
def selected(clips: ClipSet, test_clips: ClipSet) -> tuple[int, Fitted]:
    """A seed, and what test_selected makes of it."""
    with torch_as_it_was():
        return first_seed(chosen_before_the_end, noisy_run("test_selected"), clips, test_clips)


@pytest.fixture(scope="module")
def inner(clips: ClipSet) -> tuple[int, Fitted]:
    """A seed, and what inner makes of it."""
    with torch_as_it_was():
        return first_seed(chosen_before_the_end, noisy_run("inner"), clips, None)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> list[torch.nn.Module]:
    """The networks that are built from here on."""
    built: list[torch.nn.Module] = []

    def noted(*arguments: Any, **options: Any) -> Any:
        built.append(create_model(*arguments, **options))
        return built[-1]

    monkeypatch.setattr(module, "create_model", noted)
    return built


# --- who reads the test subject, and when


@pytest.mark.parametrize("protocol", ["honest", "inner", "test_selected"])
def test_when_the_test_subject_is_read(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """Bytes of the test subject come in when training is over; before it in one protocol alone."""
    events: list[str] = []
    plain_load = StoredClips.load

    def load(stored: StoredClips, inputs: Any) -> ClipSet:
        read = set(stored.folders)
        assert read in ({HELD_OUT}, set(SUBJECTS) - {HELD_OUT})
        events.append("reads test" if HELD_OUT in read else "reads training")
        return plain_load(stored, inputs)

    def fit_and_note(*arguments: Any, **options: Any) -> Fitted:
        events.append("trains")
        model = fit(*arguments, **options)
        events.append("has trained")
        return model

    monkeypatch.setattr(StoredClips, "load", load)
    monkeypatch.setattr(fdpbench.bench.train.stage, "fit", fit_and_note)
    train_fold(noisy_run(protocol, epochs=2), task, tmp_path / "out", HELD_OUT)
    early = ["reads test"] if protocol == "test_selected" else []
    assert events == ["reads training", *early, "trains", "has trained", "reads test"]


@pytest.mark.parametrize("faults", [{}, {"frozen_batch_norm": True, "own_set_normalisation": True}])
@pytest.mark.parametrize("protocol", ["honest", "inner"])
def test_another_test_subject_changes_no_weight(
    task: Path, tmp_path: Path, protocol: str, faults: dict[str, Any]
) -> None:
    write_task(tmp_path / "task", noisy_rows(strange=HELD_OUT))
    run = noisy_run(protocol, faults)
    one = train_fold(run, task, tmp_path / "a", HELD_OUT)
    other = train_fold(run, tmp_path / "task", tmp_path / "b", HELD_OUT)
    assert one["model.safetensors"] == other["model.safetensors"]
    assert one["curve.json"] == other["curve.json"]
    assert one["predictions.parquet"] != other["predictions.parquet"]


def test_another_test_subject_changes_what_test_selected_keeps(task: Path, tmp_path: Path) -> None:
    """Else the test above could not fail. What it trains stays: the same loss in each epoch."""
    strange = tmp_path / "task"
    write_task(strange, noisy_rows(strange=HELD_OUT))
    run = noisy_run("test_selected")
    changed = []
    for repetition in range(5):
        files = [
            train_fold(run, place, tmp_path / f"{name}-{repetition}", HELD_OUT, repetition)
            for name, place in (("a", task), ("b", strange))
        ]
        one, other = (json.loads(each["curve.json"]) for each in files)
        assert [row["loss"] for row in one] == [row["loss"] for row in other]
        assert [row["watched_cross_entropy"] for row in one] != [row["watched_cross_entropy"] for row in other]
        changed.append(tensors(files[0]) != tensors(files[1]))
    assert any(changed)


@pytest.mark.parametrize(
    ("model", "protocol"),
    [("majority", "honest"), ("ststnet", "honest"), ("ststnet", "inner"), ("ststnet", "test_selected")],
)
def test_fit_takes_test_clips_for_one_protocol_alone(
    clips: ClipSet, test_clips: ClipSet, model: str, protocol: str
) -> None:
    run = run_of(model, protocol=protocol)
    wrong, expected = (None, "must be given") if protocol == "test_selected" else (test_clips, "must not be given")
    with pytest.raises(ValueError, match=f"{run.name}: protocol {protocol} {expected} test clips"):
        fitted(run, clips, 0, wrong)


# --- test_selected


def test_watching_changes_nothing_but_the_choice(
    clips: ClipSet, test_clips: ClipSet, selected: tuple[int, Fitted], networks: list[torch.nn.Module]
) -> None:
    """The same seed gives the weights of each epoch that an honest run has, byte for byte."""

    def each_epoch(protocol: str, test: ClipSet | None, seed: int) -> list[dict[str, bytes]]:
        states: list[dict[str, bytes]] = []

        def note(message: dict[str, Any]) -> None:
            states.append({name: value.numpy().tobytes() for name, value in networks[-1].state_dict().items()})

        fit(noisy_run(protocol), clips, 3, seed, "cpu", note, test)
        return states

    seed, kept = selected
    honest = each_epoch("honest", None, seed)
    assert honest == each_epoch("test_selected", test_clips, seed)
    assert len({state["fc.weight"] for state in honest}) == EPOCHS
    assert kept.epoch is not None
    assert weights(kept) == honest[kept.epoch - 1] != honest[-1]
    shorter = fitted(noisy_run(epochs=kept.epoch), clips, seed)
    assert weights(shorter) == weights(kept)
    assert (shorter.predict(test_clips).scores == kept.predict(test_clips).scores).all()


def oracle(curve: list[dict[str, float]]) -> int:
    """Chosen epoch, by elimination."""
    left = list(curve)
    top = max(row["watched_accuracy"] for row in left)
    left = [row for row in left if row["watched_accuracy"] == top]
    least = min(row["watched_cross_entropy"] for row in left)
    return int(min(row["epoch"] for row in left if row["watched_cross_entropy"] == least))


def test_the_chosen_epoch_is_what_its_predictions_say(tmp_path: Path) -> None:
    write_task(tmp_path / "task", noisy_rows(noise=2))
    chosen = []
    for repetition in range(4):
        files = train_fold(
            noisy_run("test_selected"), tmp_path / "task", tmp_path / str(repetition), HELD_OUT, repetition
        )
        curve = json.loads(files["curve.json"])
        rows = read_predictions(tmp_path / str(repetition) / "predictions.parquet")
        assert [row["epoch"] for row in curve] == list(range(1, EPOCHS + 1))
        (epoch,) = {row["epoch"] for row in rows}
        assert epoch == oracle(curve)
        right = [row["y_pred"] == row["y_true"] for row in rows]
        assert sum(right) / len(right) == pytest.approx(curve[epoch - 1]["watched_accuracy"], abs=1e-12)
        losses = [-math.log(row["scores"][row["y_true"]]) for row in rows]
        assert sum(losses) / len(losses) == pytest.approx(curve[epoch - 1]["watched_cross_entropy"], rel=1e-9)
        chosen.append(epoch)
    assert set(chosen) != {EPOCHS}, "else the last epoch would do as well"


@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 0.75, 1.0]), st.sampled_from([0.0, 0.1, 2.5])), min_size=1, max_size=12
    )
)
@example([(0.5, 0.1), (0.5, 0.1)])  # equal in both: the earlier
@example([(0.5, 0.0), (1.0, 2.5)])  # accuracy comes first
@example([(1.0, 2.5), (1.0, 0.1)])
def test_best_epoch(values: list[tuple[float, float]]) -> None:
    curve = [
        {"epoch": k, "loss": 1.0, "watched_accuracy": accuracy, "watched_cross_entropy": loss}
        for k, (accuracy, loss) in enumerate(values, start=1)
    ]
    assert best_epoch(curve) == oracle(curve) == best_epoch(curve[::-1])


# --- inner


@given(st.lists(st.sampled_from([f"r/s{k:02d}" for k in range(40)]), min_size=2), st.integers(0, 2**32 - 1), st.data())
def test_inner_subjects(subjects: list[str], seed: int, data: st.DataObject) -> None:
    names = set(subjects)
    if len(names) < 2:
        with pytest.raises(ValueError, match="protocol inner needs at least two training subjects"):
            inner_subjects(subjects, seed)
        return
    held_out = inner_subjects(subjects, seed)
    assert held_out == inner_subjects(data.draw(st.permutations(subjects)), seed)
    assert held_out == inner_subjects(sorted(names), seed)
    assert set() < held_out < names
    assert len(held_out) == 1 or abs(len(held_out) - INNER_SHARE * len(names)) <= 0.5


def test_every_subject_is_held_out_by_some_seed() -> None:
    names = [f"r/s{k}" for k in range(10)]
    drawn = [inner_subjects(names, seed) for seed in range(60)]
    assert {len(held_out) for held_out in drawn} == {2} and len(set(drawn)) > 20
    assert set().union(*drawn) == set(names)


def test_no_subject_to_hold_out(clips: ClipSet) -> None:
    with pytest.raises(ValueError, match=r"at least two training subjects, found \['synthetic/s01'\]"):
        fitted(noisy_run("inner"), clips.of({SUBJECTS[0]}), 0)


def test_inner_chooses_on_some_and_trains_on_all(
    clips: ClipSet, test_clips: ClipSet, inner: tuple[int, Fitted]
) -> None:
    seed, model = inner
    choice = [row for row in model.curve if row["training"] == "choice"]
    final = [row for row in model.curve if row["training"] == "final"]
    assert model.epoch is not None
    assert model.curve == choice + final and model.epoch == oracle(choice)
    assert [row["epoch"] for row in choice] == list(range(1, EPOCHS + 1))
    assert [row["epoch"] for row in final] == list(range(1, model.epoch + 1))
    assert "watched_accuracy" not in final[0]

    # the choice is an honest training without the subjects that are held out, watched on them
    held_out = inner_subjects(clips.subjects, seed)
    rest, watched = clips.of(set(clips.subjects) - held_out), clips.of(held_out)
    part = fitted(noisy_run(), rest, seed)
    assert [row["loss"] for row in part.curve] == [row["loss"] for row in choice]
    at_choice = fitted(noisy_run(epochs=model.epoch), rest, seed)
    right = (at_choice.predict(watched).scores.argmax(axis=1) == watched.labels).mean()
    assert right == choice[model.epoch - 1]["watched_accuracy"]

    # the final training is an honest one of that many epochs, on all
    whole = fitted(noisy_run(epochs=model.epoch), clips, seed)
    assert weights(whole) == weights(model)
    assert [row["loss"] for row in whole.curve] == [row["loss"] for row in final]
    assert (whole.predict(test_clips).scores == model.predict(test_clips).scores).all()


def test_inner_in_a_fold(task: Path, tmp_path: Path) -> None:
    """Curve, checkpoint and predictions of the fold agree on the epoch; no subject but training ones is trained on."""
    files = train_fold(noisy_run("inner"), task, tmp_path / "a", HELD_OUT)
    curve = json.loads(files["curve.json"])
    epoch = oracle([row for row in curve if row["training"] == "choice"])
    assert {row["epoch"] for row in read_predictions(tmp_path / "a/predictions.parquet")} == {epoch}
    assert len(curve) == EPOCHS + epoch
    assert tensors(files) == tensors(train_fold(noisy_run(epochs=epoch), task, tmp_path / "b", HELD_OUT))


def test_progress_of_two_trainings_never_goes_back(
    clips: ClipSet, inner: tuple[int, Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second training is shorter; on a terminal its bar must go on from the middle all the same."""
    monkeypatch.setattr(fdpbench.prep.runtime.training, "console", Console(file=io.StringIO(), force_terminal=True))
    messages: list[dict[str, Any]] = []
    fit(noisy_run("inner"), clips, 3, inner[0], "cpu", messages.append)
    assert len(messages) == len(inner[1].curve)
    shares, unit = [], Unit("0/fold", None)
    with fdpbench.prep.runtime.training.TrainingProgress("it", total=1, done=0) as progress:
        for message in messages:
            progress.report(unit, message)
            shares.append(progress._bar.tasks[-1].percentage)
    assert shares == sorted(shares) and shares[-1] == pytest.approx(100)


# --- faults of the released code, each on its own


def test_frozen_batch_norm(clips: ClipSet, networks: list[torch.nn.Module]) -> None:
    """From epoch 2 on batch norm keeps the statistics of epoch 1 and uses them, and dropout is off."""
    statistics: list[dict[str, bytes]] = []
    trained: list[bytes] = []
    modes: list[set[bool]] = [set()]

    def note(message: dict[str, Any]) -> None:
        state = networks[-1].state_dict()
        statistics.append({k: v.numpy().tobytes() for k, v in state.items() if "running" in k or "num_batches" in k})
        trained.append(b"".join(v.detach().numpy().tobytes() for v in networks[-1].parameters()))
        modes.append(set())

    original = create_model

    def watched(*arguments: Any, **options: Any) -> Any:
        network = original(*arguments, **options)
        for layer in (network.dropout, network.bn):
            layer.register_forward_hook(lambda layer, inputs, output: modes[-1].add(layer.training))
        networks.append(network)
        return network

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "create_model", watched)
        fit(noisy_run(faults={"frozen_batch_norm": True}), clips, 3, 0, "cpu", note)
    assert len(statistics) == EPOCHS and len(statistics[0]) == 3
    assert all(each == statistics[0] for each in statistics)
    assert len(set(trained)) == EPOCHS, "weights are trained all the same"
    assert modes[:EPOCHS] == [{True}] + [{False}] * (EPOCHS - 1)


def test_frozen_batch_norm_begins_with_epoch_2(clips: ClipSet) -> None:
    for epochs, same in ((1, True), (2, False), (3, False)):
        frozen = fitted(noisy_run(faults={"frozen_batch_norm": True}, epochs=epochs), clips, 0)
        assert (weights(frozen) == weights(fitted(noisy_run(epochs=epochs), clips, 0))) is same


@pytest.mark.parametrize("protocol", ["test_selected", "inner"])
def test_frozen_batch_norm_under_a_protocol_that_evaluates(clips: ClipSet, test_clips: ClipSet, protocol: str) -> None:
    """Evaluation restores the mode it finds: it neither freezes batch norm nor thaws it."""
    faults = {"frozen_batch_norm": True}
    model = fitted(noisy_run(protocol, faults), clips, 0, test_clips if protocol == "test_selected" else None)
    assert model.epoch is not None
    assert weights(model) == weights(fitted(noisy_run(faults=faults, epochs=model.epoch), clips, 0))


def test_own_set_normalisation(tmp_path: Path) -> None:
    """It is a fault of evaluation alone: the same checkpoint, other scores, which the test set's statistics give."""
    task = tmp_path / "task"
    write_task(task, noisy_rows(strange=HELD_OUT))
    test_clips = load_clips(task, ("flow",), keep=lambda subject: subject == HELD_OUT)
    honest = train_fold(noisy_run(), task, tmp_path / "a", HELD_OUT)
    faulty = train_fold(noisy_run(faults={"own_set_normalisation": True}), task, tmp_path / "b", HELD_OUT)
    assert tensors(honest) == tensors(faulty)
    assert honest["curve.json"] == faulty["curve.json"]
    state = safetensors.numpy.load(faulty["model.safetensors"])
    network = create_model("ststnet", 3, shapes=test_clips.shapes)
    network.load_state_dict(
        {name: torch.from_numpy(value.copy()) for name, value in state.items() if not name.startswith("standardise.")}
    )
    network.eval()
    flow = test_clips.inputs["flow"].astype(np.float64)
    own = (flow.mean(axis=(0, 2, 3), keepdims=True), flow.std(axis=(0, 2, 3), keepdims=True))
    training = (state["standardise.flow.mean"], state["standardise.flow.scale"])
    for place, (mean, scale) in (("a", training), ("b", own)):
        with torch.no_grad():
            logits = network(flow=torch.from_numpy(((flow - mean) / scale).astype(np.float32))).logits
        rows = read_predictions(tmp_path / place / "predictions.parquet")
        np.testing.assert_allclose([row["scores"] for row in rows], torch.softmax(logits, 1).numpy(), atol=1e-5)
    one, other = (read_predictions(tmp_path / place / "predictions.parquet") for place in ("a", "b"))
    assert all(not np.allclose(a["scores"], b["scores"], atol=1e-3) for a, b in zip(one, other, strict=True))


def test_own_set_normalisation_is_of_the_whole_set_whatever_the_batch(clips: ClipSet, test_clips: ClipSet) -> None:
    model = fitted(noisy_run(faults={"own_set_normalisation": True}, epochs=1), clips, 0)
    scores = []
    for size in (2, 64):
        model.run = noisy_run(faults={"own_set_normalisation": True}, batch_size=size)  # type: ignore[attr-defined]
        scores.append(model.predict(test_clips).scores)
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)


UNTESTED = SUBJECTS[2]


@pytest.mark.pipeline
def test_untested_subjects_in_a_whole_run(project: Path) -> None:
    """Real workers: no fold tests the subject, and every fold trains on it as one that may not be left out."""
    folder, subjects = project / "data/task/tiny", SUBJECTS[:4]
    rows = write_task(folder, noisy_rows(subjects=subjects))
    run = noisy_run("test_selected", {"untested_subjects": [UNTESTED]}, epochs=2)
    place = Artifacts(run.name)
    train_run(run, folder, place, 2, 1)
    left = [subject for subject in subjects if subject != UNTESTED]
    found = read_predictions(place.predictions)
    assert [row["clip_id"] for row in found] == sorted(row["clip_id"] for row in rows if row["subject"] != UNTESTED)
    assert {row["fold"] for row in found} == set(left)
    assert sorted(pd.read_csv(place.curves)["fold"].unique()) == left
    names = {f"0-{subject.replace('/', '-')}.safetensors" for subject in left}
    assert {path.name for path in place.checkpoints.iterdir()} == names
    # byte for byte what one process makes of each fold, where the subject is trained on as any other
    same = noisy_run("test_selected", {}, epochs=2)
    for subject in left:
        files = train_fold(same, folder, project / "alone" / subject, subject)
        name = f"0-{subject.replace('/', '-')}.safetensors"
        assert (place.checkpoints / name).read_bytes() == files["model.safetensors"]
        mine = read_predictions(project / "alone" / subject / "predictions.parquet")
        alone = {row["clip_id"]: row["scores"] for row in mine}
        assert {row["clip_id"]: row["scores"] for row in found if row["fold"] == subject} == alone


def test_a_fold_trains_on_the_untested_subject(task: Path, tmp_path: Path) -> None:
    """Replaced, it changes the weights of every other fold."""
    write_task(tmp_path / "task", noisy_rows(strange=UNTESTED))
    run = noisy_run(faults={"untested_subjects": [UNTESTED]}, epochs=1)
    for subject in set(SUBJECTS) - {UNTESTED}:
        one = train_fold(run, task, tmp_path / "a" / subject, subject)
        assert tensors(one) != tensors(train_fold(run, tmp_path / "task", tmp_path / "b" / subject, subject))


@pytest.mark.parametrize(
    ("untested", "expected"),
    [
        (["synthetic/s09"], "synthetic/s09 not in the task; its subjects: synthetic/s01"),
        (["s03"], "s03 not in the task"),
        (list(SUBJECTS), "leaves no clip of class"),
    ],
)
def test_untested_subjects_that_cannot_be(project: Path, untested: list[str], expected: str) -> None:
    write_task(project / "data/task/tiny", noisy_rows())
    run = run_of("majority", faults={"untested_subjects": untested})
    with pytest.raises(PredictionError, match=f"runs.it.faults.untested_subjects:? {expected}"):
        train_run(run, project / "data/task/tiny", Artifacts("it"), 1, 1)
    assert not Path("artifacts").exists()


@pytest.mark.pipeline
def test_a_whole_run_of_protocol_inner(project: Path) -> None:
    """A worker gives the bytes that this process gives; the curves say which training a row is of."""
    folder, subjects = project / "data/task/tiny", SUBJECTS[:3]
    write_task(folder, noisy_rows(subjects=subjects))
    run = noisy_run("inner", {"frozen_batch_norm": True}, epochs=2)
    train_run(run, folder, Artifacts("it"), 1, 1)
    curves = pd.read_csv(Artifacts("it").curves)
    assert list(curves.columns[:4]) == ["repetition", "fold", "epoch", "loss"]
    found = read_predictions(Artifacts("it").predictions)
    for subject in subjects:
        files = train_fold(run, folder, project / "alone" / subject, subject)
        name = f"0-{subject.replace('/', '-')}.safetensors"
        assert (Artifacts("it").checkpoints / name).read_bytes() == files["model.safetensors"]
        mine = curves[curves["fold"] == subject]
        (epoch,) = {row["epoch"] for row in found if row["fold"] == subject}
        assert mine["training"].tolist() == ["choice"] * 2 + ["final"] * epoch
        assert mine["epoch"].tolist() == [1, 2, *range(1, epoch + 1)]
        assert mine["loss"].tolist() == pytest.approx(
            [row["loss"] for row in json.loads(files["curve.json"])], rel=1e-5
        )


# --- what a table prints


@pytest.mark.parametrize(
    ("protocol", "faults", "sampling", "expected"),
    [
        ("honest", {}, "uniform", "honest"),
        ("inner", {}, None, "inner"),
        ("test_selected", {}, "truncated", "test_selected + truncated sampling"),
        ("honest", {"own_set_normalisation": True}, None, "honest + own-set normalisation"),
        ("honest", {"frozen_batch_norm": True}, "uniform", "honest + frozen batch norm"),
        ("inner", {"untested_subjects": ["r/b", "r/a"]}, "uniform", "inner + untested: r/b, r/a"),
    ],
)
def test_protocol_text(protocol: str, faults: dict[str, Any], sampling: str | None, expected: str) -> None:
    assert protocol_text(protocol, Faults(**faults), sampling) == expected


def test_protocol_text_names_the_weights_after_the_faults() -> None:
    faults = Faults(own_set_normalisation=True)
    assert protocol_text("zero_shot", Faults(), None, "w") == "zero_shot from w"
    assert protocol_text("inner", faults, "truncated", "w") == (
        "inner + own-set normalisation + truncated sampling from w"
    )


def test_protocol_text_names_what_sets_folds_apart() -> None:
    assert protocol_text("honest", Faults(), None, None, "5 folds") == "honest, 5 folds"
    assert protocol_text("inner", Faults(), "truncated", "w", "5 folds, 2 training subjects") == (
        "inner + truncated sampling from w, 5 folds, 2 training subjects"
    )


def test_protocol_text_names_every_fault() -> None:
    """A fault that is added to `Faults` and not printed would make a run look honest."""
    for name, known in Faults.model_fields.items():
        value: Any = ["r/a"] if known.annotation is not bool else True
        assert protocol_text("honest", Faults(**{name: value}), "uniform") not in ("honest", "inner"), name
