"""Folders as they are in use: lost frames, a release's own crops, long versions, archives unpacked twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fdpbench.bench.plan.link import link_release
from fdpbench.bench.plan.params import load_tasks
from fdpbench.bench.report.tables import rendered_note
from fdpbench.bench.train.data import load_task_info
from fdpbench.prep.align import stage as crops
from fdpbench.prep.demo.simulate import Simulated, simulate
from fdpbench.prep.dynamic.stage import dynamic_images
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.index.doubts import lost_frames
from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.index.stage import index_release, run
from fdpbench.prep.releases import ReleaseError, read_release
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import REJECTED, Reason
from fdpbench.prep.task.stage import describe_task, gather_task
from tests.prep.task.test_stages import run_here
from tests.support.builders import PARAMS, params, write_params
from tests.test_cli import error_of

Write = Callable[..., Simulated]
KEEP = IndexParams(lost_frames="keep")


def copy(written: Simulated, root: Path) -> Path:
    return shutil.copytree(written.sheet.parent, root)


def clip_ids(release: str, root: Path) -> set[str]:
    return {row["clip_id"] for row in read_release(release, root).clips}


def expected(written: Simulated) -> set[str]:
    return {clip.clip_id for clip in written.clips}


# --- lost frames


@pytest.mark.parametrize("release", ["casme2", "casme3_a", "casme3_c", "samm", "smic_hs", "casme_sq"])
def test_a_clip_is_kept_without_its_lost_frames(simulated: Write, tmp_path: Path, release: str) -> None:
    written = simulated(release)
    root = copy(written, tmp_path / "release")
    clip = written.clips[1]
    for place in (2, 3, 6):
        (root / clip.frames[place]).unlink()
    assert [row["reason"] for row in read_release(release, root).rejected if row["clip_id"] == clip.clip_id] == [
        Reason.MISSING_FILE
    ]
    listing = read_release(release, root, "keep")
    (row,) = (row for row in listing.clips if row["clip_id"] == clip.clip_id)
    left = [k for k in range(len(clip.frames)) if k not in (2, 3, 6)]
    assert clip.onset is not None
    assert row["frames"] == [clip.frames[k] for k in left]
    assert row["frame_numbers"] == [clip.onset + k for k in left]
    assert (row["onset"], row["apex"], row["offset"]) == (clip.onset, clip.apex, clip.offset)
    lost = lost_frames(listing.clips)
    detail = f"lost: {clip.onset + 2} to {clip.onset + 3}, {clip.onset + 6}"
    assert [(one["clip_id"], one["detail"].split("; ")[1]) for one in lost] == [(clip.clip_id, detail)]
    assert "index.lost_frames is keep: 1 clips lack 3 frames between onset and offset" in listing.notes


def test_gaps_at_either_end_are_said() -> None:
    row = {"clip_id": "a", "onset": 5, "offset": 12, "frame_numbers": [7, 8, 10]}
    assert lost_frames([row])[0]["detail"] == "3 of 8 frames are there; lost: 5 to 6, 9, 11 to 12"
    assert lost_frames([row | {"frame_numbers": list(range(5, 13))}]) == []


@pytest.mark.parametrize("release", ["mmew", "fourdme", "dfme"])
@pytest.mark.parametrize(("lost", "kept"), [(4, True), (0, False), (-1, False)])
def test_frames_numbered_anew_are_kept_where_it_is_known_which_are_lost(
    tmp_path: Path, release: str, lost: int, kept: bool
) -> None:
    """By their numbers from the first to the last; without these two it is not."""
    root = tmp_path / "release"
    written = simulate(release, root, "trimmed", clips=1)
    clip = written.clips[0]
    (root / clip.frames[lost]).unlink()
    listing = read_release(release, root, "keep")
    rows = [row for row in listing.clips if row["clip_id"] == clip.clip_id]
    assert bool(rows) == kept
    if kept:
        assert clip.onset is not None and clip.offset is not None
        wanted = [number for number in range(clip.onset, clip.offset + 1) if number != clip.onset + lost]
        assert rows[0]["frame_numbers"] == wanted
        assert rows[0]["frames"] == [frame for k, frame in enumerate(clip.frames) if k != lost]
    else:
        assert [row["reason"] for row in listing.rejected] == [Reason.MISSING_FILE]


def test_a_clip_of_which_one_frame_is_left_is_left_out(simulated: Write, tmp_path: Path) -> None:
    written = simulated("casme2")
    root = copy(written, tmp_path / "release")
    for frame in written.clips[0].frames[1:]:
        (root / frame).unlink()
    (row,) = read_release("casme2", root, "keep").rejected
    assert row["reason"] == Reason.MISSING_FILE and "the folder holds" in row["detail"]


@pytest.mark.parametrize("place", ["middle", "apex"])
def test_lost_frames_from_link_to_table(project: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Link, index, align, dynamic, flow, task: kept, and said in report, task and below the table."""
    monkeypatch.setattr(crops, "run_units", run_here)
    written = simulate("casme3_a", project / "release", subjects=4, clips=3)
    clip = written.clips[0]
    assert clip.apex is not None and clip.onset is not None
    (project / "release" / clip.frames[clip.apex - clip.onset if place == "apex" else 2]).unlink()
    write_params(params(index={"lost_frames": "keep"}, releases=[], tasks={}, runs={}))
    link_release("casme3_a", project / "release")
    index_release("casme3_a", paths.raw("casme3_a"), paths.manifest("casme3_a"), KEEP)
    report = json.loads((paths.manifest("casme3_a") / "report.json").read_text())
    assert report["clips"] == 12 and [row["clip_id"] for row in report["lost_frames"]] == [clip.clip_id]
    manifest = load_manifest("casme3_a")
    align = section(AlignParams, PARAMS["align"], "align")
    root = paths.raw("casme3_a")
    crops.align_release("casme3_a", root, manifest, paths.aligned("casme3_a"), align, 1)
    flow = FlowParams(method="dis", missing_apex="reject")
    flow_of_release("casme3_a", root, manifest, paths.aligned("casme3_a"), paths.flow("casme3_a"), flow)
    task = load_tasks()["casme3_4"]
    dynamic_images("casme3_4", task, paths.dynamic("casme3_4"))
    gather_task("casme3_4", task, paths.task("casme3_4"))
    about = load_task_info(paths.task("casme3_4"))
    rejected = shards.read_table(paths.flow("casme3_a") / "rejected.parquet", REJECTED).to_pylist()
    if place == "apex":  # the clip has frames and no flow, so that this task does not hold it
        assert [(row["clip_id"], row["reason"]) for row in rejected] == [(clip.clip_id, Reason.NO_APEX)]
        assert about.lost_frames == 0 and "lack frames" not in rendered_note(about)
    else:
        assert rejected == [] and about.lost_frames == 1
        assert "Of these clips 1 lack frames between onset and offset" in rendered_note(about)
    found = describe_task("casme3_4", task, paths.task("casme3_4") / "clips.parquet")
    assert found == json.loads((paths.task("casme3_4") / "task.json").read_text())


