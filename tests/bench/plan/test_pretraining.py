"""Sections `corpora` and `pretrain`, and runs that start from weights: every refusal, layers, and what is planned."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fdpbench.bench.plan import check, resolve, stage
from fdpbench.bench.plan.check import check_project, load_runs
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.plan.pretraining import (
    FINE_TUNING,
    FINE_TUNING_FRAMES,
    PRETRAINING,
    PRETRAINING_FRAMES,
    load_pretraining,
)
from fdpbench.bench.train import artifacts
from fdpbench.bench.train.settings import run_of
from fdpbench.bench.train.step import Standardiser
from fdpbench.bench.train.weights import write_weights
from fdpbench.models.common.registry import Augment, create_model, model_info
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.planned import PLAN, place_of, read_planned
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import section
from tests.support.builders import checked_params, write_params

CORPUS: dict[str, Any] = {"generator": "flow", "identities": 4, "clips_per_identity": 3, "seed": 1}
RUN: dict[str, Any] = {"task": "tiny", "model": "ststnet", "init": "w"}


def content(run: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
    """A params.yaml that passes: corpus, pretraining, and a run that starts from it on a task of its classes."""
    made = checked_params(corpora={"c": CORPUS}, pretrain={"w": {"corpus": "c", "model": "ststnet"} | entry})
    emotions = {"negative": ["disgust"], "positive": ["happiness"], "surprise": ["surprise"]}
    made["tasks"]["tiny"]["classes"] = emotions
    made["tasks"]["foreign"] = made["tasks"]["tiny"] | {"classes": {"joy": ["happiness"], "surprise": ["surprise"]}}
    scaled = {"flow": {"size": 28, "scaling": "pixels"}}
    made["tasks"]["pixels"] = made["tasks"]["tiny"] | scaled
    made["runs"] = made["runs"] | {"it": RUN | (run or {})}
    del made["options"]["ststnet"]
    return copy.deepcopy(made)


def problems(made: dict[str, Any]) -> list[str]:
    with pytest.raises(ParamsError) as raised:
        load_runs(made)
    return list(raised.value.problems)


def shipped(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str = "ready", **about: Any) -> Path:
    """Weights in place of those that come with the package."""
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr(artifacts, "_SHIPPED", folder)
    model = create_model("ststnet", 3, shapes={"flow": (3, 28, 28)}, **about.get("options", {}))
    standardiser = Standardiser({"flow": torch.zeros(3, 1, 1)}, {"flow": torch.ones(3, 1, 1)})
    said = {"model": "ststnet", "outputs": ["negative", "positive", "surprise"], "task": "c"}
    said |= {"settings": {"model": about.pop("options", {})}} | about
    write_weights(folder / f"{name}.safetensors", model, standardiser, said)
    return folder / f"{name}.safetensors"


def test_all_is_well(project: Path) -> None:
    write_params(content())
    assert [run.start for run in check_project() if run.name == "it"] == [("artifacts/pretrained/w/0.safetensors",)]
    write_params(content({"protocol": "zero_shot", "set": {"mirrored_prediction": False}}, repetitions=2))
    assert len(next(run for run in check_project() if run.name == "it").start) == 2


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"corpus": "d"}, "pretrain.w.corpus: no corpus 'd'; corpora: c"),
        ({"corpus": "cc"}, "pretrain.w.corpus: no corpus 'cc' (did you mean 'c'?); corpora: c"),
        ({"model": "ststnat"}, "pretrain.w.model: unknown model 'ststnat'"),
        ({"model": "ststnat"}, "did you mean 'ststnet'?"),
        (
            {"model": "cnn3d"},
            "pretrain.w: model 'cnn3d' reads frames, and a corpus of the generator flow gives flow; tak",
        ),
        ({"model": "flow_histogram"}, "pretrain.w: flow_histogram is fitted at once and has no weights to start from"),
        ({"targets": "unit"}, "pretrain.w.targets"),
        ({"held_out": 1}, "pretrain.w.held_out"),
        ({"unit_weight": 0}, "pretrain.w.unit_weight"),
        ({"repetitions": 0}, "pretrain.w.repetitions"),
        ({"seed": 3}, "pretrain.w.seed: unknown key"),
        ({"set": {"epoch": 3}}, "pretrain.w.set.epoch: unknown key (did you mean 'epochs'?)"),
        ({"set": {"model": {"drop": 1}}}, "pretrain.w.set.model.drop: model 'ststnet' has no option 'drop'"),
        ({"set": {"epochs": None}}, "pretrain.w: epochs is null; this model is trained in epochs"),
        ({"set": {"objective": "group_dro"}}, "pretrain.w: objective group_dro needs dro_step"),
    ],
)
def test_an_entry_that_cannot_be_trained(entry: dict[str, Any], said: str, project: Path) -> None:
    found = problems(content(**entry))
    assert any(said in line for line in found), found
    assert all("pretrain.w" in line or "runs.it" in line for line in found)


def test_nothing_is_trained_of_any_subjects(project: Path) -> None:
    found = problems(content({"protocol": "zero_shot", "training_subjects": 1}))
    assert found == [
        "params.yaml: runs.it.training_subjects: protocol zero_shot trains on no subject at all; leave it out"
    ]


def test_no_corpus_at_all(project: Path) -> None:
    made = content()
    made["corpora"] = {}
    assert "params.yaml: pretrain.w.corpus: no corpus 'c'; corpora lists none" in "\n".join(problems(made))


def test_every_error_of_an_entry_at_once(project: Path) -> None:
    found = problems(content(corpus="d", set={"model": {"drop": 1, "dropout": "much"}}))
    for said in ("no corpus 'd'", "set.model.drop:", "set.model.dropout:"):
        assert any(said in line for line in found), found


def test_what_the_corpus_cannot_be_trained_with_is_found_by_building(project: Path) -> None:
    """A shift by which faces leave the image; of a second entry of the same network too."""
    made = content()
    made["pretrain"]["far"] = made["pretrain"]["w"] | {"set": {"augment": {"mirror": True, "shift": 9}}}
    made["runs"]["far"] = RUN | {"set": {"augment": {"mirror": True, "shift": 8}}}
    write_params(made)
    with pytest.raises(ParamsError) as raised:
        check_project()
    first, second = raised.value.problems
    assert "params.yaml: pretrain.far: augment.shift 9: flow has 28 pixels a side" in first
    assert "params.yaml: runs.far: augment.shift 8" in second


@pytest.mark.parametrize(
    ("run", "entry", "said"),
    [
        ({"init": "v"}, {}, "runs.it.init: no weights 'v'; there are w"),
        ({"init": "ww"}, {}, "runs.it.init: no weights 'ww' (did you mean 'w'?); there are w"),
        ({"init": None, "protocol": "zero_shot"}, {}, "runs.it: protocol zero_shot trains nothing: name the weights"),
        ({"model": "flow_histogram"}, {}, "runs.it.init: flow_histogram is fitted at once and starts from no weights"),
        ({"model": "emr"}, {}, "runs.it.init: 'w' are weights of ststnet, and the model is emr"),
        ({"task": "pixels"}, {}, "runs.it.init: 'w' were trained on flow that is scaled per_image, and task 'pixels'"),
        (
            {"task": "foreign", "protocol": "zero_shot"}, {},
            "zero_shot: 'w' tells negative, positive, surprise, and not joy; fine-tune it (protocol honest)",
        ),
        ({"protocol": "zero_shot"}, {"targets": "units"}, "zero_shot: 'w' tells no classes, and not negative, pos"),
        ({"protocol": "zero_shot", "set": {"epochs": 3, "lr": 1.0}}, {}, "epochs, lr: protocol zero_shot trains noth"),
        (
            {"protocol": "zero_shot", "faults": {"frozen_batch_norm": True}}, {},
            "runs.it: faults.frozen_batch_norm: protocol zero_shot trains nothing; leave out",
        ),
        ({"init": 3}, {}, "runs.it.init"),
        ({"table": "mine"}, {"set": {"model": {"drop": 1}}}, "pretrain.w.set.model.drop"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_start(run: dict[str, Any], entry: dict[str, Any], said: str, project: Path) -> None:
    found = problems(content(run, **entry))
    assert any(f"params.yaml: {said}" in line or said in line for line in found), found


# --- of frames ---------------------------------------------------------------------------------------

FRAMES = {"generator": "frames", "identities": 4, "clips_per_identity": 3, "seed": 1}
EMOTIONS = {name: [name] for name in ("surprise", "disgust", "happiness", "repression")}


def of_frames(model: str, run: dict[str, Any] | None = None, **entry: Any) -> dict[str, Any]:
    """A network pretrained on frames, and a run from it on a task of crops as its corpus has them."""
    made = content({"model": model} | (run or {}), model=model, **entry)
    made["corpora"]["c"] = copy.deepcopy(FRAMES)
    made["options"].pop(model, None)
    made["align"] |= {"size": 96, "eye_distance": 0.40, "eye_height": 0.32}
    made["tasks"]["tiny"] |= {
        "sampling": {"rule": "uniform", "frames": 8},
        "rank_pooling": "harmonic",
        "apex": True,
        "classes": EMOTIONS,
    }
    return made


@pytest.mark.parametrize("model", ["fdp", "cnn3d", "resnet_dynamic", "capsulenet", "ststnet"])
def test_models_of_every_input_are_pretrained_on_frames(model: str, project: Path) -> None:
    write_params(of_frames(model, {"protocol": "zero_shot"}, classes="emotions"))
    (run,) = [run for run in check_project() if run.name == "it"]
    assert run.start == ("artifacts/pretrained/w/0.safetensors",)
    shift = 1 if model == "ststnet" else 4
    assert (
        load_pretraining("w", of_frames(model)).settings.augment.shift
        == shift
        == (load_run("it", of_frames(model)).settings.augment.shift)
    )


def test_recipes_of_crops(project: Path) -> None:
    pretraining = load_pretraining("w", of_frames("cnn3d")).settings.model_dump()
    tuning = load_run("it", of_frames("cnn3d")).settings.model_dump()
    crops = {"augment": {"mirror": True, "shift": 4}}
    assert {key: pretraining[key] for key in PRETRAINING_FRAMES} == PRETRAINING_FRAMES | crops
    assert {key: tuning[key] for key in FINE_TUNING_FRAMES} == FINE_TUNING_FRAMES | crops
    flow = load_pretraining("w", of_frames("ststnet")).settings.model_dump()
    assert {key: flow[key] for key in PRETRAINING_FRAMES} == PRETRAINING_FRAMES


def test_classes_of_a_pretraining(project: Path) -> None:
    made = of_frames("cnn3d", {"protocol": "zero_shot"}, classes="emotions")
    assert load_run("it", made)
    made["tasks"]["tiny"]["classes"] = {"surprise": ["surprise"], "negative": ["disgust", "repression"]}
    assert load_run("it", made), "a class is told by all emotions that it gathers"
    said = "zero_shot: 'w' tells negative, positive, surprise, and not disgust, happiness, repression; fine-tune it"
    found = problems(of_frames("cnn3d", {"protocol": "zero_shot"}))
    assert any(said in line for line in found), found
    found = problems(of_frames("cnn3d", classes="emotion"))
    assert any("pretrain.w.classes" in line and "did you mean 'emotions'?" in line for line in found), found


@pytest.mark.parametrize(
    ("model", "change", "said"),
    [
        ("cnn3d", {"crop": {"size": 64}}, "align.size is 96, and crop.size 64 in corpora.c"),
        ("capsulenet", {"crop": {"eye_height": 0.3}}, "align.eye_height is 0.32, and crop.eye_height 0.3"),
        ("cnn3d", {"sampling": {"rule": "truncated", "frames": 8}}, "tasks.tiny.sampling is rule='uniform'"),
        ("resnet_dynamic", {"rank_pooling": "linear"}, "tasks.tiny.rank_pooling is harmonic, and rank_pooling linear"),
        ("capsulenet", {"rank_pooling": "linear", "sampling": {"rule": "uniform", "frames": 5}}, None),
        ("ststnet", {"crop": {"size": 64}}, None),
    ],
)
def test_weights_of_other_images_are_refused(
    model: str, change: dict[str, Any], said: str | None, project: Path
) -> None:
    made = of_frames(model, classes="emotions")
    made["corpora"]["c"] |= change
    if said is None:
        assert load_run("it", made).start
    else:
        (found,) = problems(made)
        assert "params.yaml: runs.it.init: 'w' were trained on other images" in found and said in found


@pytest.mark.parametrize(
    ("model", "align", "said"),
    [
        ("cnn3d", {"geometry": "released"}, "align.geometry is released, and the geometry of every corpus eyes"),
        ("cnn3d", {"mode": "ecc"}, "align.mode is ecc, and the mode of every corpus first_frame"),
        ("capsulenet", {"mode": "per_frame"}, "align.mode is per_frame, and the mode of every corpus first_frame"),
        ("cnn3d", {"mode": "given"}, "align.mode is given, and the mode of every corpus first_frame"),
        ("ststnet", {"geometry": "released", "mode": "ecc"}, None),  # it reads flow alone
    ],
)
def test_weights_of_other_crops_are_refused(model: str, align: dict[str, Any], said: str | None, project: Path) -> None:
    made = of_frames(model, classes="emotions")
    made["align"] |= align
    if said is None:
        assert load_run("it", made).start
        return
    with pytest.raises(ParamsError) as caught:
        load_run("it", made)
    (key,) = align
    instead = {"mode": "first_frame", "geometry": "eyes"}[key]
    assert f"'w' were trained on other images: {said}" in str(caught.value)
    assert f"; set align.{key}: {instead}" in str(caught.value)


@pytest.mark.parametrize(("size", "said"), [(96, None), (64, "align.size is 96, and crop.size 64 in ready.json")])
def test_shipped_weights_of_other_images_are_refused(
    size: int, said: str | None, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shipped(monkeypatch, tmp_path / "weights", model="cnn3d", outputs=sorted(EMOTIONS))
    corpus = section(CorpusParams, FRAMES | {"crop": {"size": size}}, "c").model_dump(mode="json")
    path.with_suffix(".json").write_text(json.dumps({"corpus": {"settings": corpus}}))
    made = of_frames("cnn3d", {"init": "ready"})
    if said is None:
        assert load_run("it", made).start == ("models/weights/ready.safetensors",)
    else:
        (found,) = problems(made)
        assert "runs.it.init: 'ready' were trained on other images" in found and said in found


def test_landmarks_are_given_where_the_corpus_is_asked(project: Path) -> None:
    said = "model 'stgcn' reads landmarks, and a corpus of the generator frames gives frames, dynamic_image, flow, apex"
    found = problems(of_frames("stgcn"))
    assert any(said + "; set landmarks: true" in line for line in found), found
    made = of_frames("stgcn")
    made["corpora"]["c"]["landmarks"] = made["tasks"]["tiny"]["landmarks"] = made["align"]["track"] = True
    write_params(made)
    assert [run for run in check_project() if run.name == "it"]
    assert load_pretraining("w", made).settings.augment == Augment(), "points cannot be mirrored"
    made["corpora"]["c"] = CORPUS
    assert any("take one of the generator frames with landmarks: true" in line for line in problems(made))


def test_fine_tuning_takes_classes_that_the_weights_do_not_tell(project: Path) -> None:
    assert load_run("it", content({"task": "foreign"})).start
    assert load_run("it", content(targets="units")).start


@pytest.mark.parametrize(
    ("mine", "other", "refused"),
    [
        ("mine", "mine", "runs.other.table: 'mine' is a table of runs that start from weights (it)"),
        (None, "pretrained", "runs.other.table: 'pretrained' is a table of runs that start from weights (it)"),
        ("mine", "pretrained", "runs.other.table: 'pretrained' is a table of runs that start from weights, which"),
        ("mine", "theirs", None),
        (None, None, None),
    ],
)
def test_no_table_ranks_both_kinds(mine: str | None, other: str | None, refused: str | None, project: Path) -> None:
    made = content({"table": mine})
    made["runs"]["other"] = {"task": "tiny", "model": "ststnet", "table": other}
    if refused is None:
        assert load_runs(made)
    else:
        (found,) = problems(made)
        assert refused in found and found.endswith("not ranked with others; name another")


# --- weights that come with the package --------------------------------------------------------------


def test_shipped_weights_are_named_and_their_names_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped(monkeypatch, tmp_path / "weights")
    made = content({"init": "ready", "protocol": "zero_shot"})
    assert load_run("it", made).start == ("models/weights/ready.safetensors",)
    assert load_run("it", made).start_of(3) == tmp_path / "weights/ready.safetensors"
    assert any("(did you mean 'ready'?); there are w, ready" in line for line in problems(content({"init": "raedy"})))
    made["pretrain"]["ready"] = made["pretrain"]["w"]
    assert problems(made) == ["params.yaml: pretrain.ready: weights of this name come with the package; choose another"]
    assert any("of ststnet, and the model is emr" in x for x in problems(content({"init": "ready", "model": "emr"})))


def test_shipped_weights_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shipped(monkeypatch, tmp_path / "weights")
    path.write_bytes(path.read_bytes()[:500])
    (found,) = problems(content({"init": "ready"}))
    assert "ready.safetensors" in found


def test_their_options_are_the_runs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped(monkeypatch, tmp_path / "weights", options={"dropout": 0.25})
    made = content({"init": "ready"})
    assert load_run("it", made).settings.model == {"dropout": 0.25}
    made["runs"]["it"]["set"] = {"model": {"dropout": 0.5}}
    assert load_run("it", made).settings.model == {"dropout": 0.5}


# --- layers ------------------------------------------------------------------------------------------


def test_fine_tuning_lies_under_options_and_set(project: Path) -> None:
    made = content({"set": {"lr": 0.5}}, set={"model": {"dropout": 0.25}, "lr": 0.125})
    made["options"]["ststnet"] = {"epochs": 3, "lr": 0.25}
    settings = load_run("it", made).settings
    assert (settings.epochs, settings.lr) == (3, 0.5)
    for key in ("batch_size", "optimiser", "schedule", "class_weight", "mirrored_prediction", "weight_decay"):
        assert getattr(settings, key) == FINE_TUNING[key]
    assert settings.augment.model_dump() == FINE_TUNING["augment"]
    assert settings.model == {"dropout": 0.25}, "of the weights; nothing else of their training"
    recipe = model_info("ststnet").recipe
    assert recipe is not None
    plain = load_run("tiny-ststnet", made).settings
    assert (plain.epochs, plain.batch_size, plain.optimiser) == (3, recipe.batch_size, "adam"), "of other runs nothing"


def test_pretraining_lies_under_set_alone(project: Path) -> None:
    made = content(set={"lr": 0.125, "model": {"dropout": 0.25}})
    made["options"]["ststnet"] = {"epochs": 3}
    settings = load_pretraining("w", made).settings
    expected = PRETRAINING | {"lr": 0.125}
    assert {key: settings.model_dump()[key] for key in expected} == expected and settings.model == {"dropout": 0.25}


# --- what is planned ---------------------------------------------------------------------------------


def plan(made: dict[str, Any]) -> dict[str, Any]:
    write_params(made)
    planned = list(resolve.make_plan(read_params()))
    return {place_of(one.stage, one.item).relative_to(PLAN).as_posix(): json.loads(one.as_json()) for one in planned}


def differing(made: dict[str, Any], before: dict[str, Any]) -> set[str]:
    after = plan(made)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


REST = {f"{name}.json" for name in ("evaluate", "tables", "gallery", "report")}  # what looks at all runs


def test_an_edit_reaches_the_items_that_read_it(project: Path) -> None:
    made = content()
    before = plan(made)
    assert {"corpus/c.json", "pretrain/w.json", "init.json", "train/it.json"} <= before.keys()

    def edited(change: Any) -> set[str]:
        other = copy.deepcopy(made)
        change(other)
        return differing(other, before)

    assert edited(lambda one: one["corpora"]["c"].update(peak=[0.5, 3.0])) == {"corpus/c.json", "pretrain/w.json"}
    assert edited(lambda one: one["pretrain"]["w"].update(unit_weight=2.0)) == {"pretrain/w.json"}
    assert edited(lambda one: one["pretrain"]["w"].update(set={"epochs": 3})) == {"pretrain/w.json"}
    options = edited(lambda one: one["pretrain"]["w"].update(set={"model": {"dropout": 0.25}}))
    assert options == {"pretrain/w.json", "train/it.json"}, "a run has the options of its weights"
    more = edited(lambda one: one["pretrain"]["w"].update(repetitions=2))
    assert more == {"pretrain/w.json", "init.json", "train/it.json"}
    assert edited(lambda one: one["runs"]["it"].pop("init")) - REST == {"init.json", "train/it.json"}
    assert edited(lambda one: one["runs"]["tiny-ststnet"].update(set={"epochs": 3})) - REST == {
        "train/tiny-ststnet.json"
    }
    assert edited(lambda one: one["runs"].pop("tiny-majority")) - REST == {"init.json", "train/tiny-majority.json"}


def test_init_names_the_files_of_each_run(tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped(monkeypatch, tmp_path / "weights")
    made = content(repetitions=2)
    made["runs"]["ready"] = RUN | {"init": "ready"}
    planned = plan(made)
    files = [f"artifacts/pretrained/w/{k}.safetensors" for k in range(2)]
    others: dict[str, list[str]] = dict.fromkeys(("tiny-majority", "tiny-ststnet", "tiny-histogram", "ready"), [])
    assert planned["init.json"]["settings"] == {"runs": {"it": files, **others}}
    assert planned["train/it.json"]["settings"]["start"] == files and planned["train/it.json"]["files"] == {}
    assert list(planned["train/ready.json"]["files"]) == ["models/weights/ready.safetensors"]


def test_a_run_comes_back_with_its_weights(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "check_project", lambda: load_runs(read_params()))
    write_params(content({"protocol": "zero_shot"}))
    stage.plan_project()
    back, whole = run_of(read_planned("train", "it")), load_run("it")
    assert back.start == whole.start != () and back.settings == whole.settings
    assert (back.entry.init, back.entry.protocol) == ("w", "zero_shot")
    assert artifacts.PRETRAINED.is_dir(), "stage init looks there"


def test_shipped_weights_that_are_replaced_are_planned_anew(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever replaces a file in the package: its run is planned anew, and no other."""
    package = tmp_path / "package"
    package.mkdir()
    weights = package / "models/weights"
    weights.parent.mkdir()
    shipped(monkeypatch, weights)
    monkeypatch.setattr(stage.fdpbench, "__path__", [*stage.fdpbench.__path__, str(package)])
    monkeypatch.setattr(check, "check_project", lambda: load_runs(read_params()))
    write_params(content({"init": "ready"}))
    assert stage.plan_project() and not stage.plan_project()
    before = {path: path.read_bytes() for path in PLAN.rglob("*.json")}
    shipped(monkeypatch, weights, epoch=2)
    assert stage.plan_project()
    assert {path for path in before if path.read_bytes() != before[path]} == {place_of("train", "it")}


def test_weights_of_what_is_no_longer_listed_are_moved_aside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "check_project", lambda: load_runs(read_params()))
    for name in ("w", "old"):
        (artifacts.PRETRAINED / name).mkdir(parents=True)
    write_params(content())
    stage.plan_project()
    assert (artifacts.PRETRAINED / "w").is_dir() and not (artifacts.PRETRAINED / "old").exists()
    assert (stage.ASIDE / artifacts.PRETRAINED / "old").is_dir()
