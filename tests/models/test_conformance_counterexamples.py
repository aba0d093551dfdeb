"""Each check of the conformance suite can fail: a model that breaks one promise is refused by that check.

The models are those of `tests.support.added_models`, which keep every promise, with a line or two changed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fdpbench.models.common import conformance
from fdpbench.models.common.conformance import ConformanceError, checks_of, declaration, estimators, fault_of, modules
from fdpbench.models.common.registry import model_info
from tests.support.added_models import ESTIMATOR, NETWORK, added_model

SOUND = {"network": NETWORK, "estimator": ESTIMATOR}
EVERY = {
    check.__name__: check
    for check in (*declaration.CHECKS, *modules.CHECKS, *estimators.CHECKS, *estimators.FEATURE_CHECKS)
}


# What breaks a promise, by the check that refuses it: a line of the sound model, what stands there instead, and part of
# the message.
IN_NETWORK = {
    "declaration_is_sound": [
        ('paper="none"', 'paper=""', "the paper"),
        ("width: Count = 16", "width: Count = 0", "defaults that"),
        ('{"width": 16}', '{"width": "wide"}', "recipe that"),
    ],
    "wrong_type_is_refused": [("width: Count", "width: Any", "as option 'width'")],
    "output_and_loss": [
        ("nn.Linear(width, num_classes)", "nn.Linear(width, 7)", "logits of shape (4, 2)"),
        ("logits=self.classify(x)", "logits=self.classify(x) / 0", "finite logits"),
        ("dynamic_image=image", "dynamic_image=image[:, None]", "dynamic images (4, h, w)"),
        ("dynamic_image=image", "dynamic_image=image[:2]", "dynamic images (4, h, w)"),
        (".sigmoid()", "", "dynamic images in 0..1"),
        ("scores=self.rank(x)", "scores=self.rank(x)[:, 1:]", "scores of shape (4, 8)"),
        ("return losses", "return losses.mean()", "losses of shape (4,)"),
        ('classification = "cross_entropy"', 'classification = "entropy"', "the term 'entropy'"),
        ("return losses", "return 2 * losses", "to be the mean of"),
        ("return losses", "return losses.mean().expand(len(losses))", "not to depend on the others"),
        ("scores.square().mean()", "scores.square()", "finite scalar as loss term 'rank'"),
        ("scores.square().mean()", "scores.mean() / 0", "finite scalar as loss term 'rank'"),
        ("self.rank(x)", "self.rank(x).detach()", "none for rank.weight, rank.bias"),
    ],
    "scales_itself_as_declared": [
        ('paper="none"', 'paper="none", scales_itself=True', "not to change the output"),
        (".flatten(1)  #", ".flatten(1).argsort(1).float()  #", "scales_itself=False"),
    ],
    "overfits_eight_clips": [("logits=self.classify(x)", "logits=self.classify(0 * x)", "8 of 8 labels")],
    "same_seed_same_weights": [
        ("super().__init__()", "super().__init__(); torch.seed()", "others in hidden.weight"),
        ("super().__init__()", "super().__init__(); torch.manual_seed(1)", "other weights from another seed"),
    ],
    "save_and_load": [('self.register_buffer("scale", torch.ones(', "self.scale = (torch.rand(", "same output after")],
    "evaluation_repeats_clip_by_clip": [
        ("self.hidden(x)", "F.dropout(self.hidden(x))", "same output twice"),
        ("self.hidden(x)", "self.hidden(x - x.mean(0))", "output by itself"),
        ("if self.training:", "if True:", "changes of seen"),
    ],
    "wrong_shapes_are_refused": [
        ("= input_shape(", "= 8, 1, 48, 48  # ", "frames of shape (1, 48, 48)"),
        ("W=(48, 48)", "W=(1, None)", "frames of shape (8, 1, 48, 1)"),
        ("= input_shape(", "= shapes['frames']  # ", "found ValueError"),
    ],
}
IN_ESTIMATOR = {
    "fits_and_repeats": [
        (
            "* self.scale",
            "* np.float32(1)\n        distances = distances.astype(np.float32)",
            "float64 scores of shape (9, 2)",
        ),
        ("(-distances,", "(-distances[1:],", "found float64 of shape (8, 2)"),
        ("(-distances,", "(-distances * np.inf,", "finite scores"),
        ("* self.scale", "* np.random.default_rng().uniform(0.9, 1.1)", "same seed"),
        ("[labels == label]", "[labels[::-1] == label][:1]", "training clips recognised"),
    ],
    "state_round_trip": [
        ("raise RuntimeError", "return np.zeros((len(inputs['features']), 3))  # ", "scores before fit"),
        ("the centroids are not fitted: call fit or load_state first", "no", "found the message 'no'"),
        ("= checked_state(state, ", "= dict(state) or (dict(state), ", "an empty state"),
        ("present = np.unique", "self.scale = 2.0\n        present = np.unique", "same scores after"),
    ],
    "never_prefers_an_unseen_class": [
        ("return lowest_for_missing(-distances, ", "return -distances  # ", "[1, 3] the lowest")
    ],
    "follows_a_renaming_of_the_classes": [("* self.scale", "+ 0.02 * np.arange(self.num_classes)", "renamed")],
    "bad_labels_are_refused": [("self.check_labels(labels)", "np.asarray(labels)", "found IndexError")],
    "features_depend_on_one_clip_alone": [
        ("return rows", "return rows.astype(np.float32)", "float64 features"),
        ("return rows", "return np.ones_like(rows)", "11 different rows"),
        ("return rows", "return rows - rows.mean(axis=0)", "by itself"),
        ("return rows", "return rows + (inputs['flow'].strides[0] < 0)", "in another order"),
        ("return rows", "return rows * self.num_classes", "beside other clips"),
    ],
}
FAULTS = [
    pytest.param(kind, check, *fault, id=f"{check}-{number}")
    for kind, table in (("network", IN_NETWORK), ("estimator", IN_ESTIMATOR))
    for check, faults in table.items()
    for number, fault in enumerate(faults)
]


@pytest.mark.parametrize(("kind", "check", "old", "new", "says"), FAULTS)
@pytest.mark.filterwarnings("ignore:invalid value encountered")  # of what a faulty model computes
def test_a_fault_is_refused_by_its_check(kind: str, check: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    assert SOUND[kind].count(old) == 1, "the fault replaces nothing, or more than one place"
    with added_model(tmp_path, "faulty", SOUND[kind].replace(old, new)):
        with pytest.raises(ConformanceError) as caught:
            dict(checks_of("faulty"))[check]("faulty")
    message = str(caught.value)
    assert says in message
    assert message.startswith("expected ") and "; found" in message and message.endswith(".")


@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_model_passes(kind: str, tmp_path: Path) -> None:
    """Else the faults above would show little."""
    with added_model(tmp_path, "sound", SOUND[kind]):
        assert {name: fault_of(check, "sound") for name, check in checks_of("sound")} == dict.fromkeys(
            EVERY.keys() & dict(checks_of("sound"))
        )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "ststnett"}, "expected the name 'ststnet'; found 'ststnett'"),
        ({"inputs": ("sound",)}, "found ['sound']"),
        ({"recipe": None}, "found none of a model of the kind module"),
    ],
)
def test_a_wrong_declaration_is_refused(changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What register_model refuses already, and so no file can declare."""
    monkeypatch.setattr(declaration, "model_info", lambda name: replace(model_info(name), **changes))
    with pytest.raises(ConformanceError) as caught:
        declaration.declaration_is_sound("ststnet")
    assert says in str(caught.value)


