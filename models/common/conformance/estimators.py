"""Checks of estimators, the models that fit themselves, and of features that are computed of each clip. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from fdpbench.models.common.conformance.expectations import SHAPES, expect, expect_refusal, smallest_options
from fdpbench.models.common.registry import ModelOptionError, create_model, model_info

__all__ = ["CHECKS", "FEATURE_CHECKS", "arrays", "build"]

Labels = NDArray[np.int64]


def build(name: str, num_classes: int = 3, seed: int = 0) -> Any:
    """A new estimator.

    Parameters
    ----------
    name
        The model's reference.
    num_classes
        Number of classes.
    seed
        Seeds what is random in fitting.
    """
    return create_model(name, num_classes, seed=seed, **smallest_options(name))


def arrays(name: str, labels: Labels) -> dict[str, NDArray[np.float32]]:
    """Raw inputs in [0, 1], each clip with a dark band at a place that tells its class; the same in every call.

    Parameters
    ----------
    name
        The model's reference.
    labels
        (B,), the classes of the clips.
    """
    random = np.random.default_rng(11)
    made = {}
    for key in model_info(name).inputs:
        values = random.random((len(labels), *SHAPES[key])).astype(np.float32)
        for clip, label in zip(values, labels, strict=True):
            clip[..., label * 8 : label * 8 + 8, :] *= 0.2
        made[key] = values
    return made


def _fitted(name: str, labels: Labels, num_classes: int) -> tuple[Any, dict[str, NDArray]]:
    """A fitted estimator and what it was fitted to: its features of the inputs, where it has any."""
    model = build(name, num_classes, seed=5)
    inputs: dict[str, NDArray] = dict(arrays(name, labels))
    if model_info(name).hand_crafted:
        inputs = {"features": model.features(inputs)}
    model.fit(inputs, labels)
    return model, inputs


def fits_and_repeats(name: str) -> None:
    """Scores are finite float64 (B, classes), repeat with the seed and tell easy classes apart: 2, 3 and 5 of them."""
    for num_classes in (2, 3, 5):
        labels = np.r_[np.arange(4 * num_classes) % num_classes, 0]
        model, inputs = _fitted(name, labels, num_classes)
        scores = model.scores(inputs)
        shape = (len(labels) if inputs else 1, num_classes)
        found = f"{scores.dtype} of shape {scores.shape}"
        cure = "Let scores give one row of each clip, as float64."
        expect(scores.dtype == np.float64 and scores.shape == shape, f"float64 scores of shape {shape}", found, cure)
        expect(bool(np.isfinite(scores).all()), "finite scores", "infinity or NaN", "Look for a division by zero.")
        again = _fitted(name, labels, num_classes)[0].scores(inputs)
        cure = "Draw what is random from numpy.random.default_rng(self.seed)."
        expect(np.array_equal(again, scores), "the same scores of a second fit with the same seed", "others", cure)
        if inputs:  # whatever looks at the clips can tell these classes apart
            right = int((scores.argmax(axis=1) == labels).sum())
            cure = "Look whether fit uses the inputs and the labels in the same order."
            expect(right == len(labels), f"{len(labels)} of {len(labels)} training clips recognised", right, cure)


def state_round_trip(name: str) -> None:
    """What was fitted passes through safetensors and gives the same scores; without it an estimator refuses."""
    model, inputs = _fitted(name, np.arange(12) % 3, 3)
    saved = safetensors.numpy.save(model.state())
    other = build(name)
    cure = "Raise RuntimeError('... is not fitted: call fit or load_state first')."
    with expect_refusal("scores before fit", RuntimeError, ["not fitted"], cure):
        other.scores(inputs)
    cure = "Check names and shapes of the arrays in load_state, for instance with estimators.checked_state."
    with expect_refusal("an empty state", ValueError, ["expected"], cure):
        other.load_state({})
    other.load_state(safetensors.numpy.load(saved))
    same = np.array_equal(other.scores(inputs), model.scores(inputs))
    expect(same, "the same scores after saving and loading", "others", "Give all that was fitted in state.")


def never_prefers_an_unseen_class(name: str) -> None:
    """A class that the training clips lack scores below all others in every row, however many lack."""
    for present in ((0, 2), (1,), (3, 1, 0)):
        model, inputs = _fitted(name, np.resize(present, 12), 4)
        scores = model.scores(inputs)
        missing = [label for label in range(4) if label not in present]
        below = scores[:, missing].max(axis=1) < scores[:, list(present)].min(axis=1)
        expect(
            bool(np.isfinite(scores).all() and below.all()),
            f"finite scores, those of classes {missing} the lowest where the training clips have {list(present)}",
            f"the row {scores[int(below.argmin())].tolist()}",
            "Call estimators.lowest_for_missing on the scores.",
        )


def follows_a_renaming_of_the_classes(name: str) -> None:
    """Classes in another order give the same scores in that order."""
    labels, renamed = np.resize([0, 1, 2, 0], 16), np.array([2, 0, 1])
    model, inputs = _fitted(name, labels, 3)
    other = build(name, seed=5)
    other.fit(inputs, renamed[labels])
    before, after = model.scores(inputs), other.scores(inputs)[:, renamed]
    expect(
        np.allclose(after, before, atol=1e-2, rtol=1e-7),
        "the same scores after the classes were renamed",
        f"scores that differ by up to {np.abs(after - before).max():.3g}",
        "Treat the index of a class as a name: no class comes before another.",
    )


def bad_labels_are_refused(name: str) -> None:
    """Labels that are no class index are refused with those allowed, and so are shapes."""
    with expect_refusal("label 3 of 3 classes", ValueError, ["0..2"], "Call self.check_labels(labels) in fit."):
        _fitted(name, np.array([0, 1, 2, 3]), 3)
    cure = "Declare the class with register_model and derive it from estimators.Estimator."
    with expect_refusal("an estimator with shapes", ModelOptionError, ["shapes"], cure):
        create_model(name, 3, shapes={})


def features_depend_on_one_clip_alone(name: str) -> None:
    """A clip's features are the same to the last bit whatever the other clips, their order, fit, classes and seed."""
    labels = np.arange(11) % 3
    model, inputs = build(name), arrays(name, labels)
    together = model.features(inputs)
    found = f"{together.dtype} of shape {together.shape}"
    held = together.dtype == np.float64 and together.ndim == 2 and len(together) == len(labels)
    expect(held, f"float64 features of shape ({len(labels)}, D)", found, "Let features give one row of each clip.")
    distinct = len(np.unique(together, axis=0))  # else the comparisons below would show little
    cure = "Look whether the features depend on the inputs."
    expect(distinct == len(labels), f"{len(labels)} different rows of as many clips", distinct, cure)
    model.fit({"features": together}, labels)
    cure = "Compute each row of one clip alone; what depends on the training clips belongs into fit."
    for k in range(len(labels)):
        alone = model.features({key: value[k : k + 1] for key, value in inputs.items()})
        expect(np.array_equal(alone, together[k : k + 1]), "the same features of a clip by itself", "others", cure)
    backwards = model.features({key: value[::-1] for key, value in inputs.items()})
    expect(np.array_equal(backwards[::-1], together), "the same features in another order", "others", cure)
    others = {key: np.concatenate([value[:1], 0.3 * value[1:4]]) for key, value in inputs.items()}
    again = build(name, 5, seed=9).features(others)[0]
    expected = "the same features beside other clips, and for another number of classes and seed"
    expect(np.array_equal(again, together[0]), expected, "others", cure)


CHECKS = (
    fits_and_repeats,
    state_round_trip,
    never_prefers_an_unseen_class,
    follows_a_renaming_of_the_classes,
    bad_labels_are_refused,
)
FEATURE_CHECKS = (features_depend_on_one_clip_alone,)
