"""Section ``ensembles`` of params.yaml: each a list of runs whose class probabilities are averaged.

An ensemble is not trained: stage `evaluate` computes it of its members' predictions (`bench.evaluate.ensembles`), and
tables and report show it beside the runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fdpbench.bench.plan.params import check_run_name, run_names
from fdpbench.bench.train.settings import RunEntry
from fdpbench.models.common.registry import UnknownModelError, model_info
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.problems import ParamsError, Problems, near, shown

__all__ = ["ENSEMBLE", "check_ensembles", "evaluated"]

ENSEMBLE = "ensemble"  # what tables print as its model
SHARED = ("task", "protocol", "split", "training_subjects", "faults")  # what its members have in common


def evaluated(params: dict[str, Any] | None = None) -> dict[str, RunEntry]:
    """All that is evaluated: the listed runs, then the ensembles, each with an entry that names its members.

    Raises
    ------
    ParamsError
        With all that is wrong with names, entries or ensembles.
    """
    params = read_params() if params is None else params
    runs, problems = run_names(params), Problems()
    ensembles = check_ensembles(params, runs, problems)
    problems.refuse()
    return runs | ensembles


def check_ensembles(params: dict[str, Any], runs: Mapping[str, RunEntry], problems: Problems) -> dict[str, RunEntry]:
    """The ensembles that can be computed; what is wrong with the others is kept.

    Parameters
    ----------
    params
        What `read_params` gave.
    runs
        The runs, as `run_names` gives them. A member that the file lists and these lack has an error of its own.
    problems
        Where to keep what is wrong.
    """
    found: dict[str, RunEntry] = {}
    for name, members in params.get("ensembles", {}).items():
        with problems.gather():
            entry = _entry(name, members, params, runs)
            if entry is not None:
                found[name] = entry
    return found


def _entry(name: str, members: Any, params: dict[str, Any], runs: Mapping[str, RunEntry]) -> RunEntry | None:
    """The entry of an ensemble; none where a member has an error of its own."""
    where = f"params.yaml: ensembles.{name}"
    if not isinstance(members, list) or not members or not all(isinstance(member, str) for member in members):
        raise ParamsError(f"{where}: expected a list of runs, such as [run-a, run-b] (found {shown(members)})")
    if name in params["runs"]:
        raise ParamsError(f"{where}: a run has this name; name the ensemble otherwise")
    wrong = [problem for member in dict.fromkeys(members) for problem in _wrong(member, members, params)]
    if wrong:
        raise ParamsError(*(f"{where}: {problem}" for problem in wrong))
    if not all(member in runs for member in members):
        return None
    first, *others = members
    for member in members:
        try:
            kind = model_info(runs[member].model).kind
        except UnknownModelError:
            return None
        if kind != "module":
            raise ParamsError(
                f"{where}: {member}: scores of {runs[member].model} are not probabilities; members are runs of networks"
            )
    for member in others:
        for key in SHARED:
            if getattr(runs[member], key) != getattr(runs[first], key):
                raise ParamsError(
                    f"{where}: {key} of {member} is not that of {first}; members share {', '.join(SHARED)}"
                )
        if bool(runs[member].init) != bool(runs[first].init):
            raise ParamsError(
                f"{where}: of {first} and {member} one starts from weights and one from scratch; they are not mixed"
            )
    if not others and params["train"].get("repetitions") == 1:
        raise ParamsError(
            f"{where}: one run with one seed is no ensemble; name another run, or set train.repetitions to 2 or more"
        )
    like = runs[first]
    inits = dict.fromkeys(runs[member].init or "" for member in members)
    entry = RunEntry(
        task=like.task,
        model=ENSEMBLE,
        protocol=like.protocol,
        init=", ".join(inits) or None,
        split=like.split,
        training_subjects=like.training_subjects,
        faults=like.faults,
        table=like.table,
        members=members,
    )
    check_run_name(f"ensembles.{name}", name, entry)
    return entry


def _wrong(member: str, members: list[str], params: dict[str, Any]) -> Iterator[str]:
    if members.count(member) > 1:
        yield f"duplicate run {member!r}"
    if member in params["runs"]:
        return
    if member in params["ensembles"]:
        yield f"{member!r} is an ensemble itself; list its runs instead"
    else:
        yield f"no run {member!r}{near(member, params['runs'])}; runs: {', '.join(params['runs'])}"
