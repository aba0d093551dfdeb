"""Stage `synthesize`: render the embedded release over worker processes."""

from __future__ import annotations

from pathlib import Path

import cv2

from fdpbench.prep.demo.synth import ClipPlan, ClipRecord, plan_release, write_clip, write_sheet
from fdpbench.prep.runtime.progress import track
from fdpbench.prep.runtime.scratch import Scratch, hash_code, key_of, link_tree, open_scratch, versions
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.settings.synth import SynthParams

__all__ = ["CODE", "synthesize"]

_SYNTH = Path(__file__).parent / "synth"
CODE = (
    "fdpbench/__main__.py",
    "fdpbench/arithmetic.py",
    "prep/settings/params.py",
    "prep/store/paths.py",
    "prep/settings/plain_yaml.py",
    "prep/runtime/scratch.py",
    "prep/demo/stage.py",
    "prep/runtime/workers.py",
    *(f"prep/synth/{path.name}" for path in sorted(_SYNTH.iterdir()) if path.suffix in {".npz", ".py"}),
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
        for _ in track(finished, "synthesize", len(plans), len(plans) - len(missing), workers=jobs):
            pass
        scratch.publish({out: lambda staging: _collect(scratch, plans, staging)})


def _render(payload: tuple[ClipPlan, SynthParams], context: Context) -> None:
    cv2.setNumThreads(1)
    plan, params = payload
    write_clip(plan, params, context.folder)


def _collect(scratch: Scratch, plans: dict[str, ClipPlan], out: Path) -> None:
    for name in plans:
        link_tree(scratch.unit(name), out)
    write_sheet([ClipRecord.of(plan) for plan in plans.values()], out)
