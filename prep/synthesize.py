"""Stage `synthesize`: render the embedded release over worker processes."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2

from prep.params import SynthParams
from prep.progress import track
from prep.scratch import Scratch, hash_code, key_of, link_tree, open_scratch, versions
from prep.synth.release import ClipPlan, ClipRecord, plan_release, write_clip, write_sheet
from prep.workers import Context, Unit, run_units

__all__ = ["CODE", "synthesize"]

CODE = (
    "prep/synthesize.py",
    "prep/synth/head.npz",
    "prep/synth/head.py",
    "prep/synth/motion.py",
    "prep/synth/raster.py",
    "prep/synth/release.py",
    "prep/synth/render.py",
    "prep/synth/subject.py",
)


def synthesize(params: SynthParams, out: Path, jobs: int) -> None:
    """Write the embedded release to ``out``; a killed run goes on with the clips that are left.

    Parameters
    ----------
    params
        Section ``synth`` of params.yaml.
    out
        Folder of the release.
    jobs
        Number of worker processes; it does not change a byte.
    """
    plans = {f"{plan.subject}/{plan.clip}": plan for plan in plan_release(params)}
    key = key_of(params=params.model_dump(), code=hash_code(*CODE), versions=versions("numpy", "opencv-python"))
    with open_scratch("synthesize", key) as scratch:
        missing = scratch.missing(plans)
        units = (Unit(name, (plans[name], params)) for name in missing)
        finished = run_units(units, _render, scratch, jobs)
        for _ in track(finished, "synthesize", total=len(plans), done=len(plans) - len(missing)):
            pass
        scratch.publish({out: lambda staging: _collect(scratch, list(plans), staging)})


def _render(payload: tuple[ClipPlan, SynthParams], context: Context) -> None:
    cv2.setNumThreads(1)
    plan, params = payload
    record = write_clip(plan, params, context.folder)
    (context.folder / "record.json").write_text(json.dumps(asdict(record)), encoding="utf-8")


def _collect(scratch: Scratch, names: list[str], out: Path) -> None:
    records: list[ClipRecord] = []
    for name in names:
        unit = scratch.unit(name)
        link_tree(unit, out)
        record: dict[str, Any] = json.loads((out / "record.json").read_text(encoding="utf-8"))
        records.append(ClipRecord(**record))
        (out / "record.json").unlink()
    write_sheet(records, out)
