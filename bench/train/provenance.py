"""What a run's predictions were made of, kept beside them: no clock, no place, no machine, so that it repeats.

The stage `train` writes it when a run is complete, the report prints it. What decides whether kept folds may
be used again (`bench.train.stage`) is written down as it is: task data, code, settings, packages, device.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from fdpbench.arithmetic import PINS, arithmetic, processor
from fdpbench.prep.runtime.durable import write_durably
from fdpbench.prep.store.documents import read_object

__all__ = ["machine", "read_provenance", "write_machine", "write_provenance"]

KEYS = {"command", "run", "settings", "train", "data", "files", "code", "versions", "hardware", "arithmetic"}


def machine(device: str) -> dict[str, str]:
    """Which machine this is: processor, system, Python, build of torch; the card, where it trains on one.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``.
    """
    libc = " ".join(platform.libc_ver()).strip()
    found = {
        "processor": processor().get("model name") or platform.processor() or platform.machine(),
        "system": " ".join(filter(None, (platform.system(), platform.machine(), libc))),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }
    if device == "cuda":
        import torch

        found["card"] = torch.cuda.get_device_name(0)
    return found


def write_machine(path: Path, device: str) -> None:
    """Write which machine trained a run as JSON: beside its outputs, and none of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, json.dumps(machine(device), indent=2) + "\n")


def write_provenance(path: Path, run: str, made_of: Mapping[str, Any]) -> None:
    """Write a run's provenance as JSON.

    Parameters
    ----------
    path
        File to write.
    run
        Name of the run.
    made_of
        ``run``, ``settings``, ``train``, ``data`` (SHA-256 by file read), ``code`` (SHA-256 by file), ``versions``
        (by package) and ``hardware`` (device and precision).
    """
    pins = PINS if arithmetic() == "pinned" else {}
    content = {"command": f"fdpbench train {run}", **made_of, "arithmetic": {"mode": arithmetic(), **pins}}
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
