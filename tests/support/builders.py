"""Tiny valid inputs for tests: params, task tables, predictions, and releases on disk."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from fdpbench.bench.evaluate.predictions import PREDICTIONS
from fdpbench.bench.plan.params import load_run
from fdpbench.bench.train.arrays import StoredClips, store_clips
from fdpbench.bench.train.data import FEATURES
from fdpbench.bench.train.settings import Run
from fdpbench.prep.align.stage import align_release
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.index.manifest import load_manifest
from fdpbench.prep.runtime.scratch import Scratch
from fdpbench.prep.runtime.workers import Context
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, MANIFEST
from fdpbench.prep.task.table import TASK

CLASSES = ("happiness", "surprise", "disgust")

# A whole params.yaml: two releases, a task with frames and flow, one with flow alone, a run of each kind.
PARAMS: dict[str, Any] = {
    "synth": {
        "seed": 1,
        "subjects": 2,
        "clips_per_emotion": 1,
        "size": 120,
        "frames_min": 24,
        "frames_max": 24,
        "peak_min": 0.5,
        "peak_max": 1.0,
        "drift": 1.0,
        "blink_rate": 0.0,
        "gaze_rate": 0.0,
        "overlap": 0.0,
    },
    "releases": ["synthetic", "megc2019_flow"],
    "corpora": {},
    "pretrain": {},
    "ensembles": {},
    "index": {"lost_frames": "reject"},
    "align": {
        "mode": "first_frame",
        "landmarks": "mesh",
        "geometry": "eyes",
        "interpolation": "linear",
        "size": 32,
        "eye_distance": 0.45,
        "eye_height": 0.36,
        "colour": False,
    },
    "flow": {"method": "dis", "missing_apex": "reject"},
    "tasks": {
        "tiny": {
            "releases": ["synthetic"],
            "classes": {name: [name] for name in CLASSES},
            "sampling": {"rule": "uniform", "frames": 4},
            "rank_pooling": "harmonic",
            "flow": {"size": 28, "scaling": "per_image"},
        },
        "tiny_flow": {
            "releases": ["megc2019_flow"],
            "classes": {name: [name] for name in ("negative", "positive", "surprise")},
            "flow": {"size": 28, "scaling": "per_image"},
        },
    },
    "runs": {
        "tiny-majority": {"task": "tiny", "model": "majority"},
        "tiny-ststnet": {"task": "tiny", "model": "ststnet"},
        "tiny-histogram": {"task": "tiny", "model": "flow_histogram"},
    },
    "train": {"seed": 1, "repetitions": 1, "device": "cpu", "precision": "float32", "deterministic": True},
    "options": {
        "ststnet": {"epochs": 2, "batch_size": 4},
        "cnn3d": {"epochs": 1, "batch_size": 4, "weight_decay": 0.0},
    },
}


def params(**sections: Any) -> dict[str, Any]:
    """A copy of `PARAMS`; keys of the sections given are updated, a section that is no mapping is replaced."""
    result = copy.deepcopy(PARAMS)
    for name, value in sections.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] |= value
        else:
            result[name] = value
    return result


def checked_params(**sections: Any) -> dict[str, Any]:
    """`params` that `fdpbench check` passes on any machine: no release to be linked."""
    content = params(releases=["synthetic"])
    del content["tasks"]["tiny_flow"]
    for name, value in sections.items():
        content[name] = content[name] | value if isinstance(value, dict) else value
    return content


def write_params(content: Any = None, path: Path = Path("params.yaml")) -> Path:
    """Write params.yaml."""
    path.write_text(yaml.safe_dump(PARAMS if content is None else content, sort_keys=False), encoding="utf-8")
    return path


def task_rows(
    subjects: Sequence[str] = ("synthetic/s01", "synthetic/s02", "synthetic/s03"),
    per_class: int = 2,
    classes: Sequence[str] = CLASSES,
    seed: int = 0,
    side: int = 16,
    length: int = 4,
) -> list[dict[str, Any]]:
    """Rows of a task table: noise, with a square of another brightness and flow for each class."""
    rng = np.random.default_rng(seed)
    rows = []
    for subject in subjects:
        for label, name in enumerate(classes):
            for number in range(per_class):
                frames = rng.integers(0, 120, (length, side, side), dtype=np.uint8)
                frames[:, 4 * label : 4 * label + 4, :4] += (np.arange(length) * 40).astype(np.uint8)[:, None, None]
                flow = rng.uniform(0.4, 0.6, (3, 28, 28)).astype(np.float32)
                flow[:, 8 * label : 8 * label + 8] += np.float32(0.4)
                rows.append(
                    {
                        "clip_id": f"{subject}/{name}_{number}",
                        "dataset": subject.partition("/")[0],
                        "subject": subject,
                        "label": label,
                        "class": name,
                        "frames": [images.encode_png(frame) for frame in frames],
                        "dynamic_image": images.encode_png(frames[-1]),
                        "flow": flow.ravel().tolist(),
                        "apex": images.encode_png(frames[length // 2]),
                        "landmarks": rng.uniform(0, side, (length, 136)).astype(np.float32).tolist(),
                    }
                )
    return rows


def write_task(
    folder: Path,
    rows: list[dict[str, Any]] | None = None,
    name: str = "tiny",
    classes: Sequence[str] = CLASSES,
    inputs: Sequence[str] = ("frames", "dynamic_image", "flow"),
    published: bool = True,
    sampling: str | None = "uniform",
    simulated: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Write a task's folder as the `task` stage does, and return its rows."""
    rows = task_rows(classes=classes) if rows is None else rows
    _write_subjects(folder / "clips.parquet", TASK, rows)
    about = {"task": name, "classes": list(classes), "inputs": list(inputs), "flow_side": 28, "sampling": sampling}
    about |= {"faces_may_be_published": published, "rendered": name.startswith("synthetic") or bool(simulated)}
    about |= {"simulated": list(simulated)}
    (folder / "task.json").write_text(json.dumps(about), encoding="utf-8")
    return rows


