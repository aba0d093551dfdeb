"""The networks that predict, how their inputs are made, and what is known of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fdpbench.bench.evaluate.calibration import scaled_classes, scaled_units
from fdpbench.bench.evaluate.metrics import metric_of
from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.predict.preparation import Preparation, of_corpus, of_task
from fdpbench.bench.train.artifacts import PRETRAINED, Artifacts, located, shipped_weights
from fdpbench.bench.train.data import ClipSet
from fdpbench.bench.train.fit_module import FittedModule
from fdpbench.bench.train.settings import ModelSettings, Run, RunEntry, TrainParams
from fdpbench.bench.train.step import Heads
from fdpbench.bench.train.weights import read_about, read_weights
from fdpbench.models.common.registry import create_model, model_info
from fdpbench.prep.demo.composite import CLASSES, EMOTIONS
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.problems import near
from fdpbench.prep.settings.section import section
from fdpbench.prep.store.documents import read_object
from fdpbench.prep.task.inputs import INPUTS

__all__ = ["DEFAULT", "About", "Network", "NetworkError", "network_of_run", "network_of_weights"]

DEFAULT = "rendered_flow_cnn"  # docs/predict.md says why
CPU = torch.device("cpu")
_UNIT = re.compile(r"AU[0-9]+")


class NetworkError(ValueError):
    """Weights cannot be used to predict; the message names them and what to do."""


@dataclass(frozen=True)
class About:
    """What is known of a network.

    Attributes
    ----------
    name
        Of the weights, or of the run.
    model
        Its architecture.
    trained_on
        In words.
    measured
        By name, such as ``uf1``; of the clips that ``measured_on`` describes.
    measured_on
        In words.
    temperatures
        Of ``classes`` and ``units``: by what logits are divided; empty where it is not calibrated.
    calibration_error
        Expected calibration error of ``classes`` and ``units`` on people that nothing was fitted on.
    networks
        How many networks' probabilities are averaged.
    """

    name: str
    model: str
    trained_on: str
    measured: Mapping[str, float]
    measured_on: str
    temperatures: Mapping[str, float]
    calibration_error: Mapping[str, float]
    networks: int

    @property
    def calibrated(self) -> bool:
        """Whether its class probabilities are."""
        return "classes" in self.temperatures


@dataclass(frozen=True)
class Network:
    """One network, or several that vote, ready to predict.

    Attributes
    ----------
    about
        What is known of it.
    classes, units
        Names of the classes, and of the action units that it tells.
    inputs
        Names of its inputs (`prep.task.inputs`).
    preparation
        How they are made.
    members
        The networks.
    """

    about: About
    classes: tuple[str, ...]
    units: tuple[str, ...]
    inputs: tuple[str, ...]
    preparation: Preparation
    members: tuple[FittedModule, ...]

    def predict(
        self, inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """Say what a clip shows.

        Parameters
        ----------
        inputs
            Of one clip, by name, without the batch axis, as tasks store them.

        Returns
        -------
        Probabilities of the classes (C,), and of the action units (U,); None where it was not trained on these.
        """
        clips = ClipSet(("clip",), ("one",), np.zeros(1, np.int64), {name: inputs[name][None] for name in self.inputs})
        classes = units = None
        with _one_thread():
            if self.classes:
                classes = np.mean([member.predict(clips).scores for member in self.members], axis=0)
                classes = scaled_classes(classes, self.about.temperatures.get("classes", 1.0))[0]
            if self.units:
                units = np.mean([member.unit_probabilities(clips) for member in self.members], axis=0)
                units = scaled_units(units, self.about.temperatures.get("units", 1.0))[0]
        return classes, units

    def unlikeness(self, inputs: Mapping[str, NDArray[Any]]) -> float:
        """How far the inputs of a clip are from those that the network was trained on.

        The largest mean square of the standardised values of a channel: 1 for a clip like the mean of them.
        """
        found, statistics = 0.0, self.members[0].standardiser
        for name in self.inputs:
            mean, scale = (each[name].double().numpy() for each in (statistics.mean, statistics.scale))
            squares = np.square((np.asarray(inputs[name], np.float64) - mean) / scale)
            others = tuple(axis for axis in range(squares.ndim) if axis != INPUTS[name].channel_axis - 1)
            found = max(found, float(squares.mean(axis=others).max()))
        return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch with one thread, as training runs it: two give other digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def network_of_weights(which: str) -> Network:
    """Load pretrained weights.

    Parameters
    ----------
    which
        The name of weights that come with the package, of a pretraining of the project in the current folder, or a file
        beside which its card lies.

    Raises
    ------
    NetworkError
        If there are none of this name, or they have no card.
    models.common.checkpoints.CheckpointError
        If the file is damaged or of another network.
    """
    shipped = shipped_weights()
    if which in shipped:
        path = located(shipped[which])
        return _pretrained(which, path, path.with_suffix(".json"))
    if which.endswith(".safetensors") or "/" in which:
        path = Path(which).expanduser()
        if not path.is_file():
            raise NetworkError(f"{which}: no such file; weights that come with the package: {', '.join(shipped)}")
        cards = [card for card in (path.with_suffix(".json"), path.parent / "card.json") if card.is_file()]
        if not cards:
            raise NetworkError(
                f"{which}: no card beside it ({path.stem}.json or card.json), which says how clips were cropped; copy "
                "that as well. Networks of a run of the project here: --run NAME"
            )
        return _pretrained(path.stem if cards[0].name != "card.json" else path.parent.name, path, cards[0])
    made = sorted(folder.name for folder in PRETRAINED.glob("*") if (folder / "card.json").is_file())
    if which in made:
        return _pretrained(which, PRETRAINED / which / "0.safetensors", PRETRAINED / which / "card.json")
    known = [*shipped, *made]
    raise NetworkError(f"no weights {which!r}{near(which, known)}; there are {', '.join(known)}; or give a file")


def _pretrained(name: str, path: Path, card_file: Path) -> Network:
    card = read_object(card_file, "copy it again from where the weights came from")
    about = read_about(path)
    try:
        made, corpus = card["pretraining"], card["corpus"]["settings"]
        ranges = section(CorpusParams, corpus, f"{card_file.name}: corpus")
        (one,) = [one for file, one in card["weights"].items() if file == path.name or len(card["weights"]) == 1]
        held, calibration = one.get("held_out", {}), one.get("calibration", {})
        people = ranges.identities - int(held.get("people", 0))
        temperatures = {
            key: float(calibration[key]["temperature"]) for key in ("classes", "units") if key in calibration
        }
        errors = {key: float(calibration[key]["ece"]["after"]) for key in temperatures}
        keys = ("uf1", "uar", "mean_unit_auc")
        facts = About(
            name=name,
            model=about["model"],
            trained_on=f"{people * ranges.clips_per_identity:,} rendered clips of {people:,} rendered people "
            f"(corpus {made['corpus']}); no real face",
            measured={key: float(held[key]) for key in keys if key in held},
            measured_on=f"{held.get('clips', 0)} rendered clips of {held.get('people', 0)} other rendered people",
            temperatures=temperatures,
            calibration_error=errors,
            networks=1,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise NetworkError(
            f"{card_file}: not a card of pretrained weights: {error} is missing or of another kind"
        ) from None
    outputs = tuple(map(str, about["outputs"]))
    names = CLASSES if made["classes"] == "composite" else EMOTIONS
    classes, units = outputs[: len(names)], tuple(unit for unit in outputs[len(names) :] if _UNIT.fullmatch(unit))
    preparation = of_corpus(made["corpus"], ranges, {each: [each] for each in classes})
    settings = section(ModelSettings, about["settings"], f"{path.name}: settings")
    train = section(TrainParams, {**card["train"], "repetitions": 1}, f"{card_file.name}: train")
    entry = RunEntry(task=made["corpus"], model=made["model"])
    run = Run(name, made["corpus"], preparation.task, entry, model_info(made["model"]), settings, train)
    heads = Heads(len(classes), made["targets"] != "units", 1.0 if units else 0.0)
    member = _member(path, run, outputs, preparation, heads)
    told = classes if made["targets"] != "units" else ()
    return Network(facts, told, units, run.model.inputs, preparation, (member,))


def network_of_run(name: str) -> Network:
    """Load the networks that a run of the project in the current folder trained: one for each fold and repetition.

    Raises
    ------
    NetworkError
        If its networks are not there, or it has none.
    prep.settings.problems.ParamsError
        If there is no such run.
    models.common.checkpoints.CheckpointError
        If a file is damaged or of another network.
    """
    params = read_params()
    run = load_run(name, params)
    if run.model.kind == "estimator":
        raise NetworkError(f"run {name}: {run.entry.model} is fitted without weights; name a run of a network")
    artifacts = Artifacts(name)
    files = sorted(artifacts.checkpoints.glob("*.safetensors"))
    if not files:
        raise NetworkError(f"{artifacts.checkpoints}: no weights of run {name}; `dvc repro train@{name}` trains it")
    preparation = of_task(run.task_params, params)
    classes = tuple(run.task_params.classes)
    members = []
    for file in files:
        outputs = tuple(map(str, read_about(file)["outputs"]))
        members.append(_member(file, run, outputs, preparation, None))
    rows = read_predictions(artifacts.predictions)
    repetitions = sorted({row["repetition"] for row in rows})
    confusions = np.zeros((len(repetitions), len(classes), len(classes)), np.int64)
    for row in rows:
        confusions[repetitions.index(row["repetition"]), row["y_true"], row["y_pred"]] += 1
    subjects, clips = len({row["subject"] for row in rows}), len({row["clip_id"] for row in rows})
    releases = ", ".join(run.task_params.releases)
    facts = About(
        name=name,
        model=run.entry.model,
        trained_on=f"{clips:,} clips of {subjects:,} subjects (task {run.task}: {releases}), "
        f"protocol {run.entry.protocol}, in {len(files)} networks, each without the subjects of its fold",
        measured={key: float(np.mean([metric_of(one, key) for one in confusions])) for key in ("uf1", "uar")},
        measured_on="those clips, each by a network that did not see its subject",
        temperatures={},
        calibration_error={},
        networks=len(members),
    )
    return Network(facts, classes, (), run.model.inputs, preparation, tuple(members))


def _member(
    path: Path, run: Run, outputs: Sequence[str], preparation: Preparation, heads: Heads | None
) -> FittedModule:
    """A file of weights as a network that predicts; of a run, whatever outputs tell the classes of its task."""
    weights = read_weights(path, CPU)
    weights.check_inputs(run.model.inputs)

    def build(count: int) -> Any:
        shapes = preparation.shapes(run.model.inputs)
        return create_model(run.entry.model, count, shapes=shapes, **run.settings.model)

    model = build(len(outputs))
    weights.put_into(model, outputs, build)
    model.eval()
    own = heads is None and tuple(outputs) != tuple(run.task_params.classes)
    return FittedModule(model, weights.standardiser, CPU, run, [], None, heads, outputs if own else None)
