"""Seeds: a hash of names, so that fold order and worker count never change a result."""

from __future__ import annotations

import hashlib

__all__ = ["seed_of"]


def seed_of(base: int, task: str, model: str, fold: str, repetition: int) -> int:
    """Seed of one fold's training: 32 bits of SHA-256 over its names.

    Parameters
    ----------
    base
        ``train.seed`` of params.yaml.
    task, model, fold
        Names; the run's own name is no part, so that renaming a run changes nothing.
    repetition
        0 for the first training of the run, and so on.
    """
    text = "\0".join([str(base), task, model, fold, str(repetition)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
