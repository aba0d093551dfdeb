"""Every reader from files on disk to tables: simulated releases in the layouts of the real ones."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from typer.testing import CliRunner

import fdpbench.prep.demo.simulate.site
from fdpbench.bench.plan.link import link_release
from fdpbench.bench.plan.params import load_tasks
from fdpbench.bench.train.data import load_task_info
from fdpbench.commands import app
from fdpbench.prep.align import stage as crops
from fdpbench.prep.align.faces import FaceMesh
from fdpbench.prep.demo.simulate import VERSIONS, Simulated, SimulateError, simulate
from fdpbench.prep.demo.simulate.people import render_people
from fdpbench.prep.dynamic.stage import dynamic_images
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.index.manifest import is_simulated, load_manifest
from fdpbench.prep.index.stage import index_release
from fdpbench.prep.releases import RELEASES, SIMULATED, ReleaseError, read_annotations, read_release
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.documents import DocumentError
from fdpbench.prep.store.schema import FLOW, MANIFEST, REJECTED, Reason
from fdpbench.prep.task.stage import gather_task
from fdpbench.prep.task.table import TASK
from tests.prep.task.test_stages import run_here
from tests.support.builders import PARAMS, flow_of_images

Write = Callable[..., Simulated]

LISTS = ("flow_images", "megc2019", "megc2019_flow")  # whose sheets have no marks
CASES = [(release, version) for release, versions in VERSIONS.items() for version in versions]


def test_every_release_can_be_simulated() -> None:
    assert {*VERSIONS, "synthetic"} == set(RELEASES)


@pytest.mark.parametrize(("release", "version"), CASES)
def test_a_reader_finds_every_clip(simulated: Write, release: str, version: str) -> None:
    written = simulated(release, version)
    root = written.sheet.parent
    listing = read_release(release, root)
    columns = ("emotion", "fps", "onset", "apex", "offset", "frames")
    found = {row["clip_id"]: tuple(row[name] for name in columns) for row in listing.clips}
    expected = {
        clip.clip_id: (clip.emotion, clip.fps, clip.onset, clip.apex, clip.offset, list(clip.frames))
        for clip in written.clips
    }
    assert found == expected
    assert {row["clip_id"]: row["reason"] for row in listing.rejected} == written.left_out
    assert all((root / frame).is_file() for row in listing.clips for frame in row["frames"])
    manifest, rejected = listing.tables()
    assert manifest.schema.equals(MANIFEST) and rejected.num_rows == len(written.left_out)


@pytest.mark.parametrize(("release", "version"), [case for case in CASES if case[0] not in LISTS])
def test_the_sheet_alone_says_the_same(simulated: Write, release: str, version: str) -> None:
    written = simulated(release, version)
    found = read_annotations(release, written.sheet)
    assert {
        found.clip_id(clip.subject, clip.clip): (clip.emotion, clip.onset, clip.apex, clip.offset)
        for clip in found.clips
    } == {clip.clip_id: (clip.emotion, clip.onset, clip.apex, clip.offset) for clip in written.clips}
    assert {row["clip_id"]: row["reason"] for row in found.rejected} == written.left_out


@pytest.mark.parametrize("release", VERSIONS)
def test_index(simulated: Write, project: Path, release: str) -> None:
    written = simulated(release)
    root = written.sheet.parent
    index_release(release, root, paths.manifest(release))
    if RELEASES[release].kind == "flow":
        flow_of_images(release, root)
        rows = list(shards.read_rows(paths.flow(release) / "flow.parquet", FLOW))
        assert {row["clip_id"] for row in rows} == {clip.clip_id for clip in written.clips}
        fields = np.array([row["flow"] for row in rows]).reshape(len(rows), 3, -1)
        assert (fields.min(axis=2) == 0).all() and (fields.max(axis=2) == 1).all()
    assert [row["clip_id"] for row in load_manifest(release)] == sorted(clip.clip_id for clip in written.clips)
    rejected = shards.read_table(paths.manifest(release) / "rejected.parquet", REJECTED).to_pylist()
    assert {row["clip_id"]: row["reason"] for row in rejected} == written.left_out


@pytest.mark.parametrize(
    ("release", "clips", "left_out"),
    [
        ("casme2", 2, {Reason.NO_FLOW: 1}),  # one apex is unknown
        ("samm", 2, {}),
        ("casme3_a", 4, {}),
        ("smic_hs", 2, {}),  # its task has no flow, for it has no apex
    ],
)
def test_the_whole_way(
    project: Path, monkeypatch: pytest.MonkeyPatch, release: str, clips: int, left_out: dict[Reason, int]
) -> None:
    """Link, index, align, flow, dynamic, task: each clip's faces are found and its inputs made."""
    monkeypatch.setattr(crops, "run_units", run_here)
    written = simulate(release, project / "release", clips=clips)
    link_release(release, project / "release")
    name, task = next((name, task) for name, task in load_tasks().items() if task.releases == [release])
    index_release(release, paths.raw(release), paths.manifest(release))
    manifest = load_manifest(release)
    align = section(AlignParams, PARAMS["align"], "align")
    crops.align_release(release, paths.raw(release), manifest, paths.aligned(release), align, 1)
    assert shards.read_table(paths.aligned(release) / "rejected.parquet", REJECTED).num_rows == 0
    flow_params = section(FlowParams, PARAMS["flow"], "flow")
    flow_of_release(release, paths.raw(release), manifest, paths.aligned(release), paths.flow(release), flow_params)
    dynamic_images(name, task, paths.dynamic(name))
    gather_task(name, task, paths.task(name))
    about = load_task_info(paths.task(name))
    assert about.rendered and about.simulated == (release,) and not about.faces_may_be_published
    rows = list(shards.read_rows(paths.task(name) / "clips.parquet", TASK))
    rejected = shards.read_table(paths.task(name) / "rejected.parquet", REJECTED).to_pylist()
    assert Counter(row["reason"] for row in rejected) == left_out
    assert {row["clip_id"] for row in rows + rejected} == {clip.clip_id for clip in written.clips}
    emotion = {clip.clip_id: clip.emotion for clip in written.clips}
    for row in rows:
        assert emotion[row["clip_id"]] in task.classes[row["class"]]
        frames = [images.decode_png(png) for png in row["frames"]]
        assert len(frames) == 8 and len({frame.tobytes() for frame in frames}) == 8
        assert images.decode_png(row["dynamic_image"]).std() > 0
        assert (row["flow"] is None) == (task.flow is None)


