"""What is made of a clip."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fdpbench.bench.predict.clip import prepared_clip
from fdpbench.bench.predict.sources import SourceError
from fdpbench.prep.settings.task import Sampling
from tests.bench.predict.faces import EveryFace, frames, preparation


def made(count: int = 12, apex: int | None = None, inputs: tuple[str, ...] = ("flow",), **motion: Any) -> Any:
    return prepared_clip(frames(count, **motion), preparation(), EveryFace(), inputs, apex)


def rise(number: int) -> float:
    return 2.0 * max(0.0, 1 - abs(number - 7) / 7)


def test_the_apex_is_where_the_face_moved_most() -> None:
    clip = made(mouth=rise)
    assert (clip.onset, clip.apex, clip.apex_estimated) == (0, 7, True)
    assert (
        clip.inputs["flow"].shape == (3, 28, 28) and clip.inputs["flow"].min() == 0 and clip.inputs["flow"].max() == 1
    )
    assert clip.crops.shape == (12, 64, 64) and clip.numbers.tolist() == list(range(12))
    given = made(mouth=rise, apex=5)
    assert given.apex == 5 and not given.apex_estimated and given.motion < clip.motion


def test_motion_of_the_head_is_told_from_that_of_the_face() -> None:
    shift = made(head=lambda number: number / 4, apex=8)
    scale = 0.40 * 64 / 38  # pixels of the crop for a pixel of the frame
    assert shift.head == pytest.approx(2 * scale, abs=0.1) and shift.motion < 0.1
    assert shift.enlarged == pytest.approx(scale, rel=1e-6) and shift.eye_distance == pytest.approx(38, abs=1e-6)
    face = made(mouth=rise)
    assert face.head < 0.2 and face.motion > 0.1


def test_a_squeezed_crop_keeps_the_height_of_the_eyes() -> None:
    squeezed = preparation(aspect=0.7)
    clip = prepared_clip(frames(4, rise), squeezed, EveryFace(), ("flow",), 3)
    plain = made(4, mouth=rise, apex=3)
    eyes, chin = (np.array([48.0, y, 1.0]) for y in (31.0, 90.0))
    height = (plain.transform @ eyes)[1]
    assert (clip.transform @ eyes)[1] == pytest.approx(height)
    assert (clip.transform @ chin)[1] - height == pytest.approx(0.7 * ((plain.transform @ chin)[1] - height))
    assert clip.eye_distance == pytest.approx(38, abs=1e-6)


def test_noise_is_that_of_frames_that_should_be_still() -> None:
    assert made(mouth=lambda number: 0.0 if number < 4 else 2.0, apex=6).noise == pytest.approx(0, abs=1e-3)
    assert made(2, mouth=rise, apex=1).noise is None


def test_what_a_network_of_frames_sees() -> None:
    task = preparation().task.model_copy(
        update={"sampling": Sampling(rule="uniform", frames=4), "rank_pooling": "harmonic", "apex": True}
    )
    wanted = replace(preparation(), task=task)
    inputs = ("frames", "dynamic_image", "apex")
    clip = prepared_clip(frames(10, rise), wanted, EveryFace(), inputs, None)
    assert clip.sampled.tolist() == [0, 3, 6, 9]
    assert (clip.inputs["frames"][:, 0] == clip.crops[clip.sampled]).all()
    assert (clip.inputs["apex"][0] == clip.crops[7]).all() and clip.inputs["dynamic_image"].shape == (1, 64, 64)
    with pytest.raises(SourceError, match="3 frames, and the network sees 4"):
        prepared_clip(frames(3, rise), wanted, EveryFace(), inputs, None)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, "1 frame"),
        (5, {}, "nothing moves from frame 0 to 4"),
        (5, {"apex": 3}, "frames 0 and 3 are the same"),
        (5, {"apex": 9, "mouth": rise}, "the clip has the frames 0 to 4"),
    ],
)
def test_what_cannot_be_used_is_said(count: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        made(count, **options)
