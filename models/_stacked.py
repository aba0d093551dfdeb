"""Small networks of one form, trained together.

As one network, each layer computes all models, each with its own weights: `Stack` lays the weights of F models one
behind the other and runs the first model's code under ``torch.func.vmap``, which gives every tensor an axis of folds,
so that what the code does is right by construction. Layers that need care are replaced by those of
`models._stacked_layers`. Batches may differ in size: each fold's clips come first, padding after them, and the layers
keep padding out of batch norm's statistics and of the gradients. Dropout draws for each fold from that fold's
generator, in the shapes that the fold has alone. That is for devices whose time goes into launching kernels.

On a CPU, where it goes into the kernels and those of F groups are slower, the models compute one after the other,
each on its own clips alone.

A model can be stacked if it is built of the layers in `STACKED` and of code that keeps the clips of a batch apart.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from models._layout import is_channels_last
from models._stacked_layers import STACKED, Batch, StackedBatchNorm2d, StackedDropout
from models.blocks import Classifier

__all__ = ["Stack", "refusal"]


def refusal(model: nn.Module) -> str | None:
    """Why a model cannot be stacked; None if it can, as far as its layers tell."""
    if getattr(type(model), "loss", None) is not Classifier.loss:
        return "its loss is not the cross-entropy alone"
    for name, module in model.named_modules():
        if type(module).__module__.startswith("torch.") and type(module) not in STACKED:
            return f"layer {name} is a {type(module).__name__}; layers with a stacked form: " + ", ".join(
                kind.__name__ for kind in STACKED
            )
        if isinstance(module, nn.Conv2d) and (
            module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str)
        ):
            return f"layer {name} has groups, or another padding than a number of zeros"
        if isinstance(module, nn.BatchNorm2d) and not (
            module.affine and module.track_running_stats and module.momentum is not None
        ):
            return f"layer {name} has no weights, no running statistics or no momentum"
    return None


class Stack:
    """F models of one form, trained together.

    Parameters
    ----------
    models
        Of one class and one set of options, on one device, in training mode. As one network, their parameters and
        running statistics become views of this stack's: what trains the stack trains them.
    generators
        Of each model, for its dropout; on the models' device.
    as_one
        Whether the models compute as one network; if not they must be on a CPU. By default they do on other devices.

    Raises
    ------
    TypeError
        If the models cannot be stacked (`refusal`).
    ValueError
        If models on another device than the CPU are to compute in turn.
    """

    def __init__(
        self, models: Sequence[Classifier], generators: Sequence[torch.Generator], as_one: bool | None = None
    ) -> None:
        reason = refusal(models[0])
        if reason:
            raise TypeError(f"{type(models[0]).__name__} cannot be stacked: {reason}")
        self.models, self.generators, self.batch = list(models), list(generators), Batch()
        device = next(models[0].parameters()).device
        self.as_one = device.type != "cpu" if as_one is None else as_one
        if not self.as_one and device.type != "cpu":
            raise ValueError(
                f"models on {device} compute as one network: the masks of those in turn are drawn on the CPU"
            )
        self.parameters: dict[str, Tensor] = {}
        self.buffers: dict[str, Tensor] = {}
        if self.as_one:
            self._join()

    def _join(self) -> None:
        """Lay the models' tensors one behind the other, and make a network of stacked layers for them."""
        models = self.models
        self.batch.channels_last = any(is_channels_last(module) for module in models[0].modules())
        self._template = copy.deepcopy(models[0]).train()
        for module in self._template.modules():
            form = STACKED.get(type(module))
            if form is not None:
                module.__class__ = form
            if isinstance(module, nn.ReLU):
                module.inplace = False
            if isinstance(module, StackedBatchNorm2d | StackedDropout):
                module.batch = self.batch
        self.parameters = {
            name: torch.stack([dict(model.named_parameters())[name].detach() for model in models]).requires_grad_()
            for name, _ in models[0].named_parameters()
        }
        kept = set(models[0].state_dict()) - set(self.parameters)  # buffers that are the same in all stay as they are
        self.buffers = {
            name: torch.stack([dict(model.named_buffers())[name] for model in models]) for name in sorted(kept)
        }
        for k, model in enumerate(models):
            for name, parameter in model.named_parameters():
                parameter.data = self.parameters[name].detach()[k]
            for name, buffer in model.named_buffers():
                if name in self.buffers:
                    buffer.data = self.buffers[name][k]

    def logits(self, inputs: Mapping[str, Tensor], sizes: Sequence[int], counts: Tensor) -> Tensor:
        """Forward pass of the first models in training mode, one for each entry of ``sizes``.

        Parameters
        ----------
        inputs
            For each input name (F, B, ...), padding last.
        sizes
            Clips of each fold that are no padding.
        counts
            (F,), ``sizes`` on the device.

        Returns
        -------
        Tensor
            (F, B, num_classes). Those of padding mean nothing and must not enter the loss.
        """
        if not self.as_one:
            return self._in_turn(inputs, sizes)
        folds = len(sizes)
        self.batch.counts, self.batch.sizes, self.batch.generators = counts, sizes, self.generators
        state = self.parameters | self.buffers
        if folds < len(self.models):
            state = {name: tensor[:folds] for name, tensor in state.items()}

        def one(state: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
            return functional_call(self._template, state, kwargs=inputs).logits

        return vmap(one)(state, dict(inputs))

    def _in_turn(self, inputs: Mapping[str, Tensor], sizes: Sequence[int]) -> Tensor:
        """The same, model after model, each drawing from torch's generator in the state of its own."""
        logits, before = [], torch.get_rng_state()
        clips = next(iter(inputs.values())).shape[1]
        for k, size in enumerate(sizes):
            torch.set_rng_state(self.generators[k].get_state())
            own = self.models[k](**{name: x[k, :size] for name, x in inputs.items()}).logits
            self.generators[k].set_state(torch.get_rng_state())
            logits.append(F.pad(own, (0, 0, 0, clips - size)))
        torch.set_rng_state(before)
        return torch.stack(logits)

    def clear_gradients(self) -> None:
        """Forget all gradients, the models' own among them."""
        for parameter in [*self.parameters.values(), *(p for model in self.models for p in model.parameters())]:
            parameter.grad = None

    def gradients_to_models(self, folds: int) -> None:
        """Give the first ``folds`` models their part of the stack's gradients, and the others none."""
        if not self.as_one:
            return  # they have theirs
        for k, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                gradient = self.parameters[name].grad
                parameter.grad = gradient[k] if k < folds and gradient is not None else None
