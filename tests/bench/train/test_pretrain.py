"""Pretraining on a tiny corpus: who is trained on, same bytes however it is run, what a card says, runs that start."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import f1_score, roc_auc_score

from fdpbench.bench.evaluate.calibration import class_nll, class_temperature, unit_temperature
from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.plan.params import load_run, load_train
from fdpbench.bench.plan.pretraining import load_pretraining
from fdpbench.bench.plan.resolve import resolve
from fdpbench.bench.train import init, pretrain
from fdpbench.bench.train.artifacts import PRETRAINED, Artifacts, machine_of_weights
from fdpbench.bench.train.data import ClipSet, load_clips
from fdpbench.bench.train.fit import fit
from fdpbench.bench.train.fit_module import FittedModule
from fdpbench.bench.train.pretrain import corpus_clips, held_out_people
from fdpbench.bench.train.settings import ModelSettings, Run, RunEntry
from fdpbench.bench.train.stage import train_run
from fdpbench.bench.train.weights import read_about, read_weights
from fdpbench.models.common.checkpoints import CheckpointError
from fdpbench.models.common.registry import create_model, model_info
from fdpbench.prep.demo.corpus import stage
from fdpbench.prep.demo.corpus.reading import read_corpus
from fdpbench.prep.demo.corpus.table import unit_targets
from fdpbench.prep.demo.synth.expressions import CLASSES, EMOTIONS, SIDED_UNITS, UNITS, sides_of
from fdpbench.prep.runtime.workers import Context, run_units
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import contents, paths, shards
from tests.support.builders import checked_params, task_rows, torch_as_it_was, train_fold, write_params, write_task

PEOPLE, CLIPS = 6, 6
CORPUS_ENTRY: dict[str, Any] = {
    "generator": "flow", "identities": PEOPLE, "clips_per_identity": CLIPS, "seed": 1
}  # fmt: skip
ENTRY: dict[str, Any] = {"corpus": "c", "model": "ststnet", "held_out": 0.34, "set": {"epochs": 2, "batch_size": 8}}
TASK_CLASSES = ("surprise", "negative", "positive")  # in another order than the corpus's
CPU = torch.device("cpu")
FILE = PRETRAINED / "w/0.safetensors"
COMPOSITE = {"negative": ["disgust", "repression"], "positive": ["happiness"], "surprise": ["surprise"]}
SHOWN = ("disgust", "happiness", "surprise")  # emotions of which each is of another class
HELD_OUT = ("corpus-c/p0004", "corpus-c/p0005")


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated corpus, whose images and labels tests replace."""
    folder = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(stage, "run_units", in_process)
        stage.make_corpus("c", CorpusParams(**CORPUS_ENTRY), Path("c"), 1)
    return folder / "c"


def in_process(units: Any, function: Callable[..., None], scratch: Any, jobs: int, report: Any = None) -> Iterator[str]:
    """`run_units` without processes."""
    for unit in units:
        function(unit.payload, Context(scratch.temporary(unit.name), lambda message: None, 0))
        scratch.finish(unit.name)
        yield unit.name


def rows_of(made: Path, seed: int = 0) -> list[dict[str, Any]]:
    """Noise with a stripe for each class, and an action unit that goes with it."""
    rng = np.random.default_rng([seed, 7])
    rows: list[dict[str, Any]] = pq.read_table(made / "clips-0000.parquet").to_pylist()
    for number, row in enumerate(rows):
        label = number % 3
        flow = rng.integers(100, 150, (3, 28, 28), dtype=np.uint8)
        flow[:, 8 * label : 8 * label + 8] += 60
        row |= {"emotion": SHOWN[label], "flow": flow.tobytes()}
        move(row, {label: 1.0, 4 + int(rng.integers(0, 8)): 0.1})
    return rows


def move(row: dict[str, Any], weights: Mapping[int, float]) -> None:
    """Let action units, by their place among `UNITS`, move."""
    intensity = np.zeros(len(SIDED_UNITS), np.float32)
    for k, weight in weights.items():
        intensity[SIDED_UNITS.index(sides_of(UNITS[k])[-1])] = weight
    row["intensity"] = intensity.tolist()
    if "units" in row:
        row["units"] = unit_targets(intensity[None])[0].tolist()


