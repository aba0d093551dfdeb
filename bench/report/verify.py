"""Whether this machine made what the committed results are: outputs by their hashes in dvc.lock, metrics by value."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from fdpbench.arithmetic import arithmetic
from fdpbench.bench.train.provenance import machine

__all__ = ["Comparison", "VerifyError", "compare_locks", "outputs_of", "verify", "verify_lines"]

LOCK = Path("dvc.lock")
METRICS = Path("results/metrics.json")


class VerifyError(ValueError):
    """There is nothing to compare with, or nothing to compare; the message says what to do."""


@dataclass(frozen=True)
class Comparison:
    """Outputs of this machine against expected ones.

    Attributes
    ----------
    same
        Number of outputs with the same hash.
    different
        Stage -> its outputs with another hash, in order of the data flow: the first is where to look.
    missing, unknown
        Outputs that are expected and not there, and those of stages that nothing is expected of.
    metrics
        Metrics that differ: name, this machine's value, expected value.
    """

    same: int
    different: dict[str, list[str]]
    missing: list[str]
    unknown: list[str]
    metrics: list[tuple[str, float | None, float | None]]

    @property
    def identical(self) -> bool:
        """Whether every expected output is there with the same bytes."""
        return not (self.different or self.missing or self.metrics)


def outputs_of(lock: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """MD5 of each output by stage, in order of the data flow.

    Parameters
    ----------
    lock
        Content of a dvc.lock.
    """
    stages: dict[str, dict[str, Any]] = lock["stages"]
    maker = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", ())}

    def before(stage: Mapping[str, Any]) -> Iterator[str]:
        for dep in stage.get("deps", ()):  # an output, a folder above some, or a file within one
            path = Path(dep["path"])
            for out, name in maker.items():
                if path == Path(out) or path in Path(out).parents or Path(out) in path.parents:
                    yield name

    try:
        order = list(TopologicalSorter({name: sorted(before(stage)) for name, stage in stages.items()}).static_order())
    except CycleError as error:
        raise VerifyError(f"dvc.lock: its stages depend on each other in a circle: {error.args[1]}") from error
    return {name: {out["path"]: out.get("md5", "none") for out in stages[name].get("outs", ())} for name in order}


def compare_locks(
    mine: Mapping[str, Any],
    expected: Mapping[str, Any],
    my_metrics: Mapping[str, Any] | None = None,
    expected_metrics: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare the outputs that two dvc.lock files record, and metrics where both sides have them.

    Parameters
    ----------
    mine, expected
        Contents of dvc.lock; of ``expected`` the outputs alone are read, and only these are looked for.
    my_metrics, expected_metrics
        Contents of results/metrics.json.
    """
    ours, theirs = outputs_of(mine), outputs_of(expected)
    # by stage too: a run that went from one list to another leaves its old stage, with the same outputs, in dvc.lock
    made = {(name, path): md5 for name, outs in ours.items() for path, md5 in outs.items()}
    wanted = {(name, path): md5 for name, outs in theirs.items() for path, md5 in outs.items()}
    different: dict[str, list[str]] = {}
    for (name, path), md5 in made.items():
        if wanted.get((name, path), md5) != md5:
            different.setdefault(name, []).append(path)
    metrics = []
    if my_metrics is not None and expected_metrics is not None:
        left, right = dict(_flat(my_metrics)), dict(_flat(expected_metrics))
        names = dict.fromkeys([*right, *left])
        metrics = [(name, left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)]
    return Comparison(
        same=sum(wanted.get(out) == md5 for out, md5 in made.items()),
        different=different,
        missing=sorted(path for _, path in set(wanted) - set(made)),
        unknown=sorted(path for _, path in set(made) - set(wanted)),
        metrics=metrics,
    )


def verify(against: str) -> Comparison:
    """Compare dvc.lock and results/metrics.json in the working directory with committed ones.

    Parameters
    ----------
    against
        A revision of git, or a file like dvc.lock, whose outputs alone are compared.

    Raises
    ------
    VerifyError
        If either side is not there or cannot be read.
    """
    if not LOCK.is_file():
        raise VerifyError(f"{LOCK} not found: run `dvc repro` first, in the project's root folder")
    mine = _parsed(LOCK.read_text(encoding="utf-8"), LOCK.as_posix())
    if Path(against).is_file():
        return compare_locks(mine, _parsed(Path(against).read_text(encoding="utf-8"), against))
    expected = _parsed(_committed(against, LOCK), f"{LOCK} of {against}")
    metrics = json.loads(METRICS.read_text(encoding="utf-8")) if METRICS.is_file() else None
    return compare_locks(mine, expected, metrics, json.loads(_committed(against, METRICS)))


def verify_lines(found: Comparison, against: str) -> list[str]:
    """Say in a few lines what was found: identical, or the first stage that differs, and by how much."""
    lines = []
    if found.identical:
        lines.append(f"identical: {found.same} outputs are the same bytes as those of {against}")
    elif found.different:
        first, *later = found.different
        lines.append(f"different from {against}, first in stage {first}: {', '.join(found.different[first])}")
        if later:
            lines.append(f"after it, in {len(later)} stages: {', '.join(later)}")
        lines.append(f"the same bytes: {found.same} outputs")
    if found.missing:
        lines.append(f"not made here: {', '.join(found.missing)}; run `dvc repro`")
    if found.unknown:
        lines.append(f"made here alone, not compared: {', '.join(found.unknown)}")
    lines += [f"{name}: {_number(mine)}, committed {_number(expected)}" for name, mine, expected in found.metrics]
    moved = [abs(mine - expected) for _, mine, expected in found.metrics if mine is not None and expected is not None]
    if moved:
        lines.append(f"largest difference of a metric: {max(moved):.6f}")
    about = "; ".join(f"{name} {text}" for name, text in machine("cpu").items())
    lines.append(f"this machine: arithmetic {arithmetic()}; {about}")
    return lines


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in metrics.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            yield prefix + key, float(value)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6f}"


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise VerifyError(f"{name} is not valid YAML: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("stages"), dict):
        raise VerifyError(f"{name}: no stages in it; run `dvc repro`")
    return content


def _committed(revision: str, path: Path) -> str:
    # ./ : relative to this folder, which need not be the repository's root
    done = subprocess.run(["git", "show", f"{revision}:./{path.as_posix()}"], capture_output=True, text=True)
    if done.returncode:
        reason = " ".join(done.stderr.split()) or "git failed"
        raise VerifyError(f"{path} of {revision}: {reason}; give a revision of this repository, or a file")
    return done.stdout
