"""`fdpbench predict` and `fb.predict` on a rendered clip: as frames, as video, and with all that can be wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner, Result

import fdpbench as fb
from fdpbench.api.images import RenderedClip
from fdpbench.bench.predict.clip import PreparedClip
from fdpbench.bench.predict.networks import DEFAULT, network_of_weights
from fdpbench.bench.predict.result import NOTICE, ClipPrediction
from fdpbench.bench.predict.run import INTERRUPTED, predict_all, predict_clip
from fdpbench.bench.predict.sources import Source, Unusable, source_of_frames
from fdpbench.bench.predict.spotting import Span
from fdpbench.bench.predict.warnings import CODES, LOWEST_RATE, doubts_of
from fdpbench.commands import app
from fdpbench.prep.store.images import read_image
from tests.bench.predict.faces import EveryFace
from tests.bench.predict.faces import frames as texture
from tests.support.builders import torch_as_it_was, write_image
from tests.support.videos import write_video


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    before = cv2.getNumThreads()
    with torch_as_it_was():
        yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="module")
def clip() -> RenderedClip:
    return fb.rendered_clip("happiness", peak=2.0)


@pytest.fixture(scope="module")
def places(clip: RenderedClip, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The clip as frames, and as a video without loss."""
    root = tmp_path_factory.mktemp("clips")
    for number, frame in enumerate(clip.frames):
        write_image(root / "frames" / f"f{number}.png", frame)
    return {"frames": root / "frames", "video": write_video(root / "clip.mkv", clip.frames, rate=200)}


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def asked(*arguments: object) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def test_a_video_without_loss_gives_what_its_frames_and_an_array_give(
    clip: RenderedClip, places: dict[str, Path]
) -> None:
    content = asked(places["frames"], places["video"], "--fps", 200)
    frames, video = content["clips"]
    assert frames["label"] == "positive" and frames["classes"]["positive"] > 0.5
    for key in frames.keys() - {"path"}:
        assert frames[key] == video[key], key
    said = fb.predict(clip.frames, fps=200)
    assert (said.classes, said.units, said.apex) == (frames["classes"], frames["units"], frames["apex"])
    assert said.label == "positive" and abs(said.apex - clip.apex) <= 3
    assert fb.predict(places["video"]).classes == said.classes, "its header has the rate"
    assert (said.onset_seconds, said.apex_seconds) == (0, said.apex / 200)


def test_the_document_has_all_that_is_said(places: dict[str, Path]) -> None:
    content = asked(places["frames"], "--fps", 200, "--onset", 0, "--apex", 12)
    assert content.keys() == {"notice", "network", "clips", "failed"} and content["notice"] == NOTICE
    assert content["network"].keys() == {
        *("name", "model", "trained_on", "measured", "measured_on", "temperatures", "calibration_error", "networks"),
        "calibrated",
    }
    (one,) = content["clips"]
    assert one.keys() == {
        *("path", "label", "classes", "units", "onset", "apex", "last", "onset_seconds", "apex_seconds"),
        *("last_seconds", "onset_source", "apex_source", "motion", "head", "noise", "eye_distance", "fps"),
        *("warnings", "arithmetic"),
    }
    assert (one["onset"], one["apex"], one["last"]) == (0, 12, 12)
    assert (one["onset_source"], one["apex_source"]) == ("given", "given")
    assert one["label"] == max(one["classes"], key=one["classes"].get) and len(one["units"]) == 16
    assert sum(one["classes"].values()) == pytest.approx(1) and 40 < one["eye_distance"] < 60
    assert all(warning.keys() == {"code", "text"} and warning["code"] in CODES for warning in one["warnings"])


