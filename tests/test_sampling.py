"""Frame sampling against an independent definition, in exact fractions."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prep import images, paths, shards
from prep.dynamic import draw_dynamic_image, dynamic_images
from prep.params import Sampling, TaskParams, section
from prep.sampling import RULES, SamplingError, truncated, uniform
from prep.schema import DYNAMIC, FRAMES
from tests.builders import PARAMS, face_like


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


@pytest.mark.parametrize("name", RULES)
def test_a_task_takes_the_frames_of_its_rule(project, name):
    """The dynamic image is drawn of those frames too."""
    count = 11
    numbers = [100 + 2 * k for k in range(count)]  # the sheet's, not the indices
    frames = [face_like(16, shift=0.5 * k)[:, :, 0] for k in range(count)]
    rows = [
        {"clip_id": "synthetic/s01/a", "subject": "synthetic/s01", "frame": number, "source": "x"}
        | {"image": images.encode_png(frame), "landmarks": None, "transform": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]}
        for number, frame in zip(numbers, frames, strict=True)
    ]
    write_frames(rows, paths.aligned("synthetic"))
    asked = PARAMS["tasks"]["tiny"] | {"sampling": {"rule": name, "frames": 4}}
    dynamic_images("tiny", section(TaskParams, asked, "tasks.tiny"), paths.dynamic("tiny"))
    (row,) = shards.read_rows(paths.dynamic("tiny") / "dynamic.parquet", DYNAMIC)
    picks = {"uniform": [0, 3, 7, 10], "truncated": [0, 2, 4, 6]}[name]
    assert row["sampled"] == [numbers[k] for k in picks]
    stack = np.stack([frames[k] for k in picks])
    assert (np.stack([images.decode_png(png) for png in row["frames"]]) == stack).all()
    assert (images.decode_png(row["dynamic_image"]) == draw_dynamic_image(stack, "harmonic")).all()


def write_frames(rows: list[dict], folder: Path) -> None:
    table = pa.Table.from_pylist(rows, schema=FRAMES)
    shards.write_subjects(folder / "frames-00000.parquet", FRAMES, [table])
