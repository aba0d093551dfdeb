"""Stage `synthesize`: render the embedded release over worker processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from fdpbench.prep.demo.synth import ClipPlan, ClipRecord, plan_release, write_clip, write_sheet
from fdpbench.prep.runtime.progress import console, track
from fdpbench.prep.runtime.scratch import Scratch, key_of, link_tree, open_scratch
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.synth import DrawnSynthParams, SynthParams, synth_section
from fdpbench.prep.store import paths

__all__ = ["run", "synthesize"]


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned; where no rendered release is listed, it leaves an empty folder."""
    out = paths.raw("synthetic")
    if planned.settings["listed"]:
        params = synth_section(planned.settings["synth"])
        synthesize(params, out, jobs, planned.made_by)
        return
    console.print("synthesize: params.yaml lists no rendered release; nothing to do")
    with open_scratch("synthesize", "none") as scratch:
        scratch.publish({out: Path.mkdir})


def synthesize(
    params: SynthParams | DrawnSynthParams, out: Path, jobs: int, made_by: Mapping[str, Any] | None = None
) -> None:
    """Write the embedded release to ``out``; a killed run goes on with the clips that are left.

    Parameters
    ----------
    params
        Section ``synth`` of params.yaml.
    out
        Folder of the release.
    jobs
        Number of worker processes; it does not change a byte.
    made_by
        Code and versions; kept work of others is not used.
    """
    plans = {f"{plan.subject}/{plan.clip}": plan for plan in plan_release(params)}
    key = key_of(params=params.model_dump(), made_by=made_by)
    with open_scratch("synthesize", key) as scratch:
        missing = scratch.missing(plans)
        units = (Unit(name, (plans[name], params.size)) for name in missing)
        finished = run_units(units, _render, scratch, jobs)
        for _ in track(finished, "synthesize", len(plans), len(plans) - len(missing), workers=jobs):
            pass
        scratch.publish({out: lambda staging: _collect(scratch, plans, staging)})


def _render(payload: tuple[ClipPlan, int], context: Context) -> None:
    cv2.setNumThreads(1)
    plan, size = payload
    write_clip(plan, size, context.folder)


def _collect(scratch: Scratch, plans: dict[str, ClipPlan], out: Path) -> None:
    for name in plans:
        link_tree(scratch.unit(name), out)
    write_sheet([ClipRecord.of(plan) for plan in plans.values()], out)
