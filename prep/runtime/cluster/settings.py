"""Whether units of work go to a cluster, and what each takes there: ``FDPBENCH_CLUSTER`` and ``local.yaml``.

``local.yaml`` holds settings of this machine alone. Git ignores it, no stage depends on it, and nothing in it changes a
result.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import Field

from fdpbench.prep.runtime.cluster import LOCAL_FILE, VARIABLE
from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import ParamsError, near
from fdpbench.prep.settings.section import Section, section

__all__ = ["ClusterError", "ClusterSettings", "cluster_settings"]


class ClusterError(ValueError):
    """A cluster was asked for and cannot be used; the message says why and what to do."""


class ClusterSettings(Section):
    """How units of work are run on a cluster: section ``cluster`` of local.yaml."""

    address: str | None = Field(default=None, min_length=1, description="auto: the one on this machine; or HOST:PORT")
    cpus: float = Field(default=1.0, gt=0, description="processors that a unit takes; it has one thread all the same")
    gpus: float | None = Field(
        default=None, gt=0, description="share of a CUDA device that a unit takes; absent: what its stage says"
    )
    memory: float | None = Field(
        default=None, gt=0, description="GB that a unit takes: so many fit on a node; absent: not looked at"
    )
    retries: int = Field(default=3, ge=0, description="how often a unit is tried again whose worker or node was lost")
    wait: float = Field(default=600.0, gt=0, description="seconds to wait while no node can take a unit")


def cluster_settings(local: Path = LOCAL_FILE) -> ClusterSettings | None:
    """The cluster that was asked for; None where units are to be built on this machine.

    Parameters
    ----------
    local
        The file of settings, relative to the project's root; it need not exist.

    Raises
    ------
    ParamsError
        If the file holds something else than a section ``cluster``.
    ClusterError
        If the address is of another kind than Ray's own.
    """
    asked = os.environ.get(VARIABLE)
    if asked == "" or (asked is None and not local.is_file()):
        return None
    settings = _read(local) if local.is_file() else ClusterSettings()
    settings = settings.model_copy(update={"address": asked}) if asked else settings
    if settings.address and "://" in settings.address:
        raise ClusterError(
            f"cluster {settings.address}: give auto or HOST:PORT; the command has to run on a machine of the cluster, "
            "not through Ray Client or Ray's job server"
        )
    return settings if settings.address else None


def _read(local: Path) -> ClusterSettings:
    content: Any = read_yaml(local) or {}
    unknown = [key for key in content if key != "cluster"] if isinstance(content, dict) else [str(content)]
    if unknown:
        raise ParamsError(f"{local}: {unknown[0]}: unknown{near(unknown[0], ['cluster'])}; it holds `cluster:` alone")
    cluster = content.get("cluster") or {}
    try:
        return section(ClusterSettings, {"address": cluster} if isinstance(cluster, str) else cluster, "cluster")
    except ParamsError as error:  # written for params.yaml
        raise ParamsError(*(problem.replace("params.yaml", str(local), 1) for problem in error.problems)) from None
