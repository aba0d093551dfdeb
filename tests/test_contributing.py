"""CONTRIBUTING.md: its skeleton of a model is a model, by the suite that every model has to pass."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fdpbench.models
from fdpbench.models import list_models, model_info
from tests.models import test_conformance as suite

ROOT = Path(__file__).resolve().parents[1]
NAME = "my_model"


def skeleton() -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^   ```python\n(.*?)^   ```$", text, re.M | re.S)
    return textwrap.dedent(code)


def checks() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Each test of the suite that goes over all fdpbench.models, or all networks, with its other parameters."""
    for name, function in vars(suite).items():
        marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
        if not name.startswith("test_") or not marks:
            continue
        choices: list[list[dict[str, Any]]] = []
        for mark in marks:
            keys, values = mark.args
            if keys == "name" and (values is suite.ALL or values is suite.MODULES):
                choices.append([{"name": NAME}])
            elif keys == ("name", "option"):
                choices.append([{"name": NAME, "option": option} for option in model_info(NAME).options])
            elif keys == "name":  # of estimators
                break
            else:
                choices.append([{keys: value} for value in values])
        else:
            for chosen in itertools.product(*choices):
                yield function, {key: value for one in chosen for key, value in one.items()}


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The skeleton as a file of models/."""
    file = tmp_path / "models" / f"{NAME}.py"
    file.parent.mkdir()
    file.write_text(skeleton(), encoding="utf-8")
    monkeypatch.setattr(fdpbench.models, "__path__", [*fdpbench.models.__path__, str(file.parent)])
    yield file
    sys.modules.pop(f"models.{NAME}", None)


def test_the_skeleton_passes_the_conformance_suite(added: Path, tmp_path: Path) -> None:
    assert NAME in list_models()
    ran = set()
    for number, (function, arguments) in enumerate(checks()):
        if "tmp_path" in function.__code__.co_varnames[: function.__code__.co_argcount]:
            arguments["tmp_path"] = tmp_path / str(number)
            arguments["tmp_path"].mkdir()
        function(**arguments)
        ran.add(function.__name__)
    assert {
        "test_declaration",
        "test_wrong_shapes_are_refused",
        "test_overfits_eight_clips",
        "test_save_and_load",
    } <= ran
    assert len(ran) >= 10


def test_the_skeleton_is_styled_as_the_project_is(added: Path) -> None:
    for arguments in (("check", "--no-cache"), ("format", "--check", "--no-cache")):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, "--config", str(ROOT / "pyproject.toml"), str(added)],
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stdout + result.stderr
