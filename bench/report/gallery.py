"""Stage `gallery`: frames, true and generated dynamic image, and the rank scores over time, of held-out clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fdpbench.bench.evaluate.evaluation import ClipResult
from fdpbench.bench.evaluate.perception import area_mean
from fdpbench.bench.evaluate.predictions import read_predictions
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import load_clips, load_index, load_task_info
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, MANIFEST

__all__ = ["ERROR_SHOWN", "GalleryClip", "chosen_clips", "draw_gallery", "draw_note", "frames_shown", "shown_task"]

FRAMES_SHOWN = 4
CLIPS_SHOWN = 4
ERROR_SHOWN = 0.3  # darkest red: a pixel that is off by this much of the range

Panel = Callable[[Any], None]


@dataclass(frozen=True)
class GalleryClip:
    """What the picture shows of one clip."""

    clip_id: str
    name: str  # of its class
    frames: NDArray[np.uint8]  # (T, H, W)
    truth: NDArray[np.uint8]  # (H, W)
    prediction: dict[str, Any] | None
    perception: dict[str, float]  # what was measured of the prediction
    sampled: list[int]  # the sheet's numbers of the frames
    marks: dict[str, int]  # onset, apex, offset, as far as they are annotated


def draw_gallery(task: Path, run: str | None, results: Sequence[ClipResult], out: Path) -> None:
    """Draw one clip of each class, as its fold saw it: the clip's subject was held out.

    Parameters
    ----------
    task
        Folder of the task.
    run
        A run of that task whose model generates dynamic images; None shows the true ones alone.
    results
        Of the run's clips (`bench.evaluate.evaluation.read_clips`).
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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [_panels(clip) for clip in chosen_clips(task, info.task, info.classes, run, results)]
    columns = max(len(row) for row in rows)
    widths = [1.0] * (FRAMES_SHOWN + 1) + [1.0] * (columns - FRAMES_SHOWN - 2) + [1.8] * (columns > FRAMES_SHOWN + 1)
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(1.7 * sum(widths), 2.0 * len(rows)),
        squeeze=False,
        gridspec_kw={"width_ratios": widths},
    )
    for line, row in zip(axes, rows, strict=True):
        for place, panel in zip(line, row, strict=True):
            panel(place)
    if run is not None:
        title = (
            f"{run}: clips of subjects that were held out. Drawn images are shown at the size at which they are drawn."
        )
        figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})
    plt.close(figure)


def shown_task(tasks: Iterable[str]) -> str | None:
    """First of some tasks that has frames of faces that may be published; None if there is none."""
    for task in tasks:
        info = load_task_info(paths.task(task))
        if info.faces_may_be_published and "frames" in info.inputs:
            return task
    return None


def draw_note(out: Path) -> None:
    """Draw, in place of a gallery, that no task has one: the stage has an output all the same."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure = plt.figure(figsize=(6, 0.6))
    figure.text(0.5, 0.5, "No task has frames of faces that may be published.", fontsize=9, ha="center", va="center")
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110, metadata={"Software": None})
    plt.close(figure)


def frames_shown(count: int) -> list[int]:
    """Which of a clip's frames are shown: `FRAMES_SHOWN` of them, the first and the last among them."""
    return [int(t) for t in np.linspace(0, count - 1, FRAMES_SHOWN).round()]


