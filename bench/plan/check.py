"""`fdpbench check`: everything that a later stage would refuse of params.yaml, said at once and before any of them.

What is looked at, beside the file: which releases are linked, the manifests that are there, files that options
name, whether there is a CUDA device.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fdpbench.bench.plan.ensembles import check_ensembles
from fdpbench.bench.plan.link import check_links
from fdpbench.bench.plan.params import errors_of_run, make_run, parse_task, run_names
from fdpbench.bench.plan.pretraining import check_tables, errors_of_pretraining, load_pretraining
from fdpbench.bench.plan.recipes import check_model_options, known_model
from fdpbench.bench.train.folds import SubjectKFold, least_training_subjects, split_text
from fdpbench.bench.train.settings import ModelSettings, Run, RunEntry, TrainParams
from fdpbench.models.common.registry import create_model
from fdpbench.prep.align import faces_dlib
from fdpbench.prep.demo import synth
from fdpbench.prep.index.class_maps import known_emotions
from fdpbench.prep.releases import RELEASES, ReleaseError, refuse_crops
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.params import NAMED, PARAMS_FILE, SECTION_TYPES, check_params, check_task
from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import ParamsError, Problems, near
from fdpbench.prep.settings.section import Section, section
from fdpbench.prep.settings.synth import EMBEDDED, synth_section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import MANIFEST
from fdpbench.prep.task.inputs import INPUTS, lengths_of

__all__ = ["TYPES", "check_project", "load_runs"]

# The sections that are one object of one form each.
TYPES: dict[str, type[Section]] = {
    "index": IndexParams,
    "align": AlignParams,
    "flow": FlowParams,
    "train": TrainParams,
}


def load_runs(params: dict[str, Any]) -> list[Run]:
    """All listed runs, checked with all sections, as far as params.yaml alone tells.

    Parameters
    ----------
    params
        What `read_params` gave.

    Raises
    ------
    ParamsError
        With every problem there is.
    """
    problems = Problems()
    runs = _runs_of(params, problems)
    problems.refuse()
    return runs


def check_project(path: Path = PARAMS_FILE) -> list[Run]:
    """Check params.yaml, and what it names on this machine.

    Returns
    -------
    The runs.

    Raises
    ------
    ParamsError
        With every problem there is.
    """
    if not path.is_file():
        raise ParamsError(f"{path} not found: run the command from the project's root folder")
    content = read_yaml(path)
    problems = Problems()
    with problems.gather():
        check_params(content, path)
    if not isinstance(content, dict):
        problems.refuse()
    params = _sound(content)
    runs = _runs_of(params, problems, whole=not problems.found)
    with problems.gather():
        check_links(params)
    if isinstance(content.get("align"), dict) and content["align"].get("landmarks") == "dlib":
        with problems.gather():
            faces_dlib.require_dlib()
    _check_subjects(runs, params, problems)
    if not problems.found:
        _check_models(runs, params, problems)
    problems.refuse()
    return runs


def _sound(content: dict[str, Any]) -> dict[str, Any]:
    """The sections, an empty one in place of each that is missing or of the wrong kind; without names that are none."""
    sound: dict[str, Any] = {}
    for key, kind in SECTION_TYPES.items():
        sound[key] = content[key] if isinstance(content.get(key), kind) else kind[0]()
    for key in NAMED:
        kept = [name for name in sound[key] if isinstance(name, str)]
        sound[key] = kept if isinstance(sound[key], list) else {name: sound[key][name] for name in kept}
    return sound


def _runs_of(params: dict[str, Any], problems: Problems, whole: bool = True) -> list[Run]:
    """Check all sections; the runs if nothing is wrong with them, else as good as none."""
    for key, kind in TYPES.items():
        if params[key] or whole:  # of a section that is missing, this has been said
            with problems.gather():
                section(kind, params[key], key)
    if params["synth"] or (whole and EMBEDDED in params["releases"]):
        with problems.gather():
            synth_section(params["synth"])
    for name, content in params["corpora"].items():
        with problems.gather():
            section(CorpusParams, content, f"corpora.{name}")
    for name in params["pretrain"]:
        problems.add(*errors_of_pretraining(name, params))
    tasks = _tasks(params, problems)
    _check_given(params, problems)
    _check_options(params, problems)
    if not params["releases"] and whole:
        problems.add(f"params.yaml: releases: none is named; {EMBEDDED!r}, the embedded one, needs no licence")
    if params["runs"] or whole:
        with problems.gather():
            run_names(params)
    entries: dict[str, RunEntry] = {}
    for name, content in params["runs"].items():  # each by itself: one that cannot be read hides no other
        try:
            entries |= run_names({"runs": {name: content}})
        except ParamsError:
            continue
    for name, entry in entries.items() if whole or params["tasks"] else ():
        problems.add(*errors_of_run(name, entry, tasks, params))
    problems.add(*check_tables(entries))
    check_ensembles(params, entries, problems)
    if problems.found:
        return []
    return [make_run(name, entry, tasks[entry.task], params) for name, entry in entries.items()]


def _tasks(params: dict[str, Any], problems: Problems) -> dict[str, TaskParams]:
    """The tasks that can be read; what is wrong with them and with the others is kept."""
    tasks = {}
    for name, content in params["tasks"].items():
        try:
            tasks[name] = parse_task(name, content)
        except ParamsError as error:
            problems.add(error)
            continue
        _check_releases(name, tasks[name], params, problems)
        _check_emotions(name, tasks[name], problems)
        if tasks[name].landmarks and params["align"]:
            with problems.gather():
                check_task(name, tasks[name], section(AlignParams, params["align"], "align"))
    return tasks


def _check_given(params: dict[str, Any], problems: Problems) -> None:
    """With align.mode given every release comes with crops of faces."""
    if params["align"].get("mode") == "given":
        for release in params["releases"]:
            if release in RELEASES:
                try:
                    refuse_crops(RELEASES[release])
                except ReleaseError as error:
                    problems.add(f"params.yaml: {error}")


def _check_releases(name: str, task: TaskParams, params: dict[str, Any], problems: Problems) -> None:
    """A task's releases are prepared by a stage, once, and can give what it asks for."""
    where = f"params.yaml: tasks.{name}.releases"
    for release in dict.fromkeys(task.releases):
        if task.releases.count(release) > 1:
            problems.add(f"{where}: {release!r} stands twice")
        if release not in RELEASES:
            problems.add(f"{where}: unknown release {release!r}{near(release, RELEASES)}; it is none of the known ones")
        elif release not in params["releases"]:
            problems.add(f"{where}: needs release {release!r}, which is prepared by no stage; name it under releases")
        elif RELEASES[release].kind == "flow" and task.needs_frames:
            problems.add(
                f"params.yaml: tasks.{name}: asks for frames or apex frames, but release {release!r} has flow images "
                "alone; leave sampling, rank_pooling and apex out of the task"
            )
        elif RELEASES[release].kind == "flow" and task.flow is not None and task.flow.scaling != "per_image":
            problems.add(
                f"params.yaml: tasks.{name}.flow.scaling: {task.flow.scaling} needs pixels, which the flow images of "
                f"release {release!r} do not tell; use per_image"
            )