def test_the_setting(project: Path) -> None:
    write_params(params(index={"lost_frames": "guess"}))
    assert "index.lost_frames: Input should be 'keep' or 'reject'" in error_of("index", "synthetic")
    with pytest.raises(ParamsError, match="index.lost: unknown key; known keys here: lost_frames"):
        section(IndexParams, {"lost_frames": "keep", "lost": 1}, "index")


def test_the_stage_index_heeds_the_setting(simulated: Write, project: Path) -> None:
    written = simulated("casme3_a")
    root = copy(written, project / "data/raw/casme3_a")
    (root / written.clips[0].frames[2]).unlink()
    for setting, clips in (("reject", 5), ("keep", 6)):
        run(Planned({"lost_frames": setting}, stage="index", item="casme3_a"), 1)
        assert len(load_manifest("casme3_a")) == clips


# --- a release's own crops


def test_crops_where_there_are_no_raw_frames(tmp_path: Path) -> None:
    written = simulate("casme2", tmp_path / "release", "cropped")
    listing = read_release("casme2", tmp_path / "release")
    assert {row["clip_id"]: tuple(row["frames"]) for row in listing.clips} == {
        clip.clip_id: clip.frames for clip in written.clips
    }
    assert any(
        note.startswith("6 clips are read from the release's own crops, files reg_img*") for note in listing.notes
    )


def test_crops_in_the_folder_of_raw_frames(simulated: Write, tmp_path: Path) -> None:
    """In place of raw frames they count, beside them they do not."""
    written = simulated("casme2")
    root = copy(written, tmp_path / "release")
    shutil.rmtree(root / "CASME2_RAW_selected")
    (root / "Cropped").rename(root / "CASME2_RAW_selected")
    listing = read_release("casme2", root)
    assert len(listing.clips) == 6 and all("/reg_img" in frame for row in listing.clips for frame in row["frames"])
    (root / "CASME2_RAW_selected").rename(root / "crops")
    shutil.copytree(written.sheet.parent / "CASME2_RAW_selected", root / "CASME2_RAW_selected")
    shutil.copytree(root / "crops", root / "CASME2_RAW_selected", dirs_exist_ok=True)
    listing = read_release("casme2", root)
    assert {row["clip_id"]: tuple(row["frames"]) for row in listing.clips} == {
        clip.clip_id: clip.frames for clip in written.clips
    }
    assert not any("crops" in note for note in listing.notes)


