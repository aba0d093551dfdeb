"""Folders with faults: the clip at fault is listed with its reason, and every good clip survives."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fdpbench.prep.demo.simulate import Simulated, simulate
from fdpbench.prep.releases import read_release
from fdpbench.prep.releases.common.base import Listing
from fdpbench.prep.store.schema import Reason
from tests.support.grids import Grid, write_xlsx

Write = Callable[..., Simulated]

# Releases in which each clip has a folder of its own.
OWN_FOLDER = ("casme2", "samm", "smic_hs", "mmew", "fourdme", "dfme")


def gap(folder: Path, frame: Path, outside: Path) -> None:
    frame.unlink()


def other_suffix(folder: Path, frame: Path, outside: Path) -> None:
    frame.rename(frame.with_suffix(".txt"))


def no_folder(folder: Path, frame: Path, outside: Path) -> None:
    shutil.rmtree(folder)


def file_for_a_folder(folder: Path, frame: Path, outside: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


def no_files(folder: Path, frame: Path, outside: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def twice(folder: Path, frame: Path, outside: Path) -> None:
    shutil.copy(frame, frame.with_suffix(".PNG"))


def file_leads_out(folder: Path, frame: Path, outside: Path) -> None:
    frame.rename(outside / frame.name)
    frame.symlink_to(outside / frame.name)


def folder_leads_out(folder: Path, frame: Path, outside: Path) -> None:
    folder.rename(outside / folder.name)
    folder.symlink_to(outside / folder.name)


def parent_leads_out(folder: Path, frame: Path, outside: Path) -> None:
    folder.parent.rename(outside / folder.parent.name)
    folder.parent.symlink_to(os.path.relpath(outside / folder.parent.name, folder.parent.parent))


def file_links_to_itself(folder: Path, frame: Path, outside: Path) -> None:
    frame.unlink()
    frame.symlink_to(frame.name)


def folder_links_to_itself(folder: Path, frame: Path, outside: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder.name)


FAULTS: list[tuple[Callable[[Path, Path, Path], None], Reason, str]] = [
    (gap, Reason.MISSING_FILE, "frames are missing"),
    (other_suffix, Reason.MISSING_FILE, "frames are missing"),
    (no_folder, Reason.MISSING_FOLDER, ""),
    (file_for_a_folder, Reason.MISSING_FOLDER, ""),
    (no_files, Reason.MISSING_FILE, "the folder holds 0"),
    (twice, Reason.DUPLICATE, "are the same frame; remove one"),
    (file_leads_out, Reason.OUTSIDE_RELEASE, "leads out of the release"),
    (folder_leads_out, Reason.OUTSIDE_RELEASE, "leads out of the release"),
    (folder_links_to_itself, Reason.MISSING_FOLDER, ""),
]


@pytest.mark.parametrize("release", OWN_FOLDER)
def test_faults_of_a_folder(tmp_path: Path, release: str) -> None:
    """All faults in one release, each in a clip of its own."""
    root, outside = tmp_path / "release", tmp_path / "outside"
    written = simulate(release, root, subjects=len(FAULTS) + 2, clips=1)
    outside.mkdir()
    expected = {}
    for clip, (spoil, reason, detail) in zip(written.clips[1:-1], FAULTS, strict=True):
        frame = root / clip.frames[4]
        spoil(frame.parent, frame, outside)
        expected[clip.clip_id] = (reason, detail)
    listing = read_release(release, root)
    assert clips_of(listing) == {written.clips[0].clip_id, written.clips[-1].clip_id}
    assert {row["clip_id"]: row["reason"] for row in listing.rejected} == {
        clip_id: reason for clip_id, (reason, _) in expected.items()
    }
    for row in listing.rejected:
        assert expected[row["clip_id"]][1] in row["detail"] and str(tmp_path) not in row["detail"], row


def clips_of(listing: Listing) -> set[str]:
    return {row["clip_id"] for row in listing.clips}


def spoilt(written: Simulated, tmp_path: Path, spoil: Callable[[Path, Path, Path], None]) -> Path:
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    (tmp_path / "outside").mkdir()
    frame = root / written.clips[1].frames[4]
    spoil(frame.parent, frame, tmp_path / "outside")
    return root


def test_a_subject_that_leads_out(simulated: Write, tmp_path: Path) -> None:
    written = simulated("casme2")
    listing = read_release("casme2", spoilt(written, tmp_path, parent_leads_out))
    assert {row["reason"] for row in listing.rejected} == {Reason.OUTSIDE_RELEASE}
    assert len(listing.rejected) == 2 and len(listing.clips) == 4


def test_a_frame_that_links_to_itself(simulated: Write, tmp_path: Path) -> None:
    """It is a missing file, at this stage or when it is read."""
    written = simulated("casme2")
    listing = read_release("casme2", spoilt(written, tmp_path, file_links_to_itself))
    others = {clip.clip_id for clip in written.clips} - {written.clips[1].clip_id}
    assert clips_of(listing) >= others


def test_links_inside_a_release_are_followed(simulated: Write, tmp_path: Path) -> None:
    written = simulated("samm")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    clip = written.clips[0]
    folder = (root / clip.frames[0]).parent
    (root / "store").mkdir()
    folder.rename(root / "store/clip")
    folder.symlink_to(root / "store/clip")
    frame = root / clip.frames[2]
    frame.rename(root / "store/frame.jpg")
    frame.symlink_to(root / "store/frame.jpg")
    (tmp_path / "link").symlink_to(root)  # as `fdpbench link` makes it
    for place in (root, tmp_path / "link"):
        listing = read_release("samm", place)
        assert clips_of(listing) == {clip.clip_id for clip in written.clips} and listing.rejected == []
        assert {row["clip_id"]: tuple(row["frames"]) for row in listing.clips}[clip.clip_id] == clip.frames


@pytest.mark.parametrize("release", ["samm", "fourdme"])
def test_numbers_that_are_not_padded(simulated: Write, tmp_path: Path, release: str) -> None:
    written = simulated(release)
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    for path in [path for path in root.rglob("*.jpg")]:
        head, _, number = path.stem.rpartition("_")
        path.rename(path.with_name(f"{head}{head and '_'}{int(number)}.JPG"))
    listing = read_release(release, root)
    assert listing.rejected == []
    for row in listing.clips:
        numbers = [int(Path(frame).stem.rpartition("_")[2]) for frame in row["frames"]]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


# Of a folder's n frames, numbered from the first on: which are lost, and what stands there instead.
ALONE: list[tuple[str, Callable[[int, int], tuple[list[int], str]], str]] = [
    ("in the middle", lambda first, last: ([first + 4], f"{last + 1}.jpg"), "{4} is missing"),
    ("padded", lambda first, last: ([first + 4], f"{last + 1:05d}.jpg"), "{4} is missing"),
    ("far away", lambda first, last: ([first + 4], "4711.jpg"), "{4} is missing, the first of 2 gaps"),
    ("at the end", lambda first, last: ([last], f"{last + 1}.jpg"), "{-1} is missing"),
    ("named otherwise", lambda first, last: ([first + 4], f"thumb{first + 4}.jpg"), "thumb{4}.jpg is named otherwise"),
    ("a frame more", lambda first, last: ([], f"{last + 1}.jpg"), "they are {more}"),
    ("a frame less", lambda first, last: ([last], ""), "they are {less}"),
]


@pytest.mark.parametrize("release", ["mmew", "fourdme", "dfme"])
def test_a_lost_frame_and_a_stray_file_do_not_make_up_for_each_other(tmp_path: Path, release: str) -> None:
    """Folders that hold a clip's frames alone are numbered anew: then nothing but the numbers tells."""
    root = tmp_path / "release"
    written = simulate(release, root, "trimmed", subjects=len(ALONE) + 2, clips=1)
    expected = {}
    for clip, (_, change, text) in zip(written.clips[1:], ALONE, strict=False):
        folder = (root / clip.frames[0]).parent
        frames = {int(path.stem): path for path in folder.iterdir()}
        first, last = min(frames), max(frames)
        lost, stray = change(first, last)
        data = frames[last].read_bytes()
        for number in lost:
            frames[number].unlink()
        if stray:
            (folder / stray).write_bytes(data)
        for key, value in (("4", first + 4), ("-1", last), ("more", len(frames) + 1), ("less", len(frames) - 1)):
            text = text.replace(f"{{{key}}}", str(value))
        expected[clip.clip_id] = text
    last_clip = written.clips[-1]  # its first frame lost, and one behind its last
    folder = (root / last_clip.frames[0]).parent
    numbers = sorted(int(path.stem) for path in folder.iterdir())
    (root / last_clip.frames[0]).rename(folder / f"{numbers[-1] + 1}.jpg")
    late = {last_clip.clip_id: "they begin with 2"} if numbers[0] == 1 else {}  # from 0 on it might be from 1 on
    listing = read_release(release, root)
    assert {row["clip_id"]: row["reason"] for row in listing.rejected} == dict.fromkeys(
        expected | late, Reason.MISSING_FILE
    )
    for row in listing.rejected:
        assert (expected | late)[row["clip_id"]] in row["detail"], row
    assert written.clips[0].clip_id in clips_of(listing)


