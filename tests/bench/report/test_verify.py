"""`fdpbench verify`: what differs from the committed results is found, the first stage first, and by how much."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fdpbench.bench.report.verify import VerifyError, compare_locks, outputs_of, verify
from fdpbench.commands import app


def lock(**changed: str) -> dict[str, Any]:
    """Stages written in another order than that of the data flow; hashes by output's last name, as given."""
    md5 = {"crops": "1", "flow": "2", "task": "3", "net": "4", "tables": "5"} | changed

    def stage(deps: list[str], *outs: str) -> dict[str, Any]:
        return {
            "deps": [{"path": path, "md5": "0"} for path in deps],
            "outs": [{"path": out, "md5": md5[Path(out).stem]} for out in outs],
        }

    return {
        "schema": "2.0",
        "stages": {
            "tables": stage(["artifacts", "results/published.csv"], "results/tables"),
            "train@net": stage(["data/task/mine/task"], "artifacts/net.parquet"),
            "task@mine": stage(["data/flow", "prep/task/stage.py"], "data/task/mine/task"),
            "flow@mine": stage(["data/crops"], "data/flow/flow"),
            "align@mine": stage([], "data/crops"),
        },
    }


def test_stages_come_in_order_of_the_data_flow() -> None:
    assert list(outputs_of(lock())) == ["align@mine", "flow@mine", "task@mine", "train@net", "tables"]


def test_the_same_outputs_are_identical() -> None:
    found = compare_locks(lock(), lock())
    assert found.identical and found.same == 5 and not found.unknown


def test_the_first_stage_that_differs_comes_first() -> None:
    found = compare_locks(
        lock(task="9", tables="9"), lock(), {"t": {"net": {"uf1": 0.5}}}, {"t": {"net": {"uf1": 0.25}}}
    )
    assert not found.identical and found.same == 3
    assert found.different == {"task@mine": ["data/task/mine/task"], "tables": ["results/tables"]}
    assert found.metrics == [("t.net.uf1", 0.5, 0.25)]


def test_a_stage_that_the_pipeline_has_no_more_hides_nothing() -> None:
    """A run that went from `train` to `fit` leaves its entry behind, with other hashes of the same outputs."""
    content = lock()
    content["stages"]["fit@net"] = {"outs": [{"path": "artifacts/net.parquet", "md5": "77"}]}
    assert compare_locks(content, content).identical
    changed = lock(net="8")
    changed["stages"]["fit@net"] = content["stages"]["fit@net"]
    assert compare_locks(changed, content).different == {"train@net": ["artifacts/net.parquet"]}


def test_outputs_of_one_side_alone_are_named() -> None:
    expected = lock()
    del expected["stages"]["tables"]
    assert compare_locks(lock(), expected).unknown == ["results/tables"]
    assert compare_locks(lock(), expected).identical, "one's own further runs are no difference"
    found = compare_locks(expected, lock())
    assert found.missing == ["results/tables"] and not found.identical


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose HEAD holds a dvc.lock and metrics."""
    monkeypatch.chdir(tmp_path)
    write(lock(), 0.85)
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
    for arguments in (("init", "-q", "."), ("add", "."), ("commit", "-qm", "results")):
        subprocess.run([*git, *arguments], check=True, capture_output=True)
    return tmp_path


def write(content: dict[str, Any], uf1: float) -> None:
    Path("dvc.lock").write_text(yaml.safe_dump(content))
    Path("results").mkdir(exist_ok=True)
    Path("results/metrics.json").write_text(json.dumps({"mine": {"net": {"uf1": uf1, "psnr": None}}}))


def test_command_says_identical(repository: Path) -> None:
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 0 and done.output.startswith("identical: 5 outputs")
    assert "this machine: arithmetic pinned" in done.output


def test_command_says_where_it_differs_and_by_how_much(repository: Path) -> None:
    write(lock(flow="8", tables="8"), 0.75)
    done = CliRunner().invoke(app, ["verify"])
    assert done.exit_code == 1
    assert "different from HEAD, first in stage flow@mine: data/flow/flow" in done.output
    assert "after it, in 1 stages: tables" in done.output
    assert "mine.net.uf1: 0.750000, committed 0.850000" in done.output
    assert "largest difference of a metric: 0.100000" in done.output


def test_a_file_can_be_compared_with(repository: Path) -> None:
    Path("expected.lock").write_text(yaml.safe_dump(lock(net="7")))
    assert verify("expected.lock").different == {"train@net": ["artifacts/net.parquet"]}


@pytest.mark.parametrize(
    ("content", "against", "message"),
    [
        (None, "HEAD", "dvc.lock not found"),
        ("", "HEAD", "no stages in it"),
        ("{", "HEAD", "not valid YAML"),
        ("stages: {}\n", "no-such-revision", "no-such-revision: .*give a revision"),
    ],
)
def test_what_cannot_be_compared_is_an_error(repository: Path, content: str | None, against: str, message: str) -> None:
    Path("dvc.lock").unlink()
    if content is not None:
        Path("dvc.lock").write_text(content)
    with pytest.raises(VerifyError, match=message):
        verify(against)
