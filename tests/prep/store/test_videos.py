"""Videos are read frame by frame, none lost and none doubled, and a damaged one is found."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fdpbench.prep.store.schema import Reason
from fdpbench.prep.store.videos import VideoError, read_video, video_info
from tests.support.videos import FORMATS, number_of, numbered_frame, turn, write_sound, write_video

COUNT = 40
FRAMES = [numbered_frame(number) for number in range(COUNT)]


def refusal(path: Path) -> VideoError:
    with pytest.raises(VideoError) as refused:
        list(read_video(path))
    error = refused.value
    assert str(path) in str(error) and str(pickle.loads(pickle.dumps(error))) == str(error)
    return error


@pytest.mark.parametrize(("name", "codec", "pixels"), FORMATS)
def test_every_frame_comes_once_and_in_order(name: str, codec: str, pixels: str, tmp_path: Path) -> None:
    path = write_video(tmp_path / name, FRAMES, codec, pixels)
    found = list(read_video(path))
    assert [frame.number for frame in found] == list(range(COUNT))
    assert [number_of(frame.image) for frame in found] == list(range(COUNT))
    assert np.allclose([frame.seconds for frame in found], np.arange(COUNT) / 25, atol=1e-3)
    assert {(frame.image.shape, str(frame.image.dtype)) for frame in found} == {(FRAMES[0].shape, "uint8")}
    info = video_info(path)
    assert (info.height, info.width) == FRAMES[0].shape[:2] and info.rate == 25 and info.frames in (COUNT, None)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [f for f in FORMATS if f[0] in ("raw.avi", "ffv1.avi", "png.mov")]
)
def test_pixels_of_lossless_videos_are_those_that_were_written(
    name: str, codec: str, pixels: str, tmp_path: Path
) -> None:
    for frame in read_video(write_video(tmp_path / name, FRAMES[:3], codec, pixels)):
        assert np.array_equal(frame.image, FRAMES[frame.number])


def test_grey_pixels_keep_their_values(tmp_path: Path) -> None:
    grey = np.repeat(np.arange(96 * 128, dtype=np.uint8).reshape(96, 128, 1), 3, axis=2)
    (frame,) = read_video(write_video(tmp_path / "grey.avi", [grey], "ffv1", "gray"))
    assert np.array_equal(frame.image, grey)


@pytest.mark.parametrize("name", ["vfr.mp4", "vfr.mkv"])
def test_frames_of_a_variable_rate_come_with_their_times(name: str, tmp_path: Path) -> None:
    times = np.cumsum([0, *[33, 33, 100, 10, 10, 67, 33] * 6])[:COUNT].tolist()
    found = list(read_video(write_video(tmp_path / name, FRAMES, "libx264", "yuv420p", milliseconds=times)))
    assert [number_of(frame.image) for frame in found] == list(range(COUNT))
    assert np.allclose([1000 * frame.seconds for frame in found], times, atol=0.6)


@pytest.mark.parametrize(
    ("matrix", "turns"), [((1, 0, 0, 1), 0), ((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)]
)
def test_a_turned_video_is_turned_back(matrix: tuple[int, int, int, int], turns: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", FRAMES[:3], "libx264", "yuv420p")
    upright = [frame.image for frame in read_video(path)]
    turn(path, matrix)
    for frame in read_video(path):
        assert np.array_equal(frame.image, np.rot90(upright[frame.number], turns))


def test_a_video_turned_by_another_angle_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "turned.mp4", FRAMES[:3], "libx264", "yuv420p")
    turn(path, (1, 1, -1, 1))
    error = refusal(path)
    assert error.reason == Reason.UNSUPPORTED_CODING and "frame 0" in str(error)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [f for f in FORMATS if f[0] in ("h264.mkv", "mjpeg.avi", "raw.avi", "ffv1.avi")]
)
@pytest.mark.parametrize("share", [0.95, 0.6])
def test_a_video_that_is_cut_short_is_refused_after_its_last_whole_frame(
    name: str, codec: str, pixels: str, share: float, tmp_path: Path
) -> None:
    path = write_video(tmp_path / name, FRAMES, codec, pixels, options={"g": "5"} if "264" in codec else None)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    numbers: list[int] = []
    with pytest.raises(VideoError) as refused:
        numbers.extend(number_of(frame.image) for frame in read_video(path))
    assert refused.value.reason in (Reason.TRUNCATED_VIDEO, Reason.DAMAGED_VIDEO)
    assert numbers == list(range(len(numbers))) and 0 < len(numbers) < COUNT
    assert f"after frame {len(numbers) - 1} (from 0)" in str(refused.value)


def test_a_video_that_ends_between_two_frames_is_shorter_than_it_says(tmp_path: Path) -> None:
    path = write_video(tmp_path / "raw.avi", FRAMES, "rawvideo", "bgr24")
    data = path.read_bytes()
    size = FRAMES[0].size
    pixels = [k for k in range(len(data)) if data.startswith(b"00dc" + size.to_bytes(4, "little"), k)]
    path.write_bytes(data[: pixels[30]])
    error = refusal(path)
    assert error.reason == Reason.TRUNCATED_VIDEO and "after frame 29" in str(error) and "0.40 s" in str(error)


def test_a_hole_is_found_at_its_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "holed.avi", FRAMES, "mjpeg", "yuvj420p")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    error = refusal(path)
    assert error.reason == Reason.DAMAGED_VIDEO and "after frame" in str(error) and "ffmpeg" in str(error)


def test_what_is_no_video_is_refused_with_what_it_is(tmp_path: Path) -> None:
    for name, content, reason in [
        ("empty.mp4", b"", Reason.EMPTY_FILE),
        ("text.avi", b"no video\n" * 500, Reason.NOT_A_VIDEO),
        ("playlist.mp4", b"#EXTM3U\n#EXTINF:10,\nhttp://example.org/a.ts\n", Reason.NOT_A_VIDEO),
    ]:
        (tmp_path / name).write_bytes(content)
        assert refusal(tmp_path / name).reason == reason
    assert refusal(tmp_path / "missing.mp4").reason == Reason.MISSING_FILE
    assert refusal(tmp_path).reason == Reason.MISSING_FILE
    sound = refusal(write_sound(tmp_path / "sound.mp4"))
    assert sound.reason == Reason.NOT_A_VIDEO and "it holds audio" in str(sound)


def test_memory_is_flat_in_the_length_of_a_video(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from fdpbench.prep.store.videos import read_video\n"
        "count = sum(1 for _ in read_video(Path(sys.argv[1])))\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    large = np.zeros((480, 640, 3), np.uint8)
    peaks = []
    for count in (60, 240):
        path = write_video(tmp_path / f"{count}.mp4", (large + k % 200 for k in range(count)), "libx264", "yuv420p")
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
        found, peak = map(int, done.stdout.split())
        assert found == count
        peaks.append(peak / 1024)
    assert peaks[1] - peaks[0] < 15, "MB; 180 frames more are 158 MB"