def _check_emotions(name: str, task: TaskParams, problems: Problems) -> None:
    """Each emotion of a task's classes is one that a release of it can have, where that is known of all of them."""
    found = [_emotions(release) for release in task.releases]
    known = sorted({emotion for emotions in found for emotion in emotions or ()})
    for class_name, group in task.classes.items():
        where = f"params.yaml: tasks.{name}.classes.{class_name}"
        if not group:
            problems.add(f"{where}: gathers no emotion, and would have no clip")
        for emotion in group:
            if emotion not in known and None not in found:
                problems.add(
                    f"{where}: {', '.join(task.releases)} is not known to have the emotion {emotion!r}"
                    f"{near(emotion, known)}; it has {', '.join(known)}. If your sheet does have it: fdpbench "
                    f"index {task.releases[0]}"
                )


def _check_subjects(runs: list[Run], params: dict[str, Any], problems: Problems) -> None:
    """There are subjects enough for a run's folds, and for what it trains on beside them, as far as that is known."""
    for run in runs:
        known, split, wanted = _subjects(run.task_params, params), run.entry.split, run.entry.training_subjects
        where = f"params.yaml: runs.{run.name}"
        if known is None:
            continue
        if isinstance(split, SubjectKFold) and split.subject_kfold > known:
            problems.add(f"{where}.split: {split_text(split)}, but task {run.task!r} has {known} subjects; set less")
        elif wanted is not None and wanted > (most := least_training_subjects(split, known)):
            problems.add(
                f"{where}.training_subjects: {wanted} is more than task {run.task!r} has beside those that are tested; "
                f"it has {known} subjects: set it to {most} or less"
            )


