"""Training by gradient descent: the loop that every torch model shares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fdpbench.bench.evaluate.predictions import Prediction
from fdpbench.bench.train.augment import mirrored
from fdpbench.bench.train.data import ClipSet
from fdpbench.bench.train.fit import Curve, Report
from fdpbench.bench.train.outputs import told_by, untold
from fdpbench.bench.train.protocols import best_epoch
from fdpbench.bench.train.settings import Run
from fdpbench.bench.train.step import Heads, Standardiser, TrainStep, autocast, batch_count, set_up_torch, to_device
from fdpbench.bench.train.weights import Weights, read_weights, write_weights
from fdpbench.models.common.blocks import Classifier, ModelOutput
from fdpbench.models.common.checkpoints import CheckpointError
from fdpbench.models.common.registry import create_model

__all__ = ["FittedModule", "fit_module", "started_module"]


def fit_module(
    run: Run,
    train: ClipSet,
    classes: int,
    seed: int,
    device: str,
    report: Report,
    *,
    epochs: int | None = None,
    watch: ClipSet | None = None,
    start: Path | None = None,
    heads: Heads | None = None,
) -> FittedModule:
    """Train a module for a fixed number of epochs unless told to choose one.

    Parameters
    ----------
    run, train, classes, seed, device, report
        See `bench.train.fit.fit`.
    epochs
        Number of epochs; by default the recipe's. Fewer are the first of those: a schedule is cut, not shortened.
    watch
        Clips that are scored after each epoch: the weights of the epoch that does best on them
        (`bench.train.protocols.best_epoch`) are kept, where otherwise the last epoch's are. They change nothing
        else: the same seed gives the same weights after each epoch with or without them.
    start
        Weights to start from, whose statistics of the inputs are kept; by default the network's own first ones.
    heads
        In pretraining, what the network learns beside classes.

    Raises
    ------
    ValueError
        If there are fewer than two training clips, or the loss is no longer finite.
    """
    settings = run.settings
    epochs = epochs or settings.epochs
    assert epochs
    batches = batch_count(run, len(train))
    place = torch.device(device)
    set_up_torch(place, run.train.deterministic)
    torch.manual_seed(seed)

    outputs = classes if train.units is None else classes + train.units.shape[1]
    model, given = _first_weights(run, train, outputs, place, start)
    step = TrainStep(run, model, train, place, seed, given, heads)
    fitted = FittedModule(model, step.standardiser, place, run, [], epochs, heads)
    order = torch.Generator().manual_seed(seed)
    kept: dict[str, Tensor] = {}

    model.train()
    for epoch in range(1, epochs + 1):
        if epoch == 2 and run.entry.faults.frozen_batch_norm:
            model.eval()  # the released code evaluates after its first epoch and never goes back
        step.begin(epoch)
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=place))
        shuffled = to_device(torch.randperm(len(train), generator=order).numpy(), place)
        for batch in shuffled.tensor_split(batches):
            for name, term in step(batch).items():
                sums[name] += term * len(batch)
        means = {name: float(value) / len(train) for name, value in sums.items()}
        loss = sum(means.values())
        if not np.isfinite(loss):
            raise ValueError(f"loss is {loss} in epoch {epoch}; lower options.{run.model.name}.lr")
        fitted.curve.append({"epoch": epoch, "loss": loss, **means})
        if watch is not None:
            fitted.curve[-1] |= _watched(fitted.predict(watch).scores, watch.labels)
            if best_epoch(fitted.curve) == epoch:
                fitted.epoch = epoch
                kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
        report({"epoch": epoch, "epochs": epochs, "loss": loss})
    if kept:
        model.load_state_dict(kept)
    return fitted


def started_module(run: Run, clips: ClipSet, device: str, start: Path) -> FittedModule:
    """The weights that a run starts from, as a model that is trained no further: protocol ``zero_shot``.

    Parameters
    ----------
    run, device
        See `bench.train.fit.fit`.
    clips
        Any clips of the task, of which the shapes are looked at.
    start
        The weights.

    Raises
    ------
    CheckpointError
        If the weights do not tell the task's classes, or are of another network.
    """
    place = torch.device(device)
    set_up_torch(place, run.train.deterministic)
    weights = read_weights(start, place)
    unknown = untold(tuple(run.task_params.classes), weights.outputs)
    if unknown:
        raise CheckpointError(
            f"{start}: it tells {', '.join(weights.outputs)}, and not {', '.join(unknown)}: run {run.name} cannot be "
            "of protocol zero_shot; fine-tune the weights"
        )
    model = _build(run, clips)(len(weights.outputs)).to(place)
    _load(weights, model, weights.outputs, run, clips)
    return FittedModule(model, weights.standardiser, place, run, [], None, outputs=weights.outputs)


def _build(run: Run, clips: ClipSet) -> Callable[[int], Classifier]:
    """Builds a run's network for a number of outputs."""
    shapes = {name: clips.shapes[name] for name in run.model.inputs}

    def build(outputs: int) -> Classifier:
        model: Classifier = create_model(run.entry.model, outputs, shapes=shapes, **run.settings.model)
        return model

    return build


def _first_weights(
    run: Run, clips: ClipSet, outputs: int, place: torch.device, start: Path | None
) -> tuple[Classifier, Standardiser | None]:
    """A network with its first weights, from torch's generator or a file; with a file's, its statistics of inputs."""
    model = _build(run, clips)(outputs).to(place)
    if start is None:
        return model, None
    weights = read_weights(start, place)
    _load(weights, model, tuple(run.task_params.classes), run, clips)
    return model, weights.standardiser


