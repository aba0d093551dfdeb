"""SMIC, camera VIS (Li et al., FG 2013), 25 fps: `prep.releases.common.smic` says how it is laid out, and reads it."""

from __future__ import annotations

from functools import partial

from fdpbench.prep.releases.common import smic

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = smic.release_of_camera("vis")

annotations_of = partial(smic.annotations_of, camera="vis")
read = partial(smic.read, camera="vis")