def run_of(
    model: str,
    train: dict[str, Any] | None = None,
    protocol: str = "honest",
    faults: dict[str, Any] | None = None,
    entry: dict[str, Any] | None = None,
    **settings: Any,
) -> Run:
    """A run on the task ``tiny``, checked; named ``it``, or ``it-test_selected`` where the protocol asks for it."""
    name = "it-test_selected" if protocol == "test_selected" else "it"
    whole = {"task": "tiny", "model": model, "protocol": protocol, "faults": faults or {}, "set": settings}
    return load_run(name, params(runs={name: whole | (entry or {})}, train=train or {}))


def _write_subjects(path: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    """Write rows with a row group for each subject."""
    subjects = dict.fromkeys(row["subject"] for row in rows)
    tables = (
        pa.Table.from_pylist([row for row in rows if row["subject"] == subject], schema=schema) for subject in subjects
    )
    shards.write_subjects(path, schema, tables)


def write_features(run: Run, task: Path, path: Path) -> Path:
    """Write a run's features as its training does, without workers."""
    from fdpbench.bench.train.features import features_of_subject

    subjects = shards.subjects_of(task / "clips.parquet")
    shards.write_subjects(path, FEATURES, (features_of_subject(run, task, subject) for subject in subjects))
    return path


def stored(task: Path, inputs: Sequence[str], folder: Path) -> StoredClips:
    """Decode a task's clips as a run does, into a folder's scratch."""
    for name in ("units", "sums"):
        (folder / name).mkdir(parents=True)
    return store_clips(task, inputs, Scratch(folder))


def train_fold(
    run: Run, task: Path, out: Path, fold: str, repetition: int = 0, clips: StoredClips | None = None
) -> dict[str, bytes]:
    """Train a fold of a task of three classes as a worker does, its clips decoded before; the files it leaves."""
    from fdpbench.bench.train.stage import _train_fold, _Training, _wanted

    out.mkdir(parents=True)
    features = write_features(run, task, out.with_name(f"{out.name}.features")) if run.model.hand_crafted else None
    reports: list[dict[str, Any]] = []
    train = tuple(subject for subject in shards.subjects_of(task / "clips.parquet") if subject != fold)
    training = _Training(run, task, features, fold, train, (fold,), repetition, "cpu", 1, len(CLASSES))
    if clips is None:
        clips = stored(task, () if features else _wanted(run), out.with_name(f"{out.name}.scratch"))
    _train_fold((training, clips.of(train), clips.of((fold,))), Context(out, reports.append, 0))
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


@contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Training sets torch's global state for its worker process; here other tests share the process.

    That malloc keeps freed memory cannot be taken back; it changes no value.
    """
    import torch

    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only, quickest = torch.is_deterministic_algorithms_warn_only_enabled(), torch.backends.cudnn.benchmark
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = quickest
        torch.set_flush_denormal(False)
        memory.fill_uninitialized_memory = filled


def predictions(
    run: str, rows: Iterable[dict[str, Any]], guess: Sequence[int], repetition: int = 0, classes: int = 3
) -> list[dict[str, Any]]:
    """Valid prediction rows of a run that guesses ``guess`` for the clips of a task, one for each."""
    return [
        {
            "run": run,
            "repetition": repetition,
            "seed": 7,
            "clip_id": row["clip_id"],
            "dataset": row["dataset"],
            "subject": row["subject"],
            "fold": row["subject"],
            "y_true": row["label"],
            "y_pred": int(k),
            "scores": [1.0 if label == k else 0.0 for label in range(classes)],
            "epoch": None,
            "rank_scores": None,
            "drawn": None,
        }
        for row, k in zip(rows, guess, strict=True)
    ]


def perceived(
    rows: list[dict[str, Any]], length: int = 4, side: int | None = 8, ranks: bool = True, seed: int = 0
) -> list[dict[str, Any]]:
    """Prediction rows to which noise is added as rank scores, and as drawn images where there is a ``side``."""
    rng = np.random.default_rng(seed)
    return [
        row
        | {"rank_scores": rng.normal(0, 1, length).tolist() if ranks else None}
        | {"drawn": images.encode_png(rng.integers(0, 256, (side, side), dtype=np.uint8)) if side else None}
        for row in rows
    ]


def write_perception_data(rows: list[dict[str, Any]], task: str = "tiny", release: str = "synthetic") -> None:
    """What the gallery reads beside a task: which frames were sampled, and the marks of its clips."""
    sampled, marked = [], []
    for number, row in enumerate(rows):
        frames = list(range(1, 3 * len(row["frames"]), 3))
        sampled.append(
            {key: row[key] for key in ("clip_id", "subject", "frames", "dynamic_image")} | {"sampled": frames}
        )
        clip = {key: row[key] for key in ("clip_id", "dataset", "subject")} | {"fps": None, "emotion": row["class"]}
        marks = {"onset": 1, "apex": None if number == 0 else 4, "offset": frames[-1], "action_units": ""}
        marked.append(clip | marks | {"frames": [], "frame_numbers": []})
    _write_subjects(paths.dynamic(task) / "dynamic.parquet", DYNAMIC, sampled)
    shards.write_table(pa.Table.from_pylist(marked, schema=MANIFEST), paths.manifest(release) / "manifest.parquet")


def write_manifest(release: str, rows: list[dict[str, Any]]) -> None:
    """Write a release's manifest and what later stages read of its report."""
    folder = paths.manifest(release)
    shards.write_table(pa.Table.from_pylist(rows, schema=MANIFEST), folder / "manifest.parquet")
    (folder / "report.json").write_text(json.dumps({"release": release, "simulated": False}), encoding="utf-8")


def write_predictions(run: str, rows: list[dict[str, Any]], curve: str = "repetition,fold,epoch,loss\n") -> Path:
    """Write a run's predictions and loss curve where the tables stage looks for them."""
    path = Path("artifacts/predictions") / f"{run}.parquet"
    shards.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), path)
    curves = Path("artifacts/curves") / f"{run}.csv"
    curves.parent.mkdir(parents=True, exist_ok=True)
    curves.write_text(curve, encoding="utf-8")
    return path


