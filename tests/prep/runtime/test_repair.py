"""`fdpbench repair`: DVC's own files that a kill has cut short are dropped by name, whole ones are left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fdpbench.prep.runtime import repair as module
from fdpbench.prep.runtime.repair import repair
from tests.support.project import ROOT

pytestmark = pytest.mark.usefixtures("project")

WHOLE = (ROOT / "dvc.lock").read_bytes()
RWLOCK = json.dumps({"write": {"/x/out": {"pid": 1, "cmd": "dvc repro"}}, "read": {}}).encode()
FILES = {"dvc.lock": WHOLE, ".dvc/tmp/rwlock": RWLOCK}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


def write(name: str, content: bytes) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_whole_files_are_left_alone() -> None:
    for name, content in FILES.items():
        write(name, content)
    assert repair() == []
    assert {name: Path(name).read_bytes() for name in FILES} == FILES


def test_nothing_is_there() -> None:
    assert repair() == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b" \n", b"\0" * 100, b"{", b"[1, 2", b"\xff\xfe", b"3", b'{"stages": 3}'])
def test_a_file_that_cannot_be_read_is_dropped_by_name(name: str, content: bytes) -> None:
    path = write(name, content)
    other = next(key for key in FILES if key != name)
    write(other, FILES[other])
    (line,) = repair()
    assert line.startswith(f"{name}: ") and "dropped" in line
    assert not path.exists() and Path(other).read_bytes() == FILES[other]


def test_cut_anywhere_dvc_can_read_what_is_left() -> None:
    """Cut where it still is a lock file, only stages are missing, which DVC runs again."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA

    head = WHOLE[:6000]
    for length in range(0, len(head), 97):
        path = write("dvc.lock", head[:length])
        lines = repair()
        assert bool(lines) != path.exists()
        if path.exists():
            COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(path.read_bytes()))


def test_a_file_that_is_just_being_written_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("dvc.lock", b"")
    monkeypatch.setattr(module.time, "sleep", lambda seconds: write("dvc.lock", WHOLE))
    assert repair() == [] and path.read_bytes() == WHOLE


def test_the_command_says_what_it_dropped() -> None:
    write("dvc.lock", b"")
    done = subprocess.run(
        [sys.executable, "-m", "fdpbench", "repair"],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "dvc.lock: empty" in " ".join((done.stdout + done.stderr).split())


def test_make_repairs_before_it_runs_dvc() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    for number, line in enumerate(lines):
        if "dvc repro" in line and not line.startswith("#") and "build/smoke" not in line:
            assert "fdpbench repair" in lines[number - 1] + line, line
