"""Images of held-out clips for the pages: the only module of the report that writes a picture of a face."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from fdpbench.bench.evaluate.evaluation import ClipResult
from fdpbench.bench.evaluate.perception import area_mean
from fdpbench.bench.report.gallery import ERROR_SHOWN, GalleryClip, chosen_clips, frames_shown
from fdpbench.bench.report.html.charts import rank_curve
from fdpbench.bench.report.html.facts import Number, RunFacts
from fdpbench.bench.train.data import TaskInfo
from fdpbench.prep.store import images

__all__ = ["FOLDER", "Picture", "ShownClip", "gallery_of", "may_be_shown"]

FOLDER = "images"


@dataclass(frozen=True)
class Picture:
    """An image file of the report, and the text that stands for it."""

    file: str  # relative to the report's folder
    caption: str
    alt: str
    numbers: tuple[Number, ...] = ()


@dataclass(frozen=True)
class ShownClip:
    """A clip of the gallery."""

    clip_id: str
    true: str
    said: str
    pictures: list[Picture]
    curve: Markup | None
    order: Number | None


def may_be_shown(facts: RunFacts) -> bool:
    """Whether a run ranks frames or generates images of clips whose frames may be shown by their releases' licence."""
    task = facts.score.task
    return bool(facts.score.perception) and task.faces_may_be_published and "frames" in task.inputs


def gallery_of(facts: RunFacts, results: Sequence[ClipResult], task: Path, out: Path) -> list[ShownClip]:
    """Write the images of one clip of each class, as the fold saw it that held out its subject.

    Parameters
    ----------
    facts
        The run; its first repetition is shown.
    results
        Of its clips.
    task
        Folder of its task.
    out
        Folder of the report.

    Returns
    -------
    The clips; empty where `may_be_shown` says no.
    """
    info = facts.score.task
    if not may_be_shown(facts):
        return []
    album = _Album(out, info)
    clips = chosen_clips(task, info.task, info.classes, facts.run, results)
    return [_shown(clip, facts, album) for clip in clips]


class _Album:
    """Where image files are written; under the hash of their bytes, so that runs share those of a task."""

    def __init__(self, out: Path, info: TaskInfo) -> None:
        if not info.faces_may_be_published:
            raise ValueError(f"task {info.task}: the licence of its releases forbids publishing faces")
        self.out = out

    def add(self, pixels: NDArray[np.uint8], caption: str, alt: str, *numbers: Number) -> Picture:
        data = images.encode_png(pixels)
        file = f"{FOLDER}/{hashlib.sha256(data).hexdigest()[:16]}.png"
        (self.out / FOLDER).mkdir(exist_ok=True)
        (self.out / file).write_bytes(data)
        return Picture(file, caption, alt, numbers)


def _shown(clip: GalleryClip, facts: RunFacts, album: _Album) -> ShownClip:
    said = clip.prediction
    assert said is not None  # chosen for a run, a clip has what the run says of it
    pictures = [
        album.add(clip.frames[t], f"frame {t + 1} of {len(clip.frames)}", f"Frame {t + 1} of {clip.clip_id}")
        for t in frames_shown(len(clip.frames))
    ]
    pictures.append(album.add(clip.truth, "dynamic image", f"True dynamic image of {clip.clip_id}"))
    place = {"clip": clip.clip_id, "repetition": "0"}
    if said["drawn"] is not None:
        generated = images.decode_png(said["drawn"])  # (h, w)
        truth = area_mean(clip.truth / 255.0, generated.shape)
        height, width = generated.shape
        psnr = facts.number(clip.perception["psnr"], "clip_psnr", place, decimals=1)
        ssim = facts.number(clip.perception["ssim"], "clip_ssim", place)
        pictures.append(
            album.add(generated, f"drawn, {height} \u00d7 {width}", f"Dynamic image drawn of {clip.clip_id}")
        )
        error = _reds(np.abs(generated / 255.0 - truth))
        pictures.append(album.add(error, "error", f"Error of the image drawn of {clip.clip_id}", psnr, ssim))
    curve, order = None, None
    if said["rank_scores"] is not None:
        order = facts.number(clip.perception["order_accuracy"], "clip_order_accuracy", place)
        summary = f"Rank scores of {clip.clip_id} over its frames; share of pairs in order {order.text}"
        curve = rank_curve(clip.sampled, said["rank_scores"], clip.marks, summary)
    return ShownClip(clip.clip_id, clip.name, facts.classes[said["y_pred"]], pictures, curve, order)


def _reds(error: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Errors as white to red, (h, w, 3); `ERROR_SHOWN` and more is the darkest."""
    share = np.clip(error / ERROR_SHOWN, 0, 1)[..., None]
    white, red = np.array([255.0, 255.0, 255.0]), np.array([140.0, 10.0, 20.0])
    return np.rint(white + share * (red - white)).astype(np.uint8)
