"""The one seam between stages and what builds their units of work: processes of this machine, or a cluster.

Each unit is built by a function in a worker process, into a folder of its own; the parent makes the
folder a finished unit (`prep.runtime.scratch`). What a unit gives depends on its payload alone, so neither the number
of workers nor where they run ever changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fdpbench.prep.runtime.cluster import may_be_asked_for
from fdpbench.prep.runtime.local import run_here
from fdpbench.prep.runtime.processes import available_cpus, end_with_parent
from fdpbench.prep.runtime.scratch import Scratch
from fdpbench.prep.runtime.units import Context, Function, Unit, UnitError

__all__ = ["Context", "Unit", "UnitError", "available_cpus", "end_with_parent", "run_units"]


def run_units(
    units: Iterable[Unit],
    function: Function,
    scratch: Scratch,
    jobs: int,
    on_report: Callable[[Unit, dict[str, Any]], None] = lambda unit, message: None,
    gpus: float = 0.0,
) -> Iterator[str]:
    """Build units in worker processes and keep each as it is finished.

    Parameters
    ----------
    units
        The work, taken as workers become free: a generator is read ahead by no unit here, on a cluster by some for
        each worker.
    function
        Module-level function of (payload, context), run in a worker; it writes into
        ``context.folder`` and may call ``context.report`` with a dict.
    scratch
        Where finished units are kept. Units already finished must not be passed.
    jobs
        Number of worker processes on this machine, at least 1. On a cluster there are as many as fit on its nodes.
    on_report
        Called in the parent with messages of a worker; on a cluster with the last one of each second.
    gpus
        Share of a CUDA device that a unit takes, by which a cluster places it; here the caller's `jobs` has it.

    Yields
    ------
    The name of each unit as it is finished.

    Raises
    ------
    UnitError
        If a unit raises or a worker dies (on a cluster: dies with each of several tries); the finished units are kept.
    ParamsError
        If a cluster is asked for and its settings cannot be read.
    fdpbench.prep.runtime.cluster.settings.ClusterError
        If it cannot be used: Ray is not installed, nothing answers, its nodes have other code.
    """
    if may_be_asked_for():
        from fdpbench.prep.runtime.cluster.settings import cluster_settings

        settings = cluster_settings()
        if settings is not None:
            from fdpbench.prep.runtime.cluster.driver import run_on_cluster

            yield from run_on_cluster(settings, units, function, scratch, on_report, gpus)
            return
    yield from run_here(units, function, scratch, jobs, on_report)
