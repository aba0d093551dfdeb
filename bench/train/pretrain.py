"""Stage `pretrain`: a network trained on a corpus of rendered motion, for runs to start from.

In: data/corpus/NAME. Out: artifacts/pretrained/NAME with 0.safetensors and on, one for each repetition, and a card, as
card.json and card.md: what the weights were made of, and what they do on people they have not seen.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.evaluate.calibration import OF_CLASSES, OF_UNITS, calibrated
from fdpbench.bench.evaluate.metrics import metric_of
from fdpbench.bench.train.artifacts import PRETRAINED, machine_of_weights
from fdpbench.bench.train.cards import card_text
from fdpbench.bench.train.data import ClipSet
from fdpbench.bench.train.provenance import write_machine
from fdpbench.bench.train.seeds import seed_of
from fdpbench.bench.train.settings import ModelSettings, PretrainEntry, Run, RunEntry, TrainParams
from fdpbench.models.common.registry import model_info
from fdpbench.prep.demo.corpus.reading import read_corpus, read_description
from fdpbench.prep.runtime.durable import write_durably
from fdpbench.prep.runtime.scratch import hash_file, key_of, open_scratch
from fdpbench.prep.runtime.training import TrainingProgress
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import contents, paths

__all__ = ["corpus_clips", "held_out_people", "run", "run_on_corpus"]

RUN = "pretrain"  # in the place of a subject in the hash that seeds a training


@dataclass(frozen=True)
class _Training:
    """One repetition: what a worker needs."""

    run: Run
    entry: PretrainEntry
    corpus: Path
    units: tuple[str, ...]  # those that it learns
    seed: int
    device: str


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned; the unit of work, and of going on after a kill, is a repetition."""
    from fdpbench.bench.train.step import resolve_device, resolve_precision

    name = planned.item
    entry = section(PretrainEntry, planned.settings["entry"], f"pretrain.{name}")
    corpus = paths.corpus(entry.corpus)
    description = read_description(corpus)
    classes = _classes(entry, description["classes"])
    whole = run_on_corpus(
        name,
        entry,
        section(CorpusParams, planned.settings["corpus"], f"corpora.{entry.corpus}"),
        classes,
        section(ModelSettings, planned.settings["settings"], f"pretrain.{name}.set"),
        TrainParams(**planned.settings["train"], repetitions=entry.repetitions),
    )
    units = tuple(description["units"]) if entry.targets != "classes" else ()
    device = resolve_device(whole.train.device)
    seeds = {
        str(k): seed_of(whole.train.seed, entry.corpus, whole.model.name, RUN, k) for k in range(entry.repetitions)
    }
    made_of = {
        "pretraining": entry.model_dump(exclude={"set"}),
        "corpus": {"settings": planned.settings["corpus"], "sums": hash_file(corpus / contents.SUMS)},
        "settings": whole.settings.model_dump(),
        "train": whole.train.model_dump(exclude={"repetitions"}),
        "seeds": seeds,
        **planned.made_by,
        "hardware": [device, resolve_precision(whole.train.precision, device)],
    }
    with open_scratch(f"pretrain-{name}", key_of(**made_of)) as scratch:
        missing = scratch.missing(seeds)
        work = [Unit(k, _Training(whole, entry, corpus, units, seeds[k], device)) for k in missing]
        workers = min(jobs, len(work)) if device == "cpu" else 1
        done, workers = len(seeds) - len(missing), max(1, workers)
        with TrainingProgress(f"{RUN} {name}", len(seeds), done, workers, "repetition") as progress:
            for unit in run_units(work, _train, scratch, workers, progress.report):
                progress.finished(unit)
        write_machine(machine_of_weights(name), device)

        def publish(staging: Path) -> None:
            staging.mkdir()
            weights = {}
            for k in seeds:
                target = staging / f"{k}.safetensors"
                shutil.copyfile(scratch.unit(k) / "model.safetensors", target)
                measured = json.loads((scratch.unit(k) / "measured.json").read_text(encoding="utf-8"))
                weights[target.name] = {"sha256": hash_file(target), "bytes": target.stat().st_size, **measured}
            card = {
                "name": name,
                "rendered": True,
                "outputs": [*classes, *units],
                "weights": weights,
                **made_of,
            }
            write_durably(staging / "card.json", json.dumps(card, indent=2, sort_keys=True) + "\n")
            write_durably(staging / "card.md", card_text(card))

        scratch.publish({PRETRAINED / name: publish})


def _classes(entry: PretrainEntry, composite: dict[str, list[str]]) -> dict[str, list[str]]:
    """The classes that are learnt, with their emotions, of those that corpus.json lists."""
    if entry.classes == "composite":
        return composite
    return {emotion: [emotion] for emotion in sorted(emotion for group in composite.values() for emotion in group)}


