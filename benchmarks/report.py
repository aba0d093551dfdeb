"""Time of `fdpbench evaluate` and `fdpbench report` for many runs: the aim is a report of 20 runs in 10 s.

    python benchmarks/report.py [--runs 20]

Needs `dvc repro` to have run here. Its runs, with all they have, stand in a folder of their own under as many
names as asked for, and the commands run there as a user runs them. The reference, in the same minute: a process
that only imports what the report imports. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fdpbench.bench.evaluate.predictions import PREDICTIONS, read_predictions  # noqa: E402
from fdpbench.prep.store import shards  # noqa: E402


def write_runs(folder: Path, count: int) -> None:
    """Write a project of ``count`` runs: those of this one, again and again."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    known = list(params["runs"].items())
    runs = {}
    for kind in ("predictions", "curves", "provenance"):
        (folder / "artifacts" / kind).mkdir(parents=True)
    for number in range(count):
        name, entry = known[number % len(known)]
        run = f"{name}-{number}"
        runs[run] = entry
        rows = [row | {"run": run} for row in read_predictions(ROOT / f"artifacts/predictions/{name}.parquet")]
        path = folder / f"artifacts/predictions/{run}.parquet"
        shards.write_table(pa.Table.from_pylist(rows, schema=PREDICTIONS), path)
        for kind, suffix in (("curves", "csv"), ("provenance", "json")):
            source = ROOT / f"artifacts/{kind}/{name}.{suffix}"
            shutil.copyfile(source, folder / f"artifacts/{kind}/{run}.{suffix}")
    (folder / "params.yaml").write_text(yaml.safe_dump(params | {"runs": runs}, sort_keys=False), encoding="utf-8")
    (folder / "data").symlink_to(ROOT / "data")


def seconds(folder: Path, *arguments: str) -> tuple[float, float]:
    """Wall and processor time of a Python command in a folder."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    before, start = os.times(), time.monotonic()
    subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - start, used


def main() -> None:
    """Measure, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    count = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_runs(folder, count)
        imports = seconds(folder, "-c", "import fdpbench.bench.report.html.build")
        evaluated = seconds(folder, "-m", "fdpbench", "evaluate")
        whole = seconds(folder, "-m", "fdpbench", "report")
        size = sum(path.stat().st_size for path in (folder / "results/report").rglob("*") if path.is_file())
    print(f"imports alone: {imports[0]:.1f} s, {imports[1]:.1f} s of a processor")
    print(f"evaluation of {count} runs: {evaluated[0]:.1f} s, {evaluated[1]:.1f} s of a processor")
    print(f"report of {count} runs: {whole[0]:.1f} s, {whole[1]:.1f} s of a processor; {size / 1e6:.1f} MB")
    found = {"runs": count, "seconds": whole[0], "processor": whole[1], "imports": imports[1]}
    print(json.dumps(found | {"evaluation": evaluated[1]}))


if __name__ == "__main__":
    main()
