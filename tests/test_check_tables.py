"""`prep check` on flow, dynamic images, tasks and releases of flow images: every fault is found, and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock, Timeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prep.check
from prep import contents, images, paths, shards
from prep.check import check_data
from prep.check_report import Problem, Report
from prep.check_tables import check_dynamic, check_flow, check_task
from prep.dynamic import dynamic_images
from prep.flow_images import flow_of_images
from prep.onset_apex import flow_of_release
from prep.params import FlowParams, TaskParams, section
from prep.schema import DYNAMIC, FLOW, MANIFEST, REJECTED, TASK, Reason
from prep.tasks import gather_task
from tests.aligned import CLIPS, FIRST, LAST, LEFT_OUT, MANIFEST_FILE, RELEASE, SUBJECTS, flip, said, write_aligned
from tests.builders import PARAMS, write_flow_whole
from tests.test_cli import invoke

Row = dict[str, Any]
Groups = list[list[Row]]

FILES = {
    "flow": (paths.flow(RELEASE) / "flow.parquet", FLOW),
    "dynamic": (paths.dynamic("tiny") / "dynamic.parquet", DYNAMIC),
    "task": (paths.task("tiny") / "clips.parquet", TASK),
    "flow images": (paths.flow("megc2019_flow") / "flow.parquet", FLOW),
}
TABLES = ["flow", "dynamic", "task"]
A, B = CLIPS[:2]
EMOTIONS = dict(zip(CLIPS, ("happiness", "surprise", "disgust") * 2, strict=True))


def task_of(name: str) -> TaskParams:
    return section(TaskParams, PARAMS["tasks"][name], f"tasks.{name}")


TINY = "tiny", task_of("tiny")


def write_all() -> None:
    """All tables of a release and its task: three subjects, five clips, one left out by align."""
    write_aligned()
    rows = shards.read_table(MANIFEST_FILE, MANIFEST).to_pylist()
    for row in rows:
        row["emotion"] = EMOTIONS[row["clip_id"]]
    shards.write_table(pa.Table.from_pylist(rows, schema=MANIFEST), MANIFEST_FILE)
    (MANIFEST_FILE.parent / "report.json").write_text(json.dumps({"simulated": False}))
    contents.write_sums(MANIFEST_FILE.parent)
    params = section(FlowParams, PARAMS["flow"], "flow")
    flow_of_release(RELEASE, rows, paths.aligned(RELEASE), paths.flow(RELEASE), params)
    dynamic_images("tiny", task_of("tiny"), paths.dynamic("tiny"))
    gather_task("tiny", task_of("tiny"), paths.task("tiny"))


def write_flow_images() -> None:
    write_flow_whole(Path("r"))
    flow_of_images("megc2019_flow", Path("r"), paths.manifest("megc2019_flow"), paths.flow("megc2019_flow"))
    dynamic_images("tiny_flow", task_of("tiny_flow"), paths.dynamic("tiny_flow"))
    gather_task("tiny_flow", task_of("tiny_flow"), paths.task("tiny_flow"))


@pytest.fixture
def tables(project: Path) -> None:
    write_all()


@pytest.fixture
def flow_images(project: Path) -> None:
    write_flow_images()


def check(*names: str) -> dict[str, Report]:
    return {f"{report.table}/{report.name}": report for report in check_data([*names], PARAMS["tasks"])}


def problems_of(path: Path) -> list[Problem]:
    problems = [problem for report in check().values() for problem in report.problems]
    assert all("`dvc repro`" in problem.cure and problem.file.startswith("data/") for problem in problems)
    return [problem for problem in problems if problem.file == path.as_posix()]


def change_groups(table: str, change: Callable[[Groups], Any]) -> list[Problem]:
    """Rewrite a table after a change of its row groups, and its checksum; what is found wrong with it."""
    path, schema = FILES[table]
    groups = [group.to_pylist() for group in shards.read_subjects(path, schema)]
    change(groups)
    with pq.ParquetWriter(path, schema, **shards.WRITER) as writer:
        for rows in groups:
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=max(1, len(rows)))
    shards.seal(path)
    contents.write_sums(path.parent)
    return problems_of(path)


def test_nothing_is_wrong(tables: None) -> None:
    reports = check()
    assert {str(report) for report in reports.values()} == {
        "aligned synthetic: 2 shards, 3 subjects, 5 clips, 20 frames; 1 clips left out; problems: none",
        "flow synthetic: 3 subjects, 5 clips; 0 clips left out; problems: none",
        "dynamic tiny: 3 subjects, 5 clips; 0 clips left out; problems: none",
        "task tiny: 3 subjects, 5 clips; 1 clips left out; problems: none",
    }


def test_nothing_is_wrong_with_flow_images(flow_images: None) -> None:
    assert {str(report) for report in check().values()} == {
        "flow megc2019_flow: 6 subjects, 7 clips; 0 clips left out; problems: none",
        "dynamic tiny_flow: 0 subjects, 0 clips; 0 clips left out; problems: none",
        "task tiny_flow: 6 subjects, 7 clips; 0 clips left out; problems: none",
    }


def test_names_choose_releases_and_tasks(tables: None) -> None:
    assert list(check(RELEASE)) == ["aligned/synthetic", "flow/synthetic"]
    assert list(check("tiny")) == ["dynamic/tiny", "task/tiny"]


# --- bytes


@pytest.mark.parametrize("table", TABLES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_found(tables: None, table: str, data: st.DataObject) -> None:
    folder = FILES[table][0].parent
    path = data.draw(st.sampled_from(sorted(folder.iterdir())), label="file")
    before = path.read_bytes()
    flip(path, data.draw(st.integers(0, 8 * len(before) - 1), label="bit"))
    try:
        report = (
            {"dynamic": check_dynamic, "task": check_task}[table](*TINY) if table != "flow" else check_flow(RELEASE)
        )
    finally:
        path.write_bytes(before)
    if path.name == contents.SUMS:
        assert [problem for problem in report.problems if contents.SUMS in f"{problem.file} {problem.what}"]
    else:
        changed = said(
            [problem for problem in report.problems if problem.file == path.as_posix()], "bytes have changed"
        )
        assert changed == [(None, None)]


def test_a_flipped_bit_in_flow_images(flow_images: None) -> None:
    path = FILES["flow images"][0]
    flip(path, 8 * (path.stat().st_size // 2))
    assert said(problems_of(path), "its bytes have changed") == [(None, None)]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_table(tables: None, table: str, share: float) -> None:
    path = FILES[table][0]
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    found = problems_of(path)
    assert said(found, "cannot be opened") == said(found, "its bytes have changed") == [(None, None)]
    assert [clip for clip, _ in said(found, "is in no row group")] == [clip for clip in CLIPS if clip != LEFT_OUT]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("with_sums", [True, False])
def test_a_missing_table(tables: None, table: str, with_sums: bool) -> None:
    path = FILES[table][0]
    path.unlink()
    if not with_sums:
        contents.write_sums(path.parent)
    found = problems_of(path)
    assert said(found, "not found") == [(None, None)]
    assert len(said(found, "is in no row group that can be read, nor in rejected.parquet")) == 5


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", ["rejected.parquet", "SHA256SUMS"])
def test_another_missing_file(tables: None, table: str, name: str) -> None:
    path = FILES[table][0].with_name(name)
    path.unlink()
    assert said(problems_of(path), "not found") == [(None, None)]


def test_a_missing_description(tables: None) -> None:
    path = paths.task("tiny") / "task.json"
    path.unlink()
    assert said(problems_of(path), "not found, but SHA256SUMS lists it") == [(None, None)]


# --- rows


@pytest.mark.parametrize("table", TABLES)
def test_reordered_clips(tables: None, table: str) -> None:
    found = change_groups(table, lambda groups: groups[0].reverse())
    assert said(found, f"is out of order: it stands where the manifest has {A}") == [(B, None)]
    assert len(found) == 1


@pytest.mark.parametrize("table", TABLES)
def test_reordered_subjects(tables: None, table: str) -> None:
    found = change_groups(table, lambda groups: groups.reverse())
    assert said(found, f"is out of order: it stands where the manifest has {A}") == [(CLIPS[4], None)]


@pytest.mark.parametrize("table", [*TABLES, "flow images"])
def test_a_foreign_clip(project: Path, table: str) -> None:
    (write_flow_images if table == "flow images" else write_all)()
    names: list[str] = []

    def add(groups: Groups) -> None:
        names.append(groups[1][0]["subject"] + "/x")
        groups[1].append(groups[1][0] | {"clip_id": names[0]})

    found = change_groups(table, add)
    assert said(found, "is not in the manifest") == [(names[0], None)] and len(found) == 1


@pytest.mark.parametrize("table", [*TABLES, "flow images"])
def test_a_missing_clip(project: Path, table: str) -> None:
    (write_flow_images if table == "flow images" else write_all)()
    names: list[str] = []
    found = change_groups(table, lambda groups: names.append(groups[0].pop(0)["clip_id"]))
    assert said(found, "is in no row group that can be read, nor in rejected.parquet") == [(names[0], None)]


@pytest.mark.parametrize("table", TABLES)
def test_a_duplicated_clip(tables: None, table: str) -> None:
    found = change_groups(table, lambda groups: groups[0].append(groups[0][0]))
    assert said(found, "stands twice") == [(A, None)]


@pytest.mark.parametrize("table", TABLES)
def test_rows_of_another_subject(tables: None, table: str) -> None:
    found = change_groups(table, lambda groups: groups[0][1].update(subject=SUBJECTS[2]))
    assert said(found, "a fold would read the wrong subject") == [(None, None)]
    assert said(found, f"is stored as of subject {SUBJECTS[2]}, the manifest says {SUBJECTS[0]}") == [(B, None)]


@pytest.mark.parametrize("table", TABLES)
def test_a_clip_that_was_left_out_too(tables: None, table: str) -> None:
    path = FILES[table][0].with_name("rejected.parquet")
    rows = shards.read_table(path, REJECTED).to_pylist()
    rows = [*rows, {"clip_id": A, "reason": Reason.NO_APEX, "detail": ""}, {"clip_id": B, "reason": "x", "detail": ""}]
    shards.write_table(pa.Table.from_pylist(rows, schema=REJECTED), path)
    contents.write_sums(path.parent)
    assert said(problems_of(FILES[table][0]), "is listed in rejected.parquet too (no_apex)") == [(A, None)]
    assert said(problems_of(path), "is left out for an unknown reason 'x'") == [(B, None)]


@pytest.mark.parametrize("table", TABLES)
def test_other_columns(tables: None, table: str) -> None:
    path = FILES[table][0]
    shards.write_table(pa.table({"clip_id": [A]}), path)
    assert said(problems_of(path), "cannot be opened: columns ['clip_id']") == [(None, None)]


def of(row: int, **values: Any) -> Callable[[Groups], None]:
    return lambda groups: groups[0][row].update(values)


def exchanged(column: str) -> Callable[[Groups], None]:
    def change(groups: Groups) -> None:
        a, b = groups[0]
        a[column], b[column] = b[column], a[column]

    return change


NOISE = images.encode_png(np.zeros((5, 7), np.uint8))


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("flow", of(0, flow=None), "has 0 flow values"),
        ("flow", of(0, flow=[0.5] * 7), "has 7 flow values, expected 3 x 24 x 24"),
        ("flow", of(0, flow=[float("nan")] * 1728), "has flow values that are no finite numbers"),
        ("flow", of(0, side=None), "has 1728 flow values"),
        ("flow", of(0, unit="image"), "has flow in unit 'image', expected 'pixels'"),
        ("flow", of(0, apex=5), f"has flow to frame 5, the apex of the manifest is {FIRST + 1}"),
        ("flow", of(0, apex_source="estimated"), f"as an estimate, the apex of the manifest is {FIRST + 1}"),
        ("flow", of(0, apex_source=None), "has flow to an apex from None"),
        ("flow", of(0, apex_image=None), "has no apex image"),
        ("flow", of(0, apex_image=b"x"), "cannot be decoded: apex image (not_an_image)"),
        ("dynamic", of(0, sampled=None), "has no sampled frames"),
        ("dynamic", of(0, sampled=[3, 5, 4, 6]), "has sampled frames out of order: [3, 5, 4, 6]"),
        ("dynamic", of(0, sampled=[3, 4, 5]), "has 4 images of 3 sampled frames"),
        ("dynamic", of(0, dynamic_image=None), "has no dynamic image"),
        ("dynamic", of(0, dynamic_image=b"x"), "an image that cannot be decoded: dynamic image (not_an_image)"),
        ("dynamic", of(0, frames=[b"", NOISE, NOISE, NOISE]), "cannot be decoded: frame 1 of 4 (empty_file)"),
        ("dynamic", of(0, dynamic_image=NOISE), "has an image of shape (5, 7), those of most clips are (24, 24)"),
        ("task", of(0, label=1), "has label 1 of class 'happiness'"),
        ("task", of(0, label=None), "has label None"),
        ("task", of(0, label=-3), "has label -3"),
        ("task", of(0, label=1, **{"class": "surprise"}), "has class 'surprise', the manifest says 'happiness'"),
        ("task", of(0, dataset="x"), "is stored as of dataset x, the manifest says synthetic"),
        ("task", of(0, frames=None), "has no frames, the task's inputs are frames, dynamic_image, flow"),
        ("task", of(0, flow=None), "has no flow, the task's inputs"),
        ("task", of(0, dynamic_image=b"x"), "an image that cannot be decoded: dynamic image (not_an_image)"),
    ],
)  # fmt: skip
def test_a_wrong_row(tables: None, table: str, change: Callable[[Groups], Any], expected: str) -> None:
    assert said(change_groups(table, change), expected) == [(A, None)]


def test_a_sampled_frame_that_the_clip_does_not_have(tables: None) -> None:
    found = change_groups("dynamic", of(0, sampled=[FIRST, 4, 5, LAST + 1]))
    assert said(found, "is sampled, but the manifest does not have it in this clip") == [(A, LAST + 1)]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("frames", "has other frames, landmarks or another dynamic image than data/dynamic"),
        ("dynamic_image", "has other frames, landmarks or another dynamic image than data/dynamic"),
        ("flow", "has other flow than data/flow gives at this size and scaling"),
    ],
)
def test_inputs_of_another_clip(tables: None, column: str, expected: str) -> None:
    """Good images and values, but not this clip's: no checksum of an image tells."""
    found = change_groups("task", exchanged(column))
    assert said(found, expected) == [(A, None), (B, None)] and len(found) == 2


