"""Shared set-up: hypothesis profiles, and a small project in a folder of its own."""

from __future__ import annotations

from fdpbench.arithmetic import pin_arithmetic

pin_arithmetic()  # before any import below brings numpy

# ruff: noqa: E402
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from fdpbench.models.common import lookup
from fdpbench.prep.demo.simulate import Simulated, simulate
from fdpbench.prep.releases import declare_releases
from tests.support.builders import write_params
from tests.support.distributions import Distribution, write_distribution

# `fast` is what `make test` runs; `make test-long` asks for `long`, which also draws new examples each time.
settings.register_profile("fast", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory of its own with a small, valid params.yaml (`tests.support.builders.PARAMS`)."""
    monkeypatch.chdir(tmp_path)
    write_params()
    return tmp_path


@pytest.fixture(autouse=True)
def no_described_releases() -> Iterator[None]:
    """Data sets that a test's params.yaml describes are forgotten after it."""
    yield
    declare_releases({})


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Distribution]:
    """Install distributions that name a module of theirs in a group of entry points; gone after the test."""
    known = set(sys.modules)

    def install(group: str, name: str, module: str, content: str) -> Path:
        path = write_distribution(tmp_path / f"site-{module}", group, name, module, content)
        monkeypatch.syspath_prepend(str(path.parent))
        lookup._points.cache_clear()
        return path

    yield install
    monkeypatch.undo()
    lookup._points.cache_clear()
    for added in [name for name in set(sys.modules) - known if name.startswith("acme")]:
        del sys.modules[added]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder that holds real data (``megc2019_flow/``, ``annotations/``): FDPBENCH_SHARED_DATA, or skip."""
    place = os.environ.get("FDPBENCH_SHARED_DATA")
    if not place:
        pytest.skip("FDPBENCH_SHARED_DATA is not set: no real data here")
    folder = Path(place)
    assert folder.is_dir(), f"FDPBENCH_SHARED_DATA={place} is no folder"
    return folder


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Simulated]:
    """Write a simulated release (release, version), once for all tests: copy it before changing anything."""

    @cache
    def write(release: str, version: str | None = None) -> Simulated:
        return simulate(release, tmp_path_factory.mktemp(release) / "release", version)

    return write
