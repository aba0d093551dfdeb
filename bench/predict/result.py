"""What is said of a clip, as an object, as text, as JSON and as a row of a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fdpbench.bench.predict.networks import About
from fdpbench.bench.predict.sources import Unusable
from fdpbench.bench.predict.warnings import Doubt

__all__ = ["NOTICE", "ClipPrediction", "about_lines", "csv_text", "document"]

NOTICE = "A research instrument: what it says of a face is not for decisions about people."

BAR = 20  # characters of a probability of 1
NAMED = 0.1  # action units below it are counted in the text, not named
_NAMES = {"uf1": "UF1", "uar": "UAR", "mean_unit_auc": "area under ROC, mean of action units"}


@dataclass(frozen=True)
class ClipPrediction:
    """What a network says of a clip: ``print`` shows all of it.

    Attributes
    ----------
    path
        The clip, as it was given.
    classes
        Probability of each class; empty where the network tells none.
    units
        Probability that each action unit moves; empty where the network tells none.
    onset, apex, last
        Numbers of these frames, from 0 in the file; ``last`` is the last one that was looked at.
    onset_seconds, apex_seconds, last_seconds
        When they are shown, from the first frame on; None where the rate is not known.
    apex_source
        ``given``, or ``estimated``: the frame in which the face has moved most since the onset.
    onset_source
        ``given``; ``first``: the clip's first frame; ``spotted``: chosen in a longer video; ``before_apex``: half a
        window before an apex that was given.
    motion
        Mean motion of the face from onset to apex, the head's taken off; pixels of the crop.
    head
        Motion of the head that was taken off, likewise.
    noise
        Motion between frames that should be still, likewise; None where there are none.
    eye_distance
        Between the eyes in the frame, pixels; None where no face was sought.
    fps
        Frames a second; None where nobody says.
    warnings
        What is unlike the clips that the network was trained on, each with ``code`` and ``text``.
    network
        What predicts: ``name``, ``model``, ``trained_on``, ``measured``, ``calibrated``.
    arithmetic
        ``pinned``, or ``native`` where another machine may give other digits.
    """

    path: str
    classes: Mapping[str, float]
    units: Mapping[str, float]
    onset: int
    apex: int
    last: int
    onset_seconds: float | None
    apex_seconds: float | None
    last_seconds: float | None
    onset_source: str
    apex_source: str
    motion: float
    head: float
    noise: float | None
    eye_distance: float | None
    fps: float | None
    warnings: tuple[Doubt, ...]
    network: About
    arithmetic: str

    @property
    def label(self) -> str | None:
        """The likeliest class; None where the network tells none."""
        return max(self.classes, key=lambda name: self.classes[name], default=None)

    def __str__(self) -> str:
        return "\n".join([*about_lines(self.network), "", *self.lines()])

    def lines(self) -> list[str]:
        """What is said of this clip alone, as text."""
        lines = [f"{self.path}: {self.label}" if self.label else self.path]
        lines += [f"  {name:<12} {_bar(value)} {value:.2f}" for name, value in self.classes.items()]
        likely = sorted(self.units.items(), key=lambda item: -item[1])
        moving = [f"{name} {value:.2f}" for name, value in likely if value >= 0.5]
        if self.units:
            next_to = [f"{name} {value:.2f}" for name, value in likely if NAMED <= value < 0.5]
            rest = sum(value < NAMED for _, value in likely)
            others = ", ".join([*next_to, *([f"{rest} others below {NAMED:g}"] if rest else [])])
            lines.append(f"  action units of 0.5 and more: {', '.join(moving) or 'none'}; less: {others or 'none'}")
        marks = ", ".join(
            f"{name} {frame}{'' if seconds is None else f' ({seconds:.3f} s)'}{source}"
            for name, frame, seconds, source in (
                ("onset", self.onset, self.onset_seconds, f" {_SOURCES[self.onset_source]}"),
                ("apex", self.apex, self.apex_seconds, f" {_SOURCES[self.apex_source]}"),
                ("last", self.last, self.last_seconds, ""),
            )
        )
        lines.append(f"  frames, from 0: {marks}")
        noise = "" if self.noise is None else f"; between still frames {self.noise:.2f} px"
        lines.append(f"  motion of the face {self.motion:.2f} px of the crop, of the head {self.head:.2f} px{noise}")
        lines += [f"  warning {doubt.code}: {doubt.text}" for doubt in self.warnings]
        return lines

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON takes it, without what is known of the network."""
        content = asdict(self) | {"label": self.label}
        del content["network"]
        return {key: [*map(dict, value)] if key == "warnings" else value for key, value in content.items()}


_SOURCES = {
    "given": "as given",
    "estimated": "estimated",
    "first": "the first frame",
    "spotted": "chosen",
    "before_apex": "half a window before",
}


def about_lines(about: About) -> list[str]:
    """What is known of a network, as text."""
    measured = ", ".join(f"{_NAMES.get(key, key)} {value:.3f}" for key, value in about.measured.items())
    calibrated = ", ".join(
        f"{'action units' if key == 'units' else key} {value:.3f}" for key, value in about.calibration_error.items()
    )
    several = f", mean of {about.networks} networks" if about.networks > 1 else ""
    lines = [
        f"Network {about.name} ({about.model}{several}), trained on {about.trained_on}.",
        f"Measured on {about.measured_on}: {measured}." if measured else "Not measured on people it has not seen.",
        f"Calibrated; expected calibration error on such people: {calibrated}." if calibrated else "Not calibrated.",
        NOTICE,
    ]
    return lines


def document(about: About, clips: Sequence[ClipPrediction | Unusable]) -> dict[str, Any]:
    """All that is said of some clips, as one JSON document.

    Parameters
    ----------
    about
        The network.
    clips
        In the order in which they were given.

    Returns
    -------
    ``notice``, ``network``, ``clips`` and ``failed``, each of which has a ``path`` and a ``reason``.
    """
    return {
        "notice": NOTICE,
        "network": asdict(about) | {"calibrated": about.calibrated},
        "clips": [clip.as_dict() for clip in clips if isinstance(clip, ClipPrediction)],
        "failed": [{"path": clip.name, "reason": clip.reason} for clip in clips if isinstance(clip, Unusable)],
    }


def csv_text(classes: Sequence[str], units: Sequence[str], clips: Sequence[ClipPrediction | Unusable]) -> str:
    """One row a clip, those that failed among them; probabilities of classes and action units by name.

    Parameters
    ----------
    classes, units
        What the network tells.
    clips
        In the order in which they were given.
    """
    told = ("onset", "apex", "last", "onset_seconds", "apex_seconds", "last_seconds", "onset_source", "apex_source")
    numbers = ("motion", "head", "noise", "eye_distance", "fps", "arithmetic")
    columns = ["path", "label", *classes, *units, *told, *numbers, "network", "warnings", "failed"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for clip in clips:
        if isinstance(clip, Unusable):
            writer.writerow({"path": clip.name, "failed": clip.reason})
            continue
        row: dict[str, Any] = {"path": clip.path, "label": clip.label, **clip.classes, **clip.units}
        row |= {key: getattr(clip, key) for key in (*told, *numbers)}
        row |= {"network": clip.network.name, "warnings": " ".join(doubt.code for doubt in clip.warnings)}
        writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    return text.getvalue()


def known(seconds: float) -> float | None:
    """A time, or None where it is not known."""
    return None if math.isnan(seconds) else round(seconds, 6)


def _bar(value: float) -> str:
    return ("#" * round(BAR * value)).ljust(BAR)
