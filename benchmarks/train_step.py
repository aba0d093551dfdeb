"""Clips per second of a training step of `fdp`, beside the same weights frame by frame, in one run.

    python benchmarks/train_step.py [--preset tiny] [--side 96] [--clips 16] [--rounds 7] [--compile]

The reference gives each frame index its own pass through the transformer, as the released code does, in
torch's default layout. Everything is measured in turns in one process: the same in channels-last order,
one pass over all frames (what `fdp` does, channels-last) in either layout, with bfloat16 autocast, with
two threads; `--compile` adds torch.compile, which takes a minute to start. Before that both are trained
for 20 steps with batch norm frozen and drop-path 0, and their losses compared. The last line is one JSON
object of ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fdpbench.models.common.local_global import DropPath  # noqa: E402
from fdpbench.models.fdp import FDP  # noqa: E402

CLASSES, LENGTH = 4, 8
AGREEMENT_STEPS = 20


class FrameByFrame(FDP):
    """`fdp` whose transformer sees one frame index at a time."""

    def maps(self, seen: Tensor) -> Tensor:
        """Feature maps (B, T, M, h, w) of what is seen of the frames (B, T, C', H, W)."""
        return torch.stack([self.transformer(seen[:, t]) for t in range(seen.shape[1])], dim=1)


class Trained:
    """A model with its optimiser; calling it makes a training step and gives the loss."""

    def __init__(self, kind: type[FDP], options: argparse.Namespace, **how: Any) -> None:
        torch.manual_seed(0)
        shape = (LENGTH, 1, options.side, options.side)
        self.model = kind(CLASSES, shapes={"frames": shape}, preset=options.preset)
        self.threads, self.half = how.get("threads", 1), how.get("half", False)
        for module in self.model.modules():
            if isinstance(module, DropPath) and kind is FrameByFrame:
                module.frames = 1  # a pass sees one frame of each clip
        if not how.get("channels_last", True):
            self.model.transformer.layout = torch.contiguous_format
        if how.get("weights_last"):
            for parameter in self.model.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, weight_decay=1e-3)
        self.forward: Callable[..., Any] = torch.compile(self.model) if how.get("compiled") else self.model
        generator = torch.Generator().manual_seed(1)
        self.frames = torch.randn(options.clips, *shape, generator=generator)
        self.labels = torch.arange(options.clips) % CLASSES
        self.targets = {"dynamic_image": torch.rand(options.clips, 1, options.side, options.side, generator=generator)}

    def __call__(self) -> float:
        """One step; its loss."""
        torch.set_num_threads(self.threads)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half):
            terms = self.model.loss(self.forward(frames=self.frames), self.labels, self.targets)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def agreement(options: argparse.Namespace) -> float:
    """Largest difference of the losses over 20 steps, one pass against frame by frame.

    Batch norm is frozen (evaluation mode), dropout and drop-path are off: in training mode the two differ by
    design, since batch norm takes its statistics over other sets of frames.
    """
    one, other = Trained(FDP, options), Trained(FrameByFrame, options)
    nn.init.trunc_normal_(one.model.transformer.head.weight, std=0.02)  # small presets start it at zero
    warm_up(one.model, one.frames)
    other.model.load_state_dict(one.model.state_dict())
    for trained in (one, other):
        trained.model.eval()
    return max(abs(one() - other()) for _ in range(AGREEMENT_STEPS))


@torch.no_grad()
def warm_up(model: nn.Module, frames: Tensor) -> None:
    """Give batch norm the statistics of these frames: with its first ones next to nothing passes the first weights."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None
    FDP.forward(model.train(), frames)  # type: ignore[arg-type]
    for norm in norms:
        norm.momentum = 0.1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Clips per second of a training step of fdp.")
    parser.add_argument("--preset", default="tiny", choices=["tiny", "small", "paper"])
    parser.add_argument("--side", type=int, default=96, help="side of a frame, pixels")
    parser.add_argument("--clips", type=int, default=16, help="clips in a batch")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each; the median counts")
    parser.add_argument("--compile", action="store_true", help="measure torch.compile too (minutes to start)")
    options = parser.parse_args()
    torch.set_flush_denormal(True)

    difference = agreement(options)
    print(f"largest difference of the losses over {AGREEMENT_STEPS} steps, frozen batch norm: {difference:.1e}")

    subjects = {
        "frame by frame": Trained(FrameByFrame, options, channels_last=False),
        "frame by frame, channels-last": Trained(FrameByFrame, options),
        "one pass, default layout": Trained(FDP, options, channels_last=False),
        "one pass": Trained(FDP, options),
        "one pass, weights channels-last too": Trained(FDP, options, weights_last=True),
        "one pass, bfloat16": Trained(FDP, options, half=True),
        "frame by frame, 2 threads": Trained(FrameByFrame, options, channels_last=False, threads=2),
        "one pass, 2 threads": Trained(FDP, options, threads=2),
    }
    if options.compile:
        subjects["one pass, compiled"] = Trained(FDP, options, compiled=True)
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for number in range(options.rounds + 1):
        for name, trained in subjects.items():
            start = time.perf_counter()
            trained()
            if number:  # the first step allocates, or compiles
                seconds[name].append(time.perf_counter() - start)

    reference = seconds["frame by frame"]
    # round by round, so that a machine that changes its pace changes both
    ratio = {
        name: statistics.median(a / b for a, b in zip(reference, times, strict=True)) for name, times in seconds.items()
    }
    rows = [
        (
            name,
            f"{statistics.median(times):.3f}",
            f"{options.clips / statistics.median(times):.1f}",
            f"{ratio[name]:.2f}",
        )
        for name, times in seconds.items()
    ]
    print(tabulate(rows, headers=["step", "seconds", "clips a second", "times the reference"], disable_numparse=True))
    keys = {name: name.replace(",", "").replace(" ", "_").replace("-", "_") for name in subjects}
    print(json.dumps({keys[name]: round(value, 3) for name, value in ratio.items()} | {"loss_difference": difference}))


if __name__ == "__main__":
    main()
