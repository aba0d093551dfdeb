"""What paths name which clips, and what is said of those that name none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.bench.predict.sources import Source, Unusable, natural_key, source_of_frames, sources_of
from tests.support.builders import face_like, write_image
from tests.support.videos import number_of, numbered_frame, write_sound, write_video


def write_frames(folder: Path, names: list[str], side: int = 32) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        write_image(folder / name, face_like(side))
    return [folder / name for name in names]


def only(*paths: str | Path, fps: float | None = None) -> Source:
    (source,) = sources_of(paths, fps)
    assert isinstance(source, Source), source
    return source


def refused(*paths: str | Path) -> str:
    (source,) = sources_of(paths)
    assert isinstance(source, Unusable)
    return source.reason


@given(st.lists(st.integers(0, 10**6), unique=True, min_size=1))
def test_frames_are_in_order_of_their_numbers(numbers: list[int]) -> None:
    files = sorted((Path(f"img{number}.png") for number in numbers), key=natural_key)
    assert [int(file.stem[3:]) for file in files] == sorted(numbers)


def test_names_without_numbers_and_with_signs_sort_too() -> None:
    names = ["b1.png", "a.png", "10a.png", "2²3.png", "a1b2.png"]
    assert len(sorted(map(Path, names), key=natural_key)) == len(names)


def test_a_folder_a_pattern_and_its_files_are_the_same_clip(tmp_path: Path) -> None:
    files = write_frames(tmp_path / "clip", ["img2.png", "img10.png", "img1.png"])
    (tmp_path / "clip/notes.txt").write_text("not a frame")
    expected = tuple(tmp_path / "clip" / f"img{k}.png" for k in (1, 2, 10))
    for paths in ([tmp_path / "clip"], [tmp_path / "clip/*.png"], files):
        source = only(*paths, fps=100)
        assert source.files == expected and source.count == 3 and source.fps == 100 and not source.is_video
    assert [frame.seconds for frame in only(tmp_path / "clip", fps=100).frames()] == [0, 0.01, 0.02]
    assert all(np.isnan(frame.seconds) for frame in only(tmp_path / "clip").frames())
    assert [frame.number for frame in only(tmp_path / "clip").frames(1, 1)] == [1]


@pytest.mark.parametrize(
    ("numbers", "lost"),
    [((1, 2, 3, 4), 0), ((1, 2, 5, 6), 2), ((1, 3, 5, 9), 1), ((46, 47, 48), 0), ((1, 2, 10), 7), ((7, 100), 0)],
)
def test_frames_that_the_numbering_skips_are_counted(numbers: tuple[int, ...], lost: int, tmp_path: Path) -> None:
    write_frames(tmp_path, [f"s01_img{number:03}_L2.png" for number in numbers])
    assert only(tmp_path).lost == lost


def test_a_numbering_of_two_parts_is_no_fault(tmp_path: Path) -> None:
    write_frames(tmp_path, ["1_9.png", "2_1.png"])
    assert only(tmp_path).lost == 0


def test_images_of_several_folders_are_several_clips_in_the_order_given(tmp_path: Path) -> None:
    first = write_frames(tmp_path / "b", ["1.png", "2.png"])
    second = write_frames(tmp_path / "a", ["1.png", "2.png", "3.png"])
    video = write_video(tmp_path / "v.mkv", map(numbered_frame, range(4)))
    found = sources_of([*first, video, *second])
    assert [source.name for source in found] == [str(tmp_path / "b"), str(video), str(tmp_path / "a")]
    assert [source.count for source in found if isinstance(source, Source)][0::2] == [2, 3]


def test_a_video_has_the_rate_of_its_header_or_the_users(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", map(numbered_frame, range(6)), rate=50)
    source = only(path)
    assert source.is_video and source.fps == 50
    frames = list(source.frames(2, 4))
    assert [(frame.number, number_of(frame.image)) for frame in frames] == [(2, 2), (3, 3), (4, 4)]
    assert [frame.seconds for frame in frames] == pytest.approx([0.04, 0.06, 0.08])
    slow = only(path, fps=200)
    assert slow.fps == 200 and [frame.seconds for frame in slow.frames()][:3] == pytest.approx([0, 0.005, 0.01])


def test_what_is_no_clip_is_said_and_stops_nothing(tmp_path: Path) -> None:
    good = write_video(tmp_path / "clip_one.mkv", map(numbered_frame, range(4)))
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos/a.avi", map(numbered_frame, range(3)))
    (tmp_path / "nested/inner").mkdir(parents=True)
    assert "empty_file" in refused(tmp_path / "empty.mp4")
    assert "not_a_video" in refused(tmp_path / "text.mp4")
    assert "no pictures" in refused(write_sound(tmp_path / "sound.mp4"))
    assert "no image" in refused(tmp_path / "nothing") and "give a folder of frames" in refused(tmp_path / "nothing")
    assert "1 videos" in refused(tmp_path / "videos") and "videos/*.avi" in refused(tmp_path / "videos")
    assert "1 folders" in refused(tmp_path / "nested")
    assert "did you mean 'clip_one.mkv'" in refused(tmp_path / "clip_on.mkv")
    assert "there is no folder" in refused(tmp_path / "nowhere/clip.mkv")
    assert "no file matches" in refused(tmp_path / "*.bmp")
    assert "one frame alone" in refused(*write_frames(tmp_path / "single", ["1.png"]))
    found = sources_of([tmp_path / "empty.mp4", good, tmp_path / "nothing"])
    assert [isinstance(source, Source) for source in found] == [False, True, False]


def test_two_series_in_a_folder_are_two_clips(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips", [f"{take}_{k}.png" for take in "ab" for k in (9, 10, 11)])
    reason = refused(tmp_path / "clips")
    assert "a_9.png and b_9.png differ in more than numbers" in reason and f"'{tmp_path}/clips/a_*.png'" in reason
    assert [file.name for file in only(tmp_path / "clips/a_*.png").files] == ["a_9.png", "a_10.png", "a_11.png"]
    write_frames(tmp_path / "cases", ["IMG_1.PNG", "img_2.png"])
    assert only(tmp_path / "cases").count == 2


def test_frames_of_different_sizes_are_no_clip(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", ["1.png", "2.png"])
    write_frames(tmp_path / "clip", ["3.png"], side=40)
    with pytest.raises(ValueError, match=r"3\.png: its size is 40 x 40, that of the frames before 32 x 32"):
        list(only(tmp_path / "clip").frames())


def test_frames_in_memory() -> None:
    images = np.stack([numbered_frame(k) for k in range(5)])
    source = source_of_frames(images, 200)
    assert [number_of(frame.image) for frame in source.frames(1, 3)] == [1, 2, 3] and source.count == 5
    for wrong in (images[..., 0], images.astype(float), images[:1]):
        with pytest.raises(ValueError, match=r"expected \(N, H, W, 3\) uint8"):
            source_of_frames(wrong)
