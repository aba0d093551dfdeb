"""Optimiser and schedule of the learning rate.

The one-cycle schedule is that of Smith and Topin, "Super-Convergence" (2018), with cosines, as torch's ``OneCycleLR``
has it by default. It is computed here, and not by torch's class, since its numbers are to be the same on every machine:
they are rounded to six digits, beyond which the cosines of two C libraries may differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from fdpbench.bench.train.settings import ModelSettings

__all__ = ["OneCycle", "make_optimizer"]

RISING = 0.3  # share of the steps in which the learning rate rises
START = 1 / 25  # learning rate of the first step, as a share of the peak
END = START / 1e4  # of the last
BETA_LOW, BETA_HIGH = 0.85, 0.95  # momentum, Adam's first beta: at the peak, and at both ends
DIGITS = 6


def make_optimizer(settings: ModelSettings, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """The optimiser of a recipe.

    Parameters
    ----------
    settings
        Its ``optimiser``, ``lr`` and ``weight_decay`` are read.
    parameters
        What to train.
    """
    assert settings.lr and settings.weight_decay is not None
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    # fused: the plain ones take MKL's square roots, which differ between processors (`fdpbench.arithmetic`)
    return kind(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


class OneCycle:
    """Learning rate and first beta of each step of a training.

    The learning rate rises from a 25th of its peak to it, then falls to a 250,000th, along half a cosine each; the
    beta falls and rises against it.

    Parameters
    ----------
    peak
        Highest learning rate.
    steps
        Number of steps of the whole training.
    """

    def __init__(self, peak: float, steps: int) -> None:
        self.peak, self.steps = peak, steps

    def at(self, step: int) -> tuple[float, float]:
        """Learning rate and beta of a step.

        Parameters
        ----------
        step
            From 0; what comes after the last step is as the last.
        """
        top, last = RISING * self.steps - 1, self.steps - 1  # steps at which the two parts end
        step = min(step, last)
        if step <= top:
            lr, beta, share = (START, 1.0), (BETA_HIGH, BETA_LOW), step / top
        else:
            lr, beta, share = (1.0, END), (BETA_LOW, BETA_HIGH), (step - top) / (last - top)
        return _rounded(self.peak * _between(*lr, share)), _rounded(_between(*beta, share))

    def set(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Prepare an optimiser for a step."""
        lr, beta = self.at(step)
        for group in optimizer.param_groups:
            group["lr"], group["betas"] = lr, (beta, group["betas"][1])


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
