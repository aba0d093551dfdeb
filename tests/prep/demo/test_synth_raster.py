"""The rasteriser of the embedded release: exact weights, nearest surface, no cracks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdpbench.prep.demo.synth.raster import gather_corners, rasterize


def random_mesh(seed: int, count: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    points, depth = rng.uniform(-4, 36, (3 * count, 2)), rng.uniform(0, 1, 3 * count)
    return points, depth, np.arange(3 * count).reshape(-1, 3)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_weights_sum_to_one_and_reproduce_sample_centres(seed: int) -> None:
    points, depth, triangles = random_mesh(seed)
    samples = rasterize(points, depth, triangles, 32, 24)
    assert (np.diff(samples.pixel) > 0).all()
    assert samples.weights.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert samples.weights.min() > -1e-4
    found = samples.interpolate(gather_corners(points, triangles)).T
    centres = np.stack([samples.pixel % 32, samples.pixel // 32], axis=1) + 0.5
    assert found == pytest.approx(centres, abs=2e-3)


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_every_sample_shows_the_nearest_triangle(seed: int) -> None:
    points, depth, triangles = random_mesh(seed, count=12)
    samples = rasterize(points, depth, triangles, 16, 16)
    shown = np.full(256, -1)
    shown[samples.pixel] = samples.triangle
    centre = np.stack(np.meshgrid(np.arange(16) + 0.5, np.arange(16) + 0.5), axis=-1).reshape(-1, 2)
    nearest, edge = np.full((2, 256), -np.inf), np.zeros(256, dtype=bool)
    for number, triangle in enumerate(triangles):  # plain reference: one triangle at a time
        a, b, c = points[triangle]
        matrix = np.array([b - a, c - a]).T
        if np.linalg.det(matrix) >= 0:
            continue
        u, v = np.linalg.solve(matrix, (centre - a).T)
        inside = np.minimum(np.minimum(u, v), 1 - u - v)
        edge |= np.abs(inside) < 1e-6
        z = depth[triangle] @ np.stack([1 - u - v, u, v])
        closer = (inside > 0) & (z > nearest[0])
        nearest[0, closer], nearest[1, closer] = z[closer], number
    expected = np.where(np.isfinite(nearest[0]), nearest[1], -1)
    assert (shown[~edge] == expected[~edge]).all()


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_order_of_triangles_does_not_matter(seed: int) -> None:
    points, depth, triangles = random_mesh(seed)
    order = np.random.default_rng(seed).permutation(len(triangles))
    plain, shuffled = (rasterize(points, depth, t, 32, 32) for t in (triangles, triangles[order]))
    assert (plain.pixel == shuffled.pixel).all()
    assert (plain.triangle == order[shuffled.triangle]).all()
    assert (plain.weights == shuffled.weights).all()


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_neighbours_cover_each_sample_exactly_once(seed: int) -> None:
    """A fan of triangles fills its square: no crack, and no sample that two of them claim."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(6, 10, 2)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    rim = centre + 40 * np.stack([np.cos(angles), -np.sin(angles)], axis=1)
    points = np.vstack([centre, rim])
    fan = np.array([[0, 1 + k, 1 + (k + 1) % 9] for k in range(9)])
    covered = np.concatenate([rasterize(points, np.zeros(10), fan[k : k + 1], 16, 16).pixel for k in range(9)])
    whole = rasterize(points, np.zeros(10), fan, 16, 16).pixel
    assert len(np.unique(covered)) == len(covered)
    assert (np.sort(covered) == whole).all()
    gaps = np.diff(np.append(angles, angles[0] + 2 * np.pi))
    if gaps.max() < 2.5:  # the fan goes all round
        assert len(whole) == 256


def test_a_triangle_seen_from_behind_is_not_drawn() -> None:
    points = np.array([[1.0, 1], [1, 14], [14, 14]])
    assert len(rasterize(points, np.zeros(3), np.array([[0, 1, 2]]), 16, 16).pixel) > 50
    assert len(rasterize(points, np.zeros(3), np.array([[0, 2, 1]]), 16, 16).pixel) == 0