def test_what_is_printed_and_written(places: dict[str, Path], tmp_path: Path) -> None:
    options = ("--csv", tmp_path / "p.csv", "--picture", tmp_path / "p.png", "--show-steps", tmp_path / "steps")
    result = invoke(places["video"], *options)
    assert result.exit_code == 0, result.output
    assert NOTICE in result.stdout and f"Network {DEFAULT}" in result.stdout and "UF1 0.9" in result.stdout
    assert ": positive" in result.stdout and "action units of 0.5 and more" in result.stdout
    assert "apex" in result.stdout and "(0." in result.stdout and "motion of the face" in result.stdout
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == str(places["video"]) and row["label"] == "positive" and row["failed"] == ""
    assert float(row["positive"]) > 0.5 and 0 <= float(row["AU12"]) <= 1 and row["network"] == DEFAULT
    picture = read_image(tmp_path / "p.png")
    assert picture.shape[1] > 1000 and picture.std() > 10
    (steps,) = (tmp_path / "steps").iterdir()
    names = {path.name for path in steps.iterdir()}
    assert names >= {"first_frame.png", "crops", "region.png", "onset.png", "apex.png", "flow_u.png", "flow_v.png"}
    assert names >= {"flow_strain.png", "dynamic_image.png", "input_flow.png", "strip.png"}
    assert len(list((steps / "crops").iterdir())) == 24
    assert read_image(steps / "first_frame.png").shape == (240, 240, 3)
    assert "np.float" not in result.stdout


def test_a_network_of_frames_predicts_too(places: dict[str, Path]) -> None:
    (one,) = asked(places["video"], "--weights", "rendered_fdp")["clips"]
    assert set(one["classes"]) == {"disgust", "happiness", "repression", "surprise"} and one["label"] == "happiness"


def test_one_clip_that_cannot_be_used_does_not_stop_the_others(places: dict[str, Path], tmp_path: Path) -> None:
    empty, cut = tmp_path / "empty.mp4", tmp_path / "cut.mkv"
    empty.write_bytes(b"")
    whole = places["video"].read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    for number in range(3):
        write_image(tmp_path / f"wall/{number}.png", next(iter(texture(1))).image)
    result = invoke(empty, places["video"], cut, tmp_path / "wall", "--json", "--csv", tmp_path / "p.csv")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert [one["path"] for one in content["clips"]] == [str(places["video"])]
    reasons = {Path(one["path"]).name: one["reason"] for one in content["failed"]}
    assert reasons["empty.mp4"].startswith("empty_file") and "truncated_video" in reasons["cut.mkv"]
    assert reasons["wall"].startswith("no_face")
    lines = [line for line in result.stderr.splitlines() if line.startswith("error predict:")]
    assert len(lines) == 3 and str(empty) in lines[0]
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["failed"]) for row in rows] == [True, False, True, True]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--onset", 20, "--apex", 10), "--apex 10 is not after --onset 20"),
        (("--apex", 99), "--apex 99: it has 24 frames"),
        (("--weights", "rendered_fd"), "did you mean 'rendered_fdp'"),
        (("--weights", "rendered_fdp", "--run", "x"), "not both"),
        (("--fps", 0), "--fps 0: expected a number above 0"),
    ],
)
def test_what_is_wrong_is_one_line(places: dict[str, Path], arguments: tuple[object, ...], message: str) -> None:
    result = invoke(places["frames"], *arguments)
    assert result.exit_code == 1 and "Traceback" not in result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error predict:")]
    assert message in line