# What the registry refuses, whatever the model: a model, a check, and the calls that a careless registry would accept.
Calls = Callable[[dict[str, Any]], bool]
ACCEPTED: list[tuple[str, str, str, Calls, str]] = [
    ("majority", "unknown_option_is_refused", "check_options", lambda _: True, "an unknown option"),
    ("majority", "unknown_option_is_refused", "create_model", lambda _: True, "a model of one class"),
    ("ststnet", "wrong_type_is_refused", "check_options", lambda _: True, "a list as option 'dropout'"),
    ("ststnet", "wrong_shapes_are_refused", "create_model", lambda options: not options, "a module without shapes"),
    ("ststnet", "wrong_shapes_are_refused", "create_model", lambda options: "seed" in options, "a module with a seed"),
    ("majority", "bad_labels_are_refused", "create_model", lambda options: "shapes" in options, "with shapes"),
]


@pytest.mark.parametrize(("model", "check", "function", "accepts", "says"), ACCEPTED)
def test_a_careless_registry_is_noticed(
    model: str, check: str, function: str, accepts: Calls, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[EVERY[check].__module__]
    given = getattr(module, function)

    def careless(*arguments: Any, **options: Any) -> Any:
        return None if accepts(options) else given(*arguments, **options)

    monkeypatch.setattr(module, function, careless)
    with pytest.raises(ConformanceError, match="found it accepted") as caught:
        EVERY[check](model)
    assert says in str(caught.value)


def test_every_check_is_refuted() -> None:
    """By a counterexample above."""
    assert {*IN_NETWORK, *IN_ESTIMATOR, *(check for _, check, *_ in ACCEPTED)} == set(EVERY)


def test_what_a_model_raises_is_reported_with_its_place(tmp_path: Path) -> None:
    content = NETWORK.replace("self.hidden(x)", "self.hidden(x[:, 1:])")
    with added_model(tmp_path, "broken", content) as path:
        found = fault_of(modules.output_and_loss, "broken")
    line = next(number for number, text in enumerate(content.splitlines(), start=1) if "x[:, 1:]" in text)
    assert found is not None and found.startswith(f"RuntimeError at {path}:{line}: mat1 and mat2")


@pytest.mark.parametrize("flushed", [False, True])
def test_torch_is_set_back(flushed: bool) -> None:
    threads, seen = torch.get_num_threads(), []

    @modules.as_in_training()
    def look() -> None:
        seen.append((torch.get_num_threads(), sys.float_info.min / 2 == 0))
        raise ConformanceError("a failed check")

    try:
        torch.set_num_threads(2)
        torch.set_flush_denormal(flushed)
        with pytest.raises(ConformanceError):
            look()
        assert seen == [(1, True)]
        assert (torch.get_num_threads(), sys.float_info.min / 2 == 0) == (2, flushed)
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)


def test_checks_hold_without_assert_statements() -> None:
    """Which ``python -O`` leaves out."""
    for path in Path(conformance.__file__).parent.glob("*.py"):
        assert not [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)], path
