"""Small releases of invented clips, written in the real layout of every release that can be read."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from fdpbench.prep.demo.simulate.site import LAYOUTS, Simulated, SimulatedClip, Site
from fdpbench.prep.releases import release_info

__all__ = ["VERSIONS", "Simulated", "SimulatedClip", "SimulateError", "simulate"]

for _module in pkgutil.iter_modules(__path__):
    if _module.name.startswith("layouts"):  # each declares the releases that it can write
        import_module(f"{__name__}.{_module.name}")
VERSIONS = {release: versions for release, (_, versions) in sorted(LAYOUTS.items())}


class SimulateError(ValueError):
    """A release cannot be simulated as asked; the message says what to ask for."""


def simulate(
    release: str,
    folder: Path,
    version: str | None = None,
    subjects: int = 3,
    clips: int = 2,
    seed: int = 0,
    emotions: Sequence[str] = (),
) -> Simulated:
    """Write a small release of invented clips in the real layout of a release.

    The same arguments give the same bytes. Clips show an expression of 1.5 px from onset to apex, 4 to 6
    frames up and as many down, with a few frames before and after where the real release has them.

    Parameters
    ----------
    release
        Name of a known release.
    folder
        Made if it is not there; must be empty.
    version
        One of `VERSIONS`; by default the first.
    subjects, clips
        Number of subjects, and of clips of each.
    seed
        Any whole number from 0.
    emotions
        What the sheet calls emotions, in place of the words that the release is known to use: what a reader does not
        expect can be written too.

    Returns
    -------
    The sheet, the clips that a reader should find, and the rows that it should leave out.

    Raises
    ------
    ReleaseError
        If the release is unknown.
    SimulateError
        If it has no such version, the folder is not empty, or a number is too small.
    """
    if release_info(release).rendered:
        raise SimulateError(f"{release!r} is rendered already: fdpbench synthesize")
    if release not in LAYOUTS:
        raise SimulateError(f"{release!r} has no simulated layout; releases that have one: {', '.join(VERSIONS)}")
    layout, versions = LAYOUTS[release]
    version = versions[0] if version is None else version
    if version not in versions:
        raise SimulateError(f"{release!r} has no version {version!r}; versions: {', '.join(versions)}")
    if emotions and (release.startswith("megc2019") or release_info(release).kind == "flow"):
        raise SimulateError(f"{release!r} is defined by a list whose classes are fixed: leave emotions out")
    if any(not emotion.strip() for emotion in emotions):
        raise SimulateError(f"emotions {', '.join(map(repr, emotions))}; expected words")
    if min(subjects, clips) < 1 or seed < 0:
        raise SimulateError(f"{subjects} subjects, {clips} clips, seed {seed}; expected 1, 1 and 0 at least")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SimulateError(f"{folder} is not an empty folder; name a new one, nothing is overwritten")
    folder.mkdir(parents=True, exist_ok=True)
    site = Site(folder, release, subjects, clips, seed, emotions)
    site.mark()
    return layout(site, version)
