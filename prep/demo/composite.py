"""The emotions of rendered clips, and the classes of the MEGC2019 composite (See et al., FG 2019) that gather them."""

from __future__ import annotations

__all__ = ["CLASSES", "CLASS_OF", "EMOTIONS"]

CLASSES = ("negative", "positive", "surprise")  # in order of class index
CLASS_OF = {"disgust": "negative", "repression": "negative", "happiness": "positive", "surprise": "surprise"}
EMOTIONS = tuple(sorted(CLASS_OF))
