"""Stage `plan`: what is resolved, when it is resolved anew, and what happens to outputs that nothing lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from fdpbench.bench.plan import check
from fdpbench.bench.plan import stage as module
from fdpbench.bench.plan.check import check_project, load_runs
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.plan.resolve import make_plan
from fdpbench.bench.plan.stage import plan_project
from fdpbench.bench.train.settings import run_of
from fdpbench.commands import app
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.planned import PLAN, Planned, place_of, read_planned
from fdpbench.prep.settings.problems import ParamsError
from tests.support.builders import checked_params, write_params

RUN = "tiny-ststnet"


@pytest.fixture(autouse=True)
def checked(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A params.yaml that passes; each run's model is not built, which takes most of the time."""
    write_params(checked_params())
    monkeypatch.setattr(check, "check_project", lambda: load_runs(read_params()))


def plan_of(content: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """All that is planned for a params.yaml."""
    write_params(content)
    params = read_params()
    return {place_of(one.stage, one.item): json.loads(one.as_json()) for one in make_plan(params)}


def changed(content: dict[str, Any]) -> set[str]:
    """Items whose plan differs from that of the valid params.yaml."""
    before, after = plan_of(checked_params()), plan_of(content)
    differ = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    return {path.relative_to(PLAN).with_suffix("").as_posix() for path in differ}


REST = {"evaluate", "tables", "gallery", "report"}  # what looks at all runs
RUNS = {f"train/tiny-{name}" for name in ("majority", "ststnet", "histogram")}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"align": {"size": 48}}, {"align/synthetic"}),
        ({"align": {"track": False}}, set()),  # the default, written out
        ({"flow": {"method": "farneback"}}, {"flow/synthetic"}),
        ({"index": {"lost_frames": "keep"}}, {"index/synthetic"}),
        ({"synth": {"seed": 2}}, {"synthesize"}),
        ({"runs": {RUN: {"task": "tiny", "model": "ststnet", "set": {"epochs": 7}}}}, {f"train/{RUN}"}),
        ({"runs": {RUN: {"task": "tiny", "model": "ststnet", "table": "mine"}}}, set()),  # of the tables alone
        ({"options": {"ststnet": {"lr": 0.01}}}, {f"train/{RUN}"}),
        ({"options": {"htnet": {"lr": 0.01}}}, set()),  # of a model that no run has
        ({"train": {"seed": 9}}, RUNS),
    ],
)
def test_a_setting_reaches_the_items_that_read_it(sections: dict[str, Any], expected: set[str]) -> None:
    assert changed(checked_params(**sections)) - REST == expected


def test_a_run_comes_back_as_it_was_resolved() -> None:
    content = checked_params(options={"ststnet": {"epochs": 9}})
    content["runs"][RUN] = {"task": "tiny", "model": "ststnet", "protocol": "inner", "set": {"lr": 0.5}}
    write_params(content)
    plan_project()
    planned, whole = run_of(read_planned("train", RUN)), load_run(RUN)
    assert (planned.name, planned.task, planned.model, planned.train) == (RUN, "tiny", whole.model, whole.train)
    assert planned.settings == whole.settings and planned.settings.lr == 0.5 and planned.settings.epochs == 9
    assert planned.task_params == whole.task_params and planned.entry.protocol == "inner"


def test_nothing_is_done_where_nothing_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_project() and not plan_project()
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in PLAN.rglob("*.json")}
    write_params(checked_params())
    Path("params.yaml").write_text(Path("params.yaml").read_text() + "# a comment\n")
    assert plan_project()  # looked at anew, and nothing written
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in PLAN.rglob("*.json")} == files
    monkeypatch.setattr(module, "version_of", lambda name: "99" if name == "numpy" else "1")
    assert plan_project(), "a package was upgraded"


def test_what_was_changed_or_removed_by_hand_is_planned_anew() -> None:
    plan_project()
    path = place_of("train", RUN)
    text = path.read_text()
    for damage in (lambda: path.write_text("{}"), path.unlink):
        damage()
        assert plan_project() and path.read_text() == text


def test_a_weight_file_that_is_replaced_trains_its_run_anew() -> None:
    content = checked_params()
    weights = Path("weights/vit.safetensors")
    weights.parent.mkdir()
    content["runs"]["tiny-adapters"] = {
        "task": "tiny",
        "model": "adapters",
        "set": {"model": {"weights": weights.as_posix()}},
    }
    found = []
    for value in (0.0, 1.0):
        save_file({"x": np.full(3, value, np.float32)}, weights)
        write_params(content)
        assert plan_project()
        found.append({path: path.read_bytes() for path in PLAN.rglob("*.json")})
    differ = {path for path in found[0] if found[0][path] != found[1][path]}
    assert differ == {place_of("train", "tiny-adapters")}
    assert set(read_planned("train", "tiny-adapters").files) == {weights.as_posix()}


def test_outputs_of_what_is_not_listed_are_moved_aside() -> None:
    listed = (
        "artifacts/predictions/tiny-ststnet.parquet",
        "artifacts/checkpoints/tiny-ststnet/a.safetensors",
        ".scratch/features/tiny-histogram-0a.parquet",
    )
    swept = Path(".scratch/features/old-0a.parquet")
    gone = (
        "artifacts/predictions/old.parquet",
        "artifacts/curves/old.csv",
        "artifacts/checkpoints/old/a.safetensors",
        "data/aligned/casme2/clips.parquet",
        "data/task/casme2_5/task.json",
    )
    for name in (*listed, *gone, swept):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(str(name))
    result = CliRunner().invoke(app, ["plan"])
    assert result.exit_code == 0, result.output
    assert all(Path(name).is_file() for name in listed) and not any(Path(name).exists() for name in gone)
    assert not swept.exists(), "it can be made again"
    assert all((Path(".scratch/unlisted") / name).read_text() == name for name in gone)
    for what in ("artifacts/predictions/old.parquet", "data/aligned/casme2", "data/task/casme2_5"):
        assert what in " ".join(result.stderr.split())


def test_every_problem_is_a_line_and_nothing_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "check_project", check_project)
    write_params(checked_params(align={"size": "ninety"}, flow={"method": "raft"}))
    result = CliRunner().invoke(app, ["plan"])
    lines = result.stderr.splitlines()
    assert (
        result.exit_code == 1 and len(lines) == 2 and all(line.startswith("error plan: params.yaml") for line in lines)
    )
    assert not PLAN.exists()


def test_an_item_that_is_not_planned() -> None:
    plan_project()
    with pytest.raises(ParamsError, match="nothing is planned for `fdpbench train nowhere`; run `fdpbench plan`"):
        read_planned("train", "nowhere")
    for text in ("", "[]", '{"settings": {}, "more": 1}'):
        place_of("train", RUN).write_text(text)
        with pytest.raises(ParamsError, match="not what `fdpbench plan` writes"):
            read_planned("train", RUN)
    assert Planned({}).made_by == {"code": {}, "versions": {}, "files": {}}
