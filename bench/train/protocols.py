"""Training protocols: whose clips choose the epoch that predicts, and the released faults on their own.

``honest`` trains a fixed number of epochs. ``inner`` chooses the number of epochs on training subjects
that are held out for it, then trains on all of them for that long. ``test_selected`` keeps the epoch that
does best on the test subject, as most released code does: it is here to measure what that is worth. ``zero_shot``
trains on no clip of the task: the weights that a run starts from predict as they are.

`Faults` rebuilds, each on its own, what FDP's released code gets wrong outside the network. All names
that a reader of a table needs come from `protocol_text`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from fdpbench.prep.settings.section import Section

__all__ = ["INNER_SHARE", "Faults", "Protocol", "best_epoch", "counted", "inner_subjects", "protocol_text"]

Protocol = Literal["honest", "inner", "test_selected", "zero_shot"]

# Share of the training subjects on whom `inner` chooses the epoch, at least one.
INNER_SHARE = 0.2


class Faults(Section):
    """Faults of FDP's released code that a run may rebuild, to measure what each is worth.

    The fourth, truncated sampling, is a property of the task: ``sampling: {rule: truncated, ...}``.
    """

    own_set_normalisation: bool = Field(
        default=False, description="test clips are normalised by their own statistics, not the training clips'"
    )
    frozen_batch_norm: bool = Field(
        default=False,
        description="training mode is never restored after the evaluation that follows epoch 1: from epoch 2 on "
        "batch norm is frozen, dropout and drop-path are off",
    )
    untested_subjects: list[str] = Field(
        default_factory=list, description="subjects that every fold trains on and none tests (release/subject)"
    )


def protocol_text(
    protocol: str,
    faults: Faults,
    sampling: str | None,
    init: str | None = None,
    folds: str = "",
) -> str:
    """What a table prints of a run's protocol: its name, every fault that is rebuilt, and what else sets it apart.

    Parameters
    ----------
    protocol
        Name of the protocol.
    faults
        The run's faults.
    sampling
        The task's sampling rule, None for a task without frames.
    init
        Name of the weights that the run starts from, if any.
    folds
        What sets the run's folds apart (`RunEntry.folds_text`).
    """
    parts = [protocol]
    if faults.own_set_normalisation:
        parts.append("own-set normalisation")
    if faults.frozen_batch_norm:
        parts.append("frozen batch norm")
    if faults.untested_subjects:
        parts.append(f"untested: {', '.join(faults.untested_subjects)}")
    if sampling == "truncated":
        parts.append("truncated sampling")
    text = " + ".join(parts) + (f" from {init}" if init else "")
    return text + (f", {folds}" if folds else "")


def counted(count: int, what: str) -> str:
    """A number of things in words: ``1 subject``, ``2 subjects``."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def inner_subjects(subjects: Sequence[str], seed: int) -> frozenset[str]:
    """Training subjects on whom the epoch is chosen: `INNER_SHARE` of them, at least one, drawn by the seed.

    Parameters
    ----------
    subjects
        Subject of each training clip, in any order.
    seed
        Of the fold.

    Raises
    ------
    ValueError
        If there are fewer than two training subjects.
    """
    names = sorted(set(subjects))
    if len(names) < 2:
        raise ValueError(f"protocol inner needs at least two training subjects, found {names}")
    count = max(1, round(INNER_SHARE * len(names)))
    order = np.random.default_rng(seed).permutation(len(names))
    return frozenset(names[k] for k in order[:count])


def best_epoch(curve: Sequence[dict[str, float]]) -> int:
    """Epoch that does best on the watched clips: highest accuracy, then least cross-entropy, then earliest.

    Parameters
    ----------
    curve
        Rows with ``epoch``, ``watched_accuracy`` and ``watched_cross_entropy``.
    """
    best = min(curve, key=lambda row: (-row["watched_accuracy"], row["watched_cross_entropy"], row["epoch"]))
    return int(best["epoch"])
