"""Data sets of one's own: section `releases` describes them, and every stage follows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fdpbench.bench.plan.link import check_links, link_release
from fdpbench.bench.plan.resolve import resolve
from fdpbench.commands import app
from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.releases import RELEASES, ReleaseError, read_annotations, read_release, release_info
from fdpbench.prep.settings.params import check_params, read_params
from fdpbench.prep.settings.plain_yaml import read_yaml
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import FRAMES, Reason
from fdpbench.prep.task.table import TASK
from tests.support.builders import params, write_params
from tests.support.own_data import LAYOUTS, RATE, clips, write_image
from tests.support.videos import numbered_frame, write_video

COLUMNS = {"subject": "Who", "clip": "What", "onset": "On", "apex": "Top", "offset": "Off", "emotion": "Label"}
SETTINGS = {"kind": "folder", "sheet": "sheet.csv", "columns": COLUMNS, "frames": "{subject}/{clip}/*.png", "fps": 100}
HEADER = "Who;What;On;Top;Off;Label"
PIXELS = numbered_frame(1)[:32, :32]


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def describe(**changes: Any) -> None:
    """Make `lab` known as params.yaml describes it; a change to None takes a key away."""
    settings = {key: value for key, value in (SETTINGS | changes).items() if value is not None}
    check_params(params(releases={"synthetic": {}, "lab": settings}))


def write_lab(root: Path, *rows: str, frames: dict[str, range], suffix: str = ".png") -> Path:
    """A sheet of these rows, and images of these numbers in each folder."""
    root.mkdir(exist_ok=True)
    (root / "sheet.csv").write_text("\n".join([HEADER, *rows]), encoding="utf-8")
    for folder, numbers in frames.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in numbers:
            write_image(root / folder / f"img{number}{suffix}", PIXELS)
    return root


def rejected(root: Path) -> dict[str, tuple[str, str]]:
    return {row["clip_id"]: (row["reason"], row["detail"]) for row in read_release("lab", root).rejected}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_becomes_a_task_by_commands_alone(layout: str, project: Path) -> None:
    root = LAYOUTS[layout](project / "data set")
    Path("params.yaml").write_text(yaml.safe_dump(params(releases=["synthetic"], tasks={}, runs={})))
    fps = () if layout == "videos" else ("--fps", str(RATE))
    printed = run("describe", str(root), "--name", "lab", *fps, "--add")
    assert yaml.safe_load(printed)["releases"] == read_params()["releases"], "what is printed is what is written"
    said = run("link", "lab", str(root), "--runs", "majority")
    assert "6 clips of 3 subjects (freude 3, überraschung 3)" in said and "task lab added" in said
    for stage in ("index", "align", "flow", "dynamic", "task"):
        planned = resolve(stage, "lab", read_params())
        Path(f"artifacts/plan/{stage}").mkdir(parents=True)
        Path(f"artifacts/plan/{stage}/lab.json").write_text(planned.as_json())
        run(stage, "lab")
    rows = shards.read_table(paths.task("lab") / "clips.parquet", TASK).to_pylist()
    assert len(rows) == 6 and {row["class"] for row in rows} == {"freude", "überraschung"}
    about = json.loads((paths.task("lab") / "task.json").read_text())
    assert about["faces_may_be_published"] is False and about["rendered"] is False
    assert about.get("lost_frames") == (6 if layout == "nested" else None)
    for row, clip in zip(load_manifest("lab"), clips(), strict=True):
        lost = 1 if layout == "nested" else 0
        assert len(row["frame_numbers"]) == len(clip.frames) - lost  # type: ignore[arg-type]
        marks: Any = row
        assert marks["offset"] - marks["onset"] == len(clip.frames) - 1
        assert marks["apex"] - marks["onset"] == clip.apex


def test_frames_of_a_lossless_video_give_the_crops_that_images_give(project: Path) -> None:
    crops = {}
    for form in ("images", "videos"):
        root = project / form
        for clip in clips()[:1]:
            write_lab(root, f"P1;a;1;2;{len(clip.frames)};joy", frames={"P1/a": range(0)})
            for k, frame in enumerate(clip.frames, 1):
                write_image(root / f"P1/a/img{k}.png", frame)
            write_video(root / "P1/a.avi", clip.frames)
        changes = {} if form == "images" else {"frames": None, "video": "{subject}/{clip}.avi"}
        write_params(
            params(releases={form: {k: v for k, v in (SETTINGS | changes).items() if v is not None}}, tasks={})
        )
        paths.raw(form).parent.mkdir(parents=True, exist_ok=True)
        paths.raw(form).symlink_to(root)
        for stage in ("index", "align"):
            Path(f"artifacts/plan/{stage}").mkdir(parents=True, exist_ok=True)
            Path(f"artifacts/plan/{stage}/{form}.json").write_text(resolve(stage, form, read_params()).as_json())
            run(stage, form)
        if form == "videos":  # what was extracted can be deleted: it is made again where it is needed
            shutil.rmtree(paths.frames(form))
            shutil.rmtree(paths.aligned(form))
            run("align", form)
        (shard,) = shards.frame_shards(paths.aligned(form))
        crops[form] = [row["image"] for row in shards.read_rows(shard, FRAMES)]
    assert crops["images"] == crops["videos"] and len(crops["images"]) == len(clips()[0].frames)


def test_onset_and_offset_may_be_missing_and_the_apex(tmp_path: Path) -> None:
    describe()
    root = write_lab(
        tmp_path / "lab",
        "P1;a;;;;joy",
        "P1;b;3;n/a;;joy",
        "P2;c;;4;;awe",
        frames={p: range(2, 8) for p in ("P1/a", "P1/b", "P2/c")},
    )
    found = {clip["clip_id"]: clip for clip in read_release("lab", root).clips}
    marks = {name: (clip["onset"], clip["apex"], clip["offset"]) for name, clip in found.items()}
    assert marks == {"lab/P1/a": (2, None, 7), "lab/P1/b": (3, None, 7), "lab/P2/c": (2, 4, 7)}
    assert found["lab/P1/b"]["frame_numbers"] == [3, 4, 5, 6, 7]
    describe(columns={key: COLUMNS[key] for key in ("subject", "clip", "emotion")})
    whole = read_release("lab", root).clips
    assert {(clip["onset"], clip["apex"], clip["offset"]) for clip in whole} == {(2, None, 7)}


def test_a_mark_outside_the_frames_leaves_out_that_clip_alone(tmp_path: Path) -> None:
    describe()
    rows = ("P1;a;;12;;joy", "P1;b;12;;;joy", "P1;c;;0;;joy", "P1;d;;4;;joy")
    root = write_lab(tmp_path / "lab", *rows, frames={f"P1/{clip}": range(1, 11) for clip in "abcd"})
    listing = read_release("lab", root)
    assert {clip["clip_id"]: clip["apex"] for clip in listing.clips} == {"lab/P1/c": None, "lab/P1/d": 4}
    assert rejected(root).keys() == {"lab/P1/a", "lab/P1/b"} and "[1, 12, 10]" in rejected(root)["lab/P1/a"][1]
    listing.tables()  # which the index stage writes


def test_numbers_may_be_computed_ones_and_a_rate_that_is_none_is_said(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    rows = ("P1;a;0,008333333333333333;0,02;0,03;joy;29,97002997002997", "P1;b;0;1;2;joy;30 fps", "P1;c;0;1;2;joy;")
    sheet.write_text("\n".join([f"{HEADER};Rate", *rows]))
    describe(unit="seconds", columns=COLUMNS | {"fps": "Rate"})
    found = read_annotations("lab", sheet)
    assert [(clip.clip, clip.fps) for clip in found.clips] == [("a", pytest.approx(30000 / 1001)), ("c", 100.0)]
    assert [(row["clip_id"], row["detail"][-31:]) for row in found.rejected] == [
        ("lab/P1/b", "fps '30 fps', expected a number")
    ]


def test_marks_are_read_as_people_write_them(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("\n".join([HEADER, "P1;a;3,0;5.0;8;joy", "P1;b;3,5;5;8;joy", "P1;c;0;0;8;joy", "P1;d;1;0;8;joy"]))
    describe()
    found = read_annotations("lab", sheet)
    assert [(clip.clip, clip.onset, clip.apex, clip.offset) for clip in found.clips] == [
        ("a", 3, 5, 8),
        ("c", 0, 0, 8),
        ("d", 1, None, 8),
    ]
    assert [row["clip_id"] for row in found.rejected] == ["lab/P1/b"] and "'3,5'" in found.rejected[0]["detail"]


@pytest.mark.parametrize(("unit", "scale"), [("seconds", 1), ("milliseconds", 1000)])
def test_times_become_the_nearest_frame(unit: str, scale: int, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.csv"
    cells = ";".join(f"{seconds * scale:.6f}".replace(".", ",") for seconds in (0.1, 0.104999, 0.305))
    sheet.write_text(f"{HEADER}\nP1;a;{cells};joy\n")
    describe(unit=unit)
    (clip,) = read_annotations("lab", sheet).clips
    assert (clip.onset, clip.apex, clip.offset) == (11, 11, 32)  # at 100 fps, from 1 on; half a frame goes up
    describe(unit=unit, first_frame=0, fps=None, columns=COLUMNS | {"fps": "Rate"})
    sheet.write_text(f"{HEADER};Rate\nP1;a;{cells};joy;29,97\n")
    (clip,) = read_annotations("lab", sheet).clips
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (3, 3, 9, pytest.approx(29.97))


def test_several_expressions_of_a_clip_are_clips_and_a_row_twice_is_not(tmp_path: Path) -> None:
    describe()
    rows = ["P1;a;1;2;3;joy", "P1;a;4;5;6;awe", "P1;a;4;5;6;awe"]
    root = write_lab(tmp_path / "lab", *rows, frames={"P1/a": range(1, 7)})
    listing = read_release("lab", root)
    assert {clip["clip_id"]: clip["frame_numbers"] for clip in listing.clips} == {
        "lab/P1/a": [1, 2, 3],
        "lab/P1/a_2": [4, 5, 6],
    }
    assert [row["reason"] for row in listing.rejected] == [Reason.DUPLICATE]
    assert any("named by number" in note for note in listing.notes)


def test_names_are_found_whatever_their_case_and_padding(tmp_path: Path) -> None:
    describe(frames="sub{subject:02}/{clip}/*.png")
    root = write_lab(tmp_path / "lab", "7;Lächeln A;1;2;3;joy", frames={"SUB07/la\u0308cheln a": range(1, 4)})
    (clip,) = read_release("lab", root).clips
    assert clip["clip_id"] == "lab/7/Lächeln A" and clip["frames"][0].startswith("SUB07/")


def test_paths_in_the_sheet_are_followed(tmp_path: Path) -> None:
    describe(frames="{clip}/*.png")
    root = write_lab(tmp_path / "lab", "P1;P1\\day2/a;1;2;3;joy", frames={"P1/day2/a": range(1, 4)})
    (clip,) = read_release("lab", root).clips
    assert clip["clip_id"] == "lab/P1/P1_day2_a"


def test_folders_in_between_and_other_series(tmp_path: Path) -> None:
    describe(frames="**/{clip}/img*.png")
    root = write_lab(tmp_path / "lab", "P1;a;1;2;3;joy", frames={"x/y/a": range(1, 4)})
    for number in range(1, 4):
        write_image(root / "x/y/a" / f"depth{number}.png", PIXELS)
    (clip,) = read_release("lab", root).clips
    assert clip["frames"] == [f"x/y/a/img{number}.png" for number in (1, 2, 3)]
    describe(frames="**/{clip}/*.png")
    with pytest.raises(ReleaseError, match=r"depth1.png and img1.png are the same frame"):
        read_release("lab", root)


def test_what_cannot_be_used_is_left_out_by_name(tmp_path: Path) -> None:
    describe()
    rows = [
        "P1;a;1;2;3;joy",
        "P1;gone;1;2;3;joy",
        "P1;short;1;2;9;joy",
        "P2;a;3;2;1;joy",
        "P2;b;one;2;3;joy",
        "P2;c;1;2;3;",
    ]
    rows += ["P3;..;1;2;3;joy", "P3;link;1;2;3;joy"]
    frames = {"P1/a": range(1, 4), "P1/short": range(1, 4), "P3/x": range(1, 2)}
    root = write_lab(tmp_path / "lab", *rows, frames=frames)
    (tmp_path / "outside").mkdir()
    (root / "P3/link").symlink_to(tmp_path / "outside")
    found = rejected(root)
    assert {name: reason for name, (reason, _) in found.items()} == {
        "lab/P1/gone": Reason.MISSING_FOLDER,
        "lab/P1/short": Reason.MISSING_FILE,
        "lab/P2/a": Reason.BAD_MARKS,
        "lab/P2/b": Reason.BAD_ROW,
        "lab/P2/c": Reason.BAD_ROW,
        "lab/P3/..": Reason.BAD_ROW,
        "lab/P3/link": Reason.OUTSIDE_RELEASE,
    }
    assert "no folder gone of P1/gone/*.png" in found["lab/P1/gone"][1]
    assert "6 of 9 frames are missing, first 4" in found["lab/P1/short"][1]
    describe(lost_frames="keep")
    assert "lab/P1/short" not in rejected(root)


def test_link_says_what_to_change(project: Path) -> None:
    write_params(params(releases={"lab": SETTINGS}, tasks={}, runs={}))
    frames = {f"P{k}/a": range(1, 4) for k in (1, 2)}
    write_lab(project / "lab", "P1;a;1;2;3;joy", "P2;a;1;2;3;awe", "P3;a;1;2;3;joy", frames=frames)
    said = run("link", "lab", "lab")
    assert "lab/P3/a: missing_folder: row 4: no folder P3" in said
    assert "missing_folder (1): compare the pattern" in said
    task = read_params()["tasks"]["lab"]
    assert task["classes"] == {"awe": ["awe"], "joy": ["joy"]} and task["flow"] and task["sampling"]
    write_lab(project / "lab", "P1;a;1;;3;joy", "P2;a;1;2;3;awe", frames={})
    write_params(params(releases={"lab": SETTINGS}, tasks={}, runs={}))
    run("link", "lab", "lab")
    assert "flow" not in read_params()["tasks"]["lab"], "one clip has no apex"
    write_lab(project / "lab", "P1;a;1;;3;joy", frames={})
    write_params(params(releases={"lab": SETTINGS}, tasks={}, runs={}))
    with pytest.raises(ParamsError, match="one emotion alone: joy"):
        link_release("lab", Path("lab"))


def test_a_study_gets_what_params_yaml_describes(project: Path) -> None:
    write_params(params(releases={"synthetic": {}, "lab": SETTINGS}))
    write_lab(project / "lab", "P1;a;1;2;3;joy", "P2;a;1;2;3;awe", frames={f"P{k}/a": range(1, 4) for k in (1, 2)})
    run("link", "lab", "lab", "--study", "mine")
    study = read_yaml(Path("params.mine.yaml"))
    assert study["releases"] == {"lab": SETTINGS} and list(study["tasks"]) == ["lab"]
    Path("params.other.yaml").write_text("releases: [synthetic]\ntasks: {}\n")
    run("link", "lab", "lab", "--study", "other")
    assert read_yaml(Path("params.other.yaml"))["releases"] == {"synthetic": {}, "lab": SETTINGS}


def test_the_plan_sees_edits_of_the_description(project: Path) -> None:
    def plans(**changes: Any) -> dict[str, Any]:
        content = params(releases={"synthetic": {}, "lab": SETTINGS | changes})
        content["tasks"]["lab"] = content["tasks"]["tiny"] | {"releases": ["lab"]}
        check_params(content)
        return {stage: resolve(stage, "lab", content).settings for stage in ("index", "align", "flow", "task")}

    before, after = plans(), plans(faces_may_be_published=True)
    assert {stage for stage in before if before[stage] != after[stage]} == {"index", "task"}
    assert "described" not in resolve("index", "synthetic", params()).settings
    code = resolve("index", "lab", params(releases={"lab": SETTINGS})).code
    assert {"prep/releases/own/reader.py", "prep/store/videos.py"} <= code.keys()


def test_names_stay_those_of_the_file_that_was_read_last(project: Path) -> None:
    check_params(params(releases={"synthetic": None, "lab": SETTINGS}))
    assert release_info("lab").kind == "frames" and "lab" in RELEASES
    check_params(params())
    assert "lab" not in RELEASES
    with pytest.raises(ReleaseError, match="fdpbench describe DIR --name lab"):
        release_info("lab")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "folders"}, "did you mean 'folder'"),
        ({"frames": None}, "give either frames"),
        ({"video": "{clip}.avi"}, "give either frames"),
        ({"frames": "{subject}/{take}/*.png"}, "{take} is neither {subject} nor {clip}"),
        ({"frames": "{subject}/*.png"}, "expected {clip}"),
        ({"frames": "{clip}/a.png"}, "expected * for what differs"),
        ({"frames": "../{clip}/*.png"}, "without . and .."),
        ({"frames": "/data/{clip}/*.png"}, "from the linked folder on"),
        ({"frames": "{clip}/{/*.png"}, "expected {clip}, and what else"),
        ({"columns": COLUMNS | {"onsett": "x"}}, "columns.onsett: unknown key (did you mean 'onset'?)"),
        ({"columns": {"subject": "Who", "clip": "What"}}, "columns.emotion: missing"),
        ({"unit": "seconds", "fps": None}, "unit seconds needs fps"),
        ({"fps": 0}, "fps"),
        ({"first_frame": 2}, "first_frame"),
    ],
)
def test_a_description_that_is_wrong_is_refused_by_its_key(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError) as refused:
        describe(**change)
    assert "params.yaml: releases.lab" in str(refused.value) and said in str(refused.value)


def test_other_descriptions_that_are_refused() -> None:
    with pytest.raises(ParamsError, match="releases.casme2: this name is that of a known release"):
        check_params(params(releases={"casme2": SETTINGS}))
    with pytest.raises(ParamsError, match=r"releases.lab: expected settings, or {} .* found 'folder'"):
        check_params(params(releases={"lab": "folder"}))
    check_params(params(releases={"lab": {}}))
    with pytest.raises(ParamsError, match="unknown release 'lab'.*needs its settings here: fdpbench describe DIR"):
        check_links(params(releases={"lab": {}}))


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    describe(columns=COLUMNS | {"apex": "Topp"})
    root = write_lab(tmp_path / "lab", "P1;a;1;2;3;joy", frames={})
    with pytest.raises(
        ReleaseError, match=r"apex: 'Topp' \(did you mean 'Top'\?\)\. Its header has Who, What, On, Top"
    ):
        read_release("lab", root)
    describe(sheet="other.csv")
    with pytest.raises(ReleaseError, match=r"other.csv: annotation sheet not found"):
        read_release("lab", root)
    describe(sheet="../sheet.csv")
    with pytest.raises(ReleaseError, match=r"releases.lab.sheet leads out of"):
        read_release("lab", root)


def videos(root: Path, write: Callable[[Path], object] = lambda root: None) -> Path:
    """A sheet of three clips, and two videos of 12 frames; ``write`` adds what else is there."""
    write_lab(root, "P1;a;1;2;3;joy", "P1;b;4;5;12;awe", "P2;a;1;2;3;joy", frames={"P1": range(0)})
    for name in ("a", "b"):
        write_video(root / f"P1/{name}.avi", [numbered_frame(k) for k in range(12)], rate=100)
    write(root)
    return root


def test_clips_that_are_videos_count_from_one_or_zero(project: Path) -> None:
    root = videos(project / "lab")
    describe(frames=None, video="{subject}/{clip}.*")
    found = {clip["clip_id"]: clip for clip in read_release("lab", root).clips}
    assert found["lab/P1/b"]["frames"] == [f"P1/b.avi#{k}" for k in range(3, 12)]
    assert found["lab/P1/b"]["frame_numbers"] == list(range(4, 13))
    assert sum(1 for _ in paths.frames("lab").rglob("*.png")) == 3 + 9, "of a video the clips' frames alone"
    assert rejected(root)["lab/P2/a"][0] == Reason.MISSING_FOLDER
    describe(frames=None, video="{subject}/{clip}.*", first_frame=0)
    left_out = rejected(root)
    assert left_out["lab/P1/b"][0] == Reason.MISSING_FILE and "P1/b.avi: 1 of 9 frames" in left_out["lab/P1/b"][1]


def test_videos_that_cannot_be_used_are_left_out_by_name(project: Path) -> None:
    def spoil(root: Path) -> None:
        (root / "P1/a.mp4").write_bytes(b"x")
        (root / "P1/b.avi").write_bytes(b"")
        (root / "P2").mkdir()

    root = videos(project / "lab", spoil)
    describe(frames=None, video="{subject}/{clip}.*")
    with pytest.raises(ReleaseError, match="no clip of 'lab' could be used"):
        read_release("lab", root)
    write_video(root / "P2/a.avi", [numbered_frame(k) for k in range(12)], rate=30)
    found = rejected(root)
    assert found["lab/P1/a"][0] == Reason.DUPLICATE and "there are a.avi, a.mp4" in found["lab/P1/a"][1]
    assert found["lab/P1/b"][0] == Reason.EMPTY_FILE and "P1/b.avi" in found["lab/P1/b"][1]
    notes = " ".join(read_release("lab", root).notes)
    assert "1 videos say another frame rate than fps: 100, such as P2/a.avi: 30" in notes


def test_times_in_a_video_whose_rate_varies_are_refused(project: Path) -> None:
    def vary(root: Path) -> None:
        frames = [numbered_frame(k) for k in range(12)]
        times = [0, 1, 2, 3, 4, 500, 510, 520, 530, 540, 550, 560]
        write_video(root / "P1/b.avi", frames, rate=100)
        write_video(root / "P1/a.mkv", frames, "libx264", "yuv420p", milliseconds=times)
        (root / "P1/a.avi").unlink()

    root = videos(project / "lab", vary)
    (root / "sheet.csv").write_text(f"{HEADER}\nP1;a;0,00;0,01;0,02;joy\nP1;b;0,00;0,01;0,02;joy\n")
    describe(frames=None, video="{subject}/{clip}.*", unit="seconds")
    found = rejected(root)
    assert list(found) == ["lab/P1/a"] and "its frame rate varies" in found["lab/P1/a"][1]
