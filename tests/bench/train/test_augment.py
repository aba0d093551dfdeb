"""Mirror images and shifts: of known fields, at random in training, and both mirror images in prediction."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fdpbench.bench.plan.params import load_run
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.augment import Augmentation, check_shift, mirrored, moved
from fdpbench.bench.train.data import ClipSet, load_clips
from fdpbench.bench.train.fit_module import FittedModule, fit_module
from fdpbench.bench.train.settings import ModelSettings, Run
from fdpbench.bench.train.stage import train_run
from fdpbench.bench.train.step import TrainStep
from fdpbench.models.common.registry import Augment
from fdpbench.prep.flow.methods import scale_fixed, scale_per_image
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.task import FlowInput
from tests.bench.train.test_step import MODULES, NothingWaits, network, noise, run_with
from tests.support.builders import params, run_of, task_rows, torch_as_it_was, train_fold, write_task

CPU = torch.device("cpu")
BOTH = {"mirror": True, "shift": 1}
RECIPE: dict[str, Any] = {
    "optimiser": "adamw",
    "schedule": "one_cycle",
    "class_weight": 0.5,
    "augment": BOTH,
    "mirrored_prediction": True,
}
IMAGES = [name for name in MODULES if name != "stgcn"]


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


def run_on(scaling: str = "per_image", **settings: Any) -> Run:
    content = params(runs={"it": {"task": "tiny", "model": "ststnet", "set": settings}})
    limits = {"limit": 2.0, "strain_limit": 1.0} if scaling == "fixed" else {}
    content["tasks"]["tiny"]["flow"] = {"size": 28, "scaling": scaling, **limits}
    return load_run("it", content)


def field(seed: int = 0) -> np.ndarray:
    """Flow in pixels: u, v and a strain that is not negative, (3, 28, 28)."""
    values = np.random.default_rng(seed).normal(0, 1, (3, 28, 28)).astype(np.float32)
    values[2] = np.abs(values[2])
    return values


def mirror_image(flow: np.ndarray) -> np.ndarray:
    """What the flow of the mirrored clip is, in pixels: a motion to the left becomes one to the right."""
    result = flow[:, :, ::-1].copy()
    result[0] = -result[0]
    return result


@pytest.mark.parametrize(
    ("scaling", "scale"),
    [("pixels", lambda f: f), ("per_image", scale_per_image), ("fixed", lambda f: scale_fixed(f, 2.0, 1.0))],
)
def test_mirrored_flow_is_the_flow_of_the_mirrored_clip(scaling: str, scale: Any) -> None:
    flow = field()
    found = mirrored({"flow": torch.from_numpy(scale(flow))[None]}, run_on(scaling))["flow"][0]
    np.testing.assert_allclose(found.numpy(), scale(mirror_image(flow)), atol=1e-6)


def test_every_scaling_of_flow_is_tested() -> None:
    annotation = FlowInput.model_fields["scaling"].annotation
    assert annotation is not None and set(annotation.__args__) == {"pixels", "per_image", "fixed"}


@pytest.mark.parametrize("name", ["frames", "dynamic_image", "apex", "flow"])
def test_mirrored_twice_is_the_same(name: str) -> None:
    shape = {"frames": (2, 4, 1, 9, 8), "flow": (2, 3, 28, 28)}.get(name, (2, 1, 9, 8))
    values = torch.randint(0, 256, shape, dtype=torch.uint8)
    tensor = values.float() / 256 if name == "flow" else values  # dyadic: 1 - u is exact
    once = mirrored({name: tensor}, run_on())
    assert once[name].dtype == tensor.dtype and not torch.equal(once[name], tensor)
    if name != "flow":
        assert torch.equal(once[name], tensor.flip(-1))
    assert torch.equal(mirrored(once, run_on())[name], tensor)


@given(st.data())
def test_a_shift_is_that_of_a_plain_loop(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    image = np.arange(2 * height * width, dtype=np.uint8).reshape(2, 1, height, width)
    shifts = np.array(data.draw(st.lists(st.tuples(*[st.integers(-3, 3)] * 2), min_size=2, max_size=2)))
    flips = np.array(data.draw(st.lists(st.booleans(), min_size=2, max_size=2)))
    found = moved("apex", torch.from_numpy(image), torch.from_numpy(flips), torch.from_numpy(shifts), run_on())
    for clip in range(2):
        source = image[clip, 0, :, ::-1] if flips[clip] else image[clip, 0]
        for row in range(height):
            for column in range(width):
                y, x = row - shifts[clip, 0], column - shifts[clip, 1]
                wanted = source[min(max(y, 0), height - 1), min(max(x, 0), width - 1)]
                assert found[clip, 0, row, column] == wanted


def augmentation(clips: int = 4000, seed: int = 3, **augment: Any) -> Augmentation:
    return Augmentation(run_on(augment=augment), clips, seed, CPU)


def test_half_of_the_clips_are_mirrored_and_all_shifts_are_as_frequent() -> None:
    drawn = augmentation(mirror=True, shift=2)
    assert float(drawn.flips.float().mean()) == pytest.approx(0.5, abs=0.03)
    counts = torch.bincount(((drawn.shifts[:, 0] + 2) * 5 + drawn.shifts[:, 1] + 2).flatten(), minlength=25)
    assert len(counts) == 25 and float(counts.min()) > 100 and float(counts.max()) < 220
    one = augmentation(mirror=False, shift=1)
    assert not one.flips.any() and set(one.shifts.unique().tolist()) == {-1, 0, 1}
    assert not augmentation(mirror=True, shift=0).shifts.any()


def test_changes_depend_on_seed_and_epoch_alone() -> None:
    def drawn(seed: int, epoch: int) -> tuple[list[bool], list[list[int]]]:
        one = augmentation(50, seed, **BOTH)
        for number in range(2, epoch + 1):
            one.begin(number)
        return one.flips.tolist(), one.shifts.tolist()

    torch.manual_seed(1)
    first = drawn(0, 3)
    torch.manual_seed(2)
    assert drawn(0, 3) == first
    straight = augmentation(50, 0, **BOTH)
    straight.begin(3)
    assert (straight.flips.tolist(), straight.shifts.tolist()) == first
    assert len({str(drawn(seed, epoch)) for seed in (0, 1, 256) for epoch in (1, 2, 256)}) == 9


def test_inputs_and_targets_of_a_clip_are_changed_alike() -> None:
    images = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8)
    drawn = augmentation(6, mirror=True, shift=3)
    batch = torch.tensor([4, 0, 5])
    chosen = {"frames": images[batch][:, None].expand(-1, 4, -1, -1, -1), "dynamic_image": images[batch]}
    found = drawn(chosen, batch)
    for frame in range(4):
        assert torch.equal(found["frames"][:, frame], found["dynamic_image"])
    assert not torch.equal(found["dynamic_image"], images[batch])


# --- every model


def settings_of(name: str, **more: Any) -> Run:
    run = run_with(name)
    settings = ModelSettings.model_validate(run.settings.model_dump() | more)
    return Run(run.name, run.task, run.task_params, run.entry, run.model, settings, run.train)


@pytest.mark.parametrize("name", IMAGES)
def test_a_step_by_the_whole_recipe_trains_and_never_waits(name: str) -> None:
    clips = noise(name)
    steps = []
    for more in ({}, RECIPE):
        run = settings_of(name, **more)
        torch.manual_seed(0)
        one = TrainStep(run, network(run, clips), clips, CPU)
        torch.manual_seed(1)  # what the model draws in its step
        with NothingWaits():
            terms = one(torch.arange(4))
        assert all(np.isfinite(float(term)) for term in terms.values())
        steps.append({key: float(term) for key, term in terms.items()})
    plain, changed = steps
    assert set(plain) == set(changed) and plain != changed


@pytest.mark.parametrize("name", IMAGES)
def test_a_mirrored_prediction_is_the_same_for_the_mirrored_clip(name: str) -> None:
    run = settings_of(name, mirrored_prediction=True)
    clips = noise(name)
    step = TrainStep(run, network(run, clips), clips, CPU)
    for _ in range(15):  # before that some let next to nothing of their inputs through
        step(torch.arange(len(clips)))
    fitted = FittedModule(step.model, step.standardiser, CPU, run, [], None)
    tensors = {key: torch.from_numpy(array) for key, array in clips.inputs.items()}
    other = ClipSet(
        clips.clip_ids, clips.subjects, clips.labels, {k: v.numpy() for k, v in mirrored(tensors, run).items()}
    )
    one, two = fitted.predict(clips), fitted.predict(other)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)
    assert one.scores.sum(axis=1) == pytest.approx(1)
    assert (one.generated is None) == (two.generated is None)
    if one.generated is not None and two.generated is not None:
        np.testing.assert_allclose(one.generated, two.generated[:, :, ::-1], atol=1e-5)
    if one.rank_scores is not None and two.rank_scores is not None:
        np.testing.assert_allclose(one.rank_scores, two.rank_scores, atol=1e-4)
    plain = FittedModule(fitted.model, fitted.standardiser, CPU, settings_of(name), [], None)
    halves = [plain.predict(of).scores for of in (clips, other)]
    assert not np.allclose(halves[0], halves[1], atol=1e-5), "else this test could not fail"
    np.testing.assert_allclose(one.scores, (halves[0] + halves[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("settings", [{"augment": BOTH}, {"augment": {"shift": 1}}, {"mirrored_prediction": True}])
def test_landmarks_are_refused_by_name(settings: dict[str, Any]) -> None:
    content = params(
        align={"landmarks": "dlib", "track": True}, runs={"it": {"task": "tiny", "model": "stgcn", "set": settings}}
    )
    content["tasks"]["tiny"]["landmarks"] = True
    with pytest.raises(ParamsError, match=f"runs.it: {next(iter(settings))}: model 'stgcn' reads landmarks, which can"):
        load_run("it", content)


# --- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"augment": {"miror": True}},
            r"augment.miror: unknown key .did you mean 'mirror'.*here: mirror, shift",
        ),
        ({"augment": {"mirror": 1}}, r"augment.mirror: .*write true or false"),
        ({"augment": {"shift": -1}}, "augment.shift"),
        ({"augment": {"shift": 1.5}}, "augment.shift"),
        ({"augment": True}, "augment"),
        ({"mirrored_prediction": "yes"}, r"mirrored_prediction: .*write true or false"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        run_of("ststnet", **settings)


def test_a_shift_of_a_quarter_of_the_side_is_refused() -> None:
    check_shift(run_on(augment={"shift": 6}), {"flow": (3, 28, 28)})
    check_shift(run_on(), {"flow": (3, 2, 2)})
    with pytest.raises(ValueError, match=r"augment.shift 7: flow has 28 pixels a side; expected less than a quarter"):
        check_shift(run_on(augment={"shift": 7}), {"flow": (3, 28, 28)})


def test_an_estimator_is_not_augmented() -> None:
    with pytest.raises(ParamsError, match=r"runs.it.set: augment, mirrored_prediction mean nothing to flow_histogram"):
        run_of("flow_histogram", augment=BOTH, mirrored_prediction=True)


def test_a_run_replaces_the_augmentation_of_its_models_options_as_a_whole() -> None:
    content = params(runs={"it": {"task": "tiny", "model": "ststnet", "set": {"augment": {"mirror": True}}}})
    content["options"]["ststnet"] |= {"augment": {"shift": 2}}
    assert load_run("it", content).settings.augment == Augment(mirror=True)
    content["runs"]["it"]["set"] = {"augment": {}}
    assert load_run("it", content).settings.augment == Augment()


# --- in training


def weights_of(clips: ClipSet, **settings: Any) -> dict[str, Tensor]:
    return fit_module(
        run_of("ststnet", epochs=3, **settings), clips, 3, 0, "cpu", lambda message: None
    ).model.state_dict()


def test_each_part_of_the_recipe_changes_the_weights(tmp_path: Path) -> None:
    rows = task_rows()
    write_task(tmp_path, [row for row in rows if row["label"] != 0 or row["subject"].endswith("1")])
    clips = load_clips(tmp_path, ("flow",))
    parts: list[dict[str, Any]] = [{}, {"augment": {"mirror": True}}, {"augment": {"shift": 1}}]
    parts += [{key: RECIPE[key]} for key in ("schedule", "class_weight")]
    parts += [{"optimiser": "adamw", "weight_decay": 0.1}, {"weight_decay": 0.1}]
    found = [weights_of(clips, **part)["fc.weight"].tolist() for part in parts]
    assert all(one != other for k, one in enumerate(found) for other in found[:k])
    assert weights_of(clips, mirrored_prediction=True)["fc.weight"].tolist() == found[0]
    defaults = {"optimiser": "adam", "schedule": "constant", "class_weight": 0.0, "augment": {}}
    assert weights_of(clips, **defaults)["fc.weight"].tolist() == found[0]


def test_the_same_fold_gives_the_same_bytes_and_its_checkpoint_names_the_recipe(tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    run = run_of("ststnet", **RECIPE)
    one, other = (train_fold(run, tmp_path / "task", tmp_path / name, "synthetic/s02") for name in "ab")
    assert one == other
    assert b'augment\\": {\\"mirror\\": true, \\"shift\\": 1}' in one["model.safetensors"]
    plain = train_fold(run_of("ststnet"), tmp_path / "task", tmp_path / "c", "synthetic/s02")
    assert b'augment\\": {\\"mirror\\": false, \\"shift\\": 0}' in plain["model.safetensors"]


@pytest.mark.pipeline
def test_a_run_by_the_recipe_is_the_same_with_two_workers_and_after_an_interruption(project: Path) -> None:
    """One worker; then two, which go on with the folds that are left."""
    write_task(project / "data/task/tiny")
    outputs = []
    for jobs in (1, 2):
        train_run(run_of("ststnet", **RECIPE), project / "data/task/tiny", Artifacts("it"), jobs, 1)
        outputs.append({str(path): path.read_bytes() for path in sorted(Path("artifacts").rglob("*.*"))})
        kept, *others = sorted(Path(".scratch/train-it").glob("*/units/*synthetic*"))
        assert len(others) == 2
        for unit in others:
            shutil.rmtree(unit)
        shutil.rmtree("artifacts")
    assert outputs[0] == outputs[1] and len(outputs[0]) >= 6
