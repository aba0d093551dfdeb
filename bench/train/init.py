"""Stage `init`: which weights each run starts from, by their hashes.

In: what section `pretrain` made. Out: artifacts/init/RUN.json, empty of a run that starts from none. A run depends on
its own file, so that one that starts from weights is trained after they are made and again when they change, and no
other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fdpbench.prep.runtime.durable import write_durably
from fdpbench.prep.runtime.scratch import hash_file, open_scratch
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.store.documents import read_object

__all__ = ["INIT", "run", "started_from"]

INIT = Path("artifacts/init")


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned: ``runs`` names, of each run that starts from pretrained weights, their files."""
    runs: Mapping[str, Sequence[str]] = planned.settings["runs"]

    def write(staging: Path) -> None:
        staging.mkdir()
        for name, files in runs.items():
            hashes = {file: hash_file(Path(file)) for file in files}
            write_durably(staging / f"{name}.json", json.dumps(hashes, indent=1) + "\n")

    with open_scratch("init", "whole") as scratch:
        scratch.publish({INIT: write})


def started_from(run: str, files: Sequence[str]) -> dict[str, str]:
    """Hashes of the pretrained weights that a run starts from, held against what the stage wrote down.

    Raises
    ------
    ValueError
        If they are missing, or not those that it saw.
    """
    if not files:
        return {}
    path = INIT / f"{run}.json"
    known = read_object(path, "run `dvc repro`")
    for file in files:
        if not Path(file).is_file():
            raise ValueError(f"{file} not found: run {run} starts from it; run `dvc repro`")
        if known.get(file) != hash_file(Path(file)):
            raise ValueError(f"{file} is not what {path} saw: it was changed since; run `dvc repro`")
    return {file: known[file] for file in files}
