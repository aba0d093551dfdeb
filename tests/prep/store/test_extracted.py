"""Frames of videos are extracted once, whole or not at all, and only those that are needed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from fdpbench.prep.store import extracted, paths
from fdpbench.prep.store.extracted import Extracted, extract_videos, file_of_frame, frames_of_videos, video_of
from fdpbench.prep.store.images import read_image
from fdpbench.prep.store.schema import Reason
from tests.support.videos import numbered_frame, write_video

COUNT = 12
FRAMES = [numbered_frame(number) for number in range(COUNT)]


@pytest.fixture
def root(project: Path) -> Path:
    write_video(project / "raw/S1/a.avi", FRAMES)
    write_video(project / "raw/b c.mkv", FRAMES[:4], rate=50)
    return project / "raw"


def count(release: str = "lab") -> int:
    return sum(1 for _ in paths.frames(release).rglob("*.png"))


def test_frames_are_those_of_the_video(root: Path) -> None:
    found = extract_videos("lab", root, {"S1/a.avi": None, "b c.mkv": None}, jobs=2)
    assert {video: (one.frames, len(one.kept), one.refused) for video, one in found.items()} == {
        "S1/a.avi": (COUNT, COUNT, None),
        "b c.mkv": (4, 4, None),
    }
    assert found["S1/a.avi"].rate == pytest.approx(25) and found["b c.mkv"].rate == pytest.approx(50, rel=0.02)
    for number in range(COUNT):
        assert np.array_equal(read_image(file_of_frame("lab", root, f"S1/a.avi#{number}")), FRAMES[number])


def test_what_is_there_is_not_made_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extract_videos("lab", root, {"S1/a.avi": {2, 3}}, jobs=1)
    assert count() == 2

    def refuse(*_: object) -> None:
        raise AssertionError("nothing is to be extracted")

    with monkeypatch.context() as patched:
        patched.setattr(extracted, "run_units", refuse)
        found = extract_videos("lab", root, {"S1/a.avi": {3}}, jobs=1)
    assert found["S1/a.avi"].kept == {2, 3} and found["S1/a.avi"].frames == COUNT
    assert extract_videos("lab", root, {"S1/a.avi": {5}}, jobs=1)["S1/a.avi"].kept == {2, 3, 5}
    assert count() == 3


def test_a_video_that_has_changed_is_extracted_again(root: Path) -> None:
    extract_videos("lab", root, {"S1/a.avi": None}, jobs=1)
    write_video(root / "S1/a.avi", FRAMES[::-1])
    os.utime(root / "S1/a.avi", ns=(1, 1))
    extract_videos("lab", root, {"S1/a.avi": None}, jobs=1)
    assert np.array_equal(read_image(file_of_frame("lab", root, "S1/a.avi#0")), FRAMES[-1])


@pytest.mark.parametrize("changed", ["code", "version"])
def test_another_reader_extracts_all_again(
    changed: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames depend on the module that reads videos and on PyAV; those of before are no longer there."""
    write_video(root / "S1/a.avi@1-1.avi", FRAMES[:3])  # named almost as a unit of another
    wanted = {"S1/a.avi": {1}, "S1/a.avi@1-1.avi": None}
    extract_videos("lab", root, wanted, jobs=1)
    before = file_of_frame("lab", root, "S1/a.avi#1")
    if changed == "code":
        other = tmp_path / "videos.py"
        other.write_bytes(Path(extracted.videos.__file__).read_bytes() + b"\n")
        monkeypatch.setattr(extracted.videos, "__file__", str(other))
    else:
        monkeypatch.setattr(extracted.av, "__version__", "18.1.99")
    extracted._reader.cache_clear()
    try:
        assert extract_videos("lab", root, wanted, jobs=1)["S1/a.avi"].kept == {1}
        after = file_of_frame("lab", root, "S1/a.avi#1")
        assert after != before and after.is_file() and not before.exists() and count() == 4
    finally:
        extracted._reader.cache_clear()


def test_frames_beyond_the_end_give_all_frames(root: Path) -> None:
    """The sheet may count another way, so that others are meant."""
    assert extract_videos("lab", root, {"S1/a.avi": {40, 41}}, jobs=1)["S1/a.avi"].kept == set(range(COUNT))


def test_a_video_that_cannot_be_read_says_why_and_stops_no_other(root: Path) -> None:
    (root / "empty.mp4").write_bytes(b"")
    data = (root / "S1/a.avi").read_bytes()
    (root / "cut.avi").write_bytes(data[: len(data) // 2])
    found = extract_videos("lab", root, dict.fromkeys(["empty.mp4", "cut.avi", "gone.mp4", "b c.mkv"]), jobs=1)
    reasons = {video: one.refused[0] for video, one in found.items() if one.refused}
    assert reasons == {
        "empty.mp4": Reason.EMPTY_FILE,
        "cut.avi": Reason.TRUNCATED_VIDEO,
        "gone.mp4": Reason.MISSING_FILE,
    }
    assert count() == 4


def test_sources_of_a_manifest() -> None:
    sources = ["S1/a.avi#3", "S1/a.avi#4", "S1/img#5.png", "b.MP4#0", "#7"]
    assert frames_of_videos(sources) == {"S1/a.avi": {3, 4}, "b.MP4": {0}}
    assert [video_of(source) for source in sources] == ["S1/a.avi", "S1/a.avi", "S1/img#5.png", "b.MP4", "#7"]
    assert file_of_frame("lab", Path("raw"), "S1/img#5.png") == Path("raw/S1/img#5.png")


def test_a_rate_that_varies_is_known_by_the_times() -> None:
    steady = Extracted(4, frozenset(), (0.0, 0.033, 0.067, 0.1))
    assert steady.rate == pytest.approx(30) and not steady.varies
    assert Extracted(4, frozenset(), (0.0, 0.01, 0.02, 0.1)).varies
    assert Extracted(1, frozenset(), (0.0,)).rate is None
