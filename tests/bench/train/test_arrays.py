"""Decoded inputs: the same arrays as from the task's table, decoded once per run, and not again after a kill."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import fdpbench.bench.train.arrays as module
import fdpbench.bench.train.stage
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.data import ClipSet, load_clips, load_each_subject
from fdpbench.bench.train.stage import train_run
from fdpbench.prep.runtime.scratch import Scratch
from fdpbench.prep.runtime.workers import Context
from fdpbench.prep.store import images
from fdpbench.prep.task.inputs import INPUTS
from tests.support.builders import run_of, stored, task_rows, torch_as_it_was, train_fold, write_task

# names that sort otherwise than their clips' ids begin, and clips that come in no order
SUBJECTS = ("r/s1", "r/s1-b", "r/s1.b", "other/s01")


@pytest.fixture
def task(project: Path) -> Path:
    rows = task_rows(SUBJECTS, side=24)
    write_task(project / "data/task/tiny", rows[::-1], inputs=tuple(INPUTS))
    return project / "data/task/tiny"


def same(found: Any, expected: Any) -> None:
    assert found.clip_ids == expected.clip_ids and found.subjects == expected.subjects
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert list(found.inputs) == list(expected.inputs)
    for name, array in expected.inputs.items():
        assert type(found.inputs[name]) is np.ndarray and found.inputs[name].base is None  # of this process alone
        assert found.inputs[name].dtype == array.dtype and found.inputs[name].flags.c_contiguous
        np.testing.assert_array_equal(found.inputs[name], array)


@pytest.mark.parametrize("held_out", SUBJECTS)
def test_arrays_are_those_of_the_table(task: Path, tmp_path: Path, held_out: str) -> None:
    clips = stored(task, tuple(INPUTS), tmp_path / "scratch")
    train, test = clips.of(set(SUBJECTS) - {held_out}), clips.of([held_out])
    assert set(train.folders) == set(SUBJECTS) - {held_out} and set(test.folders) == {held_out}
    assert not any(str(path).startswith(str(test.folders[held_out]) + "/") for path in train.folders.values())
    for names in (tuple(INPUTS), ("flow",), ()):
        same(train.load(names), load_clips(task, names, lambda subject: subject != held_out))
        same(test.load(names), load_clips(task, names, lambda subject: subject == held_out))


@pytest.mark.parametrize(
    ("protocol", "count", "inputs"),
    [("zero_shot", 1, ("frames",)), ("honest", 3, ("frames", "dynamic_image"))],
)
def test_a_fold_that_trains_nothing_reads_one_training_subject(
    protocol: str, count: int, inputs: tuple[str, ...], task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run_of("fdp")
    run = replace(plain, entry=plain.entry.model_copy(update={"protocol": protocol}))
    read = []

    def stop(_: Any, clips: ClipSet, *rest: Any) -> None:
        read.append((set(clips.subjects), tuple(clips.inputs)))
        raise RuntimeError("stopped")

    monkeypatch.setattr(fdpbench.bench.train.stage, "fit", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        train_fold(run, task, tmp_path / "out", SUBJECTS[0])
    ((subjects, names),) = read
    assert len(subjects) == count and subjects < {*SUBJECTS[1:], ""} and names == inputs


@pytest.mark.parametrize("change", [{"shape": (6, 3, 14, 14)}, {"dtype": np.float64}, {"shape": (5, 3, 28, 28)}])
def test_arrays_that_do_not_fit_are_refused(task: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    clips = stored(task, ("flow",), tmp_path / "scratch")
    file = clips.folders["r/s1-b"] / "flow.npy"
    plain = np.load(file, allow_pickle=False)
    np.save(file, np.zeros(change.get("shape", plain.shape), change.get("dtype", plain.dtype)), allow_pickle=False)
    with pytest.raises(ValueError, match=r"r/s1-b: flow of .*expected 6 clips of \(3, 28, 28\) float32"):
        clips.load(("flow",))


def test_scratch_with_arrays_is_removed_when_dvc_has_recorded_the_run(
    task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded when dvc.lock holds what was published, and so nothing is published that DVC does not know."""
    monkeypatch.setattr(fdpbench.bench.train.stage, "run_units", run_here)
    train_run(run_of("majority"), task, Artifacts("it"), 1, 1)
    (published,) = Path(".scratch/train-it").glob("*/published")
    dvc = yaml.safe_load((Path(__file__).parents[3] / "dvc.yaml").read_text(encoding="utf-8"))
    outs = [path.replace("${key}", "it") for out in dvc["stages"]["train"]["do"]["outs"] for path in out]
    assert sorted(json.loads(published.read_bytes())) == sorted(outs)
    assert Artifacts("it").machine.is_file()


def run_here(units: Any, function: Any, scratch: Scratch, jobs: int, on_report: Any) -> Any:
    """`run_units` without worker processes."""
    for unit in units:
        folder = scratch.temporary(unit.name)
        function(unit.payload, Context(folder, partial(on_report, unit), 0))
        scratch.finish(unit.name)
        yield unit.name


def test_a_run_decodes_each_image_once(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = images.decode_png

    def noted(png: bytes) -> Any:
        decoded.append(png)
        return decode(png)

    monkeypatch.setattr(images, "decode_png", noted)
    monkeypatch.setattr(fdpbench.bench.train.stage, "run_units", run_here)
    run = run_of("cnn3d")
    with torch_as_it_was():
        train_run(run, task, Artifacts("it"), 1, 1)
    assert len(decoded) == 4 * len(load_clips(task, ()))  # frames of each clip
    decoded.clear()
    train_run(run, task, Artifacts("it"), 1, 1)  # all folds are kept
    assert decoded == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_that_was_cut_off_decodes_again_what_was_damaged_since(
    task: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, damaged: bool
) -> None:
    """And only then; the bytes are those of a run that was not cut off."""

    def checkpoints() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in Artifacts("it").checkpoints.iterdir()}

    def cut_off(*given: Any) -> Any:
        yield next(run_here(*given))
        raise KeyboardInterrupt

    decoded: list[str] = []

    def noted(folder: Path, inputs: Any) -> Any:
        for clips in load_each_subject(folder, inputs):
            decoded.append(clips.subjects[0])
            yield clips

    monkeypatch.setattr(module, "load_each_subject", noted)
    monkeypatch.setattr(fdpbench.bench.train.stage, "run_units", run_here)
    with torch_as_it_was():
        train_run(run_of("ststnet"), task, Artifacts("it"), 1, 1)
        whole = checkpoints()
        shutil.rmtree(".scratch")
        monkeypatch.setattr(fdpbench.bench.train.stage, "run_units", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train_run(run_of("ststnet"), task, Artifacts("it"), 1, 1)
        assert sorted(decoded) == sorted(2 * SUBJECTS)
        decoded.clear()
        (file,) = Path(".scratch").rglob("r%2Fs1-b/flow.npy")
        if damaged:
            data = file.read_bytes()
            file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        monkeypatch.setattr(fdpbench.bench.train.stage, "run_units", run_here)
        train_run(run_of("ststnet"), task, Artifacts("it"), 1, 1)
    assert sorted(decoded) == (sorted(SUBJECTS) if damaged else []) and checkpoints() == whole
    said = "inputs, which an earlier run finished, is damaged on disk (r%2Fs1-b/flow.npy)" in capfd.readouterr().err
    assert said == damaged