def face_like(side: int = 64, shift: float = 0.0, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth RGB pattern moved to the right by ``shift`` pixels. No detector would call it a face."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    waves = np.sin((x - shift) / (3 + seed % 3)) + np.cos(y / 4) + np.sin((x - shift + y) / 7)
    grey = np.clip(128 + 35 * waves, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write an image losslessly, whatever the suffix says: readers go by content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode_png(image))


SHEET = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Emotion"]


def write_synthetic(root: Path, clips: Iterable[Sequence[Any]], length: int = 8, side: int = 64) -> None:
    """A release in the form of the embedded one.

    Each clip is (subject, name, onset, apex, offset, action units, emotion); frames 1..length are written.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / "annotations.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(SHEET)
        for number, clip in enumerate(clips):
            writer.writerow(clip)
            for frame in range(1, length + 1):
                place = root / "frames" / str(clip[0]) / str(clip[1]) / f"img{frame:03d}.png"
                write_image(place, face_like(side, shift=0.2 * frame, seed=number))


def write_casme2(
    root: Path, rows: Iterable[Sequence[Any]], frames: Iterable[tuple[str, str, Iterable[int]]] = ()
) -> None:
    """A CASME II-like release: its workbook with blank columns and an empty second sheet, and frames.

    Each row is (subject, name, onset, apex, offset, action units, emotion); ``frames`` lists for a
    subject's folder and a clip which frame numbers to write.
    """
    root.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    head = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None]
    sheet.append([*head, "Action Units", "Estimated Emotion"])
    for subject, name, onset, apex, offset, units, emotion in rows:
        sheet.append([subject, name, None, onset, apex, offset, None, units, emotion])
    book.create_sheet("Sheet2")
    book.save(root / "CASME2-coding-20140508.xlsx")
    (root / "CASME2_RAW_selected").mkdir(exist_ok=True)
    for folder, name, numbers in frames:
        for number in numbers:
            place = root / "CASME2_RAW_selected" / folder / name / f"img{number}.jpg"
            write_image(place, face_like(shift=0.1 * number))


def flow_image(seed: int = 0, side: int = 28) -> NDArray[np.uint8]:
    """Noise in the form of a flow image, RGB."""
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


# dataset, subject as the sheet writes it, subject as the file name writes it, clip, label
FLOW_CLIPS = (
    ("casme2", "sub01", "sub01", "EP02_01f", 1),
    ("casme2", "sub01", "sub01", "EP19_05f", 0),
    ("casme2", "sub17", "sub17", "EP01_02", 2),
    ("smic", "s1", "s01", "s01_ne_01", 0),
    ("smic", "s02", "s02", "s02_po_01", 1),
    ("samm", "006", "006", "006_1_2", 0),
    ("samm", "020", "020", "020_4_1", 2),
)


def write_flow_whole(root: Path, clips: Iterable[Sequence[Any]] = FLOW_CLIPS) -> None:
    """Layout ``whole`` of the MEGC2019 flow images, with a space before each dot."""
    folder = root / "STSNet_whole_norm_u_v_os"
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["dataset,sub,filename_o,label,apex,imagename,sub_filename"]
    for number, (dataset, sheet_name, file_name, clip, label) in enumerate(clips):
        write_image(folder / f"{file_name}_{clip} .png", flow_image(number))
        lines.append(f"{dataset},{sheet_name},{clip},{label},,,")
    (root / "combined_3_class2_for_optical_flow.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def flow_of_images(release: str, root: Path) -> None:
    """Take a release of flow images that is indexed through the stages `align` and `flow`."""
    manifest: list[dict[str, Any]] = load_manifest(release)
    align = section(AlignParams, PARAMS["align"], "align")
    align_release(release, root, manifest, paths.aligned(release), align, 1)
    flow = section(FlowParams, PARAMS["flow"], "flow")
    flow_of_release(release, root, manifest, paths.aligned(release), paths.flow(release), flow)


def write_flow_three(root: Path, clips: Iterable[Sequence[Any]] = FLOW_CLIPS) -> None:
    """Layout ``three`` of the MEGC2019 flow images: each clip in its subject's test folder."""
    for number, (_, _, file_name, clip, label) in enumerate(clips):
        place = root / "three_norm_u_v_os" / file_name / "u_test" / str(label) / f"{file_name}_{clip} .png"
        write_image(place, flow_image(number))


def write_official(root: Path, clips: Iterable[Sequence[Any]] = FLOW_CLIPS) -> None:
    """The challenge's list of the composite: dataset, subject, clip, label, no header."""
    lines = [f"{dataset},{sheet_name},{clip},{label}" for dataset, sheet_name, _, clip, label in clips]
    (root / "combined_3class_gt.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