def _load(weights: Weights, model: Classifier, outputs: Sequence[str], run: Run, clips: ClipSet) -> None:
    weights.check_inputs(run.model.inputs)
    weights.put_into(model, outputs, _build(run, clips))


def _watched(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy and mean cross-entropy of probabilities (N, classes)."""
    right = np.maximum(scores[np.arange(len(labels)), labels], np.finfo(np.float64).tiny)
    return {
        "watched_accuracy": float((scores.argmax(axis=1) == labels).mean()),
        "watched_cross_entropy": float(-np.log(right).mean()),
    }


@dataclass
class FittedModule:
    """A trained module; ``epoch`` is the one whose weights it holds.

    ``outputs`` says what each output of the network stands for, where they are not the classes of the task in order.
    """

    model: Classifier
    standardiser: Standardiser
    device: torch.device
    run: Run
    curve: Curve
    epoch: int | None
    heads: Heads | None = None
    outputs: Sequence[str] | None = None

    def predict(self, clips: ClipSet) -> Prediction:
        """What the model says of clips: softmax probabilities, and what else it gives.

        With ``mirrored_prediction`` the means of what it says of the clip and of its mirror image, of which a generated
        image is mirrored back.
        """
        standardiser = self.standardiser
        if self.run.entry.faults.own_set_normalisation:
            standardiser = Standardiser.of(clips, self.run.model.inputs, self.device)
        before = self.model.training
        self.model.eval()
        outputs = list(self._outputs(clips, standardiser))
        self.model.train(before)

        def gathered(name: str) -> NDArray[np.float64] | None:
            if getattr(outputs[0], name) is None:
                return None
            values: NDArray[np.float64] = torch.cat([getattr(output, name) for output in outputs]).numpy()
            return values

        scores = gathered("logits")
        assert scores is not None
        return Prediction(scores, gathered("scores"), gathered("dynamic_image"))

    @torch.no_grad()
    def _outputs(self, clips: ClipSet, standardiser: Standardiser) -> Iterator[ModelOutput]:
        """Outputs batch by batch, on the CPU in float64, logits as probabilities."""
        for batch in self._batches(clips):
            output = self._output(standardiser(batch))
            if self.run.settings.mirrored_prediction:
                output = _mean(output, self._output(standardiser(mirrored(batch, self.run))))
            yield output

    def _batches(self, clips: ClipSet) -> Iterator[dict[str, Tensor]]:
        """The model's inputs of clips, in their order, as they are stored, on the device."""
        assert self.run.settings.batch_size
        for start in range(0, len(clips), self.run.settings.batch_size):
            window = slice(start, start + self.run.settings.batch_size)
            yield {name: to_device(clips.inputs[name][window], self.device) for name in self.run.model.inputs}

    def _output(self, inputs: dict[str, Tensor]) -> ModelOutput:
        with autocast(self.run, self.device):
            output: ModelOutput = self.model(**inputs)
        if self.heads:
            output, _ = self.heads.split(output)
        if self.outputs is not None:
            told = told_by(tuple(self.run.task_params.classes), self.outputs)
            logits = [output.logits[:, places].double().logsumexp(dim=1) for places in told]  # probabilities add up
            output = replace(output, logits=torch.stack(logits, dim=1))
        return ModelOutput(
            logits=torch.softmax(output.logits.double(), dim=1).cpu(),
            dynamic_image=None if output.dynamic_image is None else output.dynamic_image.double().cpu(),
            scores=None if output.scores is None else output.scores.double().cpu(),
        )

    @torch.no_grad()
    def unit_probabilities(self, clips: ClipSet) -> NDArray[np.float64]:
        """What a pretrained network says of action units, (N, U): the probability that each moves."""
        assert self.heads
        found = []
        self.model.eval()
        for batch in self._batches(clips):
            with autocast(self.run, self.device):
                _, units = self.heads.split(self.model(**self.standardiser(batch)))
            found.append(torch.sigmoid(units.double()).cpu())
        values: NDArray[np.float64] = torch.cat(found).numpy()
        return values

    @torch.no_grad()
    def round_to(self, stored: str) -> None:
        """Round the weights to the numbers of a file of this type, so that what is measured is what is kept."""
        for value in self.model.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.to(getattr(torch, stored)))

    def save(self, path: Path, units: Sequence[str] = (), stored: str = "float32") -> None:
        """Weights and the statistics of the inputs; how the model was built is in the metadata.

        Parameters
        ----------
        path
            File to write.
        units
            Names of the outputs after those of the classes.
        stored
            ``float32`` or ``float16``.
        """
        about = {
            "epoch": self.epoch,
            "model": self.run.model.name,
            "outputs": [*(self.outputs or self.run.task_params.classes), *units],
            "protocol": self.run.entry.protocol,
            "settings": self.run.settings.model_dump(),
            "task": self.run.task,
        }
        write_weights(path, self.model, self.standardiser, about, getattr(torch, stored))


def _mean(plain: ModelOutput, mirror: ModelOutput) -> ModelOutput:
    """Means of what is said of clips and of their mirror images, logits being probabilities."""
    return ModelOutput(
        logits=(plain.logits + mirror.logits) / 2,
        dynamic_image=None
        if plain.dynamic_image is None or mirror.dynamic_image is None
        else (plain.dynamic_image + mirror.dynamic_image.flip(-1)) / 2,
        scores=None if plain.scores is None or mirror.scores is None else (plain.scores + mirror.scores) / 2,
    )
