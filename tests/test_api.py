"""What `import fdpbench as fb` offers: documented, lazily imported, and what the stages and commands compute."""

from __future__ import annotations

import doctest
import inspect
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset
from typer.testing import CliRunner

import fdpbench as fb
from fdpbench import api, arithmetic
from fdpbench.api import images as images_api
from fdpbench.api import prediction as prediction_api
from fdpbench.api import tasks as tasks_api
from fdpbench.bench.train.data import load_clips
from fdpbench.bench.train.folds import leave_one_subject_out
from fdpbench.commands import app
from fdpbench.models.common.registry import list_models
from fdpbench.prep.align.stage import aligned_clip
from fdpbench.prep.dynamic.stage import dynamic_images
from fdpbench.prep.flow.stage import flow_of_release
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import contents, images, paths, shards
from fdpbench.prep.store.schema import DYNAMIC, FLOW, FRAMES
from tests.support.builders import PARAMS, face_like, task_rows, write_image, write_manifest, write_task

ROOT = Path(__file__).resolve().parents[1]
ANY: Any = fb  # for calls that type checkers refuse as well
NAMES = ("disgust", "happiness", "repression", "surprise")


@pytest.fixture(scope="module")
def clip() -> api.RenderedClip:
    return fb.rendered_clip("happiness")


