"""`fdpbench keep`: a file for each run of a study that is done, small enough to be committed (`bench.train.kept`)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from fdpbench.bench.evaluate.evaluation import ClipResult, read_clips
from fdpbench.bench.evaluate.listed import evaluation_of
from fdpbench.bench.evaluate.predictions import measured_schema, predictions_table
from fdpbench.bench.plan.resolve import measured_by
from fdpbench.bench.report.gallery import chosen_clips
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import load_task_info
from fdpbench.bench.train.kept import KeptRun, write_kept
from fdpbench.bench.train.provenance import read_provenance
from fdpbench.bench.train.settings import RunEntry
from fdpbench.prep.store import paths

__all__ = ["keep_runs"]


def keep_runs(runs: Mapping[str, RunEntry], out: Path) -> list[Path]:
    """Write the finished runs of a study.

    Of generated images those are kept that the gallery and the report show, beside what was measured of all.

    Parameters
    ----------
    runs
        All that is evaluated; ensembles are computed, and need no file.
    out
        Folder, written anew.

    Returns
    -------
    The files.
    """
    evaluation_of(runs)
    clips = read_clips()
    shutil.rmtree(out, ignore_errors=True)
    files = []
    for name, entry in runs.items():
        if entry.members:
            continue
        artifacts = Artifacts(name)
        table = predictions_table(artifacts.predictions)
        by = {}
        if any(clip.perception.get("psnr") is not None for clip in clips[name]):
            table, by = _without_images(table, _shown(name, entry, clips[name]), clips[name]), measured_by()
        kept = KeptRun(read_provenance(artifacts.provenance), artifacts.curves.read_text(encoding="utf-8"), by)
        files.append(out / f"{name}.parquet")
        write_kept(files[-1], table, kept)
    return files


def _shown(run: str, entry: RunEntry, clips: Sequence[ClipResult]) -> set[str]:
    """Ids of the clips whose images are shown."""
    info, folder = load_task_info(paths.task(entry.task)), paths.task(entry.task)
    if not info.faces_may_be_published or "frames" not in info.inputs:
        return set()
    return {clip.clip_id for clip in chosen_clips(folder, info.task, info.classes, run, clips)}


def _without_images(table: pa.Table, shown: set[str], clips: Sequence[ClipResult]) -> pa.Table:
    measured = {(clip.repetition, clip.clip_id): clip.perception for clip in clips}
    rows = []
    for row in table.to_pylist():
        found = measured[row["repetition"], row["clip_id"]]
        of_image = {key: value for key, value in sorted(found.items()) if key.startswith(("psnr", "ssim"))}
        drawn = row["drawn"] if row["repetition"] == 0 and row["clip_id"] in shown else None
        rows.append(row | {"drawn": drawn, "measured": json.dumps(of_image)})
    return pa.Table.from_pylist(rows, schema=measured_schema(table.schema))