def run_on_corpus(
    name: str,
    entry: PretrainEntry,
    corpus: CorpusParams,
    classes: Mapping[str, Sequence[str]],
    settings: ModelSettings,
    train: TrainParams,
) -> Run:
    """A pretraining as a run on its corpus, as far as the training loop, and what checks runs, look at it.

    Parameters
    ----------
    name, entry
        Of section `pretrain`.
    corpus
        What the entry names.
    classes
        Classes that are learnt, with the emotions that each gathers.
    settings, train
        How it is trained.
    """
    task = corpus.as_task(entry.corpus, classes)
    as_entry = RunEntry(task=entry.corpus, model=entry.model)
    return Run(name, entry.corpus, task, as_entry, model_info(entry.model), settings, train)


def corpus_clips(folder: Path, inputs: Sequence[str], classes: Mapping[str, Sequence[str]]) -> ClipSet:
    """A corpus in memory, as clips of the form that a task gives.

    Parameters
    ----------
    folder
        Of the corpus.
    inputs
        Names of what to read of each clip, targets among them.
    classes
        In order of class index, with the emotions that each gathers.

    Raises
    ------
    prep.demo.corpus.reading.CorpusError
        If the corpus does not have an input.
    """
    clips = read_corpus(folder, inputs)
    labels = {emotion: k for k, group in enumerate(classes.values()) for emotion in group}
    names = tuple(map(str, clips.subject))
    ids = tuple(f"{name}/{k}" for k, name in enumerate(names))
    label = np.array([labels[str(emotion)] for emotion in clips.emotion], np.int64)
    return ClipSet(ids, names, label, clips.inputs, clips.units)


def held_out_people(subjects: tuple[str, ...], share: float) -> frozenset[str]:
    """The identities that are not trained on: the last ones by name, at least one where the share is above 0."""
    names = sorted(set(subjects))
    count = min(len(names) - 1, max(1, round(share * len(names)))) if share else 0
    return frozenset(names[len(names) - count :])


def _train(training: _Training, context: Context) -> None:
    """Train one repetition in a worker; write model.safetensors and measured.json."""
    from fdpbench.bench.train.fit_module import fit_module
    from fdpbench.bench.train.step import Heads

    run, entry = training.run, training.entry
    read = dict.fromkeys((*run.model.inputs, *run.model.targets))
    clips = corpus_clips(training.corpus, tuple(read), run.task_params.classes)
    held_out = held_out_people(clips.subjects, entry.held_out)
    seen = clips.of(frozenset(clips.subjects) - held_out)
    if not training.units:
        seen = replace(seen, units=None)
    classes = len(run.task_params.classes)
    heads = Heads(classes, entry.targets != "units", entry.unit_weight if training.units else 0.0)
    fitted = fit_module(run, seen, classes, training.seed, training.device, context.report, heads=heads)
    fitted.round_to(entry.stored)
    fitted.save(context.folder / "model.safetensors", training.units, entry.stored)
    measured: dict[str, Any] = {"epochs": len(fitted.curve), "loss": round(fitted.curve[-1]["loss"], 6)}
    if held_out:
        unseen = clips.of(held_out)
        scores = fitted.predict(unseen).scores if entry.targets != "units" else None
        units = fitted.unit_probabilities(unseen) if training.units else None
        measured["held_out"] = _measured(unseen, scores, units, training)
        if len(held_out) > 1:
            measured["calibration"] = _calibration(unseen, scores, units)
    write_durably(context.folder / "measured.json", json.dumps(measured))


def _measured(
    clips: ClipSet, scores: NDArray[np.float64] | None, said: NDArray[np.float64] | None, training: _Training
) -> dict[str, Any]:
    """What a network does on the clips of people that it was not trained on, from what it says of them."""
    found: dict[str, Any] = {"people": len(set(clips.subjects)), "clips": len(clips)}
    if scores is not None:
        classes = len(training.run.task_params.classes)
        confusion = np.zeros((classes, classes), np.int64)
        np.add.at(confusion, (clips.labels, scores.argmax(axis=1)), 1)
        values = {key: float(metric_of(confusion, key)) for key in ("uf1", "uar")}
        found |= {key: round(value, 4) for key, value in values.items() if not np.isnan(value)}  # with a class missing
    if said is not None:
        from sklearn.metrics import roc_auc_score

        assert clips.units is not None
        areas = {
            unit: round(float(roc_auc_score(clips.units[:, k] == 1, said[:, k])), 4)
            for k, unit in enumerate(training.units)
            if 0 < (clips.units[:, k] == 1).sum() < len(clips)
        }
        if areas:  # none where all units move in all clips, or in none
            found |= {"unit_auc": areas, "mean_unit_auc": round(float(np.mean(list(areas.values()))), 4)}
    return found


def _calibration(
    clips: ClipSet, scores: NDArray[np.float64] | None, said: NDArray[np.float64] | None
) -> dict[str, Any]:
    """Temperatures of what a network says of the people it was not trained on.

    What temperatures do is measured crosswise: every other one of these people at what was fitted on the others.
    """
    people = sorted(set(clips.subjects))
    half = np.isin(np.array(clips.subjects), people[::2])
    found: dict[str, Any] = {}
    if scores is not None:
        found["classes"] = calibrated(OF_CLASSES, scores, clips.labels, half)
    if said is not None:
        assert clips.units is not None
        found["units"] = calibrated(OF_UNITS, said, clips.units.astype(np.float64), half)
    return found
