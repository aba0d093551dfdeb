"""The schedule of units on a cluster: each is built once, whatever is lost; tries are bounded, small ones bundled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.prep.runtime.cluster.reads import Reads
from fdpbench.prep.runtime.cluster.schedule import Job, Schedule, TriedTooOftenError, slots


def jobs(count: int) -> list[Job]:
    return [Job(str(k), b"", "", Reads()) for k in range(count)]


@given(
    st.integers(1, 30),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 4), st.integers(0, 4), st.booleans()), max_size=200),
)
def test_every_unit_is_built_once_whatever_is_lost(count: int, events: list[tuple[str, int, int, bool]]) -> None:
    """Workers take bundles and finish all of each, or some and are lost; then an undisturbed one does the rest."""
    schedule, finished, lost = Schedule(retries=10**6), [], 0
    schedule.add(jobs(count))
    for node, size, done, dies in events:
        taken = schedule.take(node, "abc", size)
        assert len(taken) <= size
        kept = taken[:done] if dies else taken
        finished += [job.name for job in kept]
        left = taken[len(kept) :]
        if left:
            assert schedule.lost(left, node) is left[0]
            lost += 1
    assert schedule.again == lost
    while rest := schedule.take("d", ["d"], 3):
        finished += [job.name for job in rest]
    assert sorted(finished, key=int) == [str(k) for k in range(count)] and not len(schedule)


@given(st.integers(0, 5), st.integers(1, 4))
def test_tries_are_bounded(retries: int, bundle: int) -> None:
    schedule = Schedule(retries)
    schedule.add(jobs(bundle))
    for tried in range(retries):
        taken = schedule.take("a", [], bundle)
        assert schedule.lost(taken, "a") is taken[0] and taken[0].name == "0" and taken[0].tries == tried + 1
    with pytest.raises(TriedTooOftenError):
        schedule.lost(schedule.take("a", [], bundle), "a")


def test_those_that_waited_behind_the_lost_one_are_not_charged() -> None:
    schedule = Schedule(1)
    schedule.add(jobs(3))
    schedule.lost(schedule.take("a", [], 3), "a")
    assert [job.tries for job in schedule.take("b", ["a"], 3)] == [1, 0, 0]


def test_a_lost_unit_goes_to_another_node_while_there_is_one() -> None:
    schedule = Schedule(3)
    schedule.add(jobs(2))
    schedule.lost(schedule.take("a", ["b"]), "a")
    assert [job.name for job in schedule.take("a", ["b"], 2)] == ["1"]
    assert schedule.take("a", ["b"]) == []
    assert [job.name for job in schedule.take("b", ["a"])] == ["0"]


def test_a_lost_unit_goes_back_to_its_node_when_all_have_lost_it_or_no_other_is_left() -> None:
    schedule = Schedule(3)
    schedule.add(jobs(1))
    schedule.lost(schedule.take("a", ["b"]), "a")
    assert [job.name for job in schedule.take("a", ["a"])] == ["0"]
    schedule.give_back([])
    schedule.add(jobs(1))
    for node in "ab":
        schedule.lost(schedule.take(node, "ab"), node)
    assert [job.tries for job in schedule.take("a", "ab")] == [2]


def test_what_a_node_could_not_begin_is_no_try() -> None:
    schedule = Schedule(0)
    schedule.add(jobs(2))
    schedule.give_back(schedule.take("a", [], 2))
    assert [(job.name, job.tries) for job in schedule.take("a", [], 2)] == [("0", 0), ("1", 0)]
    assert schedule.again == 0


def test_small_units_go_together_and_large_ones_alone() -> None:
    schedule = Schedule(3)
    schedule.add(jobs(1000))
    assert schedule.bundle(2) == 1  # nothing is known of them yet
    schedule.measured(0.1)
    assert schedule.bundle(2) == 10
    for _ in range(50):
        schedule.measured(20.0)
    assert schedule.bundle(2) == 1


@given(st.integers(1, 500), st.integers(1, 50), st.floats(0, 1e-3))
def test_near_the_end_no_worker_takes_more_than_its_share(left: int, workers: int, seconds: float) -> None:
    schedule = Schedule(3)
    schedule.add(jobs(left))
    schedule.measured(seconds)
    assert 1 <= schedule.bundle(workers) <= max(1, -(-left // workers))


@pytest.mark.parametrize(
    ("resources", "needs", "expected"),
    [
        ({"CPU": 8.0}, (1.0, 0.0, None), 8),
        ({"CPU": 8.0}, (3.0, 0.0, None), 2),
        ({"CPU": 0.3}, (0.1, 0.0, None), 3),  # as floats, a little less than three
        ({"CPU": 8.0, "GPU": 2.0}, (1.0, 0.25, None), 8),
        ({"CPU": 16.0, "GPU": 2.0}, (1.0, 1 / 3, None), 6),
        ({"CPU": 16.0, "GPU": 1.0}, (1.0, 0.4, None), 2),  # a share is of one device
        ({"CPU": 16.0, "GPU": 2.0}, (1.0, 0.4, None), 4),
        ({"CPU": 16.0, "GPU": 4.0}, (1.0, 2.0, None), 2),
        ({"CPU": 16.0}, (1.0, 0.5, None), 0),
        ({"memory": 8e9}, (1.0, 0.0, None), 0),  # a head without processors
        ({"CPU": 16.0, "memory": 10e9}, (1.0, 0.0, 3e9), 3),
    ],
)
def test_how_many_units_fit_on_a_node(resources: dict[str, float], needs: tuple, expected: int) -> None:
    assert slots(resources, *needs) == expected