def test_stray_files_are_no_frames(simulated: Write, tmp_path: Path) -> None:
    written = simulated("casme2")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    folder = (root / written.clips[0].frames[0]).parent
    for name in ("Thumbs.db", "._img24.jpg", "img.jpg", "reg_img24.jpg", "img24.jpg.bak", "img24.mp4"):
        (folder / name).write_bytes(b"x")
    assert clips_of(read_release("casme2", root)) == {clip.clip_id for clip in written.clips}


# --- folders that cannot be listed; injected, for tests may run as root, whom permissions do not stop


def refuse(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def refusing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *rest: Any) -> Any:
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *rest)

        return call

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))


@pytest.mark.parametrize("release", OWN_FOLDER)
def test_a_clip_folder_that_cannot_be_listed(simulated: Write, monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    written = simulated(release)
    bad = written.clips[1]
    root = written.sheet.parent
    refuse(monkeypatch, (root / bad.frames[0]).parent)
    listing = read_release(release, root)
    assert clips_of(listing) == {clip.clip_id for clip in written.clips} - {bad.clip_id}
    assert [(row["clip_id"], row["reason"]) for row in listing.rejected] == [(bad.clip_id, Reason.UNREADABLE_FILE)]
    assert "Permission denied" in listing.rejected[0]["detail"]


def test_a_subject_folder_that_cannot_be_searched(
    simulated: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing below it can be seen, so that its names are looked for in a listing that is refused."""
    written = simulated("casme2")
    root = spoilt(written, tmp_path, no_folder)
    bad = written.clips[1]
    refuse(monkeypatch, (root / bad.frames[0]).parent.parent)
    listing = read_release("casme2", root)
    assert clips_of(listing) == {clip.clip_id for clip in written.clips} - {bad.clip_id}
    assert [(row["clip_id"], row["reason"]) for row in listing.rejected] == [(bad.clip_id, Reason.UNREADABLE_FILE)]


# --- names


def renamed(written: Simulated, root: Path, name: str, on_disk: str) -> str:
    """Give the second clip of CASME II another name in the sheet and on disk; its key."""
    bad = written.clips[1]
    folder = root / Path(bad.frames[0]).parent
    folder.rename(folder.with_name(on_disk))
    grid = Grid.of("casme2", written)
    for row in grid.rows:
        if row[grid.place("clip")] == folder.name:
            row[grid.place("clip")] = name
    write_xlsx(root / written.sheet.name, grid.book())
    return f"casme2/{Path(bad.frames[0]).parts[1]}/"


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "EPé_ü") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "on_disk"),
    [
        (COMPOSED, DECOMPOSED),
        (DECOMPOSED, COMPOSED),
        (DECOMPOSED, DECOMPOSED),
        ("ＥＰ０９", "EP09"),
        ("EP09", "ep09"),
        ("EP 09", "EP 09"),
        (" EP09", "EP09"),
        ("情绪01", "情绪01"),
        ("EP[0-9]*", "EP[0-9]*"),
        ("-rf", "-rf"),
    ],
)
def test_odd_names(simulated: Write, tmp_path: Path, name: str, on_disk: str) -> None:
    written = simulated("casme2")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    key = renamed(written, root, name, on_disk)
    listing = read_release("casme2", root)
    assert listing.rejected == [] and len(listing.clips) == 6
    (row,) = (row for row in listing.clips if row["clip_id"].startswith(key) and f"/{on_disk}/" in row["frames"][0])
    assert row["clip_id"] == key + " ".join(unicodedata.normalize("NFKC", name).split())
    assert all((root / frame).is_file() for frame in row["frames"])
    listing.tables()


def test_two_folders_alike(simulated: Write, tmp_path: Path) -> None:
    """Which of two is meant is not guessed."""
    written = simulated("casme2")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    renamed(written, root, "EP09", "ep09")
    folder = next(root.glob("CASME2_RAW_selected/*/ep09"))
    shutil.copytree(folder, folder.with_name("Ep09"))
    listing = read_release("casme2", root)
    assert [row["reason"] for row in listing.rejected] == [Reason.MISSING_FOLDER] and len(listing.clips) == 5


@pytest.mark.parametrize(("release", "other"), [("smic_hs", "negative"), ("mmew", "happiness")])
def test_a_clip_in_two_folders(simulated: Write, tmp_path: Path, release: str, other: str) -> None:
    """Under another emotion, or with its subject written otherwise: which of two is meant is not guessed."""
    written = simulated(release)
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    bad = written.clips[1]
    folder = (root / bad.frames[0]).parent
    name = folder.name.replace("s01", "s1") if release == "smic_hs" else folder.name
    shutil.copytree(folder, folder.parent.parent / other / name)
    listing = read_release(release, root)
    assert [(row["clip_id"], row["reason"]) for row in listing.rejected] == [(bad.clip_id, Reason.MISSING_FOLDER)]
    assert "2 folders" in listing.rejected[0]["detail"] and len(listing.clips) == 5


HOSTILE = ("../sub01/EP", "..", ".", "/etc", "a/b", "a\\b", "~/x", "a" * 300, "\u202egpj", "con.", "%2e%2e", "a\tb")


@pytest.mark.parametrize(
    ("release", "column"),
    [
        *((release, column) for release in ("casme2", "samm", "casme3_a", "mmew") for column in ("subject", "clip")),
        ("casme3_c", "subject"),  # its clips are numbers, not names of folders
    ],
)
def test_hostile_names_lead_nowhere(simulated: Write, tmp_path: Path, release: str, column: str) -> None:
    """Such a row is left out, and nothing outside its release is looked at."""
    written = simulated(release)
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    outside = tmp_path / "sub01" / "EP"
    shutil.copytree((root / written.clips[0].frames[0]).parent, outside)
    grid = Grid.of(release, written)
    good = len(grid.rows) - 1
    grid.rows += [grid.row(good, **{"clip": f"zz{k}", column: name}) for k, name in enumerate(HOSTILE)]
    write_xlsx(root / written.sheet.name, grid.book())
    listing = read_release(release, root)
    assert clips_of(listing) == {clip.clip_id for clip in written.clips}
    assert len(listing.rejected) == len(HOSTILE)
    allowed = {Reason.BAD_ROW, Reason.MISSING_FOLDER, Reason.UNREADABLE_FILE}
    assert {row["reason"] for row in listing.rejected} <= allowed, listing.rejected


def test_an_offset_far_behind_the_last_frame(simulated: Write, tmp_path: Path) -> None:
    """The frames that are not there are counted, not listed one by one: there are a thousand million."""
    written = simulated("casme2")
    root = shutil.copytree(written.sheet.parent, tmp_path / "release")
    grid = Grid.of("casme2", written)
    grid.rows[2][grid.place("offset")] = 999_999_999
    write_xlsx(root / written.sheet.name, grid.book())
    listing = read_release("casme2", root)
    (rejection,) = listing.rejected
    assert rejection["reason"] == Reason.MISSING_FILE and len(listing.clips) == 5