def write_corpus(made: Path, rows: list[dict[str, Any]]) -> None:
    folder, file = paths.corpus("c"), "clips-0000.parquet"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, folder)
    schema = pq.read_schema(made / file)
    names = dict.fromkeys(row["subject"] for row in rows)
    tables = (pa.Table.from_pylist([row for row in rows if row["subject"] == name], schema=schema) for name in names)
    shards.write_subjects(folder / file, schema, tables)
    (folder / contents.SUMS).unlink()
    contents.write_sums(folder)


def content_of(runs: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
    """A params.yaml with a corpus, a pretraining `w` and runs on a task of the corpus's classes."""
    content = checked_params(
        corpora={"c": CORPUS_ENTRY},
        pretrain={"w": ENTRY | entry},
    )
    emotions = {"negative": ["disgust"], "positive": ["happiness"], "surprise": ["surprise"]}
    content["tasks"]["tiny"]["classes"] = {name: emotions[name] for name in TASK_CLASSES}
    content["runs"] |= runs or {}
    del content["options"]["ststnet"]
    return content


def planned(**entry: Any) -> Planned:
    """A pretraining, resolved; without the code that it is made of, which takes a second to find."""
    whole = resolve("pretrain", "w", content_of(**entry))
    return Planned(whole.settings, stage="pretrain", item="w")


def digests(folder: Path = PRETRAINED / "w") -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture
def corpus(project: Path, made: Path) -> list[dict[str, Any]]:
    rows = rows_of(made)
    write_corpus(made, rows)
    write_params(content_of())
    return rows


@pytest.fixture(autouse=True)
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "run_units", in_process)


def trained(**entry: Any) -> tuple[bytes, dict[str, Any]]:
    """Run the stage; the weights of the first repetition, and what the card says of them."""
    pretrain.run(planned(**entry), 1)
    # a run may be called like that, too
    assert machine_of_weights("w").is_file() and not Artifacts("pretrain-w").machine.exists()
    card = json.loads((PRETRAINED / "w/card.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    return FILE.read_bytes(), card["weights"][FILE.name]


# --- who is trained on, and what is learnt -----------------------------------------------------------


def test_a_corpus_has_the_form_of_a_tasks_clips(corpus: list[dict[str, Any]]) -> None:
    clips = corpus_clips(paths.corpus("c"), ("flow",), COMPOSITE)
    assert len(clips) == PEOPLE * CLIPS == len(set(clips.clip_ids)) and clips.units is not None
    assert clips.subjects == tuple(row["subject"] for row in corpus)
    assert clips.inputs["flow"].dtype == np.float32 and clips.units.shape == (len(clips), len(UNITS))
    first = np.frombuffer(corpus[1]["flow"], np.uint8).reshape(3, 28, 28) / np.float32(255)
    np.testing.assert_array_equal(clips.inputs["flow"][1], first)
    assert clips.labels.tolist() == [SHOWN.index(row["emotion"]) for row in corpus]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, ""), (0.01, "d"), (0.25, "d"), (0.5, "cd"), (0.6, "cd"), (0.99, "bcd")]
)
def test_the_last_people_by_name_are_held_out(share: float, expected: str) -> None:
    assert held_out_people(tuple("bdacabdc"), share) == frozenset(expected)
    assert held_out_people(("a", "a"), share) == frozenset(), "somebody is left to train on"


@pytest.mark.parametrize("targets", ["both", "classes", "units"])
def test_held_out_people_change_no_weight(corpus: list[dict[str, Any]], made: Path, targets: str) -> None:
    """Images, classes and action units of theirs are replaced; of one who is trained on, the last one changes."""
    one, figures = trained(targets=targets)
    for subjects, same in ((HELD_OUT, True), (("corpus-c/p0003",), False)):
        strange = copy.deepcopy(corpus)
        for row in strange:
            if row["subject"] in subjects:
                row["flow"] = bytes(reversed(row["flow"]))
                label = (SHOWN.index(row["emotion"]) + 1) % 3
                row["emotion"] = SHOWN[label]
                move(row, {(label + 1) % 3: 1.0, 10: 1.0})
        write_corpus(made, strange)
        other, others = trained(targets=targets)
        assert (other == one) is same
        assert (others["loss"] == figures["loss"]) is same
        assert not same or others["held_out"] != figures["held_out"]


