"""CONTRIBUTING.md: its skeleton of a model is a model, by the suite that every model has to pass."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from fdpbench.models import list_models
from fdpbench.models.common.conformance import checks_of
from tests.support.added_models import added_model

ROOT = Path(__file__).resolve().parents[1]
NAME = "my_model"


def skeleton() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^   ```python\n(.*?)^   ```$", text, re.M | re.S)
    return textwrap.dedent(code)


@pytest.fixture
def added(tmp_path: Path) -> Iterator[Path]:
    """The skeleton as a file of models/."""
    with added_model(tmp_path / "models", NAME, skeleton()) as file:
        yield file


def test_the_skeleton_passes_the_conformance_suite(added: Path) -> None:
    assert NAME in list_models()
    checks = checks_of(NAME)
    assert len(checks) >= 10
    for _, check in checks:
        check(NAME)


def test_the_skeleton_is_styled_as_the_project_is(added: Path) -> None:
    for arguments in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--config", str(ROOT / "pyproject.toml"), str(added)],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
