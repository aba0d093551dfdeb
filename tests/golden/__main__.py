"""Keep the hashes of what the smoke pipeline wrote: `python -m tests.golden build/smoke`, or `make golden`.

`.ci/run` holds every machine to them. What names code (provenance, report) is left out: it changes with every edit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

GOLDEN = Path(__file__).parent / "smoke.lock"
OF_CODE = ("artifacts/plan", "artifacts/provenance/", "results/report")


def golden(lock: Path) -> str:
    """YAML of a dvc.lock's outputs alone."""
    stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
    kept = {
        name: {
            "outs": [
                {"path": out["path"], "md5": out["md5"]}
                for out in stage.get("outs", ())
                if not out["path"].startswith(OF_CODE)
            ]
        }
        for name, stage in stages.items()
    }
    return "# Written by `make golden`; `.ci/run` compares.\n" + yaml.safe_dump({"stages": kept}, sort_keys=False)


if __name__ == "__main__":
    GOLDEN.write_text(golden(Path(sys.argv[1]) / "dvc.lock"), encoding="utf-8")
    print(GOLDEN)
