"""`prep check`: every fault of a manifest, shard, clip, frame and image is found, and named."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prep import contents, paths
from tests.aligned import (
    CLIPS,
    CLIPS_FILE,
    FIRST,
    LAST,
    MANIFEST_FILE,
    REJECTED_FILE,
    RELEASE,
    SUBJECTS,
    change_groups,
    check,
    flip,
    frame_rows,
    problems_of,
    said,
    shard_of,
    swap,
    write_aligned,
)
from tests.test_cli import error_of, invoke

FILES = {
    "manifest": MANIFEST_FILE,
    "manifest's rejections": paths.manifest(RELEASE) / "rejected.parquet",
    "manifest's checksums": paths.manifest(RELEASE) / "SHA256SUMS",
    "first shard": shard_of(0),
    "second shard": shard_of(1),
    "clips": CLIPS_FILE,
    "rejections": REJECTED_FILE,
    "checksums": paths.aligned(RELEASE) / "SHA256SUMS",
}
A, B = CLIPS[:2]


@pytest.fixture
def aligned(project: Path) -> None:
    write_aligned()


def test_nothing_is_wrong(aligned: None) -> None:
    report = check()
    assert report.problems == []
    assert str(report).endswith("2 shards, 3 subjects, 5 clips, 20 frames; 1 clips left out; problems: none")


# --- bytes


@pytest.mark.parametrize("name", list(FILES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_is_found(aligned: None, name: str, data: st.DataObject) -> None:
    path = FILES[name]
    before = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(before) - 1), label="bit")
    flip(path, bit)
    try:
        problems = check().problems
    finally:
        path.write_bytes(before)
    assert problems and {problem.name for problem in problems} == {RELEASE}
    if path.suffix == ".parquet":
        assert [
            problem for problem in problems if problem.file == path.as_posix() and "bytes have changed" in problem.what
        ]
    else:  # the checksums themselves: the message shows both sums, or the line that is none
        assert [problem for problem in problems if "SHA256SUMS" in f"{problem.file} {problem.what}"]


@pytest.mark.parametrize("clip", [A, B, CLIPS[2], CLIPS[5]])
@pytest.mark.parametrize("number", [FIRST, LAST])
def test_a_flipped_bit_in_an_image_names_its_frame(aligned: None, clip: str, number: int) -> None:
    path = shard_of(CLIPS.index(clip) // 4)
    png = next(row["image"] for row in frame_rows(clip) if row["frame"] == number)
    part = png[200:400]
    data = path.read_bytes()
    # noise is stored as it is; the statistics before the page and in the footer may have copies
    place = data.rindex(part, 0, len(data) - 8 - pq.read_metadata(path).serialized_size)
    path.write_bytes(data[:place] + bytes([part[0] ^ 8]) + data[place + 1 :])
    found = problems_of(path)
    assert said(found, "its bytes have changed: SHA-256") == [(None, None)]
    assert said(found, "has an image that cannot be decoded (damaged_image)") == [(clip, number)]
    assert said(found, "is not what was stored") == [(clip, None)]


def test_a_damaged_row_group_hides_no_other(aligned: None) -> None:
    data = bytearray(shard_of(0).read_bytes())
    data[4:400] = b"\xee" * 396
    shard_of(0).write_bytes(data)
    change = problems_of(shard_of(0))
    assert said(change, f"row group 0 of {SUBJECTS[0]} cannot be read") == [(None, None)]
    assert said(change, "is in no row group that can be read") == [(A, None), (B, None)]
    assert check().clips == 3


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
def test_a_truncated_shard(aligned: None, share: float) -> None:
    data = shard_of(0).read_bytes()
    shard_of(0).write_bytes(data[: int(share * len(data))])
    found = problems_of(shard_of(0))
    assert said(found, "cannot be opened") == said(found, "its bytes have changed") == [(None, None)]
    assert said(found, "is in no row group that can be read") == [(A, None), (B, None), (CLIPS[2], None)]


def test_a_missing_shard(aligned: None) -> None:
    shard_of(1).unlink()
    found = problems_of(shard_of(1))
    assert said(found, "not found, but SHA256SUMS lists it") == [(None, None)]
    assert said(found, "is in no row group that can be read") == [(CLIPS[4], None), (CLIPS[5], None)]
    contents.write_sums(paths.aligned(RELEASE))
    assert said(problems_of(shard_of(1)), "not found, but clips.parquet names it") == [(None, None)]


def test_a_file_that_no_stage_wrote(aligned: None) -> None:
    shard_of(7).write_bytes(shard_of(1).read_bytes())
    found = problems_of(shard_of(7))
    assert said(found, "SHA256SUMS does not list it") == [(None, None)]
    assert said(found, "stands twice; its rows are in frames-001.parquet already") == [
        (CLIPS[4], None),
        (CLIPS[5], None),
    ]
    assert said(found, f"{SUBJECTS[2]} has one in frames-001.parquet already") == [(None, None)]


@pytest.mark.parametrize("name", [name for name in FILES if "shard" not in name])
def test_a_missing_file(aligned: None, name: str) -> None:
    FILES[name].unlink()
    assert said(problems_of(FILES[name]), "not found") == [(None, None)]
    assert len(check().problems) == 1


@pytest.mark.parametrize("folder", [paths.manifest(RELEASE), paths.aligned(RELEASE)])
def test_a_missing_folder(aligned: None, folder: Path) -> None:
    folder.rename("elsewhere")
    assert said(problems_of(folder), "not found") == [(None, None)]


# --- the command


def test_command_on_good_data(aligned: None) -> None:
    result = invoke("prep", "check")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [str(check())]


def test_command_names_what_is_wrong(aligned: None) -> None:
    change_groups(0, lambda groups: swap(groups[0]))
    result = invoke("prep", "check", RELEASE)
    assert result.exit_code == 1 and "Traceback" not in result.output
    line = result.stdout.splitlines()[0]
    assert line.startswith(f"synthetic: data/aligned/synthetic/frames-000.parquet: {A}: frame {FIRST + 2}: is out of")
    assert line.endswith("; delete data/aligned/synthetic and run `dvc repro`")


def test_command_for_machines(aligned: None) -> None:
    shard_of(1).unlink()
    result = invoke("prep", "check", "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)[f"aligned/{RELEASE}"]
    assert (report["clips"], report["frames"], report["rejected"]) == (3, 12, 1)
    assert {problem["clip"] for problem in report["problems"]} == {None, CLIPS[4], CLIPS[5]}
    assert {problem["file"] for problem in report["problems"]} == {shard_of(1).as_posix()}


def test_all_releases_are_checked(aligned: None) -> None:
    for place in (paths.aligned, paths.manifest):
        place(RELEASE).rename(place("casme2"))
    write_aligned()
    result = invoke("prep", "check")
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == ["aligned casme2", "aligned synthetic"]


def test_nothing_to_check(project: Path) -> None:
    assert "data: no data of any release or task; run `dvc repro`" in error_of("prep", "check")
    assert "data: no data of megc2019_flow; run" in error_of("prep", "check", "megc2019_flow")
    assert "'nowhere' is neither a release nor a task of params.yaml" in error_of("prep", "check", "nowhere")


def test_help_tells_the_two_checks_apart() -> None:
    assert "python -m bench check" in " ".join(invoke("prep", "check", "--help").output.replace("│", " ").split())
