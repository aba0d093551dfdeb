"""Frame sampling against an independent definition, in exact fractions."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fdpbench.bench.train.data import load_clips, load_task_info
from fdpbench.prep.dynamic import tim
from fdpbench.prep.dynamic.sampling import RULES, SamplingError, every, nearest, truncated, uniform
from fdpbench.prep.dynamic.stage import draw_dynamic_image, dynamic_images
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import Sampling, TaskParams
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, FRAMES, REJECTED, Reason
from fdpbench.prep.task.stage import gather_task
from fdpbench.prep.task.table import TASK
from tests.support.builders import CLASSES, PARAMS, face_like, write_manifest


@st.composite
def _count_and_length(draw: st.DrawFn) -> tuple[int, int]:
    length = draw(st.integers(2, 24))
    return draw(st.integers(length, 120)), length


@given(_count_and_length())
def test_each_index_is_the_frame_nearest_its_exact_time(case):
    count, length = case
    times = [Fraction(i * (count - 1), length - 1) for i in range(length)]
    # Nearest frame to each time; of two equally near, the later
    nearest = [min((abs(f - t), -f) for f in range(count)) for t in times]
    assert uniform(count, length).tolist() == [-f for _, f in nearest]


@given(_count_and_length())
def test_strictly_increasing_from_first_to_last(case):
    count, length = case
    indices = uniform(count, length)
    assert indices.shape == (length,)
    assert indices.dtype == np.int64
    assert indices[0] == 0
    assert indices[-1] == count - 1
    assert (np.diff(indices) >= 1).all()


@given(_count_and_length())
def test_steps_differ_by_at_most_one_frame(case):
    steps = np.diff(uniform(*case))
    assert np.ptp(steps) <= 1


@given(st.integers(2, 500))
def test_asking_for_all_frames_gives_all_frames(count):
    assert uniform(count, count).tolist() == list(range(count))


def test_known_values():
    assert uniform(10, 4).tolist() == [0, 3, 6, 9]
    assert uniform(40, 8).tolist() == [0, 6, 11, 17, 22, 28, 33, 39]
    assert uniform(4, 3).tolist() == [0, 2, 3]  # 1.5 is rounded up


@pytest.mark.parametrize("rule", RULES.values())
@pytest.mark.parametrize(("count", "length"), [(7, 8), (1, 2), (0, 8)])
def test_too_few_frames_is_an_error_with_both_numbers(rule, count, length):
    with pytest.raises(SamplingError, match=f"has {count}, sampling asks for {length}"):
        rule(count, length)


@pytest.mark.parametrize("length", [1, 0, -3])
def test_a_sample_without_first_and_last_frame_is_refused(length):
    with pytest.raises(ValueError, match="length >= 2"):
        uniform(10, length)


@given(st.integers(1, 40), st.integers(2, 40))
def test_nearest_goes_through_short_clips_too(count, length):
    picks = nearest(count, length)
    assert picks.shape == (length,) and picks.dtype == np.int64
    assert picks[0] == 0 and picks[-1] == count - 1
    assert set(np.diff(picks)) <= {0, 1} or count > length
    exact = np.linspace(0, count - 1, length)
    assert np.abs(picks - exact).max() <= 0.5 + 1e-9


def test_every_frame():
    assert every(5).tolist() == [0, 1, 2, 3, 4] and every(2).dtype == np.int64
    for count in (0, 1):
        with pytest.raises(SamplingError, match=f"at least 2 frames, this one has {count}"):
            every(count)


# --- truncated, as FDP's released code takes frames


@given(_count_and_length())
@example((15, 8))
@example((8, 8))
def test_truncated_takes_whole_steps_from_the_first_frame(case):
    count, length = case
    indices = truncated(count, length)
    step = max(step for step in range(1, count + 1) if step * length <= count)
    assert indices.dtype == np.int64
    assert indices.tolist() == [i * step for i in range(length)]
    assert (np.diff(indices) >= 1).all() and indices[-1] < count
    assert indices[-1] <= uniform(count, length)[-1]


def test_known_values_of_truncated():
    assert truncated(40, 8).tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    assert truncated(47, 8).tolist() == [0, 5, 10, 15, 20, 25, 30, 35]
    assert truncated(8, 8).tolist() == list(range(8))
    assert truncated(5, 1).tolist() == [0]


def test_how_early_truncated_ends():
    """Share of a clip that lies up to its last sampled frame, T = 8."""
    share = {count: (int(truncated(count, 8)[-1]) + 1) / count for count in range(8, 142)}
    usual = [share[count] for count in range(24, 142)]
    assert np.mean(usual) == pytest.approx(0.845, abs=0.005)
    assert min(usual) == share[31] == pytest.approx(0.71, abs=0.005)
    assert min(share.values()) == share[15] == pytest.approx(8 / 15)  # of shorter clips, little more than half


@pytest.mark.parametrize("length", [0, -3])
def test_truncated_needs_a_length(length):
    with pytest.raises(ValueError, match="length >= 1"):
        truncated(10, length)


@pytest.mark.parametrize("name", RULES)
def test_every_rule_can_be_asked_for_in_params(name):
    assert section(Sampling, {"rule": name, "frames": 8}, "tasks.x.sampling").rule == name


# --- through the stages

NUMBERS = [100 + 2 * k for k in range(11)]  # the sheet's, not the indices


def clip_rows(name: str, count: int) -> list[dict]:
    return [
        {"clip_id": f"synthetic/s01/{name}", "subject": "synthetic/s01", "frame": number, "source": "x"}
        | {"image": images.encode_png(frame), "landmarks": None, "transform": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
        for number, frame in zip(NUMBERS[:count], pixels(count), strict=True)
    ]


def pixels(count: int) -> np.ndarray:
    """Frames (N, 16, 16) of every clip."""
    return np.stack([face_like(16, shift=0.5 * k)[:, :, 0] for k in range(count)])


def write_frames(rows: list[dict], folder: Path) -> None:
    table = pa.Table.from_pylist(rows, schema=FRAMES)
    shards.write_subjects(folder / "frames-00000.parquet", FRAMES, [table])


def task_of(sampling: dict) -> TaskParams:
    content = {key: PARAMS["tasks"]["tiny"][key] for key in ("releases", "classes", "rank_pooling")}
    return section(TaskParams, content | {"sampling": sampling}, "tasks.tiny")


def dynamic_rows() -> dict[str, dict]:
    rows = shards.read_rows(paths.dynamic("tiny") / "dynamic.parquet", DYNAMIC)
    return {row["clip_id"].rpartition("/")[2]: row for row in rows}


@pytest.mark.parametrize("name", RULES)
def test_a_task_takes_the_frames_of_its_rule(project, name):
    """The dynamic image is drawn of those frames too."""
    write_frames(clip_rows("a", 11), paths.aligned("synthetic"))
    dynamic_images("tiny", task_of({"rule": name, "frames": 4}), paths.dynamic("tiny"))
    row = dynamic_rows()["a"]
    picks = {"uniform": [0, 3, 7, 10], "truncated": [0, 2, 4, 6]}[name]
    assert row["sampled"] == [NUMBERS[k] for k in picks]
    stack = pixels(11)[picks]
    assert (np.stack([images.decode_png(png) for png in row["frames"]]) == stack).all()
    assert (images.decode_png(row["dynamic_image"]) == draw_dynamic_image(stack, "harmonic")).all()


LENGTHS = {"long": 11, "short": 3, "two": 2, "one": 1}


@pytest.fixture
def four_clips(project: Path) -> None:
    """Aligned clips of 11, 3, 2 frames and 1, and their manifest: a class for each of the first three."""
    rows = [row for name, count in LENGTHS.items() for row in clip_rows(name, count)]
    write_frames(rows, paths.aligned("synthetic"))
    clips: list[dict] = [
        {"clip_id": f"synthetic/s01/{name}", "dataset": "synthetic", "subject": "synthetic/s01", "fps": None}
        | {"onset": 100, "apex": None, "offset": None, "emotion": emotion, "action_units": ""}
        | {"frames": [], "frame_numbers": []}
        for name, emotion in zip(LENGTHS, (*CLASSES, CLASSES[0]), strict=True)
    ]
    write_manifest("synthetic", clips)


def prepare(sampling: dict) -> dict[str, dict]:
    """Run stages dynamic and task; the task's rows by clip, once it is seen that one frame alone is left out."""
    task = task_of(sampling)
    dynamic_images("tiny", task, paths.dynamic("tiny"))
    gather_task("tiny", task, paths.task("tiny"))
    for folder, reason in ((paths.dynamic("tiny"), Reason.TOO_FEW_FRAMES), (paths.task("tiny"), Reason.NO_FRAMES)):
        left_out = shards.read_table(folder / "rejected.parquet", REJECTED).to_pylist()
        assert [(row["clip_id"], row["reason"]) for row in left_out] == [("synthetic/s01/one", reason)]
    rows = shards.read_rows(paths.task("tiny") / "clips.parquet", TASK)
    return {row["clip_id"].rpartition("/")[2]: row for row in rows}


