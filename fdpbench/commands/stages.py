"""How a command runs its stage: on what stage `plan` resolved, and on nothing else."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from fdpbench.prep.runtime.command import command, jobs_or_default

__all__ = ["run_stage"]


def run_stage(stage: str, item: str = "", jobs: int | None = None, **options: Any) -> None:
    """Run an item of a stage.

    Parameters
    ----------
    stage, item
        Names as in dvc.yaml. By hand, what params.yaml says now is resolved first; DVC has done so.
    jobs
        Worker processes; None: one for each processor.
    **options
        Of how the stage runs; they change no byte.
    """
    with command(stage):
        from fdpbench.bench.plan.stages import STAGES
        from fdpbench.prep.settings.planned import read_planned

        if "DVC_STAGE" not in os.environ:
            from fdpbench.bench.plan.stage import plan_project, require_listed

            plan_project()
            require_listed(stage, item)
        import_module(STAGES[stage]).run(read_planned(stage, item), jobs_or_default(jobs), **options)
