"""Values that no file of ours holds: endless nesting and infinite numbers get one line, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fdpbench.bench.train.data import load_task_info
from fdpbench.commands import app
from fdpbench.models.common.registry import ModelOptionError, check_options
from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.store.documents import DocumentError
from tests.support.builders import checked_params, write_task


def check(content: dict[str, Any] | str) -> str:
    """What `fdpbench check` says of a params.yaml that it refuses: one line, no traceback."""
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    Path("params.yaml").write_text(text)
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1 and isinstance(result.exception, SystemExit), result.exception
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize("text", ["a: " + "[" * 5000 + "]" * 5000, "a: " + "{b: " * 5000 + "1" + "}" * 5000])
def test_yaml_that_is_nested_without_end(project: Path, text: str) -> None:
    assert "params.yaml, line 1: nested more than" in check(text)
    with pytest.raises(ParamsError, match="nested more than"):
        read_yaml(Path("params.yaml"))


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("key", ["lr", "weight_decay", "epochs"])
def test_infinite_numbers_in_params(project: Path, key: str, value: float) -> None:
    content = checked_params()
    content["options"]["ststnet"][key] = value
    message = check(content)
    assert f"options.ststnet.{key}: " in message
    assert ("finite number" if key != "epochs" else "valid integer") in message


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_infinite_options_of_a_model(value: float) -> None:
    with pytest.raises(ModelOptionError, match="finite number"):
        check_options("lbp_top", {"cost": value})


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{" + '"a":[' * 50_000,
        "[]",
        "null",
        "3",
        '{"task": 1}',
        '{"task": "t", "more": 1}',
        "{",
        "\ud800",
    ],
)
def test_a_task_whose_description_is_none(tmp_path: Path, text: str) -> None:
    write_task(tmp_path)
    (tmp_path / "task.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DocumentError, match=r"task\.json: .*delete it and run `dvc repro`"):
        load_task_info(tmp_path)
