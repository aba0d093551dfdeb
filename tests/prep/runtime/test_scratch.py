"""Scratch: whole units or none, resume under the same key alone, one process at a time, what is swept."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.prep.runtime import scratch as module
from fdpbench.prep.runtime.durable import dvc_hash
from fdpbench.prep.runtime.scratch import (
    Scratch,
    folder_name,
    hash_listing,
    key_of,
    link_tree,
    open_scratch,
)

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.usefixtures("project")


def build(scratch: Scratch, name: str, text: str = "whole") -> None:
    (scratch.temporary(name) / "value").write_text(text)
    scratch.finish(name)


def units_of(stage: str, key: str) -> list[str]:
    folder = Path(".scratch") / stage / key / "units"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def write_folder(staging: Path) -> None:
    staging.mkdir()
    (staging / "x").write_text("new")


def write_new(staging: Path) -> None:
    staging.write_text("new")


def publish(scratch: Scratch, out: str = "data/out") -> None:
    scratch.publish({Path(out): write_folder})


def test_a_unit_is_there_when_it_is_finished() -> None:
    with open_scratch("s", "k") as scratch:
        folder = scratch.temporary("casme2/sub01/EP02 01f")
        (folder / "value").write_text("half")
        assert not scratch.has("casme2/sub01/EP02 01f")
        scratch.finish("casme2/sub01/EP02 01f")
        assert scratch.has("casme2/sub01/EP02 01f")
        assert scratch.missing(["x", "casme2/sub01/EP02 01f", "a"]) == ["x", "a"]


@pytest.mark.parametrize("name", ["../../outside", "/etc/x", "a/../b", "ü/é", "a%2Fb", "con:*?"])
def test_any_name_stays_inside_and_is_its_own(name: str) -> None:
    with open_scratch("s", "k") as scratch:
        build(scratch, name)
        assert scratch.unit(name).resolve().parent == (scratch.folder / "units").resolve()
        assert scratch.unit(name) != scratch.unit("a/b")
        assert scratch.has(name)


@pytest.mark.parametrize("name", ["x" * 241, "CASME/" + "\u60ca" * 28, "a/b" * 400, "." * 81], ids=len)
def test_long_names_are_folders_too(name: str) -> None:
    """Quoted, a Chinese sign takes nine bytes, and a folder's name may have 255."""
    with open_scratch("s", "k") as scratch:
        build(scratch, name)
        build(scratch, name + "2", "other")
        assert (scratch.unit(name) / "value").read_text() == "whole"
        assert (scratch.unit(name + "2") / "value").read_text() == "other"
    with open_scratch("s", "k") as scratch:
        assert scratch.has(name) and scratch.missing([name, name + "3"]) == [name + "3"]


@given(st.text(min_size=1), st.text(min_size=1))
def test_folder_names_are_short_and_their_own(first: str, second: str) -> None:
    for repeated in (1, 100):
        names = [folder_name(name * repeated) for name in (first, second)]
        assert all(re.fullmatch(r"[A-Za-z0-9_~%=-]{1,240}", name) for name in names)
        assert (names[0] == names[1]) == (first * repeated == second * repeated)


@pytest.mark.parametrize("name", [".", ".."])
def test_dots_are_names_too(name: str) -> None:
    with open_scratch("s", "k") as scratch:
        assert not scratch.has(name)


def test_work_is_kept_for_the_same_key() -> None:
    with open_scratch("s", "k") as scratch:
        build(scratch, "a")
        (scratch.temporary("b") / "value").write_text("half")
    with open_scratch("s", "k") as scratch:
        assert scratch.has("a") and not scratch.has("b")
        assert list(scratch.temporary("b").iterdir()) == []


def test_another_key_drops_old_work() -> None:
    with open_scratch("s", "k1") as scratch:
        build(scratch, "a")
    with open_scratch("s", "k2") as scratch:
        assert not scratch.has("a")
    assert units_of("s", "k1") == []
    assert not (Path(".scratch") / "s" / "k1").exists()


def test_another_stages_unfinished_work_is_kept() -> None:
    with open_scratch("other", "k") as scratch:
        build(scratch, "a")
    with open_scratch("s", "k2"):
        pass
    assert units_of("other", "k") == ["a"]


