"""Stage `gallery`: a picture of dynamic images beside their source frames."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np

from bench.data import load_clips, load_index, load_task_info

__all__ = ["draw_gallery"]

FRAMES_SHOWN = 4
CLIPS_SHOWN = 4


def draw_gallery(task: Path, out: Path) -> None:
    """Draw one clip of each class: frames in time order, and the ground-truth dynamic image.

    Parameters
    ----------
    task
        Folder of the task.
    out
        PNG file to write.

    Raises
    ------
    ValueError
        If the task has no frames, or holds faces of a release that may not be published.
    """
    info = load_task_info(task)
    if not info.faces_may_be_published:
        raise ValueError(f"task {info.task}: the licence of its releases forbids publishing faces; no picture is drawn")
    if "frames" not in info.inputs:
        raise ValueError(f"task {info.task} has no frames to draw")
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    # one clip a class, each of another subject where there are enough
    subjects = sorted({clip["subject"] for clip in load_index(task)})
    chosen = subjects[: max(1, min(len(subjects), len(info.classes)))]
    clips = load_clips(task, ("frames", "dynamic_image"), keep=lambda subject: subject in chosen)
    rows = []
    for label in range(min(len(info.classes), CLIPS_SHOWN)):
        subject = chosen[label % len(chosen)]
        mine = [k for k in range(len(clips)) if clips.labels[k] == label and clips.subjects[k] == subject]
        rows.extend(mine[:1] or [k for k in range(len(clips)) if clips.labels[k] == label][:1])

    count = clips.inputs["frames"].shape[1]
    times = np.linspace(0, count - 1, FRAMES_SHOWN).round().astype(int)
    figure, axes = plt.subplots(
        len(rows), FRAMES_SHOWN + 1, figsize=(1.7 * (FRAMES_SHOWN + 1), 1.9 * len(rows)), squeeze=False
    )
    for line, k in zip(axes, rows, strict=True):
        pictures = [*clips.inputs["frames"][k, times, 0], clips.inputs["dynamic_image"][k, 0]]
        titles = [*(f"frame {t + 1} of {count}" for t in times), "dynamic image"]
        for place, picture, title in zip(line, pictures, titles, strict=True):
            place.imshow(picture, cmap="gray", vmin=0, vmax=255)
            place.set_title(title, fontsize=8)
            place.set_xticks([])
            place.set_yticks([])
        line[0].set_ylabel(f"{info.classes[clips.labels[k]]}\n{clips.subjects[k]}", fontsize=8)
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})
    plt.close(figure)
