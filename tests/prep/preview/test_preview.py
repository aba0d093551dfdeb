"""`fdpbench preview`: strips that show what they say, in the one folder that nothing publishes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fdpbench.commands import app
from fdpbench.prep.preview.page import FOLDER
from fdpbench.prep.preview.strip import CAPTION, GAP, TILE, Marks, clip_strip, frames_shown
from fdpbench.prep.store import contents, images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, FLOW, FRAMES, rejected_table
from tests.support.aligned import FIRST, LAST, frame_rows, manifest_row
from tests.support.builders import params, write_manifest, write_params

ROOT = Path(__file__).resolve().parents[3]
SIDE = 24
RELEASE = "casme2"  # its licence forbids to publish faces
NAMES = ("EP01", "..", "a <b>'\" *?", "日本", "x/y", "EP\n01")
CLIPS = [f"{RELEASE}/{subject}/{name}" for subject in ("sub01", "sub02", "sub03") for name in NAMES]


def preview(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["preview", RELEASE, *arguments])


def error_of(*arguments: str) -> str:
    result = preview(*arguments)
    assert result.exit_code == 1 and "Traceback" not in result.output, result.output
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.fixture
def aligned(project: Path) -> Path:
    """A licensed release with aligned frames, and a task of it; no flow and no dynamic images."""
    task = params()["tasks"]["tiny"] | {"releases": [RELEASE]}
    write_params(params(releases=[RELEASE], tasks={"tiny": task}))
    write_manifest(RELEASE, [manifest_row(clip) | of(clip) for clip in CLIPS])
    groups = {clip: [row | of(clip) for row in frame_rows(clip, SIDE)] for clip in CLIPS}
    folder = paths.aligned(RELEASE)
    subjects = list(dict.fromkeys(of(clip)["subject"] for clip in CLIPS))
    parts = {clip: pa.Table.from_pylist(rows, schema=FRAMES) for clip, rows in groups.items()}
    tables = [pa.concat_tables(parts[clip] for clip in CLIPS if of(clip)["subject"] == name) for name in subjects]
    shards.write_subjects(folder / "frames-000.parquet", FRAMES, tables)
    rows = [contents.clip_record(parts[clip], "frames-000.parquet") | of(clip) for clip in CLIPS]
    contents.write_clips(rows, folder)
    shards.write_table(rejected_table([]), folder / "rejected.parquet")
    return project


def of(clip: str) -> dict[str, str]:
    dataset, subject, _ = clip.split("/", 2)
    return {"subject": f"{dataset}/{subject}", "dataset": dataset} | {"clip_id": clip}


def write_flow_and_dynamic() -> None:
    flow = np.zeros((3, SIDE, SIDE), np.float32)
    flow[0] = 1.5
    flows: list[dict[str, Any]] = []
    drawn: list[dict[str, Any]] = []
    for clip in CLIPS:
        who = {key: of(clip)[key] for key in ("clip_id", "subject")}
        rest = {"unit": "pixels", "side": SIDE, "apex": FIRST + 2, "apex_source": "estimated", "apex_image": b""}
        flows.append(who | rest | {"flow": flow.ravel().tolist()})
        image = images.encode_png(np.full((SIDE, SIDE), 77, np.uint8))
        drawn.append(who | {"sampled": [], "frames": None, "dynamic_image": image, "landmarks": None})
    for path, schema, rows in (
        (paths.flow(RELEASE) / "flow.parquet", FLOW, flows),
        (paths.dynamic("tiny") / "dynamic.parquet", DYNAMIC, drawn),
    ):
        subjects = dict.fromkeys(row["subject"] for row in rows)
        shards.write_subjects(
            path, schema, (pa.Table.from_pylist([r for r in rows if r["subject"] == s], schema) for s in subjects)
        )


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout


# --- where the faces of a licensed release go


def test_faces_go_nowhere_but_into_the_folder(aligned: Path) -> None:
    write_flow_and_dynamic()
    before = files(aligned)
    result = preview("--all")
    assert result.exit_code == 0, result.output
    new = files(aligned) - before
    outside = {name for name in new if not name.startswith(f"{FOLDER}/")}
    assert all(name.startswith(".scratch/") for name in outside), outside
    assert all(b"PNG" not in (aligned / name).read_bytes()[:200] for name in outside)
    assert all(len((aligned / name).read_bytes()) < 200 for name in outside), (
        "locks, and the hash of what was published"
    )
    pictures = {name for name in new if name.endswith(".png")}
    assert len(pictures) == len(CLIPS) and all(name.startswith(f"{FOLDER}/{RELEASE}/") for name in pictures)
    assert "do not share" in result.output.lower()
    assert "Do not commit" in (FOLDER / RELEASE / "README.txt").read_text()


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_git_and_dvc_take_nothing_of_it(aligned: Path) -> None:
    for name in (".gitignore", ".dvcignore"):
        shutil.copyfile(ROOT / name, name)
    git("init", "--quiet")
    subprocess.run(["dvc", "init", "--quiet"], check=True)
    assert preview().exit_code == 0
    picture = next((FOLDER / RELEASE).glob("*.png")).as_posix()
    git("add", "--all")
    assert str(FOLDER) not in git("ls-files") and ".gitignore" in git("ls-files")
    assert str(FOLDER) not in git("ls-files", "--others", "--exclude-standard")
    # by each of the two files alone
    (FOLDER / ".gitignore").unlink()
    assert str(FOLDER) not in git("ls-files", "--others", "--exclude-standard")
    assert preview().exit_code == 0
    Path(".gitignore").write_text("")
    assert str(FOLDER) not in git("ls-files", "--others", "--exclude-standard")
    said = subprocess.run(["dvc", "check-ignore", picture], capture_output=True, text=True, check=False)
    assert said.stdout.strip() == picture


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_nothing_is_written_where_git_would_take_it(aligned: Path) -> None:
    git("init", "--quiet")
    assert "git does not ignore preview-do-not-share/" in error_of()
    assert not FOLDER.exists()
    # its own .gitignore is no reason to trust a folder that the project's does not name
    FOLDER.mkdir()
    (FOLDER / ".gitignore").write_text("*\n")
    assert "git does not ignore" in error_of()
    shutil.copyfile(ROOT / ".gitignore", ".gitignore")
    (FOLDER / "old.png").write_bytes(b"x")
    git("add", "--force", str(FOLDER / "old.png"))
    assert f"git tracks {FOLDER}/old.png" in error_of()
    git("rm", "--cached", "--quiet", str(FOLDER / "old.png"))
    assert preview().exit_code == 0


def test_a_link_is_refused(aligned: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("shared")
    FOLDER.symlink_to(elsewhere, target_is_directory=True)
    assert "is a link or a file" in error_of()
    assert not list(elsewhere.iterdir())


# --- which clips


def test_names_with_any_character_become_safe_file_names(aligned: Path) -> None:
    assert preview("--all").exit_code == 0
    names = sorted(path.name for path in (FOLDER / RELEASE).glob("*.png"))
    assert len({name.lower() for name in names}) == len(CLIPS)
    assert all(set(name) <= {*map(chr, range(48, 58)), *map(chr, range(65, 91)), *map(chr, range(97, 123)), *"_-."}
               for name in names), names  # fmt: skip
    page = (FOLDER / RELEASE / "index.html").read_text()
    assert "<b>" not in page and "a &lt;b&gt;" in page and "日本" in page


def test_a_few_clips_are_spread_over_the_subjects(aligned: Path) -> None:
    for count, subjects in (
        (2, {"sub01", "sub02"}),
        (3, {"sub01", "sub02", "sub03"}),
        (7, {"sub01", "sub02", "sub03"}),
    ):
        assert preview("--clips", str(count)).exit_code == 0
        names = [path.name for path in (FOLDER / RELEASE).glob("*.png")]
        assert len(names) == count
        assert {name.split("_")[1] for name in names} == subjects


def test_clips_by_name(aligned: Path) -> None:
    assert preview("--clip", CLIPS[0], "--clip", CLIPS[9]).exit_code == 0
    page = (FOLDER / RELEASE / "index.html").read_text()
    assert page.count("<img") == 2 and CLIPS[0] in page and "日本" in page
    assert f"did you mean '{CLIPS[0]}'?" in error_of("--clip", f"{RELEASE}/sub01/EP02")


def test_a_release_that_is_not_aligned(project: Path) -> None:
    assert f"data/aligned/{RELEASE}: no aligned frames" in error_of() and not FOLDER.exists()


def test_a_release_of_flow_images_has_no_faces(project: Path) -> None:
    result = CliRunner().invoke(app, ["preview", "megc2019_flow"])
    assert result.exit_code == 1 and "it has no faces" in result.stderr


# --- what a strip shows


def tiles_of(strip: np.ndarray, count: int) -> list[np.ndarray]:
    width = (strip.shape[1] - GAP) // count - GAP
    assert (width + GAP) * count + GAP == strip.shape[1]
    return [strip[2 * CAPTION : -GAP, GAP + k * (width + GAP) :][:, :width] for k in range(count)]


def test_a_strip_holds_the_frames_as_they_are_aligned() -> None:
    rows = [row | {"landmarks": None} for row in frame_rows(CLIPS[0], SIDE)]
    marks = Marks(FIRST, FIRST + 2, LAST)
    shown = frames_shown([row["frame"] for row in rows], marks)
    assert [rows[k]["frame"] for k in shown] == [FIRST, FIRST + 1, FIRST + 2, LAST]
    tiles = tiles_of(clip_strip("it", rows, marks, None, None), len(shown) + 3)
    factor = TILE // SIDE
    for place, tile in zip(shown, tiles, strict=False):
        means = tile[..., 0].reshape(SIDE, factor, SIDE, factor).mean(axis=(1, 3))
        alike = [np.corrcoef(means.ravel(), images.decode_png(row["image"]).ravel())[0, 1] for row in rows]
        assert np.argmax(alike) == place and alike[place] > 0.9  # blurred where it is enlarged


def test_landmarks_flow_and_dynamic_image_are_where_they_belong() -> None:
    rows = [row | {"image": images.encode_png(np.full((SIDE, SIDE), 100, np.uint8))} for row in frame_rows(CLIPS[0])]
    rows = [row | {"landmarks": [4.0, 6.0, 20.0, 18.0] if row["frame"] == FIRST else None} for row in rows]
    flow = np.zeros((2, SIDE, SIDE), np.float32)
    flow[1, :, : SIDE // 2] = 0.5  # down, on the left
    strip = clip_strip("it", rows, Marks(FIRST, LAST, None), flow, np.full((SIDE, SIDE), 77, np.uint8))
    first, *_, last, change, arrows, dynamic = tiles_of(strip, 6)
    factor = TILE // SIDE
    for tile, green in ((first, True), (last, False)):
        y, x = np.nonzero((tile != 100).any(axis=2))
        left = x < TILE // 2
        assert (x[left].mean(), y[left].mean()) == pytest.approx((4.5 * factor, 6.5 * factor), abs=1)
        assert (x[~left].mean(), y[~left].mean()) == pytest.approx((20.5 * factor, 18.5 * factor), abs=1)
        at = tile[round(6.5 * factor), round(4.5 * factor)]
        assert (at[1] > at[0]) == green, "green where found in the frame, orange where of the first one"
    assert (change == 128).all() and (dynamic == 77).all()
    moved = (arrows != 60).any(axis=2)
    assert moved[:, : TILE // 2].mean() > 0.02 and not moved[:, TILE // 2 + factor :].any()
    assert np.ptp(np.nonzero(moved[:, 5:8])[0]) > TILE / 2, "arrows that point down make columns"


def test_what_is_not_there_yet_is_said(aligned: Path) -> None:
    said = preview("--clip", CLIPS[0]).stderr
    assert "no flow yet" in said and "no dynamic images yet" in said
    without = images.read_image(next((FOLDER / RELEASE).glob("*.png")))
    write_flow_and_dynamic()
    assert "yet" not in preview("--clip", CLIPS[0]).stderr
    assert not np.array_equal(
        without[..., -200:, :], images.read_image(next((FOLDER / RELEASE).glob("*.png")))[..., -200:, :]
    )