def test_a_video_without_a_face_in_any_window(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wall.mkv", (frame.image for frame in texture(60)), rate=30)
    result = invoke(path)
    assert result.exit_code == 1
    assert "no_face: so in the first frame of each of 8 windows of 0.5 s" in result.stderr


def test_a_place_that_cannot_be_written_is_said(places: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for option in ("--csv", "--picture"):
        result = invoke(places["frames"], "--fps", 200, option, tmp_path / "file/p.png")
        assert result.exit_code == 1 and "choose another place" in result.stderr and "Traceback" not in result.output


def test_marks_are_of_one_clip(places: dict[str, Path]) -> None:
    result = invoke(places["frames"], places["video"], "--apex", 5)
    assert result.exit_code == 1 and "are of one clip; 2 are given" in result.stderr
    with pytest.raises(ValueError, match="2 clips; give one"):
        fb.predict(str(places["frames"].parent / "*"))
    with pytest.raises(ValueError, match="no such file"):
        fb.predict(places["frames"].parent / "nothing")


# --- warnings


def warned(images: Any, fps: float | None = 200, **options: Any) -> dict[str, str]:
    return {doubt.code: doubt.text for doubt in fb.predict(images, fps=fps, **options).warnings}


def test_ctrl_c_keeps_what_was_finished(places: dict[str, Path]) -> None:
    network = network_of_weights(DEFAULT)

    def stopped_at(which: int) -> list[ClipPrediction | Unusable]:
        def looked(number: int, source: Source, clip: PreparedClip, said: ClipPrediction) -> None:
            if number == which:
                raise KeyboardInterrupt

        return predict_all([places["video"], places["frames"], "nowhere.mp4"], network, fps=200, looked=looked)

    first, *others = stopped_at(1)
    assert isinstance(first, ClipPrediction) and first.label == "positive"
    assert others == [Unusable(str(places["frames"]), INTERRUPTED), Unusable("nowhere.mp4", INTERRUPTED)]
    with pytest.raises(KeyboardInterrupt):
        stopped_at(0)


def test_a_picture_is_a_png(places: dict[str, Path], tmp_path: Path) -> None:
    result = invoke(places["video"], "--picture", tmp_path / "p.jpg")
    assert result.exit_code == 1 and "ends in .png" in result.stderr and not (tmp_path / "p.jpg").exists()


def test_a_clip_like_those_of_training_has_no_warning_of_its_form(clip: RenderedClip) -> None:
    codes = warned(clip.frames)
    assert not codes.keys() & {"unknown_rate", "low_rate", "few_frames", "small_face", "weak_motion", "spotted"}


def test_rates_frames_and_faces(clip: RenderedClip) -> None:
    assert "give --fps" in warned(clip.frames, None)["unknown_rate"]
    thinned = warned(clip.frames[::8], 25)
    assert "25 frames a second" in thinned["low_rate"] and "among 3 frames" in thinned["few_frames"]
    assert "low_rate" not in warned(clip.frames[::4], LOWEST_RATE)
    small = np.stack([cv2.resize(frame, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA) for frame in clip.frames])
    assert "px apart" in warned(small)["small_face"]


def test_frames_that_are_lost_are_said(clip: RenderedClip, tmp_path: Path) -> None:
    for number, frame in enumerate(clip.frames[:12]):
        if number not in (4, 7):
            cv2.imwrite(str(tmp_path / f"img{number:03}.png"), frame[..., ::-1])
    (said,) = json.loads(invoke(tmp_path, "--fps", 200, "--json").stdout)["clips"]
    (text,) = [each["text"] for each in said["warnings"] if each["code"] == "lost_frames"]
    assert "skip 2 frame(s)" in text


def test_motion_below_the_noise_and_of_the_head(clip: RenderedClip) -> None:
    rng = np.random.default_rng(0)
    still = np.clip(clip.frames[:1] + rng.normal(0, 2, (12, *clip.frames.shape[1:])), 0, 255).astype(np.uint8)
    assert "times the noise" in warned(still)["weak_motion"]
    moved = np.stack([np.roll(frame, k // 2, axis=1) for k, frame in enumerate(clip.frames)])
    assert "the head moves by" in warned(moved)["head_motion"]


def test_a_face_that_moves_too_far() -> None:
    network = network_of_weights(DEFAULT)
    source = source_of_frames(np.stack([frame.image for frame in texture(8, lambda k: k / 7)]), 200)
    _, clip = predict_clip(source, network, EveryFace())
    eyes = 0.54 * 84
    assert clip.eye_distance is not None and clip.eye_distance * clip.enlarged == pytest.approx(eyes)
    for share, expected in ((0.04, False), (0.06, True)):
        doubts = doubts_of(source, Span(0, None), replace(clip, motion=share * eyes), network)
        assert ("large_motion" in [doubt.code for doubt in doubts]) is expected


def test_a_long_video_says_that_a_moment_was_chosen() -> None:
    network = network_of_weights(DEFAULT)
    images = np.stack([frame.image for frame in texture(120, lambda k: 3.0 * (abs(k - 80) < 3))])
    said, made = predict_clip(source_of_frames(images, 30), network, EveryFace())
    codes = {doubt.code: doubt.text for doubt in said.warnings}
    assert said.onset_source == "spotted" and said.onset < 80 <= said.last and len(made.numbers) == 16
    assert f"from frame {said.onset} on" in codes["spotted"] and list(codes) == sorted(codes, key=list(CODES).index)
