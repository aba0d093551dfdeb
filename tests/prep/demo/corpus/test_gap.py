"""The gap between rendered and real flow images: none between halves of one set, a whole one to noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fdpbench.prep.demo.corpus.flow import flow_clips
from fdpbench.prep.demo.corpus.gap import gap_between, gap_tables, spectral_slopes, statistics_of
from fdpbench.prep.demo.corpus.planner import plan_people
from fdpbench.prep.settings.corpus import CorpusParams


@pytest.fixture(scope="module")
def rendered() -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Eighty images of twenty people."""
    params = CorpusParams(generator="flow", identities=20, clips_per_identity=4, seed=5)
    clips = [(person.subject, clip.image) for person in plan_people(params) for clip in flow_clips(person)]
    return np.stack([image for _, image in clips]).astype(np.float32) / np.float32(255), np.array(
        [name for name, _ in clips]
    )


def test_no_gap_between_halves_of_one_corpus(rendered: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
    images, people = rendered
    gap = gap_between(images[:40], people[:40], images[40:], people[40:])
    assert gap["magnitude"] < 0.02 and gap["direction"] < 0.2 and 0.25 < gap["classifier"] < 0.75


def test_a_whole_gap_to_noise(rendered: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
    images, people = rendered
    noise = np.random.default_rng(1).random((60, *images.shape[1:]), np.float32)
    gap = gap_between(images, people, noise, np.array([f"s{k % 12}" for k in range(60)]))
    assert gap["magnitude"] > 0.1 and gap["classifier"] > 0.99


def test_mirrored_images_go_the_other_way(rendered: tuple[NDArray[np.float32], NDArray[np.str_]]) -> None:
    images, people = rendered
    turned = images.copy()
    turned[:, 0] = 1 - turned[:, 0]
    gap = gap_between(images, people, turned, people)
    assert gap["magnitude"] == pytest.approx(0, abs=1e-7)
    up = images.copy()
    up[:, 1] = 1 - up[:, 1]
    assert gap_between(images, people, up, people)["direction"] > 0.05


@given(st.floats(0, 3), st.integers(0, 99))
def test_the_slope_is_the_exponent_of_the_spectrum(exponent: float, seed: int) -> None:
    side = 28
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side) * side, np.fft.fftfreq(side) * side))
    frequency[0, 0] = 1
    phases = np.fft.fft2(np.random.default_rng(seed).standard_normal((8, side, side)))
    images = np.fft.ifft2(phases / np.abs(phases) * frequency ** (-exponent / 2)).real.astype(np.float32)
    assert spectral_slopes(images) == pytest.approx(-exponent, abs=0.25)


def test_statistics_of_an_image_of_one_step() -> None:
    images = np.zeros((2, 3, 28, 28), np.float32)
    images[:, :, :, 14:] = 1
    found = statistics_of(images)
    assert [found[f"u {name}"] for name in ("mean", "deviation", "skewness")] == pytest.approx([0.5, 0.5, 0])


def test_both_tables_name_every_data_set() -> None:
    numbers = {"images": 3.0, "u mean": 0.5}
    gaps = {"casme2": {"magnitude": 0.1, "direction": 0.2, "classifier": 0.8}}
    first, second = gap_tables({"rendered": numbers, "casme2": numbers}, gaps)
    assert "| mean over images" in first and "casme2" in first and "0.800" in second
