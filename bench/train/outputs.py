"""Which outputs of a pretrained network tell a class of a task."""

from __future__ import annotations

from collections.abc import Sequence

from fdpbench.prep.demo.composite import CLASS_OF

__all__ = ["told_by", "untold"]


def told_by(classes: Sequence[str], outputs: Sequence[str]) -> list[list[int]]:
    """Places of the outputs that tell each class: that of its own name, else those of all emotions that it gathers.

    Which emotions a class of the composite gathers, the corpora's class map says: a network that tells disgust and
    repression tells negative.

    Parameters
    ----------
    classes
        Names of a task's classes.
    outputs
        What each output of the network stands for.

    Returns
    -------
    For each class a list, empty where the network does not tell it.
    """
    places = []
    for name in classes:
        gathered = [emotion for emotion, of in CLASS_OF.items() if of == name]
        wanted = [name] if name in outputs or not gathered else gathered
        places.append([outputs.index(one) for one in wanted] if set(wanted) <= set(outputs) else [])
    return places


def untold(classes: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Those classes that no outputs tell; see `told_by`."""
    return [name for name, places in zip(classes, told_by(classes, outputs), strict=True) if not places]
