"""Export a task for other people's code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from fdpbench.commands.app import app
from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.progress import output
from fdpbench.prep.runtime.scratch import hold_stages

TaskName = Annotated[str, typer.Argument(help="Name of a task in params.yaml whose data/task/TASK is made.")]
Folder = Annotated[Path, typer.Argument(help="The folder to write: a new one, or an empty one.")]
LayoutName = Annotated[
    str, typer.Option("--layout", help="whole (one folder), three (a folder for each fold) or both.")
]


@contextmanager
def _whole(task: str) -> Iterator[None]:
    """Keep the task as it is while it is read."""
    from fdpbench.bench.train.data import task_folder

    task_folder(task)  # says so if it is not there
    with hold_stages([f"task-{task}"]):
        yield


export = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")
app.add_typer(export, name="export", rich_help_panel="Prepare data")


@export.callback()
def _about() -> None:
    """Write a task's flow images, frames, dynamic images or lists for other people's code.

    The folder appears when it is whole; one that holds something is left alone. An export of a licensed release
    carries DO-NOT-SHARE.txt, and must lie outside git repositories and projects. docs/export.md has the layouts.
    """


@export.command("flow-images")
def flow_images(task: TaskName, folder: Folder, layout: LayoutName = "both") -> None:
    """Write a task's flow as 8-bit images, in the layouts in which the field exchanges MEGC2019.

    STSNet_whole_norm_u_v_os/SUBJECT_CLIP .png, and three_norm_u_v_os/SUBJECT/u_train|u_test/LABEL/, a folder for each
    fold; combined_3_class2_for_optical_flow.csv lists the clips. Red is u, green v, blue strain. Code of STSTNet,
    HTNet and others reads them as they are, `fdpbench link flow_images FOLDER` reads them back. Example:

        fdpbench export flow-images casme2_5 ~/exports/casme2_5
    """
    from fdpbench.bench.export.flow import export_flow_images

    with command("export flow-images"):
        if layout not in ("whole", "three", "both"):
            raise ValueError(f"--layout {layout}: expected whole, three or both")
        with _whole(task):
            count = export_flow_images(task, folder, layout)  # type: ignore[arg-type]  # checked above
        output.print(f"{folder}: flow images of {count} clips", markup=False)
        output.print(f"To read them back: fdpbench link flow_images {folder}", markup=False)


@export.command()
def frames(task: TaskName, folder: Folder) -> None:
    """Write a task's sampled frames as PNG: DATASET/SUBJECT/CLIP/001.png, 002.png, ...; clips.csv lists the clips.

    Aligned, grey and 8 bits, the very files that models are trained on. Example:

        fdpbench export frames casme2_5 ~/exports/casme2_5-frames
    """
    from fdpbench.bench.export.frames import export_pictures

    with command("export frames"):
        with _whole(task):
            count = export_pictures(task, folder, "frames")
        output.print(f"{folder}: frames of {count} clips", markup=False)


@export.command("dynamic-images")
def dynamic_images(task: TaskName, folder: Folder) -> None:
    """Write a task's dynamic images as PNG: DATASET/SUBJECT/CLIP.png; clips.csv lists the clips.

    Approximate rank pooling of the task's frames, scaled by its own range to 8 bits. Example:

        fdpbench export dynamic-images casme2_5 ~/exports/casme2_5-dynamic
    """
    from fdpbench.bench.export.frames import export_pictures

    with command("export dynamic-images"):
        with _whole(task):
            count = export_pictures(task, folder, "dynamic_image")
        output.print(f"{folder}: dynamic images of {count} clips", markup=False)


@export.command()
def lists(task: TaskName, folder: Folder) -> None:
    """Write the lists of a task: clips.csv (labels and marks), folds.csv (leave-one-subject-out).

    Of the MEGC2019 composite combined_3class_gt.csv too, the challenge's list, which --official takes. Example:

        fdpbench export lists casme2_5 ~/exports/casme2_5-lists
    """
    from fdpbench.bench.export.lists import export_lists
    from fdpbench.bench.plan.params import load_tasks
    from fdpbench.prep.index.manifest import load_manifest
    from fdpbench.prep.settings.params import ParamsError
    from fdpbench.prep.settings.problems import near

    with command("export lists"):
        tasks = load_tasks()
        if task not in tasks:
            raise ParamsError(f"params.yaml: no task {task!r}{near(task, tasks)}; tasks: {', '.join(tasks)}")
        with _whole(task):
            manifest = {str(row["clip_id"]): row for name in tasks[task].releases for row in load_manifest(name)}
            count = export_lists(task, folder, manifest)
        output.print(f"{folder}: lists of {count} clips", markup=False)
