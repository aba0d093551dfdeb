"""Items of stages, resolved: settings, defaults filled in, and all else that results depend on beside data."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fdpbench.arithmetic import arithmetic
from fdpbench.bench.plan.closure import closure, forget
from fdpbench.bench.plan.ensembles import evaluated
from fdpbench.bench.plan.params import load_run, load_tasks, load_train, run_names
from fdpbench.bench.plan.pretraining import load_pretraining, start_of
from fdpbench.bench.plan.stages import STAGES
from fdpbench.bench.train.artifacts import is_shipped, located
from fdpbench.bench.train.kept import holds_measures
from fdpbench.models.common.lookup import source_of
from fdpbench.prep.releases import RELEASES, reader_module
from fdpbench.prep.runtime.scratch import hash_file
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.problems import ParamsError, near
from fdpbench.prep.settings.release import folder_releases
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.synth import EMBEDDED

__all__ = ["items_of", "make_plan", "measured_by", "resolve"]

MEASURES = "fdpbench.bench.evaluate.perception"

# What the items of a stage are, where it has more than one: a section of params.yaml, and a word for one of them.
SECTIONS = {
    "corpus": ("corpora", "corpus"),
    "index": ("releases", "release"),
    "align": ("releases", "release"),
    "flow": ("releases", "release"),
    "dynamic": ("tasks", "task"),
    "task": ("tasks", "task"),
    "pretrain": ("pretrain", "pretraining"),
    "train": ("runs", "run"),
}


def items_of(stage: str, params: dict[str, Any]) -> list[str]:
    """Names of a stage's items; an empty one where it has no more."""
    return list(params[SECTIONS[stage][0]]) if stage in SECTIONS else [""]


def make_plan(params: dict[str, Any]) -> Iterator[Planned]:
    """Every item of every stage, resolved; see `resolve`."""
    forget()
    _code.cache_clear()
    for stage in STAGES:
        for item in items_of(stage, params):
            yield resolve(stage, item, params)


def resolve(stage: str, item: str, params: dict[str, Any]) -> Planned:
    """An item of a stage, resolved.

    Parameters
    ----------
    stage, item
        Names as in dvc.yaml; of a stage without items, the item is empty.
    params
        The sections of params.yaml, of which those are looked at that the stage reads.

    Raises
    ------
    ParamsError
        If params.yaml does not list the item, or what the stage reads of it is wrong.
    """
    listed = items_of(stage, params)
    if item not in listed:
        where, word = SECTIONS[stage]
        known = f"{where}: {', '.join(listed)}" if listed else "it lists none"
        raise ParamsError(f"params.yaml: no {word} {item!r}{near(item, listed)}; {known}")
    settings, modules, files = _settings(stage, item, params)
    code, versions = _code((STAGES[stage], *modules), _unused(stage, settings))
    return Planned(settings, code, versions, files, stage=stage, item=item)


def measured_by() -> dict[str, str]:
    """Code and versions on which figures of generated images depend, as kept files note them."""
    found = closure(MEASURES)
    return found.hashes() | found.versions()


@cache
def _code(modules: tuple[str | Path, ...], without: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes of code and versions of packages; arithmetic that is not pinned counts as a version."""
    found = closure("fdpbench.arithmetic", *modules, without=without)
    return found.hashes(), found.versions() | ({} if arithmetic() == "pinned" else {"arithmetic": arithmetic()})


def _settings(
    stage: str, item: str, params: dict[str, Any]
) -> tuple[dict[str, Any], tuple[str | Path, ...], dict[str, str]]:
    """Settings of an item, code that it uses beside its stage's, and hashes of the files that it reads."""
    match stage:
        case "synthesize":
            listed = EMBEDDED in params["releases"]
            return {"listed": listed, "synth": params["synth"] if listed else {}}, (), {}
        case "corpus":
            return section(CorpusParams, params["corpora"][item], f"corpora.{item}").model_dump(mode="json"), (), {}
        case "index":
            index = section(IndexParams, params["index"], "index").model_dump()
            given = section(AlignParams, params["align"], "align").mode == "given"
            index |= {"crops": True} if given else {}
            return index | _described([item], params), (reader_module(item),), {}
        case "align":
            return section(AlignParams, params["align"], "align").model_dump(), (), {}
        case "flow":
            return section(FlowParams, params["flow"], "flow").model_dump(), (), {}
        case "dynamic" | "task":
            task = load_tasks(params)[item]
            if stage == "dynamic":
                return task.model_dump(), (), {}
            return task.model_dump() | _described(task.releases, params), tuple(map(reader_module, task.releases)), {}
        case "train":
            run = load_run(item, params)
            settings = {
                "entry": run.entry.model_dump(exclude={"set", "table"}),
                "task": run.task_params.model_dump(),
                "settings": run.settings.model_dump(),
                "train": run.train.model_dump(),
                "start": run.start,
            }
            if holds_measures(item):
                settings["measured_by"] = measured_by()
            files = {path.as_posix(): hash_file(path) for path in run.files}
            files |= {file: hash_file(located(file)) for file in run.start if is_shipped(file)}
            return settings, (source_of(run.entry.model),), files
        case "pretrain":
            pretraining = load_pretraining(item, params)
            settings = {
                "entry": pretraining.entry.model_dump(exclude={"set"}),
                "corpus": pretraining.corpus.model_dump(mode="json"),
                "settings": pretraining.settings.model_dump(),
                "train": pretraining.train.model_dump(exclude={"repetitions"}),
            }
            return settings, (source_of(pretraining.entry.model),), {}
        case "init":
            started = {name: start_of(entry, params) for name, entry in run_names(params).items()}
            made = {name: [file for file in files if not is_shipped(file)] for name, files in started.items()}
            return {"runs": made}, (), {}
    return _listed(params), (), {}


def _described(releases: list[str], params: dict[str, Any]) -> dict[str, Any]:
    """What params.yaml says of those among some releases that it describes; nothing where there are none."""
    own = folder_releases(params["releases"])
    found = {name: own[name].model_dump() for name in releases if name in own}
    return {"described": found} if found else {}


def _listed(params: dict[str, Any]) -> dict[str, Any]:
    """What stages read that look at all runs."""
    return {
        "releases": list(params["releases"]),
        "tasks": {name: task.model_dump() for name, task in load_tasks(params).items()},
        "runs": {name: entry.model_dump() for name, entry in evaluated(params).items()},
        "repetitions": load_train(params).repetitions,
        "seed": load_train(params).seed,  # folds are drawn of it
        "class_maps": {name: RELEASES[name].class_maps for name in RELEASES},  # published figures are found by them
    }


def _unused(stage: str, settings: dict[str, Any]) -> tuple[str, ...]:
    """Modules that a stage imports only where its settings ask for it."""
    return () if stage == "align" and settings["landmarks"] == "dlib" else ("fdpbench.prep.align.faces_dlib",)