@pytest.mark.parametrize("table", ["dynamic", "task"])
def test_reordered_frames(tables: None, table: str) -> None:
    """Their numbers are not stored with them: that the two tables differ tells."""
    change_groups(table, lambda groups: groups[0][0]["frames"].reverse())
    assert said(problems_of(FILES["task"][0]), "has other frames, landmarks or another dynamic image") == [(A, None)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"apex": 3}, "has an apex 3 from None, a flow image has none"),
        ({"unit": "pixels"}, "has flow in unit 'pixels', expected 'image'"),
        ({"flow": [2.0] * 2352}, "has flow from 2.0 to 2.0, an image gives 0 to 1"),
    ],
)
def test_a_wrong_row_of_flow_images(flow_images: None, values: Row, expected: str) -> None:
    found = change_groups("flow images", of(0, **values))
    assert said(found, expected) == [("casme2/sub01/EP02_01f", None)]


def test_a_damaged_manifest_of_flow_images(flow_images: None) -> None:
    path = paths.manifest("megc2019_flow") / "manifest.parquet"
    rows = shards.read_table(path, MANIFEST).to_pylist()
    rows[0]["frames"] = []
    shards.write_table(pa.Table.from_pylist(rows, schema=MANIFEST), path)
    found = problems_of(path)
    assert said(found, "lists 0 files and 0 frame numbers") == [(rows[0]["clip_id"], None)]
    assert said(found, "its bytes have changed") == [(None, None)]


