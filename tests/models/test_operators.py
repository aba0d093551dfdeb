"""No operation that rounds differently from processor to processor, in any model, loss or optimiser on the CPU.

What is refused: the functions that torch hands to MKL's vector mathematics (ATen/cpu/vml.h), which chooses its code
by the processor and heeds no setting, but for those that were measured equal between an AVX-512 machine, an AVX2
machine and emulated Haswell and EPYC-Rome processors; and what was measured different: oneDNN's recurrent layer, and
what takes square roots inside (``pow`` with an exponent of one half, ``cdist``, the Adam that is not fused).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fdpbench.bench.plan.pretraining import PRETRAINING
from fdpbench.bench.train.data import ClipSet
from fdpbench.bench.train.objectives import ClassWeights, GroupDRO
from fdpbench.bench.train.optim import make_optimizer
from fdpbench.bench.train.settings import ModelSettings, Run
from fdpbench.bench.train.step import Heads, TrainStep
from fdpbench.models import list_models, model_info
from fdpbench.models.common.conformance.modules import batch, build
from tests.support.builders import run_of, torch_as_it_was

MODULES = [name for name in list_models() if model_info(name).kind == "module"]

# In single precision; in double precision exp alone was equal.
EQUAL = {(name, torch.float32) for name in ("exp", "log", "tanh")} | {("exp", torch.float64)}
VECTOR_MATHEMATICS = {
    *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "digamma", "erf", "erfc", "erfinv", "exp"),
    *("exp2", "expm1", "lgamma", "log", "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan", "tanh"),
}
DIFFERENT = {"mkldnn_rnn_layer", "mkldnn_rnn_layer_backward", "_cdist_forward", "_euclidean_dist", "_foreach_sqrt"}


class Operators(TorchDispatchMode):
    """Notes every operator that runs, and refuses those that are not the same everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[str] = set()
        self.seen: set[str] = set()

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__.removesuffix("_")  # type: ignore[attr-defined]  # an OpOverload
        self.seen.add(name)
        dtypes = {value.dtype for value in tree_leaves(args) if isinstance(value, Tensor) and value.is_floating_point()}
        different = name in VECTOR_MATHEMATICS and not all((name, dtype) in EQUAL for dtype in dtypes)
        if different or name in DIFFERENT or (name == "pow" and args[1] in (0.5, -0.5)):
            self.refused.add(f"{name} of {', '.join(sorted(map(str, dtypes)))}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", MODULES)
def test_a_training_step_and_a_prediction_are_the_same_on_every_processor(name: str) -> None:
    model, (inputs, labels, targets) = build(name), batch(name, 4)
    settings = ModelSettings(lr=1e-3, weight_decay=1e-4)
    adam, adamw = (
        make_optimizer(settings.model_copy(update={"optimiser": kind}), model.parameters())
        for kind in ("adam", "adamw")
    )
    dro = GroupDRO(tuple("aabb"), 0.01, torch.device("cpu"))
    with Operators() as operators:
        model.train()
        output = model(**inputs)
        terms = model.loss(output, labels, targets)
        losses = model.classification_losses(output, labels)
        terms["dro"] = dro(losses, torch.arange(4))
        terms["weighed"] = ClassWeights(labels.tolist(), 0.5, torch.device("cpu"))(losses, torch.arange(4))
        sum(terms.values()).backward()
        adam.step()
        adamw.step()
        model.eval()
        with torch.no_grad():
            torch.softmax(model(**inputs).logits.double(), dim=1)
    assert not operators.refused
    assert {"_fused_adam", "_fused_adamw", "_softmax"} <= operators.seen


@pytest.mark.parametrize("name", [name for name in MODULES if model_info(name).inputs == ("flow",)])
def test_a_step_of_pretraining_is_the_same_on_every_processor(name: str) -> None:
    """Classes and action units, with the recipe of pretraining: torch's own loss of the latter was compared.

    ``binary_cross_entropy_with_logits`` and its gradient, 20,000 logits: the same bytes natively (AVX-512) and on
    emulated Haswell and EPYC-Rome processors.
    """
    run, clips = pretraining(name), 4
    inputs, labels, _ = batch(name, clips)
    moving = (torch.arange(clips * 5).reshape(clips, 5) % 3 / 2).numpy()
    arrays = {key: value.numpy() for key, value in inputs.items()}
    names = tuple("aabb")
    train = ClipSet(names, names, labels.numpy(), arrays, moving)
    with torch_as_it_was(), Operators() as operators:
        step = TrainStep(run, build(name, 3 + 5), train, torch.device("cpu"), heads=Heads(3, True, 3.0))
        for _ in range(2):
            terms = step(torch.arange(clips))
    assert "action_units" in terms and not operators.refused
    assert {"_fused_adamw", "binary_cross_entropy_with_logits"} <= operators.seen


def pretraining(name: str) -> Run:
    """A run of any network on flow with the recipe of pretraining."""
    like = run_of("ststnet")
    settings = ModelSettings(**PRETRAINING | {"epochs": 1, "class_weight": 0.5})
    return Run("it", "tiny", like.task_params, like.entry, model_info(name), settings, like.train)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x.sqrt(),
        lambda x: x.double().log(),
        lambda x: x.pow(0.5),
        lambda x: x.atan(),
        lambda x: torch.nn.LSTM(3, 2)(x[None])[0],
        lambda x: x.clone().sqrt_(),
    ],
)
def test_what_differs_is_refused(operation: Callable[[Tensor], Tensor]) -> None:
    with Operators() as operators:
        operation(torch.rand(4, 3))
    assert operators.refused


def test_plain_adam_is_refused() -> None:
    parameter = torch.nn.Parameter(torch.rand(3))
    adam = torch.optim.Adam([parameter], lr=1e-3, foreach=False)
    with Operators() as operators:
        parameter.square().sum().backward()
        adam.step()
    assert operators.refused
