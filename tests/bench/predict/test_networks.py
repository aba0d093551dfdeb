"""Which networks predict, how their inputs are made, and what is known of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fdpbench.bench.evaluate.calibration import scaled_classes, scaled_units
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.predict.networks import DEFAULT, Network, NetworkError, network_of_run, network_of_weights
from fdpbench.bench.train.artifacts import PRETRAINED, Artifacts, located, shipped_weights
from fdpbench.models.common.checkpoints import CheckpointError
from fdpbench.models.common.registry import create_model
from fdpbench.prep.store import paths
from tests.support.builders import (
    CLASSES,
    checked_params,
    predictions,
    task_rows,
    torch_as_it_was,
    train_fold,
    write_params,
    write_predictions,
    write_task,
)

COMPOSITE = ("negative", "positive", "surprise")


@pytest.fixture(autouse=True)
def unchanged_torch() -> Iterator[None]:
    with torch_as_it_was():
        yield


def inputs_of(network: Network, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = network.preparation.shapes(network.inputs)
    return {
        name: rng.uniform(0, 1, shape).astype(np.float32)
        if name == "flow"
        else rng.integers(0, 256, shape).astype(np.uint8)
        for name, shape in shapes.items()
    }


def said_by(network: Network, inputs: dict[str, Any]) -> tuple[Any, Any]:
    """What a network says, as arrays that tests may take for such."""
    return network.predict(inputs)


def copied(folder: Path, name: str = DEFAULT, **calibration: float) -> Path:
    """Weights that come with the package, with a card that has these temperatures and no others."""
    source = located(shipped_weights()[name])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.safetensors"
    shutil.copyfile(source, path)
    card = json.loads(source.with_suffix(".json").read_text(encoding="utf-8"))
    (one,) = card["weights"].values()
    one.pop("calibration", None)
    if calibration:
        one["calibration"] = {
            key: {"temperature": value, "ece": {"before": 0.2, "after": 0.1}} for key, value in calibration.items()
        }
    path.with_suffix(".json").write_text(json.dumps(card), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(shipped_weights()))
def test_weights_of_the_package_predict(name: str) -> None:
    network = network_of_weights(name)
    assert len(network.units) == 16 and network.units[0] == "AU1"
    classes, units = network.predict(inputs_of(network))
    assert classes is not None and units is not None
    assert classes.shape == (len(network.classes),) and classes.sum() == pytest.approx(1) and units.shape == (16,)
    assert ((units > 0) & (units < 1)).all()
    assert network.about.measured["uf1"] > 0.8 and "no real face" in network.about.trained_on
    if network.inputs == ("flow",):
        assert network.classes == COMPOSITE and network.preparation.aspect == pytest.approx(0.72)
    else:
        assert network.classes == ("disgust", "happiness", "repression", "surprise") and network.preparation.aspect == 1


def test_probabilities_are_those_of_the_network_and_its_mirror_image(tmp_path: Path) -> None:
    network = network_of_weights(str(copied(tmp_path)))
    inputs = inputs_of(network)
    (member,) = network.members
    model = create_model("flow_cnn", 19, shapes={"flow": (3, 28, 28)})
    model.load_state_dict(member.model.state_dict())
    flow = inputs["flow"]
    mirror = flow[..., ::-1].copy()
    mirror[0] = 1 - mirror[0]
    with torch.no_grad():
        said = [
            model.eval()(**member.standardiser({"flow": torch.from_numpy(each[None])})).logits.double()[0]
            for each in (flow, mirror)
        ]
    classes, units = said_by(network, inputs)
    expected = (torch.softmax(said[0][:3], 0) + torch.softmax(said[1][:3], 0)) / 2
    np.testing.assert_allclose(classes, expected.numpy(), atol=1e-9)
    np.testing.assert_allclose(units, torch.sigmoid(said[0][3:]).numpy(), atol=1e-9)


def test_temperatures_of_the_card_are_applied(tmp_path: Path) -> None:
    plain = network_of_weights(str(copied(tmp_path / "plain")))
    scaled = network_of_weights(str(copied(tmp_path / "scaled", classes=2.0, units=0.5)))
    assert not plain.about.calibrated and scaled.about.calibrated
    assert scaled.about.calibration_error == {"classes": 0.1, "units": 0.1}
    inputs = inputs_of(plain)
    (before, units_before), (after, units_after) = said_by(plain, inputs), said_by(scaled, inputs)
    np.testing.assert_allclose(after, scaled_classes(before[None], 2.0)[0])
    np.testing.assert_allclose(units_after, scaled_units(units_before, 0.5))


def test_threads_of_torch_are_as_before() -> None:
    network = network_of_weights(DEFAULT)
    torch.set_num_threads(2)
    network.predict(inputs_of(network))
    assert torch.get_num_threads() == 2


def test_unlikeness_is_1_for_inputs_that_vary_as_the_corpus(tmp_path: Path) -> None:
    network = network_of_weights(DEFAULT)
    statistics = network.members[0].standardiser
    mean, scale = (each["flow"].numpy() for each in (statistics.mean, statistics.scale))
    noise = np.random.default_rng(0).normal(size=(3, 28, 28))
    noise = (noise - noise.mean(axis=(1, 2), keepdims=True)) / noise.std(axis=(1, 2), keepdims=True)
    assert network.unlikeness({"flow": mean + scale * noise}) == pytest.approx(1, rel=1e-6)
    assert network.unlikeness({"flow": mean + scale * noise * 2}) == pytest.approx(4, rel=1e-6)
    shifted = mean + scale * (noise + np.array([0, 3, 0]).reshape(3, 1, 1))
    assert network.unlikeness({"flow": shifted}) == pytest.approx(10, rel=1e-6)


def test_what_is_no_network_is_said(project: Path) -> None:
    with pytest.raises(NetworkError, match=r"no weights 'rendered_flow_cn' \(did you mean 'rendered_flow_cnn'\?\)"):
        network_of_weights("rendered_flow_cn")
    with pytest.raises(NetworkError, match=r"nowhere\.safetensors: no such file"):
        network_of_weights("nowhere.safetensors")
    path = copied(project)
    path.with_suffix(".json").unlink()
    with pytest.raises(NetworkError, match=r"no card beside it \(mine\.json or card\.json\)"):
        network_of_weights(str(path))
    path.with_suffix(".json").write_text('{"pretraining": {}}')
    with pytest.raises(NetworkError, match="'corpus' is missing"):
        network_of_weights(str(path))
    path = copied(project)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError):
        network_of_weights(str(path))


def test_pretrainings_of_the_project_are_found_by_name(project: Path) -> None:
    path = copied(PRETRAINED / "own")
    path.rename(path.with_name("0.safetensors"))
    path.with_suffix(".json").rename(path.with_name("card.json"))
    by_name, by_file = network_of_weights("own"), network_of_weights(str(PRETRAINED / "own/0.safetensors"))
    assert by_name.about.name == by_file.about.name == "own"


def test_a_run_is_the_mean_of_its_folds_networks(project: Path) -> None:
    write_params(checked_params(runs={"it": {"task": "tiny", "model": "ststnet", "set": {"epochs": 1}}}))
    rows = task_rows()
    write_task(paths.task("tiny"), rows)
    run = load_run("it")
    folder = Artifacts("it").checkpoints
    with pytest.raises(NetworkError, match=r"no weights of run it; `dvc repro train@it`"):
        network_of_run("it")
    folder.mkdir(parents=True)
    for subject in sorted({row["subject"] for row in rows})[:2]:
        files = train_fold(run, paths.task("tiny"), project / f"out-{subject.replace('/', '-')}", subject)
        (folder / f"{subject.replace('/', '-')}-0.safetensors").write_bytes(files["model.safetensors"])
    write_predictions("it", predictions("it", rows, [0] * len(rows)))
    network = network_of_run("it")
    assert network.classes == CLASSES and network.units == () and network.about.networks == 2
    inputs = inputs_of(network)
    each = [said_by(replace(network, members=(member,)), inputs)[0] for member in network.members]
    np.testing.assert_allclose(said_by(network, inputs)[0], np.mean(np.array(each), axis=0))
    assert not np.allclose(*each) and network.predict(inputs)[1] is None
    assert network.about.measured["uar"] == pytest.approx(1 / 3), "it guesses one class"
    assert not network.about.calibrated and "2 networks" in network.about.trained_on


def test_a_run_of_an_estimator_has_no_networks(project: Path) -> None:
    write_params(checked_params(runs={"it": {"task": "tiny", "model": "majority"}}))
    with pytest.raises(NetworkError, match="majority is fitted without weights"):
        network_of_run("it")
