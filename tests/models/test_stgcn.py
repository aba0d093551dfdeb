"""ST-GCN on landmarks: the graph of the face, its partitions, its points on a real face, its size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fdpbench.models import create_model
from fdpbench.models.common.registry import ModelOptionError
from fdpbench.models.stgcn import BRIDGES, CENTRE, CONTOURS, MESH_POINTS, PRESETS, STGCN, Unit, edges, partitions
from fdpbench.prep.align.faces import FaceMesh

POINTS = 51
# Each point's twin on the other side of the face, the middle line left out.
TWINS = (
    *((k, 9 - k) for k in range(5)),
    *((14, 18), (15, 17)),
    *((19, 28), (20, 27), (21, 26), (22, 25), (23, 30), (24, 29)),
    *((31, 37), (32, 36), (33, 35), (42, 38), (41, 39)),
    *((43, 47), (44, 46), (50, 48)),
)
MIDDLE = (10, 11, 12, 13, 16, 34, 40, 45, 49)


def test_the_graph_is_one_piece_and_each_edge_stands_once() -> None:
    pairs = edges()
    assert len({frozenset(pair) for pair in pairs}) == len(pairs) and all(a != b for a, b in pairs)
    assert sorted(point for contour, _ in CONTOURS for point in contour) == list(range(POINTS))
    reached = {CENTRE}
    while more := {b for pair in pairs for a, b in (pair, pair[::-1]) if a in reached and b not in reached}:
        reached |= more
    assert reached == set(range(POINTS))


def test_the_graph_is_the_same_on_both_sides() -> None:
    twin = {**dict(TWINS), **{b: a for a, b in TWINS}, **{point: point for point in MIDDLE}}
    assert sorted(twin) == list(range(POINTS))
    pairs = {frozenset(pair) for pair in edges()}
    assert {frozenset((twin[a], twin[b])) for a, b in edges()} == pairs
    assert all(frozenset(pair) in pairs for pair in BRIDGES)


def test_partitions_by_hand() -> None:
    """By a search from the centre, edge by edge."""
    neighbours: dict[int, set[int]] = {point: {point} for point in range(POINTS)}
    for a, b in edges():
        neighbours[a].add(b)
        neighbours[b].add(a)
    far, queue = {CENTRE: 0}, [CENTRE]
    for point in queue:
        for other in sorted(neighbours[point] - set(far)):
            far[other] = far[point] + 1
            queue.append(other)
    weights = partitions()
    assert weights.shape == (3, POINTS, POINTS)
    for target in range(POINTS):
        for source in range(POINTS):
            share = 1 / len(neighbours[target]) if source in neighbours[target] else 0.0
            kind = 0 if far[source] == far[target] else 1 if far[source] < far[target] else 2
            expected = [share if kind == k else 0.0 for k in range(3)]
            assert weights[:, source, target] == pytest.approx(expected)


def test_the_points_of_the_mesh_lie_where_the_graph_takes_them() -> None:
    data = pytest.importorskip("skimage.data", reason="the photograph comes with scikit-image")
    face = FaceMesh().find(data.astronaut())
    x, y = face.landmarks[list(MESH_POINTS), :2].T
    for right_of in (range(10), range(14, 19), range(31, 38), range(43, 48)):  # from left to right
        assert (np.diff(x[list(right_of)]) > 0).all()
    assert (np.diff(y[10:14]) > 0).all()  # down the nose
    assert x[19] < x[22] < x[25] < x[28]  # corners of the eyes
    for upper, lower in ((20, 24), (21, 23), (26, 30), (27, 29), (44, 50), (45, 49), (46, 48), (34, 40), (34, 45)):
        assert y[upper] < y[lower]
    assert y[:10].max() < y[19:31].min() < y[14:19].min() < y[31:].min()  # brows, eyes, nose, mouth
    tip = int(np.argmin(face.landmarks[list(MESH_POINTS), 2]))
    assert tip == CENTRE


def test_the_number_of_parameters() -> None:
    """That of the paper's units counted by hand, which for its skeleton is what the code's figure rests on."""
    with torch.device("meta"):
        model = create_model("stgcn", 3, shapes={"landmarks": (8, 468, 2)})
    total, inputs = 2 * 4 * POINTS + 256 * 3 + 3, 4
    for number, (outputs, stride) in enumerate(PRESETS["paper"].units):
        total += 3 * POINTS**2 + inputs * 3 * outputs + 3 * outputs  # importance, mixing
        total += 4 * outputs + 9 * outputs**2 + outputs  # two batch normalisations, the temporal convolution
        if number and (stride > 1 or inputs != outputs):
            total += inputs * outputs + 3 * outputs
        inputs = outputs
    assert sum(weight.numel() for weight in model.parameters()) == total == 3_086_446


def test_a_unit_is_a_plain_sum_over_neighbours() -> None:
    torch.manual_seed(0)
    weights = torch.rand(3, 5, 5)
    unit = Unit(2, 4, 1, 3, 0.0, weights, residual=False).eval()
    x = torch.randn(1, 2, 6, 5)
    seen: list[torch.Tensor] = []
    unit.temporal.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    unit(x)
    kernel, bias = unit.mix.weight[:, :, 0, 0], unit.mix.bias
    assert bias is not None
    for t in range(6):
        for point in range(5):
            expected = torch.zeros(4)
            for part in range(3):
                rows = slice(4 * part, 4 * part + 4)
                for other in range(5):
                    expected += weights[part, other, point] * (kernel[rows] @ x[0, :, t, other] + bias[rows])
            torch.testing.assert_close(seen[0][0, :, t, point], expected)


@pytest.mark.parametrize("count", [68, 468])
def test_points_without_a_place_in_the_graph_are_not_read(count: int) -> None:
    torch.manual_seed(0)
    model: STGCN = create_model("stgcn", 3, shapes={"landmarks": (4, count, 2)}, preset="tiny").eval()
    x = torch.randn(2, 4, count, 2)
    before = model(x).logits
    others = [k for k in range(count) if k not in (MESH_POINTS if count == 468 else range(17, 68))]
    x[:, :, others] += 1
    assert torch.equal(model(x).logits, before)
    x[:, 2:, MESH_POINTS[CENTRE] if count == 468 else 17 + CENTRE] += 1
    assert not torch.equal(model(x).logits, before)


def test_other_landmarks_are_refused() -> None:
    with pytest.raises(ModelOptionError, match=r"'landmarks' has 100 points, expected 468 \(mesh\) or 68 \(dlib\)"):
        create_model("stgcn", 3, shapes={"landmarks": (8, 100, 2)})
