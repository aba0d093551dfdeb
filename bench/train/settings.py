"""The settings of a run, as training reads them: its entry, its model's recipe, what all runs share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from fdpbench.bench.train.artifacts import located
from fdpbench.bench.train.folds import SUBJECT, Split, split_text
from fdpbench.bench.train.protocols import Faults, Protocol, counted
from fdpbench.models.common.registry import (
    Augment,
    BatchSize,
    Count,
    ModelInfo,
    Optimiser,
    Positive,
    Power,
    Schedule,
    Share,
    Weight,
    file_options,
    model_info,
)
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.problems import NAME
from fdpbench.prep.settings.section import Section, section
from fdpbench.prep.settings.task import TaskParams

__all__ = ["ModelSettings", "PretrainEntry", "Run", "RunEntry", "TrainParams", "in_words", "run_of"]


class TrainParams(Section):
    """What all runs share."""

    seed: int = Field(ge=0, description="base seed; each fold's own is a hash of it, task, model, fold, repetition")
    repetitions: int = Field(ge=1, description="how often each run is trained, each time with other seeds")
    device: Literal["auto", "cpu", "cuda"] = Field(description="auto: cuda if there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        description="auto: bfloat16 autocast on cuda, float32 on the CPU"
    )
    deterministic: bool = Field(
        description="true: the same bytes each time; false: on cuda the quickest algorithms, whose sums vary"
    )


PRETRAINED_TABLE = "pretrained"  # name of the table of runs that start from weights, where they name none


class ModelSettings(Section):
    """How a model is trained; in `options` and in `set` of a run, what stands in place of its recipe.

    All but ``model`` is for models trained by gradient descent alone.
    """

    epochs: Count | None = Field(default=None, description="passes over the training set, fixed")
    batch_size: BatchSize | None = Field(default=None, description="clips in a batch")
    lr: Positive | None = Field(default=None, description="learning rate; of the schedule one_cycle its peak")
    weight_decay: Weight | None = Field(default=None, description="weight decay: adam's L2 penalty, adamw's decay")
    optimiser: Optimiser = Field(
        default="adam", description="adam, or adamw, whose weight decay does not pass through the gradient's statistics"
    )
    schedule: Schedule = Field(
        default="constant", description="of the learning rate; one_cycle: up to lr in 30% of the steps, then down"
    )
    class_weight: Power = Field(
        default=0.0,
        description="power of the inverse frequency of a clip's class that weighs its loss: 0 weighs all clips alike, "
        "1 all classes",
    )
    augment: Augment = Field(
        default=Augment(),
        description="random changes of training clips: mirror (true or false), shift (pixels of the input)",
    )
    mirrored_prediction: bool = Field(
        default=False, description="a clip's probabilities are the mean of its own and its mirror image's"
    )
    objective: Literal["erm", "group_dro"] = Field(
        default="erm",
        description="erm: the mean loss of the clips; group_dro: the loss of the training subjects that do worst",
    )
    dro_step: Weight | None = Field(
        default=None, description="with group_dro alone: step size of the subjects' weights"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="the model's own options")


class RunEntry(Section):
    """A line of the run list: a task, a model, and settings of this run alone."""

    task: str
    model: str
    protocol: Protocol = Field(
        default="honest",
        description="honest: fixed epochs; inner: epochs chosen on held-out training subjects; test_selected: "
        "the epoch that does best on the test subject; zero_shot: not trained at all, the weights of init as they are",
    )
    init: str | None = Field(
        default=None,
        description="weights to start from: a name under `pretrain`, or of weights that come with the package",
    )
    split: Split = Field(
        default=SUBJECT,
        exclude_if=lambda split: split == SUBJECT,
        description="who is tested together: subject, each alone (leave one subject out); {subject_kfold: 5}, folds of "
        "whole subjects, alike in classes and releases, the same for all runs on the same clips",
    )
    training_subjects: Count | None = Field(
        default=None,
        exclude_if=lambda count: count is None,
        description="each fold trains on so many of its training subjects, drawn at random, the same for all models, "
        "fewer among those of more; a class that they lack is seldom predicted. Absent: all of them",
    )
    faults: Faults = Field(default=Faults(), description="faults of the released code to rebuild")
    table: str | None = Field(
        default=None,
        pattern=NAME,
        description="prints the run in a table of this name beside the task's own; absent: in the task's own",
    )
    set: dict[str, Any] = Field(default_factory=dict, description="settings of this run alone")
    members: list[str] = Field(
        default_factory=list,
        exclude_if=lambda members: not members,
        description="of an ensemble, the runs whose probabilities are averaged; not written by hand",
    )

    @model_validator(mode="after")
    def _named(self) -> RunEntry:
        if not self.task or not self.model:
            raise ValueError("a run needs a task and a model")
        return self

    @property
    def printed_in(self) -> str | None:
        """Name of the table beside the task's own that prints the run: `table`, or what sets the run apart."""
        apart = [PRETRAINED_TABLE] if self.init else []
        return self.table or "-".join([*apart, *(word.replace(" ", "_") for word in self._folds)]) or None

    @property
    def never_beside(self) -> tuple[bool, str]:
        """What all runs of a table have in common: whether they start from weights, and their split."""
        return self.init is not None, split_text(self.split)

    @property
    def folds_text(self) -> str:
        """What sets its folds apart, as tables print it: ``5 folds, 2 training subjects``; of the default nothing."""
        return ", ".join(self._folds)

    @property
    def _folds(self) -> list[str]:
        few = "" if self.training_subjects is None else counted(self.training_subjects, "training subject")
        return [text for text in (split_text(self.split), few) if text]


