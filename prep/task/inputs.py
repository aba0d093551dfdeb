"""Inputs of models: what each is called, how the task's table holds it, and what a task needs to give it.

A new input is an entry of `INPUTS`, and the setting that asks for it (`prep.settings.task`). Everything else follows:
the columns of the task's table, its stage, decoding, shapes, standardising, what models may declare, and what a run is
told whose task lacks an input. Imports are light, since the registry of models names its inputs by these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from fdpbench.prep.settings.align import AlignParams
    from fdpbench.prep.settings.task import TaskParams

__all__ = ["INPUTS", "LANDMARKS", "Input", "lengths_of"]

# Points of a face, by `align.landmarks`.
LANDMARKS = {"mesh": 468, "dlib": 68}


@dataclass(frozen=True)
class Input:
    """An input of models.

    Attributes
    ----------
    name
        Argument of a model's ``forward``, and column of the task's table (`prep.task.table`).
    axes
        Axes of one clip: C is that of the channels, which are standardised one by one; T frames, H and W side of a
        crop, h and w side of the flow image, K points of a face. A batch has an axis for its clips before them.
    channels
        Length of C.
    column
        Arrow type of its column, null where a task does not give it.
    decode
        From the column of N clips to their array (N, ``*axes``), uint8 (0..255) or float32.
    given
        Whether a task gives it.
    settings
        What to set in params.yaml so that a task gives it; TASK stands for the task's name.
    source
        Stage whose table it is taken from.
    taken_from
        Column of that table.
    take
        From a value of that column to the value in the task's table. None leaves the clip out of the task.
    lacking
        What a clip without it is said to lack: its reason is ``no_<lacking>`` (`prep.store.schema.Reason`).
    needs_frames
        Whether releases of flow images cannot give it.
    mirrored
        What the mirror image of a face is: ``pixels`` in the opposite order; ``flow``, where u changes its sign too.
        None: it cannot be mirrored, or shifted by pixels.
    """

    name: str
    axes: str
    channels: int
    column: Literal["binary", "list<binary>", "list<float32>", "list<list<float32>>"]
    decode: Callable[[pa.ChunkedArray], NDArray[Any]]
    given: Callable[[TaskParams], bool]
    settings: tuple[str, ...]
    source: Literal["dynamic", "flow"]
    taken_from: str
    take: Callable[[Any], Any] = lambda value: value
    lacking: str = "frames"
    needs_frames: bool = True
    mirrored: Literal["pixels", "flow"] | None = "pixels"

    def shape(self, lengths: Mapping[str, int]) -> tuple[int, ...]:
        """Shape of one clip, by the length of each axis but C."""
        return tuple(self.channels if axis == "C" else lengths[axis] for axis in self.axes.split())

    @property
    def channel_axis(self) -> int:
        """Place of the channels in an array (N, ``*axes``)."""
        return 1 + self.axes.split().index("C")

    def cure(self, task: str) -> str:
        """What to set so that a task gives it, the task being named."""
        return " and ".join(line.replace("TASK", task) for line in self.settings)


def lengths_of(task: TaskParams, align: AlignParams) -> dict[str, int]:
    """Length of each axis of one clip, but of C, for the inputs that a task gives."""
    lengths = {"H": align.size, "W": align.size, "K": LANDMARKS[align.landmarks]}
    if task.sampling is not None and task.sampling.frames is not None:
        lengths |= {"T": task.sampling.frames}
    if task.flow is not None:
        lengths |= {"h": task.flow.size, "w": task.flow.size}
    return lengths


def _decode_image(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    import numpy as np

    from fdpbench.prep.store import images

    return np.array([images.decode_png(png) for png in column.to_pylist()])[:, None]  # (N, 1, H, W)


def _decode_frames(column: pa.ChunkedArray) -> NDArray[np.uint8]:
    import numpy as np

    from fdpbench.prep.store import images

    clips = [np.stack([images.decode_png(png) for png in clip]) for clip in column.to_pylist()]
    return np.array(clips)[:, :, None]  # (N, T, 1, H, W)


def _decode_flow(column: pa.ChunkedArray) -> NDArray[np.float32]:
    import numpy as np

    values = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    side = round((len(values) / len(column) / 3) ** 0.5)
    return values.reshape(len(column), 3, side, side)  # u, v, strain


def _decode_landmarks(column: pa.ChunkedArray) -> NDArray[np.float32]:
    import numpy as np

    values = np.concatenate([chunk.flatten().flatten().to_numpy() for chunk in column.chunks])
    return values.reshape(len(column), len(column[0]), -1, 2)  # as many frames of each clip, as many points in each


_SAMPLED = ("tasks.TASK.sampling: {rule: uniform, frames: 8}", "tasks.TASK.rank_pooling: harmonic")

INPUTS: dict[str, Input] = {
    entry.name: entry
    for entry in (
        Input(
            name="frames",  # the sampled ones, grey
            axes="T C H W",
            channels=1,
            column="list<binary>",  # PNGs
            decode=_decode_frames,
            given=lambda task: task.sampling is not None and task.sampling.rule != "all",  # else lengths differ
            settings=_SAMPLED,
            source="dynamic",
            taken_from="frames",
        ),
        Input(
            name="dynamic_image",  # of the sampled frames, scaled for each clip
            axes="C H W",
            channels=1,
            column="binary",  # PNG
            decode=_decode_image,
            given=lambda task: task.sampling is not None,
            settings=_SAMPLED,
            source="dynamic",
            taken_from="dynamic_image",
        ),
        Input(
            name="flow",  # onset to apex: u, v, strain
            axes="C h w",
            channels=3,
            column="list<float32>",  # row by row
            decode=_decode_flow,
            given=lambda task: task.flow is not None,
            settings=("tasks.TASK.flow: {size: 28, scaling: per_image}",),
            source="flow",
            taken_from="flow",
            lacking="flow",
            needs_frames=False,
            mirrored="flow",
        ),
        Input(
            name="apex",  # its frame, grey
            axes="C H W",
            channels=1,
            column="binary",  # PNG
            decode=_decode_image,
            given=lambda task: task.apex,
            settings=("tasks.TASK.apex: true",),
            source="flow",
            taken_from="apex_image",
            lacking="apex",
        ),
        Input(
            name="landmarks",  # of each sampled frame: x and y, pixels of the crop
            axes="T K C",
            channels=2,
            column="list<list<float32>>",  # x0, y0, x1, y1, ... of each frame
            decode=_decode_landmarks,
            given=lambda task: task.landmarks,
            settings=("tasks.TASK.landmarks: true", "align.track: true"),
            source="dynamic",
            taken_from="landmarks",
            mirrored=None,  # points have sides: the left eye would be taken for the right one
        ),
    )
}