def test_publish_replaces_a_whole_folder() -> None:
    out = Path("data/out")
    out.mkdir(parents=True)
    (out / "old").write_text("old")
    with open_scratch("s", "k") as scratch:
        publish(scratch)
    assert sorted(path.name for path in out.iterdir()) == ["x"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_publish_replaces_a_file_and_a_link() -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/kept").write_text("kept")
    Path("out").mkdir()
    Path("out/link").symlink_to("../elsewhere")
    Path("out/file").write_text("old")
    with open_scratch("s", "k") as scratch:
        scratch.publish({Path("out/file"): write_new, Path("out/link"): write_new})
    assert Path("out/file").read_text() == "new"
    assert Path("out/link").read_text() == "new" and not Path("out/link").is_symlink()
    assert Path("elsewhere/kept").read_text() == "kept"


def test_a_failed_build_leaves_the_old_output() -> None:
    out = Path("data/out")
    out.mkdir(parents=True)
    (out / "old").write_text("old")

    def fail(staging: Path) -> None:
        staging.mkdir()
        (staging / "half").write_text("half")
        raise ValueError("disk full")

    with pytest.raises(ValueError, match="disk full"), open_scratch("s", "k") as scratch:
        scratch.publish({out: fail})
    assert [path.name for path in out.iterdir()] == ["old"]
    assert not (Path(".scratch/s/k") / module.PUBLISHED).exists()
    with open_scratch("s", "k") as scratch:  # what it left does not get in the way
        publish(scratch)
    assert [path.name for path in out.iterdir()] == ["x"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def published(stage: str, key: str) -> None:
    """A stage that published its output."""
    with open_scratch(stage, key) as scratch:
        build(scratch, "a")
        publish(scratch, f"data/{stage}")


def record(stage: str, cached: bool = True, changed: str | None = None) -> None:
    """What DVC does when a stage has ended: content to its cache, hashes to dvc.lock."""
    found = {f"data/{stage}": changed or dvc_hash(Path(f"data/{stage}"))}
    for value in found.values() if cached else ():
        place = Path(".dvc/cache/files/md5") / value[:2] / value[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    outs = [{"path": path, "hash": "md5", "md5": value} for path, value in found.items()]
    Path("dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {stage: {"cmd": "x", "outs": outs}}}))


def test_recorded_work_is_swept_by_any_stage() -> None:
    published("s", "k")
    record("s")
    with open_scratch("t", "k"):
        assert not (Path(".scratch") / "s" / "k").exists()


def touched() -> None:
    Path("dvc.lock").write_text("schema: '2.0'\n")
    os.utime("dvc.lock", (time.time() + 1e6,) * 2)


@pytest.mark.parametrize(
    "lock",
    [
        lambda: None,
        touched,  # or checked out, or dated in the future
        lambda: Path("dvc.lock").write_text(""),
        lambda: Path("dvc.lock").write_text("schema: '2.0'\nstages:\n  s:\n    outs:\n    - path: 'da"),
        lambda: Path("dvc.lock").write_bytes(b"\xff\x00"),
        lambda: Path("dvc.lock").write_text("stages: [1, {outs: 3}]"),
        lambda: Path("dvc.lock").write_text("stages: {s: {outs: [{path: data/s}, 4]}, t: 1, u: {outs: 2}}"),
        lambda: record("s", changed="0" * 32 + ".dir"),  # another content, or another stage after a kill
        lambda: record("s", cached=False),  # as a fresh clone has it
    ],
)
@pytest.mark.parametrize("key", ["k", "other"])
def test_published_work_is_kept_until_dvc_has_recorded_this_very_output(key: str, lock: Callable[[], object]) -> None:
    published("s", "k")
    lock()
    with open_scratch("t", key):
        pass
    assert units_of("s", "k") == ["a"]
    with open_scratch("s", "k") as scratch:
        assert scratch.has("a")


def test_unpublished_work_is_kept_whatever_dvc_has_recorded() -> None:
    published("s", "k")
    record("s")
    (Path(".scratch/s/k") / module.PUBLISHED).unlink()
    with open_scratch("t", "k"):
        pass
    with open_scratch("s", "k") as scratch:
        assert scratch.has("a")


def test_a_cache_elsewhere_is_found() -> None:
    published("s", "k")
    record("s")
    Path(".dvc/cache").rename("elsewhere")
    Path(".dvc/config.local").write_text("[cache]\n    dir = ../elsewhere\n")
    with open_scratch("t", "k"):
        assert units_of("s", "k") == []


def test_hashes_are_those_that_dvc_computes() -> None:
    folder = Path("out")
    (folder / "deep").mkdir(parents=True)
    for name in ("b", "a é", "deep/z", "deep/a", "deep.txt"):
        (folder / name).write_text(name)
    subprocess.run(["git", "init", "--quiet", "."], check=True)
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    for command in (("init", "--quiet"), ("add", "--quiet", "out"), ("add", "--quiet", "params.yaml")):
        subprocess.run([sys.executable, "-m", "dvc", *command], check=True, env=environment)
    for name in ("out", "params.yaml"):
        assert yaml.safe_load(Path(f"{name}.dvc").read_text())["outs"][0]["md5"] == dvc_hash(Path(name))


def empty(unit: Path) -> None:
    (unit / "value").write_bytes(b"")


def flip(unit: Path) -> None:
    status = (unit / "value").stat()
    (unit / "value").write_text("whale")
    os.utime(unit / "value", ns=(status.st_atime_ns, status.st_mtime_ns))


def lose(unit: Path) -> None:
    (unit / "value").unlink()


def add(unit: Path) -> None:
    (unit / "more").write_text("x")


def lose_sums(unit: Path) -> None:
    (unit.parent.parent / "sums" / f"{unit.name}.json").unlink()


def tear_sums(unit: Path) -> None:
    (unit.parent.parent / "sums" / f"{unit.name}.json").write_text("{")


@pytest.mark.parametrize("damage", [empty, flip, lose, add, lose_sums, tear_sums])
def test_a_damaged_unit_is_discarded_by_name(damage: Callable[[Path], None], capsys: pytest.CaptureFixture) -> None:
    with open_scratch("s", "k") as scratch:
        for name in ("good", "0/bad.one"):
            build(scratch, name)
        damage(scratch.unit("0/bad.one"))
    with open_scratch("s", "k") as scratch:
        assert scratch.missing(["good", "0/bad.one"]) == ["0/bad.one"]
        build(scratch, "0/bad.one")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "s: 0/bad.one" in said and "done again" in said
    with open_scratch("s", "k") as scratch:
        assert scratch.missing(["good", "0/bad.one"]) == []
    assert capsys.readouterr().err == ""


def test_a_unit_is_on_disk_before_it_is_renamed(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def noted_rename(source: Path, target: Path) -> None:
        done.append(f"rename {Path(source).name}")
        rename(source, target)

    with open_scratch("s", "k") as scratch:
        (scratch.temporary("u") / "value").write_text("x")
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "rename", noted_rename)
        scratch.finish("u")
        assert done == ["value", "u", ".staging-u.json", "sums", "rename u", "units"]
        done.clear()
        publish(scratch)
        assert done[:4] == ["x", ".staging-out", "rename .staging-out", "data"]


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.units", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_second_process_waits_and_a_kill_frees_the_lock() -> None:
    holder = start("hold", "s", "k")
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    waiting = start("take", "s", "k")
    try:
        assert waiting.stderr is not None
        message = waiting.stderr.readline()  # said while the lock is held
        assert f"process {holder.pid} still works on this stage" in message
        assert f"kill {holder.pid}" in message
        time.sleep(0.3)
        assert waiting.poll() is None
        holder.kill()  # SIGKILL
        holder.communicate()
        out, _ = waiting.communicate(timeout=20)
        assert out.startswith("taken") and waiting.returncode == 0
    finally:
        for process in (holder, waiting):
            process.kill()
            process.communicate()


def test_stages_do_not_wait_for_each_other_nor_sweep_what_is_held() -> None:
    published("s", "k")
    holder = start("hold", "s", "k")
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        record("s")  # recorded, but in use
        with open_scratch("t", "k"):
            pass
        assert units_of("s", "k") == ["a"]
    finally:
        holder.kill()
        holder.communicate()


def test_the_key_depends_on_content_alone() -> None:
    assert key_of(a=1, b={"x": 1, "y": 2}) == key_of(b={"y": 2, "x": 1}, a=1)
    assert key_of(a=1) != key_of(a=2) != key_of(b=1)
    assert key_of(a="1") != key_of(a=1)


def test_a_listing_changes_with_its_files() -> None:
    file = Path("f")
    before = hash_listing([file])
    file.write_text("x")
    there = hash_listing([file])
    os.utime(file, ns=(1, 1))
    assert len({before, there, hash_listing([file]), hash_listing([]), hash_listing([file, file])}) == 5


def test_link_tree_reproduces_a_folder() -> None:
    Path("from/deep").mkdir(parents=True)
    Path("from/deep/file").write_text("x")
    link_tree(Path("from"), Path("to"))
    assert Path("to/deep/file").read_text() == "x"
    Path("from/deep/more").write_text("y")
    link_tree(Path("from/deep"), Path("to/other"))
    assert Path("to/other/more").read_text() == "y"


def test_link_tree_copies_where_links_are_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no hard links here")

    Path("from").mkdir()
    Path("from/file").write_text("x")
    monkeypatch.setattr(os, "link", refuse)
    link_tree(Path("from"), Path("to"))
    assert Path("to/file").read_text() == "x"
