"""A cluster for the tests of this folder; they are skipped without Ray."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from tests.support.cluster import RayCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """A head and two nodes; tests that kill some add new ones."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed (extra `cluster`)")
    started = RayCluster()
    try:
        started.add_node()
        started.add_node()
        yield started
    finally:
        started.stop()
