"""Full disks and read-only folders: one line with path, free space and what to do; finished work is kept."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fdpbench.prep.runtime.command import command
from fdpbench.prep.runtime.disk import ADVICE, disk_fault
from fdpbench.prep.runtime.scratch import open_scratch
from fdpbench.prep.runtime.workers import Unit, UnitError, run_units
from tests.support import units

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("number", sorted(ADVICE))
def test_a_line_names_the_path_the_space_and_what_to_do(number: int, tmp_path: Path) -> None:
    line = disk_fault(OSError(number, os.strerror(number), str(tmp_path / "not/there")))
    assert line is not None and "\n" not in line
    assert line.startswith(f"{tmp_path}/not/there: ") and " MB free" in line and "run the same command again" in line


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "gone", "x"), TypeError("x"), OSError("CRC")])
def test_other_errors_keep_their_traceback(error: Exception) -> None:
    assert disk_fault(error) is None
    with pytest.raises(type(error)), command("x"):
        raise error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_in_a_worker(project: Path, capfd: pytest.CaptureFixture) -> None:
    work = [Unit(name, name) for name in ("a", "bad", "c")]
    with open_scratch("stage", "key") as scratch:
        with pytest.raises(UnitError, match=r"bad: .*the disk is full \(.* MB free\)"):
            list(run_units(work, units.fill_disk_on_bad, scratch, jobs=1))
        assert scratch.missing(unit.name for unit in work) == ["bad", "c"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_full_disk_in_a_command(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended, command("flow"):
        raise OSError(errno.ENOSPC, "No space left on device", "data/x")
    assert ended.value.code == 1
    assert "error flow" in capsys.readouterr().err.replace("\n", " ")


WRITERS = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from safetensors.numpy import save_file
from fdpbench.prep.store import shards
from fdpbench.prep.runtime.disk import disk_fault
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
values = np.random.default_rng(0).normal(size=10_000)
table = pa.table({"x": values})
for write in (
    lambda: Path("text").write_text("x" * 10_000),
    lambda: shards.write_table(table, Path("table")),
    lambda: save_file({"x": values}, "weights"),
):
    try:
        write()
    except Exception as error:
        print(disk_fault(error, Path("here")))
"""


def test_each_library_that_writes_is_understood(tmp_path: Path) -> None:
    """The system itself refuses: files may not grow."""
    done = subprocess.run(
        [sys.executable, "-c", WRITERS],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 3, done
    assert all("larger than the system allows" in line for line in lines), lines


def test_a_read_only_folder(tmp_path: Path) -> None:
    """Through the real command, as a user who may not write there."""
    folder = tmp_path / "p"
    folder.mkdir()
    script = "import os, sys; os.chdir(sys.argv[1])\n"
    script += (
        "from fdpbench.prep.runtime.command import command\nfrom fdpbench.prep.runtime.scratch import open_scratch\n"
    )
    script += "os.getuid() or os.setuid(65534)  # root may write anywhere\n"
    script += "with command('align'):\n    with open_scratch('s', 'k'): pass\n"
    for above in (folder, *folder.parents):
        if os.stat(above).st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    folder.chmod(0o555)
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done
    said = " ".join(done.stderr.split())
    assert "Traceback" not in said and "no permission" in said and "MB free" in said, said