def test_crops_of_smic(simulated: Write, tmp_path: Path) -> None:
    written = simulated("smic_hs")
    root = copy(written, tmp_path / "release")
    (root / "SMIC_all_cropped").mkdir()
    shutil.copytree(root / "HS", root / "SMIC_all_cropped" / "HS")
    for path in [*(root / "SMIC_all_cropped").rglob("*.jpg")]:
        path.rename(path.with_name(f"reg_{path.name}"))
    listing = read_release("smic_hs", root)
    assert {row["clip_id"]: tuple(row["frames"]) for row in listing.clips} == {
        clip.clip_id: clip.frames for clip in written.clips
    }
    assert "frames are read from HS, not from SMIC_all_cropped/HS" in listing.notes
    shutil.rmtree(root / "HS")
    listing = read_release("smic_hs", root)
    assert {row["clip_id"] for row in listing.clips} == expected(written)
    assert any("own crops, files reg_*" in note for note in listing.notes)


@pytest.mark.parametrize("name", ["frame_{}.jpg", "img{}.tif", "clip.avi"])
def test_a_message_says_what_other_files_are_there(simulated: Write, tmp_path: Path, name: str) -> None:
    written = simulated("casme2")
    root = copy(written, tmp_path / "release")
    folder = (root / written.clips[0].frames[0]).parent
    count = len([path.rename(path.with_name(name.format(k))) for k, path in enumerate(sorted(folder.iterdir()))])
    (row,) = read_release("casme2", root).rejected
    count = 1 if name == "clip.avi" else count
    assert f"the folder holds 0; {count} other files are not read, such as {name.format(0)}" in row["detail"]


# --- other places

SMIC_LAYOUTS = [
    "HS/{s}/{clip}", "HS_long/SMIC_HS_E/{s}/{clip}", "HS_long/SMIC-HS-E/HS/{s}/{clip}", "SMIC-HS-E/HS/{s}/{clip}",
    "SMIC-E_raw image/HS_long/SMIC-HS-E/HS/{s}/{clip}", "SMIC/HS/{s}/micro/{clip}", "HS/{s}/micro/{emotion}/{clip}",
]  # fmt: skip


@pytest.mark.parametrize("layout", SMIC_LAYOUTS)
def test_layouts_of_smic(simulated: Write, tmp_path: Path, layout: str) -> None:
    """Beside another camera's clips and those that are no micro-expressions, of the same names."""
    written = simulated("smic_hs")
    root = tmp_path / "release"
    root.mkdir()
    shutil.copy(written.sheet, root)
    for clip in written.clips:
        source = (written.sheet.parent / clip.frames[0]).parent
        subject = source.parts[-4]
        for tree in (layout, layout.replace("HS", "VIS"), "HS/{s}/non_micro/{clip}"):
            place = tree.format(s=subject, clip=source.name, emotion=clip.emotion)
            shutil.copytree(source, root / place)
    assert clip_ids("smic_hs", root) == expected(written)


def test_the_folder_of_a_camera_alone(simulated: Write, tmp_path: Path) -> None:
    written = simulated("smic_hs", "long")
    root = copy(written, tmp_path / "release")
    shutil.copy(written.sheet, root / "HS_long")
    assert clip_ids("smic_hs", root / "HS_long") == expected(written)
    with pytest.raises(ReleaseError, match="no VIS/<subject>/micro/<emotion>/<clip> and no VIS/<subject>/<clip>"):
        read_release("smic_vis", root)


def test_an_archive_unpacked_into_its_own_name(simulated: Write, tmp_path: Path) -> None:
    for release, folder in (("casme2", "CASME2_RAW_selected"), ("casme_sq", "rawpic"), ("mmew", "Micro_Expression")):
        written = simulated(release)
        root = copy(written, tmp_path / release)
        (root / folder).rename(root / "inner")
        (root / folder.upper()).mkdir()
        (root / "inner").rename(root / folder.upper() / folder.upper())
        assert clip_ids(release, root) == expected(written)


def test_what_a_folder_holds_is_said(simulated: Write, tmp_path: Path) -> None:
    root = copy(simulated("mmew"), tmp_path / "release")
    (root / "Micro_Expression").rename(root / "pictures")
    with pytest.raises(
        ReleaseError, match="Micro_Expression not found; .*release holds MMEW_Micro_Exp.xlsx, .*pictures"
    ):
        read_release("mmew", root)
    (root / "MMEW_Micro_Exp.xlsx").rename(root / "labels.xlsx")
    with pytest.raises(
        ReleaseError, match="no annotation sheet found; expected MMEW_Micro.*; other sheets there: labels"
    ):
        read_release("mmew", root)
