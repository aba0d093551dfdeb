"""Exact rank pooling, by scikit-learn's liblinear: what `prep.dynamic.rank_pooling` approximates.

A direction d ranks the frames of a clip if the scores <d, V_t> of the running means V_t grow with t.
Two methods find one: the ranking machine over pairs of frames (Bilen et al., TPAMI 2018, eq. 1) and
the regression on the frame's index that Fernando et al. ("Rank Pooling for Action Recognition", TPAMI
2017) use in its place. A solution lies in the span of its samples, so both solve in an orthogonal
basis of that span, at most T numbers however large the frames are.

Nothing in the pipeline uses this module: it is for experiments, and for the tests of the approximation.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC, LinearSVR

from fdpbench.prep.dynamic.rank_pooling import coefficients, running_means

__all__ = ["NotConvergedError", "critical_regularisation", "fernando", "rank_svm"]


class NotConvergedError(RuntimeError):
    """The solver stopped before it came to the optimum; its result is not returned."""


def rank_svm(
    frames: ArrayLike, regularisation: float, tolerance: float = 1e-9, max_iterations: int = 1_000_000
) -> NDArray[np.float64]:
    """Exact rank pooling of a clip: the ranking machine over all pairs of its running means.

    d* = argmin_d lambda/2 |d|^2 + 2/(T(T-1)) sum_{q>t} max(0, 1 - <d, V_q> + <d, V_t>)
    (Bilen et al. 2018, eq. 1). From lambda = `critical_regularisation` on it is the approximate result
    times 2/(T(T-1)) / lambda.

    Parameters
    ----------
    frames
        Array of shape (T, ...), whole numbers or floating: T frames of any shape.
    regularisation
        lambda, above 0. A small one costs many iterations.
    tolerance
        How far the solver may be from its optimality conditions, in units of the margin 1.
    max_iterations
        Passes over all pairs after which the solver gives up.

    Returns
    -------
    Array of shape ``frames.shape[1:]``, float64. 0 for one frame and for a static clip. For two frames
    with x = (psi_2 - psi_1) / 2 it is min(1 / lambda, 1 / |x|^2) x.

    Raises
    ------
    ValueError
        If ``regularisation`` is not a number above 0, or a frame holds NaN or infinite values.
    NotConvergedError
        If the solver needs more than ``max_iterations``.
    """
    if not 0 < regularisation < np.inf:
        raise ValueError(f"regularisation must be a number above 0, got {regularisation}")
    means, shape = _means_from_first(frames)  # (T, N)
    length = len(means)
    basis, points = _reduce(means)  # (N, r), (T, r)
    first, second = np.triu_indices(length, k=1)
    pairs = points[second] - points[first]  # (T(T-1)/2, r)
    size = np.linalg.norm(pairs, axis=1).max(initial=0.0)
    if size == 0:
        return np.zeros(shape)
    # A classifier wants two classes, so each pair comes mirrored too. liblinear minimises
    # |w|^2 / 2 + C sum of hinges: of samples divided by `size`, w = size d and C grows by size^2.
    pairs /= size
    cost = size**2 * _share(length) / regularisation / 2
    solver = LinearSVC(
        loss="hinge", C=cost, fit_intercept=False, tol=tolerance, max_iter=max_iterations, random_state=0
    )
    classes = np.repeat([1, -1], len(pairs))
    what = f"ranking machine of {length} frames with regularisation {regularisation:g}: a larger one"
    _fit(solver, np.concatenate([pairs, -pairs]), classes, what)
    return (basis @ solver.coef_[0] / size).reshape(shape)


def critical_regularisation(frames: ArrayLike) -> float:
    """Least lambda from which on exact rank pooling is the approximate result, but for its scale.

    lambda_0 = max_{q>t} c <d, V_q - V_t> with d the approximate result and c = 2/(T(T-1)): from there
    on all pairs are inside the margin, so that the hinges are linear.

    Parameters
    ----------
    frames
        Array of shape (T, ...), whole numbers or floating.

    Returns
    -------
    lambda_0, in squared units of the frames. 0 for one frame and for a static clip.

    Raises
    ------
    ValueError
        If a frame holds NaN or infinite values.
    """
    means, _ = _means_from_first(frames)
    scores = means @ (coefficients(len(means), "linear") @ means)  # (T,)
    first, second = np.triu_indices(len(means), k=1)
    return float(_share(len(means)) * (scores[second] - scores[first]).max(initial=0.0))


def fernando(
    frames: ArrayLike, cost: float = 10.0, tolerance: float = 1e-9, max_iterations: int = 10_000
) -> NDArray[np.float64]:
    """Rank pooling by support vector regression, as Fernando et al. (2017, section 3) compute it.

    The running means V_t, their signed square roots, each divided by its Euclidean norm, are regressed
    on t = 1..T by liblinear's L2-loss linear regression (``-s 11 -c 10``, its margin of 0.1, no bias):
    argmin_d |d|^2 / 2 + C sum_t max(0, |t - <d, v_t>| - 0.1)^2.

    Parameters
    ----------
    frames
        Array of shape (T, ...), whole numbers or floating: frames, or features of frames.
    cost
        C, above 0.
    tolerance
        Share of its first gradient at which the solver stops.
    max_iterations
        Newton steps after which the solver gives up.

    Returns
    -------
    Array of shape ``frames.shape[1:]``, float64. 0 for one frame, which has no order, whatever the
    regression would give; a static clip has a regression on its one direction.

    Raises
    ------
    ValueError
        If ``cost`` is not a number above 0, or a frame holds NaN or infinite values.
    NotConvergedError
        If the solver needs more than ``max_iterations``.
    """
    if not 0 < cost < np.inf:
        raise ValueError(f"cost must be a number above 0, got {cost}")
    clip, shape = _flat(frames)
    if len(clip) == 1:
        return np.zeros(shape)
    means = running_means(clip)  # (T, N)
    rooted = np.sign(means) * np.sqrt(np.abs(means))
    norms = np.linalg.norm(rooted, axis=1, keepdims=True)
    samples = np.divide(rooted, norms, out=np.zeros_like(rooted), where=norms > 0)
    basis, points = _reduce(samples)  # (N, r), (T, r)
    solver = LinearSVR(
        loss="squared_epsilon_insensitive",
        epsilon=0.1,
        C=cost,
        dual=False,
        fit_intercept=False,
        tol=tolerance,
        max_iter=max_iterations,
        random_state=0,
    )
    what = f"regression on {len(clip)} frames with cost {cost:g}: a smaller one"
    _fit(solver, points, np.arange(1.0, len(clip) + 1), what)
    return (basis @ solver.coef_).reshape(shape)


def _flat(frames: ArrayLike) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Frames as rows of float64 (T, N), and the shape of a frame."""
    clip = np.asarray(frames)
    coefficients(len(clip))  # refuses an empty clip
    shape = clip.shape[1:]
    rows = clip.reshape(len(clip), int(np.prod(shape))).astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("cannot rank frames that hold NaN or infinite values")
    return rows, shape


def _means_from_first(frames: ArrayLike) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """V_t - V_1 as rows (T, N), and the shape of a frame: differences of means are all that ranking sees."""
    rows, shape = _flat(frames)
    return running_means(rows - rows[0]), shape


def _share(length: int) -> float:
    """Weight of one pair, 2 / (T(T-1)); of one frame there are no pairs."""
    return 2 / (length * (length - 1)) if length > 1 else 0.0


def _reduce(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Orthonormal basis (N, r) of a space that holds all rows (T, N), and the rows in it (T, r)."""
    basis, triangle = np.linalg.qr(rows.T)
    return basis, np.ascontiguousarray(triangle.T)


def _fit(solver: Any, samples: NDArray[np.float64], targets: NDArray[Any], what: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            solver.fit(samples, targets)
        except ConvergenceWarning as warning:
            raise NotConvergedError(
                f"no optimum after {solver.max_iter} iterations of the {what}, a larger tolerance "
                f"(now {solver.tol:g}) or more iterations may help"
            ) from warning
