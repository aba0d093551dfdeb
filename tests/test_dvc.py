"""dvc.yaml as DVC itself expands it: releases may be a list of names or a mapping with settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.builders import params

ROOT = Path(__file__).resolve().parents[1]
LAB = {"kind": "folder", "sheet": "s.csv", "columns": {"subject": "A", "clip": "B", "emotion": "C"}}
LAB |= {"frames": "{subject}/{clip}/*.png"}


def stages(folder: Path, releases: Any) -> list[str]:
    """Stages of the releases, by DVC's own account."""
    (folder / "params.yaml").write_text(yaml.safe_dump(params(releases=releases), sort_keys=False), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only", "--all"],
        cwd=folder,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in done.stdout.split() if name.startswith(("index@", "align@", "flow@"))]


@pytest.mark.parametrize(
    "releases", [["synthetic", "lab"], {"synthetic": {}, "lab": LAB}, {"synthetic": None, "lab": LAB}]
)
def test_a_list_and_a_mapping_of_releases_give_the_same_stages(releases: Any, tmp_path: Path) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    found = stages(tmp_path, releases)
    assert found == [f"{stage}@{name}" for stage in ("index", "align", "flow") for name in ("synthetic", "lab")]
