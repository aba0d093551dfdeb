"""Scratch: whole units or none, resume under the same key alone, one process at a time, what is swept."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prep import scratch as module
from prep.scratch import Scratch, hash_code, hash_file, hash_listing, key_of, link_tree, open_scratch, versions

ROOT = Path(__file__).resolve().parent.parent

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


def published(stage: str, key: str, age: float) -> None:
    """A stage that published ``age`` seconds before now."""
    with open_scratch(stage, key) as scratch:
        build(scratch, "a")
        publish(scratch, f"data/{stage}")
    marker = Path(".scratch") / stage / key / module.PUBLISHED
    moment = time.time() - age
    os.utime(marker, (moment, moment))


def dvc_lock(age: float) -> None:
    Path("dvc.lock").write_text("")
    moment = time.time() - age
    os.utime("dvc.lock", (moment, moment))


@pytest.mark.parametrize("key", ["k", "other"])
def test_published_work_is_kept_until_dvc_has_recorded_it(key: str) -> None:
    published("s", "k", age=10)
    dvc_lock(age=20)
    with open_scratch("t", key):
        pass
    assert units_of("s", "k") == ["a"]
    with open_scratch("s", "k") as scratch:
        assert scratch.has("a")


def test_published_work_is_kept_without_a_lock_file() -> None:
    published("s", "k", age=10)
    with open_scratch("t", "k"):
        pass
    assert units_of("s", "k") == ["a"]


def test_recorded_work_is_swept_by_any_stage() -> None:
    published("s", "k", age=20)
    dvc_lock(age=10)
    with open_scratch("t", "k"):
        assert not (Path(".scratch") / "s" / "k").exists()


def test_unpublished_work_is_kept_whatever_dvc_has_recorded() -> None:
    with open_scratch("s", "k") as scratch:
        build(scratch, "a")
    dvc_lock(age=-10)
    with open_scratch("t", "k"):
        pass
    with open_scratch("s", "k") as scratch:
        assert scratch.has("a")


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.units", *arguments],
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
    published("s", "k", age=20)
    holder = start("hold", "s", "k")
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        dvc_lock(age=10)  # recorded, but in use
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


def test_code_is_hashed_by_content() -> None:
    assert set(hash_code("prep/schema.py", "prep/shards.py")) == {"prep/schema.py", "prep/shards.py"}
    assert hash_code("prep/schema.py")["prep/schema.py"] == hash_file(ROOT / "prep/schema.py")
    with pytest.raises(FileNotFoundError):
        hash_code("prep/nowhere.py")


def test_a_listing_changes_with_its_files() -> None:
    file = Path("f")
    before = hash_listing([file])
    file.write_text("x")
    there = hash_listing([file])
    os.utime(file, ns=(1, 1))
    assert len({before, there, hash_listing([file]), hash_listing([]), hash_listing([file, file])}) == 5


def test_versions_are_those_installed() -> None:
    import numpy

    assert versions("numpy") == {"numpy": numpy.__version__}


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