def chosen_clips(
    task: Path, name: str, classes: tuple[str, ...], run: str | None, results: Sequence[ClipResult]
) -> list[GalleryClip]:
    """One clip of a class, each of another subject where there are enough; with a run, of those it predicts.

    Parameters
    ----------
    task
        Folder of the task.
    name, classes
        Its name and its classes.
    run
        A run of that task; None takes clips without a prediction.
    results
        Of the run's clips.
    """
    measured = {one.clip_id: one.perception for one in results if one.repetition == 0}
    said: dict[str, dict[str, Any]] = {}
    if run is not None:
        rows = read_predictions(Artifacts(run).predictions)
        said = {row["clip_id"]: row for row in rows if row["repetition"] == 0}
    subjects = sorted({clip["subject"] for clip in load_index(task) if run is None or clip["clip_id"] in said})
    chosen = subjects[: max(1, min(len(subjects), len(classes)))]
    clips = load_clips(task, ("frames", "dynamic_image"), keep=lambda subject: subject in chosen)
    picked: list[int] = []
    for label in range(min(len(classes), CLIPS_SHOWN)):
        subject = chosen[label % len(chosen)]
        mine = [k for k in range(len(clips)) if clips.labels[k] == label and clips.subjects[k] == subject]
        picked.extend(mine[:1] or [k for k in range(len(clips)) if clips.labels[k] == label][:1])

    sampled: dict[str, list[int]] = {}
    marks: dict[str, dict[str, int]] = {}
    if run is not None:
        for row in shards.read_rows(paths.dynamic(name) / "dynamic.parquet", DYNAMIC, columns=["clip_id", "sampled"]):
            sampled[row["clip_id"]] = row["sampled"]
        # faces may be published of one release alone, whose data set bears its name
        for release in sorted({subject.partition("/")[0] for subject in chosen}):
            for row in shards.read_table(paths.manifest(release) / "manifest.parquet", MANIFEST).to_pylist():
                known = {mark: row[mark] for mark in ("onset", "apex", "offset") if row[mark] is not None}
                marks[row["clip_id"]] = known
    return [
        GalleryClip(
            clip_id=clip_id,
            name=classes[clips.labels[k]],
            frames=clips.inputs["frames"][k, :, 0],
            truth=clips.inputs["dynamic_image"][k, 0],
            prediction=said.get(clip_id),
            perception=measured.get(clip_id, {}),
            sampled=sampled.get(clip_id, []),
            marks=marks.get(clip_id, {}),
        )
        for k in picked
        for clip_id in [clips.clip_ids[k]]
    ]


def _panels(clip: GalleryClip) -> list[Panel]:
    """The panels of a clip's row, from left to right."""
    count = len(clip.frames)
    titled = [(clip.frames[t], f"frame {t + 1} of {count}") for t in frames_shown(count)]
    panels = [_picture(picture, title) for picture, title in [*titled, (clip.truth, "dynamic image")]]
    subject, _, name = clip.clip_id.rpartition("/")
    panels[0] = _labelled(panels[0], f"{clip.name}\n{subject}\n{name}")
    if clip.prediction is None:
        return panels
    generated = images.decode_png(clip.prediction["drawn"]) / 255.0  # (h, w)
    truth = area_mean(clip.truth / 255.0, generated.shape)
    panels.append(_picture(255 * generated, f"drawn, {generated.shape[0]} x {generated.shape[1]}"))
    panels.append(_error(np.abs(generated - truth), f"error, {clip.perception['psnr']:.1f} dB"))
    if clip.prediction["rank_scores"]:
        panels.append(_curve(clip))
    return panels


def _bare(place: Any, title: str) -> None:
    place.set_title(title, fontsize=8)
    place.set_xticks([])
    place.set_yticks([])


def _picture(picture: NDArray, title: str) -> Panel:
    def draw(place: Any) -> None:
        place.imshow(picture, cmap="gray", vmin=0, vmax=255)
        _bare(place, title)

    return draw


def _error(error: NDArray[np.float64], title: str) -> Panel:
    def draw(place: Any) -> None:
        place.imshow(error, cmap="Reds", vmin=0, vmax=ERROR_SHOWN)
        _bare(place, title)

    return draw


def _labelled(panel: Panel, label: str) -> Panel:
    def draw(place: Any) -> None:
        panel(place)
        place.set_ylabel(label, fontsize=8)

    return draw


def _curve(clip: GalleryClip) -> Panel:
    assert clip.prediction is not None
    scores = np.array(clip.prediction["rank_scores"])

    def draw(place: Any) -> None:
        place.plot(clip.sampled, scores, marker="o", markersize=3, linewidth=1, color="black")
        for mark, frame in clip.marks.items():
            place.axvline(frame, color="tab:red" if mark == "apex" else "tab:blue", linewidth=0.8, linestyle="--")
            place.text(frame, 1.0, mark, transform=place.get_xaxis_transform(), fontsize=6, ha="center", va="bottom")
        place.set_title(f"rank score, {clip.perception['order_accuracy']:.0%} of pairs in order\n", fontsize=8)
        place.set_xlabel("frame", fontsize=7)
        place.tick_params(labelsize=6)

    return draw