@pytest.mark.parametrize("release", VERSIONS)
def test_the_mark_changes_nothing_else(simulated: Write, tmp_path: Path, release: str) -> None:
    root = shutil.copytree(simulated(release).sheet.parent, tmp_path / "release")
    marked = read_release(release, root)
    for mark in root.rglob(SIMULATED):
        mark.unlink()
    unmarked = read_release(release, root)
    assert marked.simulated and not unmarked.simulated
    assert replace(marked, simulated=False) == unmarked
    sheet = root / simulated(release).sheet.name
    assert read_annotations(release, simulated(release).sheet).simulated
    assert not read_annotations(release, sheet).simulated


def test_a_composite_of_which_one_part_is_simulated(simulated: Write, tmp_path: Path) -> None:
    root = shutil.copytree(simulated("megc2019").sheet.parent, tmp_path / "release")
    for mark in (root / SIMULATED, root / "samm" / SIMULATED, root / "smic_hs" / SIMULATED):
        mark.unlink()
    assert read_release("megc2019", root).simulated
    (root / "casme2" / SIMULATED).unlink()
    assert not read_release("megc2019", root).simulated


def test_reports_say_that_a_release_is_simulated(simulated: Write, project: Path) -> None:
    root = simulated("casme2").sheet.parent
    for arguments in (("link", "casme2", str(root)), ("annotations", "casme2", str(root / simulated("casme2").sheet))):
        result = CliRunner().invoke(app, [*arguments])
        assert result.exit_code == 0 and "SIMULATED: SIMULATED.txt says" in result.output, result.output
    index_release("casme2", root, paths.manifest("casme2"))
    assert json.loads((paths.manifest("casme2") / "report.json").read_text())["simulated"] is True
    assert is_simulated("casme2")
    (paths.manifest("casme2") / "report.json").write_text("{}")
    with pytest.raises(DocumentError, match=r"report.json: expected simulated: true or false; .*run `dvc repro`"):
        is_simulated("casme2")


def test_faces_of_all_subjects_are_found(simulated: Write) -> None:
    mesh = FaceMesh()
    people = render_people(0)
    noise = np.random.default_rng(0)
    for subject in range(1, 11):
        for grey in (True, False):
            assert mesh.find(people.frame(subject, subject, 1.0, noise, grey)).score > 0.99


def test_a_face_moves_from_onset_to_apex_and_back(simulated: Write) -> None:
    written = simulated("casme2")
    root = written.sheet.parent
    for clip in written.clips[:2]:
        assert clip.apex is not None and clip.onset is not None
        frames = np.stack([images.read_image(root / frame).astype(float) for frame in clip.frames])
        change = np.abs(frames - frames[0]).mean(axis=(1, 2, 3))
        moved = change - change[-1]  # sensor noise alone lies between onset and offset
        assert np.argmax(moved) == clip.apex - clip.onset and moved.max() > 0.1


def digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize(
    ("release", "version"), [("casme_sq", "final"), ("dfme", "trimmed"), ("megc2019_flow", "both")]
)
def test_same_seed_same_bytes(simulated: Write, tmp_path: Path, release: str, version: str) -> None:
    again = simulate(release, tmp_path / "again", version)
    assert digest(again.sheet.parent) == digest(simulated(release, version).sheet.parent)


def test_a_workbook_does_not_hold_the_time_of_writing(simulated: Write) -> None:
    with zipfile.ZipFile(simulated("casme2").sheet) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(2020, 1, 1, 0, 0, 0)}
        core = archive.read("docProps/core.xml").decode()
    assert core.count("2020-01-01T00:00:00Z") == 2