def _subjects(task: TaskParams, params: dict[str, Any]) -> int | None:
    """How many subjects a task has, if none is lost on the way to it; None if that is not known yet."""
    wanted = {emotion for group in task.classes.values() for emotion in group}
    count = 0
    for release in task.releases:
        if release == EMBEDDED:
            count += synth_section(params["synth"]).subjects
            continue
        try:
            table = shards.read_table(paths.manifest(release) / "manifest.parquet", MANIFEST)
        except (OSError, ValueError):  # not indexed yet, or by an older version
            return None
        pairs = zip(table["subject"].to_pylist(), table["emotion"].to_pylist(), strict=True)
        count += len({subject for subject, emotion in pairs if emotion in wanted})
    return count


def _emotions(release: str) -> set[str] | None:
    """Emotions that are known of a release, those of its manifest among them; None if nothing is known."""
    known = set(synth.EMOTIONS) if release == EMBEDDED else known_emotions(release)
    try:
        table = shards.read_table(paths.manifest(release) / "manifest.parquet", MANIFEST)
    except (OSError, ValueError):  # not indexed yet, or by an older version: the stage will
        return known
    return {str(emotion) for emotion in table["emotion"].to_pylist()} | set(known or ())


def _check_options(params: dict[str, Any], problems: Problems) -> None:
    """Every line under `options`, whether a run needs it or not."""
    for model, content in params["options"].items():
        where = f"options.{model}"
        with problems.gather():
            known_model(where, model)
            settings = section(ModelSettings, content, where)
            problems.add(*check_model_options(f"{where}.model", model, settings.model))


def _check_models(runs: list[Run], params: dict[str, Any], problems: Problems) -> None:
    """Build each model once, without memory for its weights, for inputs of the size that its task or corpus gives."""
    align = section(AlignParams, params["align"], "align")
    trainings = [(name, load_pretraining(name, params)) for name in params["pretrain"]]
    built: dict[str, str] = {}
    for where, run, crops in [
        *((f"pretrain.{name}", training.as_run(name), training.crops) for name, training in trainings),
        *((f"runs.{run.name}", run, align) for run in runs),
    ]:
        lengths = lengths_of(run.task_params, crops)
        shapes = {name: INPUTS[name].shape(lengths) for name in run.model.inputs}
        key = f"{run.entry.model} {shapes} {len(run.task_params.classes)} {run.settings.model} {run.settings.augment}"
        if key not in built:
            built[key] = _refusal(run, shapes)
        if built[key]:
            problems.add(f"params.yaml: {where}: {built[key]}")
    if any(run.model.kind == "module" for run in runs):
        from fdpbench.bench.train.step import resolve_device

        with problems.gather():
            resolve_device(runs[0].train.device)


def _refusal(run: Run, shapes: dict[str, tuple[int, ...]]) -> str:
    """What a run's model has against its options or the size of its inputs; empty if nothing."""
    classes = len(run.task_params.classes)
    try:
        if run.model.kind == "module":
            import torch

            from fdpbench.bench.train.augment import check_shift

            check_shift(run, shapes)
            with torch.device("meta"), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter")
                create_model(run.entry.model, classes, shapes=shapes, **run.settings.model)
        else:
            model = create_model(run.entry.model, classes, **run.settings.model)
            if run.model.hand_crafted:
                random = np.random.default_rng(0)
                model.features({name: random.random((1, *shape), np.float32) for name, shape in shapes.items()})
    except ValueError as error:
        return " ".join(str(error).split())
    return ""
