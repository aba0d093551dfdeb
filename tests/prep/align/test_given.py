"""`align.mode: given`: crops that a release came with are used as they are, and everything that shows them says so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fdpbench.bench.plan.check import check_project
from fdpbench.bench.plan.params import errors_of_run, load_tasks, run_names
from fdpbench.bench.plan.resolve import resolve
from fdpbench.bench.report.tables import rendered_note
from fdpbench.bench.train.data import load_task_info
from fdpbench.commands import app
from fdpbench.prep.align import stage as crops
from fdpbench.prep.align.stage import aligned_clip
from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.releases import ReleaseError, read_release
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.params import check_params, read_params
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import FRAMES
from tests.support.builders import PARAMS, params, write_params

SIZE = 64
PLACES = """
from fdpbench.models.common.registry import register_model
from fdpbench.models.mdmo import Mdmo


@register_model(inputs=("flow",), paper="none", needs_eyes="looks at the left eye")
class Own(Mdmo):
    pass
"""
GIVEN = {"align": {"mode": "given", "size": SIZE}}
LAB = {
    "kind": "folder",
    "sheet": "sheet.csv",
    "columns": {"subject": "Subject", "clip": "Clip", "onset": "Onset", "apex": "Apex", "offset": "Offset"}
    | {"emotion": "Emotion"},
    "frames": "{subject}/{clip}/*.png",
}


def given(**changes: Any) -> AlignParams:
    return section(AlignParams, PARAMS["align"] | {"mode": "given", "size": SIZE} | changes, "align")


def clip_of(root: Path, *pictures: np.ndarray) -> dict[str, Any]:
    root.mkdir(exist_ok=True)
    for number, picture in enumerate(pictures):
        (root / f"{number}.png").write_bytes(images.encode_png(picture))
    names = [f"{number}.png" for number in range(len(pictures))]
    return {"clip_id": "lab/a/b", "subject": "lab/a", "frames": names, "frame_numbers": list(range(len(names)))}


def test_pixels_of_a_crop_of_the_right_size_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_face(landmarks: str) -> None:
        raise AssertionError("no face is to be sought")

    monkeypatch.setattr(crops, "_finder", no_face)
    pictures = [np.random.default_rng(seed).integers(0, 255, (SIZE, SIZE), np.uint8) for seed in (1, 2)]
    rows = aligned_clip(clip_of(tmp_path, *pictures), tmp_path, given()).to_pylist()
    for row, picture in zip(rows, pictures, strict=True):
        assert np.array_equal(images.decode_png(row["image"]), picture)
        assert row["landmarks"] is None and row["transform"] == [1, 0, 0, 0, 1, 0]


def test_other_crops_are_resized_to_a_square(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(3).integers(0, 255, (340, 280), np.uint8), (0, 0), 12)
    (row,) = aligned_clip(clip_of(tmp_path, np.asarray(smooth)), tmp_path, given()).to_pylist()
    expected = cv2.resize(smooth, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(images.decode_png(row["image"]).astype(int) - expected).mean() < 1
    corners = np.array(row["transform"]).reshape(2, 3) @ np.array([[-0.5, 279.5], [-0.5, 339.5], [1, 1]])
    assert np.allclose(corners, [[-0.5, SIZE - 0.5], [-0.5, SIZE - 0.5]]), "edges go to edges"


def test_the_crops_of_casme2_are_read_where_they_are_asked_for(simulated: Callable[..., Simulated]) -> None:
    root = simulated("casme2", "2014").sheet.parent
    raw, cropped = read_release("casme2", root), read_release("casme2", root, crops=True)
    assert {clip["frames"][0].split("/")[0] for clip in raw.clips} == {"CASME2_RAW_selected"} and not raw.crops
    assert all("Cropped/" in frame and "reg_img" in frame for clip in cropped.clips for frame in clip["frames"])
    assert cropped.crops and [clip["clip_id"] for clip in raw.clips] == [clip["clip_id"] for clip in cropped.clips]


def test_smic_needs_a_tree_of_crops(simulated: Callable[..., Simulated], tmp_path: Path) -> None:
    written = simulated("smic_hs", "long")
    with pytest.raises(ReleaseError, match="no tree of HS with 'crop' in its name, for align.mode: given; there is"):
        read_release("smic_hs", written.sheet.parent, crops=True)
    root = tmp_path / "SMIC"
    root.mkdir()
    (root / written.sheet.name).write_bytes(written.sheet.read_bytes())
    (root / "HS_cropped").mkdir()
    for clip in read_release("smic_hs", written.sheet.parent).clips[:2]:
        name = Path(clip["frames"][0]).parent.name  # of two expressions of one recording, one folder
        place = root / "HS_cropped" / name.partition("_")[0] / name
        place.mkdir(parents=True, exist_ok=True)
        for frame in clip["frames"]:
            (place / Path(frame).name).write_bytes((written.sheet.parent / frame).read_bytes())
    listing = read_release("smic_hs", root, crops=True)
    assert len(listing.clips) == 2 and all("HS_cropped" in clip["frames"][0] for clip in listing.clips)


def test_what_cannot_be_is_refused_by_name(project: Path) -> None:
    with pytest.raises(ReleaseError, match="release 'samm' has no crops of its faces; those that do: casme2, smic_hs"):
        read_release("samm", project, crops=True)
    write_params(params(**GIVEN))
    with pytest.raises(ParamsError, match="align.mode is given, but release 'synthetic' has no crops"):
        check_project()
    with pytest.raises(ParamsError, match="mode given seeks no face.*leave track out"):
        given(track=True)
    content = check_params(params(releases={"lab": LAB}, **GIVEN))
    task = content["tasks"]["tiny"] | {"releases": ["lab"]}
    content["tasks"] = {"tiny": task, "points": task | {"landmarks": True}}
    with pytest.raises(ParamsError, match="tasks.points.landmarks .* align.mode: given seeks none"):
        load_tasks(content)
    content["tasks"] = {"tiny": task}
    Path("own.py").write_text(PLACES)
    content["runs"] = {name: {"task": "tiny", "model": name} for name in ("mdmo", "ststnet", "bi_woof")}
    content["runs"]["own"] = {"task": "tiny", "model": "own.py:Own"}
    said = {
        name: [str(error) for error in errors_of_run(name, entry, load_tasks(content), content)]
        for name, entry in run_names(content).items()
    }
    assert said["ststnet"] == said["bi_woof"] == []
    assert len(said["mdmo"]) == 1 and "'mdmo' takes 36 regions at fixed distances from the eyes" in said["mdmo"][0]
    assert "lab came with (align.mode: given)" in said["mdmo"][0]
    assert len(said["own"]) == 1 and "'own.py:Own' looks at the left eye" in said["own"][0], "any model may declare it"


def test_the_manifest_the_task_and_every_table_say_so(project: Path) -> None:
    from typer.testing import CliRunner

    content = params(releases={"lab": LAB}, runs={}, **GIVEN)
    classes = {name: [name] for name in ("awe", "joy")}
    content["tasks"] = {"lab": content["tasks"]["tiny"] | {"releases": ["lab"], "classes": classes}}
    write_params(content)
    root = paths.raw("lab")
    root.mkdir(parents=True)
    lines = ["Subject,Clip,Onset,Apex,Offset,Emotion"]
    random = np.random.default_rng(0)
    for subject in ("a", "b"):
        for clip, emotion in (("x", "joy"), ("y", "awe")):
            clip_of_one = [random.integers(0, 255, (90, 80), np.uint8) for _ in range(6)]
            (root / subject).mkdir(exist_ok=True)
            clip_of(root / subject / clip, *clip_of_one)
            lines.append(f"{subject},{clip},0,3,5,{emotion}")
    (root / "sheet.csv").write_text("\n".join(lines))
    for stage in ("index", "align", "flow", "dynamic", "task"):
        planned = resolve(stage, "lab", read_params())
        Path(f"artifacts/plan/{stage}").mkdir(parents=True)
        Path(f"artifacts/plan/{stage}/lab.json").write_text(planned.as_json())
        done = CliRunner().invoke(app, [stage, "lab"])
        assert done.exit_code == 0, done.output
    assert json.loads((paths.manifest("lab") / "report.json").read_text())["crops"] == "given"
    info = load_task_info(paths.task("lab"))
    assert info.given_crops == ("lab",)
    assert "Crops of faces are those that lab came with" in rendered_note(info)
    (shard,) = shards.frame_shards(paths.aligned("lab"))
    assert {images.decode_png(row["image"]).shape for row in shards.read_rows(shard, FRAMES)} == {(SIZE, SIZE)}
    assert "crops" not in resolve("index", "synthetic", params()).settings, "plans of other modes stay as they were"