def test_another_seed_and_more_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdpbench.prep.demo.simulate.site, "render_people", lambda seed: render_people(0))
    first = simulate("samm", tmp_path / "a", subjects=2, clips=3, seed=1)
    second = simulate("samm", tmp_path / "b", subjects=2, clips=3, seed=2)
    assert [clip.clip_id for clip in first.clips] == [clip.clip_id for clip in second.clips]
    assert len(first.clips) == 6 and len({clip.clip_id.split("/")[1] for clip in first.clips}) == 2
    assert [clip.onset for clip in first.clips] != [clip.onset for clip in second.clips]


# --- quirks of the real sheets that the simulated ones must have


def cells(path: Path, sheet: int = 0) -> list[tuple]:
    return list(openpyxl.load_workbook(path).worksheets[sheet].iter_rows(values_only=True))


def test_quirks_of_casme2(simulated: Write) -> None:
    head, *rows = cells(simulated("casme2").sheet)
    assert head[2] is None and head[6] is None and head[-1] == "Estimated Emotion"
    assert {type(row[0]) for row in rows} == {str, int} and rows[-1][4] == "/"
    assert cells(simulated("casme2").sheet, 1) == []
    newer = simulated("casme2", "2019").sheet
    assert newer.name == "CASME2-coding-20190701.xlsx" and "Objective Classes" in cells(newer)[0]


def test_quirks_of_samm(simulated: Write) -> None:
    rows = cells(simulated("samm").sheet)
    assert rows[13][:2] == ("Subject", "Filename") and all(row[0] != "Subject" for row in rows[:13])
    assert {row[9] for row in rows[14:]} >= {"Other", "Others"}
    columns = cells(simulated("samm", "reordered").sheet)[13]
    assert set(columns) == set(rows[13]) and columns != rows[13]


def test_quirks_of_smic(simulated: Write) -> None:
    written = simulated("smic_vis")
    assert openpyxl.load_workbook(written.sheet).sheetnames == ["HS", "VIS", "NIR"]
    sheet_names = {row[1].split("_")[0] for row in cells(written.sheet, 1)[1:]}
    folders = {clip.frames[0].split("/")[1] for clip in written.clips}
    assert {"s1", "s02"} <= sheet_names and {"s01", "s2"} <= folders
    with simulated("smic_hs", "table-csv").sheet.open(newline="") as stream:
        data = {row["data"] for row in csv.DictReader(stream)}
    assert data == {"SMIC_HS", "SMIC_VIS", "SMIC_NIR", "casme2"}


def test_quirks_of_casme_sq(simulated: Write) -> None:
    book = openpyxl.load_workbook(simulated("casme_sq").sheet)
    assert book.sheetnames == ["CASFEcode_final", "naming rule1", "naming rule2"]
    rows = cells(simulated("casme_sq").sheet)
    assert {row[7] for row in rows} == {"micro-expression", "macro-expression"}
    assert any(row[3] == 0 and row[7] == "micro-expression" for row in rows)


def test_no_simulated_clip_stands_in_a_real_sheet(simulated: Write, shared_data: Path) -> None:
    folder = shared_data / "annotations"
    for release, pattern in (("casme2", "casme2/*.xlsx"), ("samm", "samm/*.xlsx"), ("casme3_a", "casme3/*.xlsx")):
        for sheet in sorted(folder.glob(pattern)):
            real = read_annotations(release, sheet)
            names = {real.clip_id(clip.subject, clip.clip) for clip in real.clips}
            assert names and not names & {clip.clip_id for clip in simulated(release).clips}


# --- what is refused, and the command


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(SimulateError, match="not an empty folder"):
            simulate("casme2", folder)
    with pytest.raises(SimulateError, match="no version '2099'; versions: 2014, 2019"):
        simulate("casme2", tmp_path / "new", "2099")
    with pytest.raises(SimulateError, match="fdpbench synthesize"):
        simulate("synthetic", tmp_path / "new")
    with pytest.raises(ReleaseError, match="unknown release"):
        simulate("casme9", tmp_path / "new")
    with pytest.raises(SimulateError, match="0 subjects"):
        simulate("casme2", tmp_path / "new", subjects=0)
    assert not (tmp_path / "new").exists()


def test_the_command(tmp_path: Path) -> None:
    def invoke(*arguments: str):
        return CliRunner().invoke(app, ["simulate", *arguments])

    (tmp_path / "empty").mkdir()
    folder = str(tmp_path / "empty")
    result = invoke("mmew", folder, "--subjects", "1", "--clips", "2")
    assert result.exit_code == 0, result.output
    assert "2 invented clips in the form of mmew, version trimmed" in result.output
    assert f"fdpbench link mmew {folder}" in result.output
    assert "SCORES ON IT SAY NOTHING" in (tmp_path / "empty/SIMULATED.txt").read_text()
    assert len(read_release("mmew", tmp_path / "empty").clips) == 2
    again = invoke("mmew", folder)
    assert again.exit_code == 1 and again.stderr.startswith("error simulate: ")
