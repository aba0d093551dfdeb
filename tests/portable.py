"""The pipeline in one process, for emulators: `python -m tests.portable FOLDER` runs every stage and prints hashes.

qemu-user emulates the process it starts, while that one's children run on the machine itself. So stages run one after
the other in this process, and the workers that they start are started by the emulator too: FDPBENCH_EMULATOR is its
command. Every process that imports this module, workers among them, first asks the processor for its name, and ends
if it is not the one that FDPBENCH_EMULATED names.
"""

from __future__ import annotations

from prep.arithmetic import pin_arithmetic

pin_arithmetic()

# ruff: noqa: E402
import ctypes
import hashlib
import json
import mmap
import multiprocessing
import os
import shlex
import sys
from pathlib import Path

EMULATOR, EMULATED = "FDPBENCH_EMULATOR", "FDPBENCH_EMULATED"

# cpuid as a function of (leaf, address of four 32-bit registers); /proc/cpuinfo always shows the machine's own
CPUID = bytes.fromhex("53 89f8 31c9 4989f0 0fa2 418900 41895804 41894808 4189500c 5b c3")


def processor_name() -> str:
    """Brand of the processor that this process runs on, emulated or not."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(CPUID)
    registers = (ctypes.c_uint32 * 4)()
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    cpuid = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_void_p)(address)
    name = b""
    for leaf in (0x80000002, 0x80000003, 0x80000004):
        cpuid(leaf, ctypes.addressof(registers))
        name += bytes(registers)
    return name.rstrip(b"\0 ").decode()


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of everything that the stages wrote, by path, in order of path."""
    found = {}
    for place in ("data", "artifacts", "results"):
        for path in sorted((folder / place).rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and not name.startswith("artifacts/machine/"):
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def run_pipeline() -> None:
    """Run every stage of params.yaml in the working directory, in the order of dvc.yaml, one worker at a time."""
    from bench.cli import app as bench
    from prep.cli import app as prep
    from prep.params import read_params

    params = read_params()
    stages = [(prep, "synthesize", "--jobs=1"), (prep, "index", "synthetic"), (prep, "align", "synthetic", "--jobs=1")]
    stages += [(prep, "flow", "synthetic"), (prep, "dynamic", "synthetic"), (prep, "task", "synthetic")]
    stages += [(bench, "features", run, "--jobs=1") for run in params["feature_runs"]]
    stages += [(bench, "train", run, "--jobs=1") for run in (*params["runs"], *params["feature_runs"])]
    stages += [(bench, "tables"), (bench, "gallery"), (bench, "report")]
    for app, *arguments in stages:
        print(*arguments, file=sys.stderr, flush=True)
        app(arguments, standalone_mode=False)


wanted = os.environ.get(EMULATED)
if wanted and wanted not in processor_name():
    raise SystemExit(f"this process runs on {processor_name()}, not on {wanted}")

if __name__ == "__main__":
    os.chdir(sys.argv[1])
    if os.environ.get(EMULATOR):
        wrapper = Path("python.sh").absolute()
        wrapper.write_text(f'#!/bin/sh\nexec {os.environ[EMULATOR]} {shlex.quote(sys.executable)} "$@"\n')
        wrapper.chmod(0o755)
        multiprocessing.set_executable(str(wrapper))
    run_pipeline()
    print(json.dumps(hashes(Path()), indent=0))
