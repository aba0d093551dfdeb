"""`fdpbench part`: a study does some of its runs, and takes up those that are finished elsewhere."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from fdpbench.bench.plan.params import run_names
from fdpbench.bench.plan.resolve import measured_by, resolve
from fdpbench.bench.train.artifacts import TAKEN
from fdpbench.bench.train.kept import difference, read_kept
from fdpbench.bench.train.settings import run_of
from fdpbench.bench.train.stage import made_of
from fdpbench.prep.settings.params import PARAMS_FILE, read_params
from fdpbench.prep.settings.problems import ParamsError, near
from fdpbench.prep.store import paths

__all__ = ["take_up"]


def take_up(kept: Path, names: Sequence[str]) -> list[str]:
    """Make ready what the study in the working directory does next: params.yaml lists these runs and all finished ones.

    A finished run is taken up only if it was made of what it would be made of now; one that was not must be named, to
    be run again, or its file deleted: no result is dropped unasked. The data that runs read must be there
    (``dvc repro task init``).

    Parameters
    ----------
    kept
        Folder of finished runs (`bench.report.kept`).
    names
        Runs to do; none: all that params.yaml lists.

    Returns
    -------
    A line for each run.

    Raises
    ------
    ParamsError
        If a name is none of params.yaml, or a finished run that is neither named nor taken up would be lost.
    ValueError
        If a file of a finished run is damaged, or data are missing.
    """
    params = read_params()
    listed = list(run_names(params))
    unknown = [name for name in names if name not in listed]
    if unknown:
        raise ParamsError(f"params.yaml: no run {unknown[0]!r}{near(unknown[0], listed)}; runs: {', '.join(listed)}")
    wanted = set(names or listed)
    found = {run: _why_not(run, kept / f"{run}.parquet", params) for run in listed}
    _refuse_losses(kept, {run: why for run, why in found.items() if run not in wanted}, listed)
    shutil.rmtree(TAKEN, ignore_errors=True)
    TAKEN.mkdir(parents=True)
    lines, chosen = [], []
    for run, why_not in found.items():
        path = kept / f"{run}.parquet"
        if not why_not:
            shutil.copyfile(path, TAKEN / path.name)
            lines.append(f"{run}: finished: taken from {path}, of the same code, settings and data")
        elif run in wanted:
            lines.append(f"{run}: trained, unless it is up to date here: {why_not}")
        else:
            lines.append(f"{run}: in no table of this part: {why_not}; name it in RUNS to train it")
        if not why_not or run in wanted:
            chosen.append(run)
    _keep_in_params(chosen)
    return lines


def _why_not(run: str, path: Path, params: dict[str, Any]) -> str:
    """Why a finished run is not taken up; empty if it is."""
    if not path.is_file():
        return "not finished before"
    _, kept = read_kept(path)
    planned = resolve("train", run, params)
    whole = run_of(planned)
    differs = difference(kept, made_of(whole, paths.task(whole.task), planned.made_by), measured_by())
    return f"{path} was made of other {differs}" if differs else ""


def _refuse_losses(kept: Path, why_not: Mapping[str, str], listed: Sequence[str]) -> None:
    """Refuse a part whose results would lack finished runs that are there now.

    Parameters
    ----------
    kept
        Folder of finished runs.
    why_not
        By run that is not to be trained, why it is not taken up; empty if it is.
    listed
        All runs of params.yaml.
    """
    problems = []
    for path in sorted(kept.glob("*.parquet")):
        if path.stem not in listed:
            problems.append(f"{path}: params.yaml lists no such run; list it, or delete the file: rm {path}")
        elif why := why_not.get(path.stem):
            problems.append(
                f"{why}; name {path.stem} in RUNS to train it again, or delete the file to do without the run: "
                f"rm {path}"
            )
    if problems:
        raise ParamsError("finished runs would be lost; nothing was done", *problems)


def _keep_in_params(runs: Sequence[str]) -> None:
    """Take all other runs off params.yaml, and ensembles of which they are members."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    content = yaml.load(PARAMS_FILE.read_text(encoding="utf-8"))
    for name in [name for name in content["runs"] if name not in runs]:
        del content["runs"][name]
    ensembles = content.get("ensembles") or {}
    for name in [name for name, members in ensembles.items() if not set(members) <= set(runs)]:
        del ensembles[name]
    text = io.StringIO()
    yaml.dump(content, text)
    PARAMS_FILE.write_text(text.getvalue(), encoding="utf-8")