@pytest.mark.parametrize(
    ("targets", "outputs"), [("both", (*CLASSES, *UNITS)), ("classes", CLASSES), ("units", (*CLASSES, *UNITS))]
)
def test_outputs_are_classes_then_action_units(corpus: list[dict[str, Any]], targets: str, outputs: Any) -> None:
    trained(targets=targets)
    weights = read_weights(FILE, CPU)
    assert weights.outputs == tuple(outputs) and len(weights.tensors["fc.bias"]) == len(outputs)
    about = read_about(FILE)
    assert about["model"] == "ststnet" and about["settings"]["optimiser"] == "adamw"
    seen = [np.frombuffer(row["flow"], np.uint8).reshape(3, -1) for row in corpus if row["subject"] not in HELD_OUT]
    expected = np.stack(seen).mean(axis=(0, 2)) / 255
    assert weights.standardiser.mean["flow"].ravel().tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_what_is_no_target_is_not_learnt(corpus: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without weight decay, rows of a head that no loss looks at stay as they began."""
    first: dict[str, torch.Tensor] = {}

    def noted(*arguments: Any, **options: Any) -> Any:
        made = create_model(*arguments, **options)
        if made.fc.weight.device.type == "cpu":
            first["head"] = made.fc.weight.detach().clone()
        return made

    monkeypatch.setattr("fdpbench.bench.train.fit_module.create_model", noted)
    for targets in ("both", "units"):
        trained(targets=targets, set=ENTRY["set"] | {"weight_decay": 0.0})
        head = read_weights(FILE, CPU).tensors["fc.weight"]
        learnt = (head != first["head"]).any(dim=1).tolist()
        assert learnt == [targets == "both"] * len(CLASSES) + [True] * len(UNITS)


def test_group_dro_with_action_units_alone(corpus: list[dict[str, Any]]) -> None:
    settings = ENTRY["set"] | {"objective": "group_dro", "dro_step": 0.01}
    assert trained(targets="units", set=settings)[1]["epochs"] == 2


def test_the_weight_of_action_units_counts(corpus: list[dict[str, Any]]) -> None:
    assert trained(unit_weight=1.0)[0] != trained(unit_weight=4.0)[0]


# --- of frames ---------------------------------------------------------------------------------------

FRAMES_ENTRY: dict[str, Any] = {
    "generator": "frames", "identities": 3, "clips_per_identity": 4, "seed": 1, "emotions": {}, "landmarks": True,
    "crop": {"size": 48}, "sampling": {"rule": "uniform", "frames": 3},
}  # fmt: skip


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(stage, "run_units", in_process)
        stage.make_corpus("c", section(CorpusParams, FRAMES_ENTRY, "corpora.c"), Path("c"), 1)
    return folder / "c"


@pytest.mark.parametrize("model", ["fdp", "cnn3d", "resnet_dynamic", "elrcn", "capsulenet", "ststnet", "stgcn"])
def test_networks_of_frames_are_pretrained_and_predict(model: str, frames: Path, project: Path) -> None:
    """What they read, and emotions in order of name, whatever the order of the task."""
    shutil.copytree(frames, paths.corpus("c"))
    content = content_of(model=model, classes="emotions", set={"epochs": 1, "batch_size": 4})
    content["corpora"]["c"] = FRAMES_ENTRY
    whole = resolve("pretrain", "w", content)
    pretrain.run(Planned(whole.settings, stage="pretrain", item="w"), 1)
    info = model_info(model)
    weights = read_weights(FILE, CPU)
    assert weights.outputs == (*EMOTIONS, *UNITS) and set(weights.standardiser.mean) == set(info.inputs)
    card = json.loads((PRETRAINED / "w/card.json").read_text())
    assert card["outputs"] == [*EMOTIONS, *UNITS] and card["settings"]["schedule"] == "one_cycle"
    clips = corpus_clips(paths.corpus("c"), (*info.inputs, *info.targets), {name: [name] for name in EMOTIONS})
    assert set(clips.inputs) == {*info.inputs, *info.targets}
    emotions = read_corpus(paths.corpus("c"), ()).emotion
    assert [EMOTIONS[label] for label in clips.labels] == emotions.tolist()

    order = ("surprise", "repression", "disgust", "happiness")
    task = section(CorpusParams, FRAMES_ENTRY, "c").as_task("tiny", {name: [name] for name in order})
    entry = RunEntry(task="tiny", model=model, protocol="zero_shot", init="w")
    settings = pretraining_settings(content)
    run = Run("it", "tiny", task, entry, info, settings, load_train(content), (FILE.as_posix(),))
    fitted = fit(run, clips, 4, 1, "cpu", lambda message: None, start=FILE)
    scores = fitted.predict(clips).scores
    mine = replace(run, task_params=task.model_copy(update={"classes": {name: [name] for name in EMOTIONS}}))
    same = fit(mine, clips, 4, 1, "cpu", lambda message: None, start=FILE).predict(clips).scores
    np.testing.assert_allclose(scores[:, [order.index(name) for name in EMOTIONS]], same, atol=1e-12)
    assert np.ptp(scores) > 0
    composite = replace(run, task_params=task.model_copy(update={"classes": COMPOSITE}))
    summed = fit(composite, clips, 3, 1, "cpu", lambda message: None, start=FILE).predict(clips).scores
    expected = np.stack([sum(same[:, EMOTIONS.index(each)] for each in group) for group in COMPOSITE.values()], 1)
    np.testing.assert_allclose(summed, expected, atol=1e-12)


def pretraining_settings(content: dict[str, Any]) -> ModelSettings:
    return load_pretraining("w", content).settings


# --- the same bytes ----------------------------------------------------------------------------------


@pytest.mark.pipeline
def test_two_workers_and_a_kill_between_give_the_bytes_of_one(
    corpus: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(repetitions=2)
    monkeypatch.setattr(pretrain, "run_units", run_units)
    pretrain.run(plan, 2)
    expected = digests()
    assert list(expected) == ["0.safetensors", "1.safetensors", "card.json", "card.md"]
    assert expected["0.safetensors"] != expected["1.safetensors"]
    shutil.rmtree(".scratch")
    shutil.rmtree(PRETRAINED)

    finished = []

    def killed(*arguments: Any) -> Iterator[str]:
        for name in in_process(*arguments):
            finished.append(name)
            yield name
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain, "run_units", killed)
    with pytest.raises(KeyboardInterrupt):
        pretrain.run(plan, 1)
    assert finished == ["0"] and not PRETRAINED.exists()
    monkeypatch.setattr(pretrain, "run_units", lambda units, *rest: in_process(noting(units, finished), *rest))
    pretrain.run(plan, 1)
    assert finished == ["0", "1"] and digests() == expected


def noting(units: Any, finished: list[str]) -> Iterator[Any]:
    for unit in units:
        finished.append(unit.name)
        yield unit


def test_another_corpus_under_the_name_is_trained_on_anew(corpus: list[dict[str, Any]], made: Path) -> None:
    """Kept repetitions are of the corpus that they were trained on."""
    pretrain.run(planned(), 1)
    before = digests()
    write_corpus(made, rows_of(made, seed=1))
    pretrain.run(planned(), 1)
    assert digests()["0.safetensors"] != before["0.safetensors"]


# --- the card ----------------------------------------------------------------------------------------


def test_a_card_says_what_the_weights_are_and_do(corpus: list[dict[str, Any]]) -> None:
    pretrain.run(planned(), 1)
    card = json.loads((PRETRAINED / "w/card.json").read_text())
    file = FILE
    one = card["weights"]["0.safetensors"]
    assert (one["sha256"], one["bytes"]) == (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_size)
    assert one["epochs"] == 2 and card["rendered"] is True and card["outputs"] == [*CLASSES, *UNITS]
    sums = (paths.corpus("c") / contents.SUMS).read_bytes()
    assert card["corpus"]["sums"] == hashlib.sha256(sums).hexdigest()
    assert card["corpus"]["settings"]["identities"] == PEOPLE and card["seeds"].keys() == {"0"}
    assert "set" not in card["pretraining"] and card["settings"]["epochs"] == 2

    held = one["held_out"]
    clips = corpus_clips(paths.corpus("c"), ("flow",), COMPOSITE).of(HELD_OUT)
    assert (held["people"], held["clips"]) == (2, len(clips))
    said = logits_of(file, clips)
    mirror = logits_of(file, flipped(clips))
    probabilities = (torch.softmax(said[:, :3], 1) + torch.softmax(mirror[:, :3], 1)) / 2
    guess = probabilities.argmax(1).numpy()
    assert held["uf1"] == pytest.approx(f1_score(clips.labels, guess, average="macro"), abs=1e-4)
    recall = np.mean([(guess[clips.labels == k] == k).mean() for k in range(3)])
    assert held["uar"] == pytest.approx(recall, abs=1e-4)
    assert clips.units is not None
    for unit, area in held["unit_auc"].items():
        k = UNITS.index(unit)
        assert area == pytest.approx(roc_auc_score(clips.units[:, k] == 1, said[:, 3 + k].numpy()), abs=1e-4)
    assert len(held["unit_auc"]) == 3, "the others move in no clip"
    assert held["mean_unit_auc"] == pytest.approx(np.mean(list(held["unit_auc"].values())), abs=1e-4)

    calibration = one["calibration"]
    first = np.array(clips.subjects) == HELD_OUT[0]
    labels, sure = clips.labels, probabilities.numpy()
    temperature = calibration["classes"]["temperature"]
    assert temperature == pytest.approx(class_temperature(sure, labels), rel=1e-2, abs=1e-4)
    units, moving = torch.sigmoid(said[:, 3:]).numpy(), clips.units.astype(np.float64)
    assert calibration["units"]["temperature"] == pytest.approx(unit_temperature(units, moving), rel=1e-2, abs=1e-4)
    crosswise = [
        class_nll(sure[mine], labels[mine], class_temperature(sure[~mine], labels[~mine])) * mine.mean()
        for mine in (first, ~first)
    ]
    assert calibration["classes"]["nll"]["after"] == pytest.approx(sum(crosswise), rel=1e-2, abs=1e-3)
    counts = [sum(one["count"] for one in calibration[of]["bins"]["after"]) for of in ("classes", "units")]
    assert counts == [len(labels), len(labels) * len(UNITS)]

    text = (PRETRAINED / "w/card.md").read_text()
    for of in ("classes", "units"):
        assert re.search(rf" {calibration[of]['temperature']}0* +\|", text)
    assert "| 0.safetensors |" in text and f"{held['uf1']}" in text and "augment.mirror True" in text
    assert (
        f"{(PEOPLE - 2) * CLIPS} clips of {PEOPLE - 2} rendered" in text
        and "2 others were held out" in text
        and "Apache-2.0" in text
    )


def test_one_person_held_out_is_too_few_to_fit_and_to_measure_a_temperature(corpus: list[dict[str, Any]]) -> None:
    _, figures = trained(held_out=0.17)
    assert figures["held_out"]["people"] == 1 and "calibration" not in figures
    assert "Calibration" not in (PRETRAINED / "w/card.md").read_text()


def flipped(clips: ClipSet) -> ClipSet:
    flow = clips.inputs["flow"][..., ::-1].copy()
    flow[:, 0] = 1 - flow[:, 0]
    return ClipSet(clips.clip_ids, clips.subjects, clips.labels, {"flow": flow})


def logits_of(file: Path, clips: ClipSet) -> torch.Tensor:
    """What a file of weights says of clips, read by hand."""
    weights = read_weights(file, CPU)
    model = create_model(read_about(file)["model"], len(weights.outputs), shapes=clips.shapes)
    left = model.load_state_dict(weights.tensors, strict=False)
    assert not left.unexpected_keys and all(key.endswith("num_batches_tracked") for key in left.missing_keys)
    inputs = {"flow": torch.from_numpy(clips.inputs["flow"])}
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(**weights.standardiser(inputs)).logits
    return logits.double()


@pytest.mark.parametrize("entry", [{"held_out": 0.0}, {"targets": "classes"}, {"targets": "units"}])
def test_a_card_leaves_out_what_was_not_measured(corpus: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    pretrain.run(planned(**entry), 1)
    card = json.loads((PRETRAINED / "w/card.json").read_text())
    held = card["weights"]["0.safetensors"].get("held_out", {})
    assert ("uf1" in held) is (entry == {"targets": "classes"})
    assert ("mean_unit_auc" in held) is (entry == {"targets": "units"})
    calibration = card["weights"]["0.safetensors"].get("calibration", {})
    assert ("classes" in calibration) is (entry == {"targets": "classes"})
    assert ("units" in calibration) is (entry == {"targets": "units"})
    assert ("Calibration" in (PRETRAINED / "w/card.md").read_text()) is bool(calibration)
    line = next(row for row in (PRETRAINED / "w/card.md").read_text().splitlines() if "| 0.safetensors" in row)
    assert line.split("|")[3].strip() == str(held.get("uf1", "-"))


def test_held_out_people_of_whom_nothing_can_be_told(corpus: list[dict[str, Any]], made: Path) -> None:
    """One class, the same unit in all clips: no figure is defined, and none is made up."""
    for row in corpus:
        if row["subject"] in HELD_OUT:
            row["emotion"] = SHOWN[0]
            move(row, {0: 1.0})
    write_corpus(made, corpus)
    pretrain.run(planned(), 1)
    text = (PRETRAINED / "w/card.json").read_text()
    assert json.loads(text)["weights"]["0.safetensors"]["held_out"] == {"people": 2, "clips": 12} and "NaN" not in text


# --- runs that start from weights --------------------------------------------------------------------


@pytest.fixture
def pretrained(corpus: list[dict[str, Any]]) -> Path:
    trained()
    return FILE


def started(protocol: str = "honest", model: str = "ststnet", **settings: Any) -> Run:
    entry = {"task": "tiny", "model": model, "protocol": protocol, "init": "w", "set": settings}
    return load_run("it", content_of({"it": entry}, model=model))


def written_task(folder: Path, change: Callable[[dict[str, Any]], None] = lambda row: None) -> list[dict[str, Any]]:
    rows = task_rows(classes=TASK_CLASSES)
    for row in rows:
        change(row)
    return write_task(folder, rows, classes=TASK_CLASSES)


def poisoned(keep: Callable[[str], bool]) -> Callable[[dict[str, Any]], None]:
    """Replaces flow and class of the clips of subjects that are not kept."""

    def change(row: dict[str, Any]) -> None:
        if not keep(row["subject"]):
            row["flow"] = (9 - 3 * np.array(row["flow"])).astype(np.float32).tolist()
            row["label"] = (row["label"] + 1) % 3

    return change


TEST = "synthetic/s02"


def scores(folder: Path) -> NDArray[np.float64]:
    return np.array([row["scores"] for row in read_predictions(folder / "predictions.parquet")])


@pytest.mark.parametrize("model", ["ststnet", "featref"])
def test_zero_shot_predicts_what_the_pretrained_network_says(corpus: list[dict[str, Any]], model: str) -> None:
    """In the task's order of classes, standardised by the corpus, whatever the training clips are.

    Each output of featref reads the parts of all others, which are kept for that.
    """
    trained(model=model)
    pretrained = FILE
    written_task(Path("task"))
    written_task(Path("strange"), poisoned(lambda subject: subject == TEST))
    run = started("zero_shot", model)
    one, other = (train_fold(run, Path(task), Path(f"out-{task}"), TEST) for task in ("task", "strange"))
    assert one == other and json.loads(one["curve.json"]) == []
    clips = load_clips(Path("task"), ("flow",), keep=lambda subject: subject == TEST)
    columns = [CLASSES.index(name) for name in TASK_CLASSES]
    parts = [torch.softmax(logits_of(pretrained, each)[:, columns], 1) for each in (clips, flipped(clips))]
    np.testing.assert_allclose(scores(Path("out-task")), ((parts[0] + parts[1]) / 2).numpy(), atol=1e-6)
    assert {row["epoch"] for row in read_predictions(Path("out-task/predictions.parquet"))} == {None}
    kept, made = (read_weights(file, CPU) for file in (Path("out-task/model.safetensors"), pretrained))
    assert kept.outputs == made.outputs and all(
        torch.equal(kept.tensors[key], made.tensors[key]) for key in made.tensors
    )


@pytest.mark.parametrize("protocol", ["honest", "inner"])
def test_fine_tuning_never_looks_at_the_test_subject(pretrained: Path, protocol: str) -> None:
    written_task(Path("task"))
    written_task(Path("test"), poisoned(lambda subject: subject != TEST))
    written_task(Path("training"), poisoned(lambda subject: subject == TEST))
    run = started(protocol, epochs=2, batch_size=4)
    files = {name: train_fold(run, Path(name), Path(f"out-{name}"), TEST) for name in ("task", "test", "training")}
    assert files["task"]["model.safetensors"] == files["test"]["model.safetensors"]
    assert files["task"]["predictions.parquet"] != files["test"]["predictions.parquet"]
    assert files["task"]["model.safetensors"] != files["training"]["model.safetensors"]
    kept, made = (read_weights(file, CPU) for file in (Path("out-task/model.safetensors"), pretrained))
    assert torch.equal(kept.standardiser.mean["flow"], made.standardiser.mean["flow"]), "statistics of the corpus"


def test_fine_tuning_starts_from_the_weights(pretrained: Path) -> None:
    """With a learning rate near 0 nothing but running statistics is changed."""
    written_task(Path("task"))
    train_fold(started(epochs=1, lr=1e-30, weight_decay=0.0), Path("task"), Path("out"), TEST)
    kept, made = (read_weights(file, CPU) for file in (Path("out/model.safetensors"), pretrained))
    assert kept.outputs == TASK_CLASSES
    for key, value in made.tensors.items():
        rows = [CLASSES.index(name) for name in TASK_CLASSES] if key.startswith("fc.") else slice(None)
        if "running" not in key:
            assert torch.equal(kept.tensors[key], value[rows]), key


def test_classes_that_the_weights_do_not_tell(pretrained: Path) -> None:
    """Fine-tuned they are; zero_shot is refused, naming them, also where params.yaml was never checked."""
    content = content_of({"it": {"task": "tiny", "model": "ststnet", "init": "w", "set": {"epochs": 1}}})
    classes = {"anger": ["disgust"], "surprise": ["surprise"]}
    content["tasks"]["tiny"]["classes"] = classes
    rows = write_task(Path("task"), task_rows(classes=tuple(classes)), classes=tuple(classes))
    assert rows
    run = load_run("it", content)
    clips = load_clips(Path("task"), ("flow",))
    fitted = fit(run, clips, 2, 1, "cpu", lambda message: None, start=pretrained)
    assert isinstance(fitted, FittedModule) and fitted.predict(clips).scores.shape == (len(clips), 2)
    unasked = run.entry.model_copy(update={"protocol": "zero_shot"})
    unchecked = Run(run.name, run.task, run.task_params, unasked, run.model, run.settings, run.train, run.start)
    with pytest.raises(
        CheckpointError, match=r"0\.safetensors: it tells negative.*, and not anger: run it .*fine-tune"
    ):
        fit(unchecked, clips, 2, 1, "cpu", lambda message: None, start=pretrained)


def test_repetitions_take_the_files_in_turn(corpus: list[dict[str, Any]]) -> None:
    pretrain.run(planned(repetitions=2), 1)
    entry = {"task": "tiny", "model": "ststnet", "protocol": "zero_shot", "init": "w"}
    run = load_run("it", content_of({"it": entry}, repetitions=2))
    files = [PRETRAINED / f"w/{k}.safetensors" for k in range(2)]
    assert [run.start_of(k) for k in range(5)] == [files[0], files[1], files[0], files[1], files[0]]
    written_task(Path("task"))
    found = []
    for k in range(3):
        train_fold(run, Path("task"), Path(f"out-{k}"), TEST, repetition=k)
        found.append(scores(Path(f"out-{k}")))
    assert (found[0] == found[2]).all() and (found[0] != found[1]).any()


# --- stage init --------------------------------------------------------------------------------------


def start_init(content: dict[str, Any]) -> None:
    init.run(Planned(resolve("init", "", content).settings, stage="init"), 1)


def test_each_run_has_the_hashes_of_its_own_weights(pretrained: Path) -> None:
    start_init(content_of({"it": {"task": "tiny", "model": "ststnet", "init": "w"}}))
    found = {path.stem: json.loads(path.read_text()) for path in init.INIT.iterdir()}
    assert found.pop("it") == {pretrained.as_posix(): hashlib.sha256(pretrained.read_bytes()).hexdigest()}
    assert found == {name: {} for name in ("tiny-majority", "tiny-ststnet", "tiny-histogram")}


def test_weights_that_were_changed_after_init_are_refused(pretrained: Path) -> None:
    written_task(Path("task"))
    run = started("zero_shot")

    def train() -> None:
        train_run(run, Path("task"), Artifacts("it"), 1, 1)

    with pytest.raises(ValueError, match=r"artifacts/init/it\.json.*run `dvc repro`"):
        train()
    start_init(content_of({"it": {"task": "tiny", "model": "ststnet", "init": "w"}}))
    assert set(init.started_from("it", run.start)) == {pretrained.as_posix()}
    content = pretrained.read_bytes()
    pretrained.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"w/0\.safetensors is not what .*it\.json saw: .*run `dvc repro`"):
        train()
    pretrained.unlink()
    with pytest.raises(ValueError, match=r"w/0\.safetensors not found: run it starts from it; run `dvc repro`"):
        train()
    assert init.started_from("it", ()) == {}
