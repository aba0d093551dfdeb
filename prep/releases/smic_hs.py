"""SMIC, camera HS (Li et al., FG 2013), 100 fps: `prep.releases.common.smic` says how it is laid out, and reads it."""

from __future__ import annotations

from functools import partial

from fdpbench.prep.releases import KnownCounts
from fdpbench.prep.releases.common import smic

__all__ = ["RELEASE", "annotations_of", "read"]

RELEASE = smic.release_of_camera("hs", KnownCounts("HS-E", 16, {"negative": 70, "positive": 51, "surprise": 43}))

annotations_of = partial(smic.annotations_of, camera="hs")
read = partial(smic.read, camera="hs")
