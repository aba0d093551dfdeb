"""Frame sampling against an independent definition, in exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prep.sampling import SamplingError, uniform


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


@pytest.mark.parametrize(("count", "length"), [(7, 8), (1, 2), (0, 8)])
def test_too_few_frames_is_an_error_with_both_numbers(count, length):
    with pytest.raises(SamplingError, match=f"has {count}, sampling asks for {length}"):
        uniform(count, length)


@pytest.mark.parametrize("length", [1, 0, -3])
def test_a_sample_without_first_and_last_frame_is_refused(length):
    with pytest.raises(ValueError, match="length >= 2"):
        uniform(10, length)
