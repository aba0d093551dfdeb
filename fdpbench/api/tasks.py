"""Tasks, models and scores, for training loops of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fdpbench.arithmetic import arithmetic, pin_or_warn

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from fdpbench.bench.evaluate.metrics import Measures
    from fdpbench.bench.evaluate.records import Interval
    from fdpbench.bench.train.dataset import TaskDataset

__all__ = ["Evaluation", "create_model", "evaluate", "list_models", "load_task"]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of predictions, with intervals over subjects: ``result["uf1"].value``, ``.low``, ``.high``.

    Attributes
    ----------
    metrics
        ``uf1``, ``uar``, ``accuracy`` and ``weighted_f1``, each with its interval. Ends are NaN where there is none.
    classes
        Names of the classes, in order of index.
    measures
        For each repetition the values, the confusion matrix (rows: true classes) and the measures of each class.
    why_no_interval
        Why there are no intervals, as with one subject; None where there are.
    arithmetic
        ``pinned``, or ``native`` where another machine may give other digits.
    """

    metrics: Mapping[str, Interval]
    classes: tuple[str, ...]
    measures: tuple[Measures, ...]
    why_no_interval: str | None
    arithmetic: str

    def __getitem__(self, metric: str) -> Interval:
        return self.metrics[metric]

    def __str__(self) -> str:
        from fdpbench.bench.evaluate.metrics import METRICS

        first = self["uf1"]
        lines = [
            f"{METRICS[name].label:<12} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"
            for name, one in self.metrics.items()
        ]
        said = self.why_no_interval or f"{100 * first.level:.0f}% intervals (BCa) of a bootstrap over subjects"
        lines.append(f"{first.clips} clips of {first.subjects} subjects; {said}; arithmetic {self.arithmetic}")
        return "\n".join(lines)


def load_task(name: str, *, inputs: Sequence[str] | None = None, project: str | Path = ".") -> TaskDataset:
    """Read a task of a project as a torch ``Dataset``, with its folds of leave-one-subject-out.

    Parameters
    ----------
    name
        Name of the task, such as ``casme2_5``; its data/task/NAME must be made.
    inputs
        Inputs of models to read, such as ``["flow"]``; None: all that the task gives.
    project
        Folder of the project, in which params.yaml lies.

    Returns
    -------
    TaskDataset
        Item k is ``(inputs, label)``: tensors by name, of the shapes and types that `TaskDataset` lists, and the class
        index. ``folds()`` gives ``(subject, train, test)``, with indices of clips.

    Raises
    ------
    ValueError
        If the task is not made, or does not give an input; the message names what there is.

    Examples
    --------
    >>> import fdpbench as fb
    >>> task = fb.load_task("synthetic", inputs=["flow"])
    >>> len(task), task.classes
    (120, ('disgust', 'happiness', 'repression', 'surprise'))
    >>> inputs, label = task[0]
    >>> tuple(inputs["flow"].shape), inputs["flow"].dtype, label
    ((3, 28, 28), torch.float32, 0)
    >>> subject, train, test = task.folds()[0]
    >>> subject, len(train), len(test)
    ('synthetic/s01', 108, 12)
    """
    pin_or_warn()
    from fdpbench.bench.train.dataset import TaskDataset

    return TaskDataset(name, inputs, Path(project))


def evaluate(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    subjects: ArrayLike,
    *,
    classes: Sequence[str] | None = None,
    level: float = 0.95,
) -> Evaluation:
    """Score predictions: UF1, UAR, accuracy and weighted F1 over all clips, with intervals over subjects.

    Parameters
    ----------
    y_true
        Class of each clip, (N,): indices or names.
    y_pred
        Predicted classes, (N,), or (R, N) for R repetitions of one run.
    subjects
        Subject of each clip, (N,): numbers or names. They are what is resampled.
    classes
        Names of the classes, in order of index; None: those that are found, in order.
    level
        Coverage of the intervals, between 0 and 1.

    Returns
    -------
    Evaluation
        ``result["uf1"].value``, ``.low`` and ``.high``; `print` shows all of it.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is no class, or a class has no clip, so that UF1 is not defined.

    Examples
    --------
    >>> import fdpbench as fb
    >>> y_true = ["joy", "fear", "fear", "joy", "fear", "joy"]
    >>> y_pred = ["joy", "fear", "joy", "joy", "fear", "joy"]
    >>> result = fb.evaluate(y_true, y_pred, subjects=[1, 1, 2, 2, 3, 3])
    >>> round(result["uf1"].value, 3), result["uf1"].subjects, result.arithmetic
    (0.829, 3, 'pinned')
    >>> result.measures[0].confusion
    ((2, 1), (0, 3))
    """
    pin_or_warn()
    from fdpbench.bench.evaluate.metrics import METRICS
    from fdpbench.bench.evaluate.prediction_set import evaluate_part
    from fdpbench.bench.evaluate.records import Interval
    from fdpbench.bench.external.arrays import array_rows
    from fdpbench.bench.external.join import join

    if not 0 < level < 1:
        raise ValueError(f"level={level}, expected a share between 0 and 1")
    place = Path("evaluate")
    rows = array_rows(place, {"y_true": y_true, "y_pred": y_pred, "groups": subjects})
    said = join(place, rows, None, [], classes=None if classes is None else tuple(classes))
    part = evaluate_part(said, level=level)
    if not part.repetitions:
        raise ValueError(f"evaluate: {part.why_not}")
    metrics = part.intervals
    if not metrics:
        nan, counts = float("nan"), (part.subjects, part.clips, len(part.repetitions), 0)
        values = {name: [one.values[name] for one in part.repetitions] for name in METRICS}
        metrics = {name: Interval(sum(v) / len(v), nan, nan, level, "none", *counts) for name, v in values.items()}
    return Evaluation(metrics, said.classes, part.repetitions, part.why_not, arithmetic())


def list_models() -> list[str]:
    """Names of all models, in order.

    Returns
    -------
    list of str
        For `create_model`, and for ``model:`` of a run; `fdpbench models` says what each is.

    Examples
    --------
    >>> import fdpbench as fb
    >>> "ststnet" in fb.list_models()
    True
    """
    pin_or_warn()
    from fdpbench.models.common import registry

    return registry.list_models()


def create_model(
    name: str,
    num_classes: int,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    seed: int | None = None,
    **options: Any,
) -> Any:
    """Build a model: a torch module, or an estimator that fits itself.

    Parameters
    ----------
    name
        A name of `list_models`, or ``path/to/file.py:Class``.
    num_classes
        Number of classes, at least 2.
    shapes
        Of a module, the shape of one clip for each input that it reads, without the batch axis, such as
        ``{"flow": (3, 28, 28)}``; ``shapes`` of a task is that. First weights come from torch's global generator.
    seed
        Of an estimator, what seeds its fitting.
    **options
        Options of the model, as `fdpbench models` lists them.

    Returns
    -------
    Classifier or Estimator
        Called with its inputs by name, float32, of zero mean and unit variance over the training clips, a module gives
        ``ModelOutput`` with ``logits`` (B, num_classes).

    Raises
    ------
    ValueError
        If there is no such model, or an option or a shape does not suit it.

    Examples
    --------
    >>> import fdpbench as fb
    >>> model = fb.create_model("ststnet", 3, shapes={"flow": (3, 28, 28)})
    >>> import torch
    >>> tuple(model(flow=torch.zeros(2, 3, 28, 28)).logits.shape)
    (2, 3)
    """
    pin_or_warn()
    from fdpbench.models.common import registry

    return registry.create_model(name, num_classes, shapes=shapes, seed=seed, **options)
