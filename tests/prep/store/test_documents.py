"""JSON that stages leave for one another: whatever is in it, an error is one line that names the file."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from fdpbench.bench.report.html.data import releases_of
from fdpbench.bench.train.data import TaskInfo, load_task_info
from fdpbench.bench.train.provenance import KEYS, read_provenance
from fdpbench.prep.index.manifest import is_simulated
from fdpbench.prep.store import paths
from fdpbench.prep.store.documents import DocumentError, read_json, read_object

DAMAGED = {
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "an infinite number": b'{"a": 1e999}',
    "minus infinity": b'{"a": -1e400}',
    "Infinity": b'{"a": Infinity}',
    "NaN": b'{"a": [NaN]}',
    "a number of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a key twice": b'{"a": 1, "a": 2}',
    "cut": b'{"a": [1, 2',
    "empty": b"",
    "no text": b"\xff\xfe\x00\x01",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
}
NO_OBJECT = ("a list", "a number", "null")


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_one_error(name: str, tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(DocumentError, match=r"task\.json: .*; do this$"):
        read_object(path, "do this")
    if name in NO_OBJECT:
        assert read_json(path, "do this") == json.loads(DAMAGED[name])


def test_a_missing_or_enormous_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"none.json: cannot be read \(No such file"):
        read_json(tmp_path / "none.json", "do this")
    with (tmp_path / "long.json").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(DocumentError, match="1,000,000,000,000 bytes"):
        read_json(tmp_path / "long.json", "do this")


def test_sound_files_are_read_as_they_are(tmp_path: Path) -> None:
    content = {"a": [1, 2.5, "é", None, True], "b": {"c": -1e-300}}
    (tmp_path / "x.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_object(tmp_path / "x.json", "") == content


def task_info(path: Path) -> object:
    return load_task_info(path.parent)


def simulated(path: Path) -> object:
    return is_simulated("casme2")


def reported(path: Path) -> object:
    (paths.manifest("casme2") / "manifest.parquet").write_bytes(b"")
    return releases_of(["casme2"])


# How each file is read, and where it lies.
READERS: list[tuple[Callable[[Path], object], Path]] = [
    (task_info, Path("data/task/synthetic/task.json")),
    (simulated, paths.manifest("casme2") / "report.json"),
    (reported, paths.manifest("casme2") / "report.json"),
    (read_provenance, Path("artifacts/provenance/one.json")),
]


@pytest.mark.parametrize("name", DAMAGED)
def test_every_reader_names_its_file(name: str, project: Path) -> None:
    for read, path in READERS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DAMAGED[name])
        with pytest.raises(ValueError, match=path.name) as caught:
            read(path)
        assert "dvc repro" in str(caught.value)


@pytest.mark.parametrize("content", [{}, {"classes": 3}, {"classes": "abc"}, {"inputs": [1]}, {"task": "x", "more": 1}])
def test_a_description_of_other_content_is_refused(content: dict, project: Path) -> None:
    path = Path("data/task/synthetic/task.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"task\.json: .*expected"):
        load_task_info(path.parent)


def test_sound_descriptions_are_read(project: Path) -> None:
    folder = Path("data/task/synthetic")
    folder.mkdir(parents=True)
    info = TaskInfo("synthetic", ("a", "b"), ("flow",), 28, True, True, None, ("casme2",))
    (folder / "task.json").write_text(json.dumps(asdict(info)))
    assert load_task_info(folder) == info
    said = dict.fromkeys(KEYS)
    (folder / "provenance.json").write_text(json.dumps(said))
    assert read_provenance(folder / "provenance.json") == said


@pytest.mark.parametrize("name", ["nested lists", "an infinite number"])
def test_a_command_prints_one_line(name: str, project: Path) -> None:
    path = Path("data/task/synthetic/task.json")
    path.parent.mkdir(parents=True)
    path.write_bytes(DAMAGED[name])
    run = [sys.executable, "-m", "fdpbench", "evaluate"]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(run, capture_output=True, text=True, env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"})
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "task.json" in (done.stdout + done.stderr).replace("\n", "")
