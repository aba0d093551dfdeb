"""Patterns of files of one's own data: what a wildcard stands for, and whose a file is that fits several clips."""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.prep.releases.common.frames import FolderProblem
from fdpbench.prep.releases.own.files import Claims, Finder, numbered_files
from fdpbench.prep.store.schema import Reason

NAMES = st.text(string.ascii_lowercase + "_", min_size=1, max_size=4)
ANY = st.text("ab1*?[]{}()+.^$| _-", min_size=1, max_size=6).filter(lambda text: text.strip(". ") == text)


def claims(root: Path, pattern: str, *clips: str) -> Claims:
    return Claims(Finder(root), pattern, [("s", clip) for clip in clips])


def numbers(root: Path, pattern: str, *clips: str) -> Mapping[str, list[int]]:
    """Frame numbers of each clip."""
    found = claims(root, pattern, *clips)
    return {clip: sorted(numbered_files(found.files_of(("s", clip))).files) for clip in clips}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_frames_of_a_clip_whose_name_begins_alike_are_not_taken(tmp_path: Path) -> None:
    touch(tmp_path, *(f"happy_{k:03}.png" for k in (1, 2)), *(f"happy_b_{k:03}.png" for k in (3, 4)))
    both = {"happy": [1, 2], "happy_b": [3, 4]}
    assert numbers(tmp_path, "{clip}_*.png", "happy", "happy_b") == both
    assert numbers(tmp_path, "{clip}_*.png", "happy_b", "happy") == both
    with pytest.raises(FolderProblem, match=r"happy_001.png and happy_b_003.png are of two series") as caught:
        numbers(tmp_path, "{clip}_*.png", "happy")  # the other one is not in the sheet
    assert caught.value.reason is Reason.DUPLICATE


def test_folders_and_videos_that_begin_alike(tmp_path: Path) -> None:
    touch(tmp_path, "happy/1.png", "happy_b/2.png", "happy.mp4", "happy_b.mp4")
    assert numbers(tmp_path, "{clip}*/*.png", "happy", "happy_b") == {"happy": [1], "happy_b": [2]}
    found = claims(tmp_path, "{clip}*.mp4", "happy", "happy_b")
    assert [[path.name for path, _ in found.files_of(("s", clip))] for clip in ("happy", "happy_b")] == [
        ["happy.mp4"],
        ["happy_b.mp4"],
    ]


@pytest.mark.parametrize(
    ("pattern", "names", "recordings"),
    [
        ("{clip}*.png", ["1001.png", "11001.png"], [("s", "1"), ("s", "11")]),  # frame 1001 of clip 1?
        ("{clip}/*.png", ["a/1.png", "a/2.png"], [("s1", "a"), ("s2", "a")]),  # the pattern does not name the subject
        ("{subject:02}/{clip}*.png", ["07/a1.png"], [("7", "a"), ("07", "a")]),  # one person, by two names
    ],
)
def test_files_of_nobody_knows_whom_are_refused(
    pattern: str, names: list[str], recordings: list[tuple[str, str]], tmp_path: Path
) -> None:
    found = Claims(Finder(touch(tmp_path, *names)), pattern, recordings)
    for recording in recordings:
        with pytest.raises(FolderProblem, match=r"is a file of .* and of .*; write the pattern, or the sheet"):
            found.files_of(recording)


def test_numbers_may_stand_before_the_frame_number(tmp_path: Path) -> None:
    touch(tmp_path, "a_20240131_115959_1.png", "a_20240131_120000_2.png")
    assert numbers(tmp_path, "{clip}_*.png", "a") == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{clip}/img*_?.png", [7, 12]),  # a camera's letter is no part of the number
        ("{clip}/img?*.png", []),
        ("{clip}/img?*_L.png", [7, 12]),  # at least one character, and all of them the number
        ("{clip}/i?g*_L.png", [7, 12]),
        ("{clip}/img??_*.png", []),
    ],
)
def test_a_question_mark_is_one_character_and_no_number(pattern: str, expected: list[int], tmp_path: Path) -> None:
    touch(tmp_path, "a/img7_L.png", "a/img12_L.png")
    assert numbers(tmp_path, pattern, "a") == {"a": expected}


@given(ANY, ANY)
def test_a_cell_is_never_a_pattern(cell: str, name: str) -> None:
    """Whatever signs it holds: it fits files of its own name alone."""
    with TemporaryDirectory() as folder:
        root = touch(Path(folder), f"{name}_1.png", f"{name}/2.png")
        finder = Finder(root)
        same = cell == name
        assert bool(finder.find("{clip}_*.png", {"clip": cell})) == same
        try:
            found = finder.find("{clip}/*.png", {"clip": cell})
        except FolderProblem as problem:
            assert problem.reason is Reason.MISSING_FOLDER and not same
        else:
            assert same and len(found) == 1


@given(st.sets(NAMES, min_size=2, max_size=5), st.sampled_from(["{clip}_*.png", "x/{clip}-*.png", "{clip}_f*_?.png"]))
def test_each_clip_gets_the_frames_that_were_written_for_it(clips: set[str], pattern: str) -> None:
    """In one folder, however names of clips begin; only names that end as another's frames do cannot be told apart."""
    with TemporaryDirectory() as folder:
        written = {clip: [10 * k + 1, 10 * k + 2] for k, clip in enumerate(sorted(clips))}
        names = [
            pattern.replace("{clip}", clip).replace("*", f"{number:03}").replace("?", "L")
            for clip, mine in written.items()
            for number in mine
        ]
        root = touch(Path(folder), *names)
        assert numbers(root, pattern, *written) == written