def test_a_task_of_interpolated_frames(four_clips, capsys):
    rows = prepare({"rule": "tim", "frames": 4})
    assert "3 dynamic images of 4 frames each, interpolated" in " ".join(capsys.readouterr().err.split())
    assert load_task_info(paths.task("tiny")).inputs == ("frames", "dynamic_image")
    assert {name: row["sampled"] for name, row in dynamic_rows().items()} == {
        "long": [100, 106, 114, 120],
        "short": [100, 102, 102, 104],
        "two": [100, 100, 102, 102],
    }
    for name, row in rows.items():
        frames = np.stack([images.decode_png(png) for png in row["frames"]])
        assert (frames == tim.interpolate(pixels(LENGTHS[name]), 4)).all()
        assert (images.decode_png(row["dynamic_image"]) == draw_dynamic_image(frames, "harmonic")).all()
    assert load_clips(paths.task("tiny"), ("frames", "dynamic_image")).shapes["frames"] == (4, 1, 16, 16)


def test_a_task_of_all_frames(four_clips, capsys):
    """Clips of any length are in it, and models get their dynamic images alone."""
    rows = prepare({"rule": "all"})
    assert "3 dynamic images of all frames of their clips" in " ".join(capsys.readouterr().err.split())
    info = load_task_info(paths.task("tiny"))
    assert (info.inputs, info.sampling) == (("dynamic_image",), "all")
    for name, row in rows.items():
        assert row["frames"] is None and dynamic_rows()[name]["frames"] is None
        assert dynamic_rows()[name]["sampled"] == NUMBERS[: LENGTHS[name]]
        expected = draw_dynamic_image(pixels(LENGTHS[name]), "harmonic")
        assert (images.decode_png(row["dynamic_image"]) == expected).all()
    assert load_clips(paths.task("tiny"), ("dynamic_image",)).shapes == {"dynamic_image": (1, 16, 16)}
    with pytest.raises(ValueError, match="no frames"):
        load_clips(paths.task("tiny"), ("frames",))
