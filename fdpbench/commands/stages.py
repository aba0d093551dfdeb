"""How a command runs its stage: on what stage `plan` resolved, or, by hand, on what params.yaml says now."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from fdpbench.prep.runtime.cluster.stage import planned_stage
from fdpbench.prep.runtime.command import command, jobs_or_default

__all__ = ["run_stage"]


def run_stage(stage: str, item: str = "", jobs: int | None = None, **options: Any) -> None:
    """Run an item of a stage.

    Parameters
    ----------
    stage, item
        Names as in dvc.yaml.
    jobs
        Worker processes; None: one for each processor.
    **options
        Of how the stage runs; they change no byte.
    """
    with command(stage, resumes=True):
        from fdpbench.bench.plan.stages import STAGES

        if "DVC_STAGE" in os.environ:
            from fdpbench.prep.settings.planned import read_planned

            planned = read_planned(stage, item)
        else:
            from fdpbench.bench.plan.resolve import resolve
            from fdpbench.prep.settings.params import read_params

            planned = resolve(stage, item, read_params())
        with planned_stage(planned):
            import_module(STAGES[stage]).run(planned, jobs_or_default(jobs), **options)
