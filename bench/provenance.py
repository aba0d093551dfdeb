"""What a run's predictions were made of, kept beside them: no clock and no names of places, so that it repeats.

The stage `train` writes it when a run is complete, the report prints it. What decides whether kept folds may
be used again (`bench.run`) is written down as it is: task data, code, settings, packages, device.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prep.documents import read_object

__all__ = ["machine", "read_provenance", "write_provenance"]

CPU_INFO = Path("/proc/cpuinfo")
KEYS = {"command", "run", "settings", "train", "data", "code", "versions", "hardware", "machine"}


def machine(device: str) -> dict[str, str]:
    """What rounds a result: processor, architecture, system and Python; the card, where it trained.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``.
    """
    libc = " ".join(platform.libc_ver()).strip()
    found = {
        "processor": _processor(),
        "system": " ".join(filter(None, (platform.system(), platform.machine(), libc))),
        "python": platform.python_version(),
    }
    if device == "cuda":
        import torch

        found["card"] = torch.cuda.get_device_name(0)
    return found


def _processor() -> str:
    """Name of the processor's model; Linux does not give it to `platform`."""
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def write_provenance(path: Path, run: str, device: str, made_of: Mapping[str, Any]) -> None:
    """Write a run's provenance as JSON.

    Parameters
    ----------
    path
        File to write.
    run
        Name of the run.
    device
        ``cpu`` or ``cuda``.
    made_of
        ``run``, ``settings``, ``train``, ``data`` (SHA-256 by file read), ``code`` (SHA-256 by file), ``versions``
        (by package) and ``hardware`` (device and precision).
    """
    content = {"command": f"python -m bench train {run}", **made_of, "machine": machine(device)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_provenance(path: Path) -> dict[str, Any]:
    """Read what `write_provenance` wrote.

    Raises
    ------
    ValueError
        If the file is missing, or is not what the stage writes.
    """
    if not path.is_file():
        raise ValueError(f"{path} not found: the run is not trained yet, or by an older version; run `dvc repro`")
    content = read_object(path, "delete it and run `dvc repro`")
    if set(content) != KEYS:
        raise ValueError(f"{path}: expected the keys {', '.join(sorted(KEYS))}; delete it and run `dvc repro`")
    return content
