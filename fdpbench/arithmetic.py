"""The same arithmetic on every x86-64 processor with AVX2, so that the same seed gives the same bytes everywhere.

numpy, OpenBLAS, OpenCV, oneDNN, MKL and torch choose their code by the processor they find, and another choice
rounds otherwise. All of them can be told to take the code that every processor with AVX2 has, by environment
variables that they read once, when they are first imported. So every entry point calls `pin_arithmetic` before
its other imports; worker processes inherit the variables.

What the variables cannot reach stays out of the code that runs on a CPU: some functions of MKL's vector
mathematics (``torch.sqrt`` among them) and oneDNN's recurrent layers differ between processors all the same.
``tests/models/test_operators.py`` refuses them. Imports nothing of the project.
"""

from __future__ import annotations

import os
import platform
import sys
import warnings
from functools import cache
from pathlib import Path

__all__ = [
    "NATIVE",
    "ONE_THREAD",
    "PINS",
    "arithmetic",
    "pin_arithmetic",
    "pin_or_warn",
    "processor",
    "unpinned_notice",
]

NATIVE = "FDPBENCH_NATIVE"  # set to 1: leave the arithmetic to the libraries, and say so in tables

# One and two threads give different weights and different flow.
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
}

# Names of features are those of the pinned versions of numpy and OpenCV: tests/test_arithmetic.py asks both.
PINS = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Haswell",
    "OPENCV_CPU_DISABLE": "AVX512-SKX",  # where the processor has it: OpenCV prints a line where it has not
    "OPENCV_IPP": "disabled",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",
    **ONE_THREAD,
}

# Must not hold a user's own value where they are not pinned: the second contradicts its pin, and numpy will not start.
CLEARED = frozenset({"OPENCV_CPU_DISABLE", "NPY_ENABLE_CPU_FEATURES"})

LIBRARIES = ("numpy", "scipy", "cv2", "torch", "sklearn", "skimage")

CPU_INFO = Path("/proc/cpuinfo")

# The smoke profile on an emulated Nehalem (qemu-x86_64 -cpu Nehalem), a processor without AVX2, against a pinned one.
DIFFERENCE = (
    "Measured once without AVX2, on 12 clips: UF1 .37 for .66 (ststnet), .50 for .45 (lbp_top); fdp could not be "
    "trained, since torch 2.13 refuses some operations there"
)


def pin_arithmetic() -> None:
    """Set `PINS` in the environment of this process and its children; a user's own values are replaced.

    Nothing is set where ``FDPBENCH_NATIVE=1`` asks for the processor's own arithmetic, and on processors without
    AVX2, whose libraries would take instructions that are not there.

    Raises
    ------
    RuntimeError
        If a library was imported before, so that it has already chosen its code.
    """
    pins = _pins()
    if _native_wanted() or not pins or _set(pins):
        return
    early = [name for name in LIBRARIES if name in sys.modules]
    if early:
        raise RuntimeError(
            f"{', '.join(early)} imported before the arithmetic was pinned: call pin_arithmetic first, set "
            + " ".join(f"{name}='{value}'" for name, value in pins.items())
            + f" before Python starts, or accept other bytes with {NATIVE}=1"
        )
    for name in CLEARED.difference(pins):
        os.environ.pop(name, None)
    os.environ.update(pins)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # else every process warns that it found IPP disabled


def arithmetic() -> str:
    """``pinned``, or ``native`` where the libraries choose their code by the processor they find."""
    pins = _pins()
    return "pinned" if pins and _set(pins) and not _native_wanted() else "native"


def unpinned_notice() -> str | None:
    """What a command says first where its results will differ from other machines'; None where they will not."""
    if arithmetic() == "pinned":
        return None
    said = "the arithmetic is not pinned ({}): results will not be the same bytes as elsewhere"
    if _native_wanted():
        return said.format(f"{NATIVE} is set")
    return f"{said.format('this processor is not known to have AVX2 and FMA')}. {DIFFERENCE}"


@cache
def pin_or_warn() -> None:
    """Pin the arithmetic at the first use of the package from Python; warn once where that is too late.

    Nothing is said where ``FDPBENCH_NATIVE=1`` asks for the processor's own arithmetic. To be called by the functions
    that a user calls: the warning names the line that called them.
    """
    if _native_wanted():
        return
    try:
        pin_arithmetic()
        notice = unpinned_notice()
    except RuntimeError:
        loaded = ", ".join(name for name in LIBRARIES if name in sys.modules)
        notice = (
            f"{loaded} imported before fdpbench was first used: the arithmetic is not pinned, results are labelled "
            "`native` and may differ in their last digits from those of commands and of other machines. To pin it, "
            "begin with `from fdpbench.arithmetic import pin_arithmetic; pin_arithmetic()`; to accept it without this "
            f"warning, set {NATIVE}=1"
        )
    if notice is not None:
        warnings.warn(notice, stacklevel=3)


def processor() -> dict[str, str]:
    """Name and feature flags of the first processor, as Linux gives them; empty on other systems."""
    found: dict[str, str] = {}
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "flags"):
                found.setdefault(key.strip(), value.strip())
    return found


def _pins() -> dict[str, str]:
    """The variables to set on this processor: none without AVX2."""
    flags = set(processor().get("flags", "").split())
    if platform.machine() not in ("x86_64", "AMD64") or not {"avx2", "fma"} <= flags:
        return {}
    return {name: value for name, value in PINS.items() if name != "OPENCV_CPU_DISABLE" or "avx512f" in flags}


def _native_wanted() -> bool:
    return os.environ.get(NATIVE, "0") not in ("", "0")


def _set(pins: dict[str, str]) -> bool:
    return all(os.environ.get(name) == pins.get(name) for name in {*pins, *CLEARED})