def fresh(code: str, *, pinned: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own; without the pins of this one unless they are asked for."""
    kept = {name: value for name, value in os.environ.items() if pinned or name not in arithmetic.PINS}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True)


# --- names, documents, imports


def test_the_names_are_a_dozen_at_most_and_all_there() -> None:
    assert fb.__all__ == api.__all__ == sorted(api.__all__)
    assert len([name for name in fb.__all__ if inspect.isfunction(getattr(fb, name))]) <= 12
    assert {*fb.__all__, "bench", "models", "prep"} <= {*dir(fb)}
    for name in fb.__all__:
        assert getattr(fb, name) is getattr(api, name)
    with pytest.raises(AttributeError, match="no attribute 'alignface'"):
        _ = fb.alignface


@pytest.mark.parametrize("name", [name for name in api.__all__ if inspect.isfunction(getattr(api, name))])
def test_each_function_says_what_it_takes_gives_and_refuses(name: str) -> None:
    text = inspect.getdoc(getattr(api, name)) or ""
    taken = inspect.signature(getattr(api, name)).parameters
    assert all(f"\n{title}\n---" in text for title in ("Returns", "Examples"))
    assert not taken or ("\nParameters\n---" in text and "\nRaises\n---" in text)
    for parameter in taken:
        listed = text.partition("Parameters\n")[2].partition("Returns\n")[0]
        assert any(parameter in line for line in listed.splitlines() if not line.startswith(" ")), parameter


def documented() -> list[doctest.DocTest]:
    found = [
        test
        for module in (images_api, prediction_api, tasks_api)
        for test in doctest.DocTestFinder().find(module, globs={})
    ]
    return [test for test in found if test.examples]


@pytest.mark.parametrize("example", documented(), ids=lambda test: test.name.rpartition(".")[2])
def test_examples(example: doctest.DocTest, project: Path) -> None:
    """They run where the embedded release is made; here the task's pixels are noise."""
    subjects = [f"synthetic/s{k:02d}" for k in range(1, 11)]
    write_task(paths.task("synthetic"), task_rows(subjects, 3, NAMES), "synthetic", NAMES)
    said: list[str] = []
    doctest.DocTestRunner().run(example, out=said.append)
    assert not said, "".join(said)


def test_every_function_has_an_example() -> None:
    functions = {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}
    assert {test.name.rpartition(".")[2] for test in documented()} == functions


def test_the_page_of_docs_describes_each_name() -> None:
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    assert [name for name in api.__all__ if f"`fb.{name}" not in page] == []


def test_importing_it_imports_no_library_and_takes_no_second() -> None:
    code = (
        "import time; start = time.perf_counter(); import fdpbench as fb; seconds = time.perf_counter() - start\n"
        "import sys; print([name for name in ('numpy', 'torch', 'cv2', 'pandas', 'pyarrow') if name in sys.modules])\n"
        "assert seconds < 1, seconds\n"
        "fb.rank_pooling_weights(4); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = fresh(code)
    assert (done.stdout, done.returncode) == ("[]\nFalse True\n", 0), done.stderr


# --- pinned or native

ASK = "; fb.rank_pooling_weights(3); print(fb.evaluate([0, 1, 0, 1], [0, 1, 1, 1], [1, 1, 2, 2]).arithmetic)"
needs_avx2 = pytest.mark.skipif(not arithmetic._pins(), reason="this processor has no AVX2: nothing is pinned")


@needs_avx2
def test_the_first_use_pins() -> None:
    done = fresh(f"import fdpbench as fb{ASK}")
    assert (done.stdout, done.stderr) == ("pinned\n", "")


@needs_avx2
def test_where_numpy_came_first_it_warns_once_and_labels_results_native() -> None:
    done = fresh(f"import numpy; import fdpbench as fb{ASK}; import os; print(os.environ.get('ATEN_CPU_CAPABILITY'))")
    assert done.stdout == "native\nNone\n" and done.returncode == 0, done.stderr
    assert done.stderr.count("UserWarning") == 1 and "numpy imported before fdpbench was first used" in done.stderr
    assert "pin_arithmetic()" in done.stderr and "FDPBENCH_NATIVE=1" in done.stderr
    assert fresh(f"import numpy; import fdpbench as fb{ASK}", FDPBENCH_NATIVE="1").stderr == ""


@needs_avx2
def test_the_warning_points_at_the_users_line() -> None:
    done = fresh("import numpy, fdpbench as fb\n\nfb.rank_pooling_weights(3)")
    assert "<string>:3: UserWarning" in done.stderr


def test_where_the_arithmetic_is_pinned_already_nothing_is_said() -> None:
    done = fresh(f"from fdpbench.arithmetic import pin_arithmetic; pin_arithmetic()\nimport numpy, fdpbench as fb{ASK}")
    assert done.stderr == "" and done.returncode == 0


@needs_avx2
def test_commands_stay_pinned_whatever_imported_the_package() -> None:
    """The entry point refuses to begin unpinned; `fdpbench` and its workers have no other."""
    done = fresh("import numpy, fdpbench; import fdpbench.__main__")
    assert done.returncode != 0 and "imported before the arithmetic was pinned" in done.stderr


# --- what the stages compute


def test_crops_flow_and_dynamic_image_are_those_of_the_stages(project: Path, clip: api.RenderedClip) -> None:
    frames = [f"{number:03d}.png" for number in range(1, len(clip.frames) + 1)]
    for name, frame in zip(frames, clip.frames, strict=True):
        write_image(project / "r" / name, frame)
    numbers = list(range(1, len(frames) + 1))
    row = {"clip_id": "synthetic/s01/a", "dataset": "synthetic", "subject": "synthetic/s01", "fps": 200.0}
    row |= {"onset": clip.onset + 1, "apex": clip.apex + 1, "offset": len(frames), "emotion": "happiness"}
    row |= {"action_units": "", "frames": frames, "frame_numbers": numbers}
    write_manifest("synthetic", [row])
    align = section(AlignParams, PARAMS["align"] | {"size": 96, "eye_distance": 0.4, "eye_height": 0.32}, "align")
    cv2.setNumThreads(1)
    table = aligned_clip(row, project / "r", align)
    shards.write_subjects(paths.aligned("synthetic") / "frames-000.parquet", FRAMES, [table])
    contents.write_sums(paths.aligned("synthetic"))
    stored = [images.decode_png(png) for png in table.column("image").to_pylist()]
    crops = fb.align_face(clip.frames)
    assert np.array_equal(crops, np.stack(stored))

    params = section(FlowParams, PARAMS["flow"], "flow")
    flow_of_release("synthetic", project / "r", [row], paths.aligned("synthetic"), paths.flow("synthetic"), params)
    (found,) = shards.read_rows(paths.flow("synthetic") / "flow.parquet", FLOW)
    flow = fb.optical_flow(crops[clip.onset], crops[clip.apex])
    assert flow.dtype == np.float32 and flow.ravel().tolist() == found["flow"]

    entry = {"releases": ["synthetic"], "classes": {name: [name] for name in NAMES}, "rank_pooling": "harmonic"}
    dynamic_images("t", section(TaskParams, entry | {"sampling": {"rule": "all"}}, "tasks.t"), paths.dynamic("t"))
    (drawn,) = shards.read_rows(paths.dynamic("t") / "dynamic.parquet", DYNAMIC)
    assert np.array_equal(fb.dynamic_image(crops), images.decode_png(drawn["dynamic_image"]))


def test_one_image_a_grey_one_and_a_file_are_aligned_too(tmp_path: Path, clip: api.RenderedClip) -> None:
    first = clip.frames[0]
    crop = fb.align_face(first)
    assert np.array_equal(crop, fb.align_face(clip.frames[:2])[0])
    write_image(tmp_path / "face.png", first)
    assert np.array_equal(crop, fb.align_face(tmp_path / "face.png"))
    assert np.array_equal(crop, fb.align_face(str(tmp_path / "face.png")))
    grey = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY)
    assert np.abs(fb.align_face(grey).astype(int) - crop).mean() < 4
    colour = fb.align_face(first, colour=True, size=64)
    assert colour.shape == (64, 64, 3) and colour.std(axis=2).mean() > 1


def test_threads_of_opencv_are_as_before(clip: api.RenderedClip) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        fb.align_face(clip.frames[0])
        with pytest.raises(ValueError):
            fb.align_face(np.zeros((64, 64, 3), np.uint8))
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fb.align_face(np.zeros((64, 64, 3), np.uint8)), ValueError, "no_face"),
        (lambda: fb.align_face(np.zeros((64, 64, 3))), ValueError, r"uint8; got \(64, 64, 3\) float64"),
        (lambda: fb.align_face(np.zeros((64, 64, 4), np.uint8)), ValueError, r"got \(64, 64, 4\) uint8"),
        (lambda: fb.align_face(np.zeros((0, 64, 64, 3), np.uint8)), ValueError, r"got \(0, 64, 64, 3\)"),
        (lambda: fb.align_face("nowhere.png"), ValueError, "nowhere.png: missing_file"),
        (lambda: fb.align_face(face_like(), size=8), ValueError, "align_face.size"),
        (lambda: fb.align_face(face_like(), eye_distance=2.0), ValueError, "align_face.eye_distance"),
        (lambda: fb.optical_flow(face_like(32), face_like(40)), ValueError, "differ in shape"),
        (lambda: fb.optical_flow(face_like(32) / 255, face_like(32)), ValueError, "onset crop must be"),
        (lambda: fb.optical_flow(face_like(8), face_like(8)), ValueError, "at least 16 pixels"),
        (lambda: ANY.optical_flow(face_like(32), face_like(32), method="hs"), ValueError, "unknown flow method 'hs'"),
        (lambda: fb.dynamic_image(np.zeros((3, 4, 4))), TypeError, "made of uint8 frames, got float64"),
        (lambda: fb.dynamic_image(np.zeros((0, 4, 4), np.uint8)), ValueError, "at least one frame"),
        (lambda: fb.dynamic_image([["a"]], scaled=False), TypeError, "whole numbers or floating"),
        (lambda: fb.rank_pooling_weights(0), ValueError, "at least one frame"),
        (lambda: ANY.rank_pooling_weights(3, "cubic"), ValueError, "unknown rank pooling rule 'cubic'"),
        (lambda: ANY.rendered_clip("joy"), ValueError, "no expression 'joy'.*expressions: happiness"),
        (lambda: fb.rendered_clip(size=20), ValueError, "rendered_clip.size"),
        (lambda: fb.create_model("ststnett", 3), ValueError, "ststnet"),
        (lambda: fb.create_model("ststnet", 3), ValueError, "pass shapes="),
    ],
)
def test_what_is_wrong_is_said(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_rendered_clips_repeat_and_differ(clip: api.RenderedClip) -> None:
    again = fb.rendered_clip("happiness")
    assert np.array_equal(again.frames, clip.frames) and again.apex == clip.apex
    other = fb.rendered_clip("surprise", seed=1, size=120)
    assert other.frames.shape == (24, 120, 120, 3) and other.emotion == "surprise"


def test_coloured_crops_give_the_flow_of_grey_ones(clip: api.RenderedClip) -> None:
    colour, grey = (fb.align_face(clip.frames[[clip.onset, clip.apex]], colour=asked) for asked in (True, False))
    difference = fb.optical_flow(*colour) - fb.optical_flow(*grey)
    assert np.abs(difference[:2]).mean() < 0.05, "grey before or after the warp: rounding alone"


def test_models_are_those_of_the_registry() -> None:
    assert fb.list_models() == list_models()
    model = fb.create_model("majority", 3, seed=1)
    assert type(model).__name__ == "Majority"


# --- tasks


def test_a_task_is_a_data_set_with_folds(project: Path) -> None:
    rows = write_task(paths.task("tiny"))
    task = fb.load_task("tiny")
    stored = load_clips(paths.task("tiny"), ["frames", "dynamic_image", "flow"])
    assert (len(task), task.clip_ids, task.subjects) == (len(rows), stored.clip_ids, stored.subjects)
    assert task.name == "tiny" and task.arithmetic in ("pinned", "native") and task.shapes == stored.shapes
    for k in (0, len(task) - 1):
        inputs, label = task[k]
        assert label == stored.labels[k] and set(inputs) == set(stored.inputs)
        assert all(np.array_equal(inputs[name], values[k]) for name, values in stored.inputs.items())
    assert task.inputs["frames"].dtype == torch.uint8 and task.inputs["flow"].dtype == torch.float32
    folds = leave_one_subject_out(dict(zip(task.clip_ids, task.subjects, strict=True)))
    assert [
        (fold.subject, tuple(task.clip_ids[k] for k in fold.train), tuple(task.clip_ids[k] for k in fold.test))
        for fold in task.folds()
    ] == [(fold.name, fold.train, fold.test) for fold in folds]
    batches = list(DataLoader(Subset(task, task.folds()[0].train), batch_size=5))
    assert tuple(batches[0][0]["frames"].shape) == (5, 4, 1, 16, 16)
    assert sum(len(labels) for _, labels in batches) == 12


def test_inputs_and_project_can_be_chosen(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(paths.task("tiny"))
    monkeypatch.chdir(project.parent)
    assert set(fb.load_task("tiny", inputs=["flow"], project=project).inputs) == {"flow"}
    with pytest.raises(ValueError, match=r"task 'tiny' gives no 'flows' \(did you mean 'flow'\?\); it gives frames, "):
        fb.load_task("tiny", inputs=["flows"], project=project)
    with pytest.raises(ValueError, match=r"no task 'tinny' \(did you mean 'tiny'\?\), or .* tasks made here: tiny\."):
        fb.load_task("tinny", project=project)
    with pytest.raises(ValueError, match="tasks made here: none"):
        fb.load_task("tiny")


def test_data_of_unpinned_stages_are_labelled(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_task(paths.task("tiny"))
    table = shards.read_table(paths.task("tiny") / "clips.parquet", fb.prep.task.table.TASK)
    monkeypatch.setattr(shards, "arithmetic", lambda: "native")
    parts = [
        table.filter([name == one for name in table.column("subject").to_pylist()])
        for one in sorted(set(table.column("subject").to_pylist()))
    ]
    shards.write_subjects(paths.task("tiny") / "clips.parquet", shards.marked(table.schema), parts)
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert fb.load_task("tiny").arithmetic == "native"


# --- scores


def test_evaluate_takes_names_as_pandas_holds_them() -> None:
    true, pred, subjects = ["a", "b", "a", "b"], ["a", "b", "b", "b"], ["s1", "s1", "s2", "s2"]
    frame = pd.DataFrame({"true": pd.Categorical(true), "pred": np.array(pred, dtype=object), "subject": subjects})
    columns = (frame["true"], frame["pred"], frame["subject"])
    assert fb.evaluate(*columns).metrics == fb.evaluate(true, pred, subjects).metrics


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_evaluate_says_what_score_says(seed: int, names: bool) -> None:
    rng = np.random.default_rng(seed)
    true = np.concatenate([np.arange(3), rng.integers(0, 3, 27)])
    pred = np.where(rng.uniform(size=30) < 0.6, true, rng.integers(0, 3, 30))
    subjects = [f"s{k}" for k in rng.integers(0, 6, 30)]
    words = np.array(["a", "b", "c"])
    try:
        result = fb.evaluate(words[true] if names else true, words[pred] if names else pred.tolist(), subjects)
    except ValueError as error:
        assert "resample" in str(error) or "subject" in str(error)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.csv"
        lines = [f"{s},{t},{p}" for s, t, p in zip(subjects, true, pred, strict=True)]
        path.write_text("\n".join(["subject,y_true,y_pred", *lines]), encoding="utf-8")
        report = json.loads(CliRunner().invoke(app, ["score", str(path), "--json"]).stdout)["figures"]["all"]
    for metric, found in report.items():
        one = result[metric]
        assert one.value == found["value"]
        if found["low"] is not None:
            assert (one.low, one.high, one.clips, one.subjects) == tuple(
                found[key] for key in ("low", "high", "clips", "subjects")
            )


def test_evaluate_prints_itself_and_takes_repetitions_tensors_and_classes() -> None:
    true, pred, subjects = [0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 0, 1], [1, 1, 2, 2, 3, 3]
    result = fb.evaluate(torch.tensor(true), np.array([pred, true]), subjects, classes=["no", "yes"], level=0.9)
    assert result.classes == ("no", "yes") and len(result.measures) == 2 and result["uf1"].repetitions == 2
    assert result["accuracy"].value == pytest.approx((5 / 6 + 1) / 2)
    lines = str(result).splitlines()
    assert lines[0].startswith("UF1 ") and "90% intervals (BCa) of a bootstrap over subjects" in lines[-1]
    assert lines[-1].startswith("6 clips of 3 subjects") and lines[-1].endswith(f"arithmetic {result.arithmetic}")
    alone = fb.evaluate(true, pred, [7] * 6)
    assert np.isnan(alone["uf1"].low) and alone["uf1"].value == pytest.approx(29 / 35)
    assert alone.why_no_interval is not None and "at least two" in str(alone)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1], [0, 1, 1], [1, 2, 3]), {}, r"evaluate: y_true has shape \(2,\), y_pred \(3,\)"),
        (([0, 1], [0.2, 0.8], [1, 2]), {}, "y_pred holds 0.2, expected whole numbers or names"),
        (([0, 1], [0, 2], [1, 2]), {}, "no clip is labelled 2: UF1 and UAR are not defined"),
        (([0, 1], [0, 7], [1, 2]), {"classes": ["a", "b"]}, "item 1: prediction '7' is no class; classes: a, b"),
        (([0, 1], [0, 1], [1, 2]), {"level": 95}, "level=95, expected a share between 0 and 1"),
        (([0, 1], [0, 1], [[1, 2]]), {}, r"groups has shape \(1, 2\)"),
    ],
)
def test_evaluate_refuses(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fb.evaluate(*arguments, **options)