class PretrainEntry(Section):
    """An entry of section `pretrain`: a network trained on a corpus, for runs to start from."""

    corpus: str = Field(description="a name under `corpora`")
    model: str
    classes: Literal["composite", "emotions"] = Field(
        default="composite",
        description="composite: negative, positive, surprise, as the MEGC2019 composite; emotions: the four of the "
        "embedded release, in order of name",
    )
    targets: Literal["both", "classes", "units"] = Field(
        default="both", description="what it learns to tell: the classes, action units, or both at once"
    )
    unit_weight: Positive = Field(
        default=3.0, description="weight of the action units' binary cross-entropy beside the classes' cross-entropy"
    )
    held_out: Share = Field(
        default=0.05, description="share of the identities that are not trained on: its card's figures are of them"
    )
    repetitions: Count = Field(
        default=1, description="how often it is trained, each time with another seed; repetitions of runs take turns"
    )
    stored: Literal["float32", "float16"] = Field(
        default="float32", description="numbers of the files; float16: half the size, and the card's figures are of it"
    )
    set: dict[str, Any] = Field(default_factory=dict, description="settings of this training, as in a run")


@dataclass(frozen=True)
class Run:
    """A run with everything it needs, checked."""

    name: str
    task: str
    task_params: TaskParams
    entry: RunEntry
    model: ModelInfo
    settings: ModelSettings
    train: TrainParams
    start: tuple[str, ...] = ()  # files of the weights that repetitions start from, in turn; empty: from none

    def start_of(self, repetition: int) -> Path | None:
        """The weights that a repetition starts from."""
        return located(self.start[repetition % len(self.start)]) if self.start else None

    @property
    def files(self) -> list[Path]:
        """Files that the run's options name, such as weights."""
        named = (self.settings.model.get(option) for option in file_options(self.entry.model))
        return [Path(name) for name in named if name]

    @property
    def model_options(self) -> dict[str, Any]:
        """All options of the model: those that are set, and the others' defaults."""
        return {**self.model.options, **self.settings.model}


def in_words(settings: Mapping[str, Any]) -> list[str]:
    """Settings as tables and messages print them: ``epochs 10``, ``augment.mirror True``."""
    words = []
    for key, value in settings.items():
        nested = isinstance(value, Mapping) and key == "augment"
        words += [f"{key}.{name} {one}" for name, one in value.items()] if nested else [f"{key} {value}"]
    return words


def run_of(planned: Planned) -> Run:
    """The run that stage `plan` resolved (`bench.plan.stage`)."""
    entry = section(RunEntry, planned.settings["entry"], "entry")
    return Run(
        name=planned.item,
        task=entry.task,
        task_params=section(TaskParams, planned.settings["task"], "task"),
        entry=entry,
        model=model_info(entry.model),
        settings=section(ModelSettings, planned.settings["settings"], "settings"),
        train=section(TrainParams, planned.settings["train"], "train"),
        start=tuple(planned.settings["start"]),
    )
