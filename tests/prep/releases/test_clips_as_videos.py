"""A clip of a known release that comes as a video, in place of a folder of frames, gives the same clip."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fdpbench.prep.demo.simulate import Simulated
from fdpbench.prep.releases import read_release
from fdpbench.prep.store.extracted import file_of_frame
from fdpbench.prep.store.images import read_image
from fdpbench.prep.store.schema import Reason
from tests.support.videos import write_video


@pytest.mark.parametrize(
    ("release", "version", "before", "after"), [("casme2", "2014", "", ""), ("casme_sq", None, "rawpic", "rawvideo")]
)
def test_a_video_in_place_of_a_folder(
    release: str,
    version: str | None,
    before: str,
    after: str,
    simulated: Callable[..., Simulated],
    project: Path,
) -> None:
    root = project / "release"
    shutil.copytree(simulated(release, version).sheet.parent, root)
    expected = {clip["clip_id"]: clip for clip in read_release(release, root).clips}
    pixels = {
        (name, number): read_image(root / frame)
        for name, clip in expected.items()
        for number, frame in zip(clip["frame_numbers"], clip["frames"], strict=True)
    }
    for folder in sorted({(root / clip["frames"][0]).parent for clip in expected.values()}):
        images = {int(re.findall(r"\d+", path.stem)[-1]): path for path in folder.iterdir()}
        first = read_image(images[min(images)])  # a video has all frames from the first one on
        frames = [read_image(images[k]) if k in images else first for k in range(1, max(images) + 1)]
        shutil.rmtree(folder)
        place = Path(str(folder).replace(f"/{before}/", f"/{after}/")) if before else folder
        write_video(place.with_name(place.name + ".avi"), frames)
    if before:
        shutil.rmtree(root / before)
    listing = read_release(release, root)
    found = {clip["clip_id"]: clip for clip in listing.clips}
    assert found.keys() == expected.keys() and any("clips are videos" in note for note in listing.notes)
    for name, clip in found.items():
        assert clip["frame_numbers"] == expected[name]["frame_numbers"]
        assert all(re.search(r"\.avi#\d+$", frame) for frame in clip["frames"])
        for number, frame in zip(clip["frame_numbers"], clip["frames"], strict=True):
            assert np.array_equal(read_image(file_of_frame(release, root, frame)), pixels[name, number])


def test_a_video_that_is_cut_is_left_out_by_name(simulated: Callable[..., Simulated], project: Path) -> None:
    root = project / "release"
    shutil.copytree(simulated("casme2", "2014").sheet.parent, root)
    clip = read_release("casme2", root).clips[0]
    folder = (root / clip["frames"][0]).parent
    video = write_video(folder.with_name(folder.name + ".avi"), [read_image(root / frame) for frame in clip["frames"]])
    assert read_release("casme2", root).clips[0]["frames"] == clip["frames"], "the folder goes first"
    shutil.rmtree(folder)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    left_out = {row["clip_id"]: row for row in read_release("casme2", root).rejected}
    assert left_out[clip["clip_id"]]["reason"] == Reason.TRUNCATED_VIDEO
    assert f"{folder.name}.avi: after frame" in left_out[clip["clip_id"]]["detail"]
