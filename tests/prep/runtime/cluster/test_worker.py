"""A worker without Ray: its process, what it is sent, what it says, and the folder that goes when it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import psutil
import pytest

from fdpbench.arithmetic import arithmetic
from fdpbench.prep.runtime.cluster import parcels as module
from fdpbench.prep.runtime.cluster.fingerprint import fingerprint
from fdpbench.prep.runtime.cluster.node_folder import FOLDER, MISSING, DamagedError, NodeFolder
from fdpbench.prep.runtime.cluster.parcels import Parcels
from fdpbench.prep.runtime.cluster.worker import VARIABLES, Worker
from tests.support import units

ROOT = Path(__file__).resolve().parents[4]

pytestmark = pytest.mark.usefixtures("project")

Order = tuple[str, bytes, tuple[str, ...], tuple[tuple[str, str], ...], tuple[tuple[str, int], ...]]


class Store:
    """In place of Ray's object store."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.got: list[int] = []

    def put(self, content: bytes) -> int:
        self.kept.append(content)
        return len(self.kept) - 1

    def get(self, reference: int) -> bytes:
        self.got.append(reference)
        return self.kept[reference]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def started(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Worker]]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("FDPBENCH_CLUSTER", "nowhere:1")
    (tmp_path / "node").mkdir()
    workers = []

    def start(run: str = "run", native: bool = False) -> Worker:
        workers.append(Worker(run, native, store.get, tmp_path / "node"))
        return workers[-1]

    yield start
    for worker in workers:
        if worker._process:
            worker._process.kill()
            worker._process.wait()


def order(function: Callable[..., Any], payload: Any, name: str = "u", **reads: Any) -> Order:
    work = bytes(ForkingPickler.dumps((function, payload)))
    return name, work, reads.get("sent", ()), reads.get("linked", ()), reads.get("looked_for", ())


def test_units_are_built_by_one_process_and_come_back_as_bytes(started: Callable[..., Worker]) -> None:
    worker = started()
    assert worker.hello((), ()) == fingerprint((), ()) | {"arithmetic": "pinned"}
    process = worker._process
    events = list(worker.work({}, [order(units.write, "a", "1"), order(units.note_threads, "b", "2")]))
    done = [(name, files) for kind, name, files, _ in events if kind == "done"]
    assert done == [("1", {"value": b"aa"}), ("2", {"value": b"1"})]  # and so for the threads
    assert worker._process is process and process is not None


def test_its_arithmetic_is_pinned_whatever_the_nodes_shell_said(started: Callable[..., Worker]) -> None:
    assert "FDPBENCH_CLUSTER" in VARIABLES and arithmetic() == "native"  # by the threads that it asked for
    assert started().hello((), ())["arithmetic"] == "pinned"
    assert started("other", native=True).hello((), ())["arithmetic"] == "native"


def test_a_failure_is_said_with_its_traceback(started: Callable[..., Worker]) -> None:
    events = list(started().work({}, [order(units.raise_on_bad, "bad"), order(units.write, "a", "2")]))
    ((kind, name, said, traced),) = events
    assert (kind, name, said) == ("failed", "u", "RuntimeError: this clip cannot be read")
    assert "in raise_on_bad" in traced


def test_a_unit_that_kills_its_process_is_said_and_the_next_has_another(started: Callable[..., Worker]) -> None:
    worker = started()
    ((kind, name, said, _),) = worker.work({}, [order(units.kill_on_bad, "bad")])
    assert (kind, name) == ("died", "u") and said.startswith("exit code -9")
    assert [event[0] for event in worker.work({}, [order(units.write, "a")])] == ["done"]


def test_work_of_a_function_that_is_not_there_fails_by_name(started: Callable[..., Worker]) -> None:
    name, work, *rest = order(units.write, "a")
    ((kind, _, said, _),) = started().work({}, [(name, work.replace(b"units", b"stinu"), *rest)])  # type: ignore[list-item]
    assert kind == "failed" and "stinu" in said


def test_files_are_sent_once_in_parts_and_found_under_their_names(
    started: Callable[..., Worker], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 1000)
    content = os.urandom(3500)
    Path("data/task/t/more").mkdir(parents=True)
    Path("data/task/t/clips").write_bytes(content)
    Path("data/task/t/more/empty").write_bytes(b"")
    Path("data/none").mkdir()
    parcels = Parcels(store.put)
    roots = ("data/task/t", "data/none", "data/task/t/clips")
    sent = {root: parcels.of(root) for root in roots}
    assert parcels.of("data/task/t") is sent["data/task/t"]
    assert max(map(len, store.kept)) == 1000
    for worker in (started(), started()):  # of one node
        work = [order(units.list_files, "data", str(k), sent=roots) for k in range(2)]
        for _, _, files, _ in worker.work(sent, work):
            listed = files["value"].decode().splitlines()
            assert listed == ["data/none/", "data/task/t/clips 3500", "data/task/t/more/empty 0"]
    assert len(store.got) == len(set(store.got)) == 4


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = NodeFolder("run", tmp_path)
    with pytest.raises(DamagedError, match="data/x: damaged on its way"):
        folder.fetch("data/x", [("data/x", "0" * 64, lambda: [b"content"])])
    assert not (folder.project / "data/x").exists()


def test_raw_frames_are_reached_or_named(started: Callable[..., Worker], tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jpg").write_text("12345")
    linked = (("data/raw/casme2", str(raw)),)
    name = "data/raw/casme2/a.jpg"

    def said(looked_for: tuple[tuple[str, int], ...], linked: Any = linked) -> tuple[str, str]:
        (event,) = started().work({}, [order(units.list_files, "data", linked=linked, looked_for=looked_for)])
        return event[0], str(event[2])

    assert said(((name, 5), ("data/raw/casme2", FOLDER), ("data/raw/casme2/none.jpg", MISSING)))[0] == "done"
    assert said(((name, 6),)) == ("unreachable", f"{name} ({raw / 'a.jpg'}) is another file there")
    kind, text = said((("data/raw/casme2/b.jpg", 5),))
    assert kind == "unreachable" and "b.jpg) is not there" in text
    kind, text = said((), (("data/raw/samm", "/nowhere"),))
    assert (kind, text) == ("unreachable", "data/raw/samm (/nowhere) is not there")


def test_reports_are_thinned(started: Callable[..., Worker]) -> None:
    events = list(started().work({}, [order(units.report_often, 2.5)]))
    reports = [content for kind, _, content, _ in events if kind == "report"]
    kind, _, _, seconds = events[-1]
    assert kind == "done" and 1 <= len(reports) <= seconds  # of 250


def test_the_folder_goes_when_its_last_worker_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from fdpbench.prep.runtime.cluster.node_folder import NodeFolder\n"
        "folder = NodeFolder('run', Path(sys.argv[1])); (folder.project / 'face').write_text('x')\n"
        "print(folder.folder, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    workers = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    places = {Path(worker.stdout.readline().strip()) for worker in workers if worker.stdout}
    (folder,) = places
    assert folder.stat().st_mode & 0o777 == 0o700
    workers[0].kill()
    workers[0].wait()
    time.sleep(0.5)
    assert (folder / "project/face").is_file()
    workers[1].kill()
    workers[1].wait()
    end = time.monotonic() + 20
    while folder.exists():
        assert time.monotonic() < end, "the folder was left"
        time.sleep(0.05)
    for worker in workers:
        worker.communicate()
    alive = [process for process in psutil.process_iter(["cmdline"]) if str(folder) in (process.info["cmdline"] or [])]
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