@pytest.mark.parametrize(
    ("key", "value"),
    [("classes", ["a"]), ("rendered", False), ("simulated", ["casme2"]), ("faces_may_be_published", None), ("more", 1)],
)
def test_a_description_that_says_otherwise(tables: None, key: str, value: Any) -> None:
    path = paths.task("tiny") / "task.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    contents.write_sums(path.parent)
    assert said(problems_of(path), f"says {key} {value!r}, by params.yaml it is") == [(None, None)]


def test_a_description_that_is_none(tables: None) -> None:
    path = paths.task("tiny") / "task.json"
    path.write_text("{")
    assert said(problems_of(path), "cannot be compared with params.yaml") == [(None, None)]


def test_a_manifest_that_is_gone_hides_nothing_else(tables: None) -> None:
    MANIFEST_FILE.unlink()
    reports = check()
    for name in ("flow/synthetic", "dynamic/tiny", "task/tiny"):
        text = "cannot be compared with what it was made of: data/manifest/synthetic/manifest.parquet not found"
        assert said(reports[name].problems, text) == [(None, None)] and reports[name].clips == 5


# --- the command


def test_the_command_goes_through_all_tables(tables: None) -> None:
    result = invoke("prep", "check")
    assert result.exit_code == 0, result.output
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == [
        "aligned synthetic", "flow synthetic", "dynamic tiny", "task tiny"
    ]  # fmt: skip
    change_groups("task", of(0, label=1))
    result = invoke("prep", "check", "tiny", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert list(report) == ["dynamic/tiny", "task/tiny"] and report["dynamic/tiny"]["problems"] == []
    (problem,) = report["task/tiny"]["problems"]
    assert (problem["name"], problem["clip"]) == ("tiny", A) and problem["file"] == FILES["task"][0].as_posix()


def test_data_of_a_task_that_params_do_not_name(tables: None, capsys: pytest.CaptureFixture) -> None:
    paths.task("tiny").rename(paths.task("old"))
    assert "task/old" not in check() and "old has data, but params.yaml has no such task" in capsys.readouterr().err


def test_no_stage_works_meanwhile(tables: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of a task reads what four stages write; each is locked, and free again behind it."""
    looked = []

    def look(name: str, task: TaskParams) -> Report:
        for stage in ("index-synthetic", "align-synthetic", "flow-synthetic", "dynamic-tiny", "task-tiny"):
            with pytest.raises(Timeout):
                FileLock(f".scratch/{stage}.lock").acquire(timeout=0)
            looked.append(stage)
        return Report("task", name)

    monkeypatch.setattr(prep.check, "check_task", look)
    check("tiny")
    assert len(looked) == 5
    for stage in looked:
        with FileLock(f".scratch/{stage}.lock").acquire(timeout=0):
            pass


def test_an_apex_frame_of_another_clip(tables: None) -> None:
    task = task_of("tiny").model_copy(update={"apex": True})
    gather_task("tiny", task, paths.task("tiny"))
    assert check_task("tiny", task).problems == []
    path, schema = FILES["task"]
    groups = [table.to_pylist() for _, table in shards.read_groups(path, schema) if isinstance(table, pa.Table)]
    exchanged("apex")(groups)
    shards.write_subjects(path, schema, (pa.Table.from_pylist(group, schema=schema) for group in groups))
    found = check_task("tiny", task).problems
    assert said(found, "has another apex frame than data/flow") == [(A, None), (B, None)]
