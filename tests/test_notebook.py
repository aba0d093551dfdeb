"""The notebook in examples/ runs from top to bottom as a user runs it: numpy first, in its own folder of a project."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

import fdpbench as fb
from fdpbench import arithmetic
from fdpbench.prep.store import paths
from tests.support.builders import task_rows, write_task
from tests.support.project import Project

pytestmark = pytest.mark.pipeline

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples/api.ipynb"
NAMES = ("disgust", "happiness", "repression", "surprise")


def cells() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return found


def executed(project: Path, environment: dict[str, str]) -> tuple[str, str]:
    """Run a copy of the notebook in a folder of a project; what it printed, and what it warned of."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    place = project / "examples"
    place.mkdir()
    shutil.copyfile(NOTEBOOK, place / NOTEBOOK.name)
    notebook = nbformat.read(place / NOTEBOOK.name, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(place)}}
    )
    client.execute(env=environment | {"IPYTHONDIR": str(project / "ipython"), "JUPYTER_PLATFORM_DIRS": "1"})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    texts = {"stdout": "", "stderr": ""}
    for output in outputs:
        assert output.output_type != "error", output
        if output.output_type == "stream":
            texts[output.name] += output.text
        elif "text/plain" in output.data:
            texts["stdout"] += output.data["text/plain"] + "\n"
    return texts["stdout"], texts["stderr"]


def unpinned() -> dict[str, str]:
    """The environment of a user: nothing is pinned in it; the code is this one."""
    kept = {name: value for name, value in os.environ.items() if name not in {*arithmetic.PINS, arithmetic.NATIVE}}
    return kept | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # one thread: other tests run beside this one


def test_it_uses_every_function_and_stores_no_output() -> None:
    code = "\n".join("".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code")
    assert [name for name in fb.__all__ if name[0].islower() and f"fb.{name}(" not in code] == []
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells())
    assert NOTEBOOK.stat().st_size < 20_000


def check(stdout: str, stderr: str, clips: int, subjects: int) -> None:
    assert f"{clips} clips, {subjects} folds, classes {', '.join(NAMES)}" in stdout
    assert f"{clips} clips of {subjects} subjects" in stdout and "UF1 " in stdout and "ststnet" in stdout
    native = bool(arithmetic._pins())  # else it is native, too, and another warning says so
    assert "arithmetic native" in stdout and stdout.count("'native'") == 1
    assert stderr.count("UserWarning") == 1
    assert ("numpy" in stderr and "imported before fdpbench was first used" in stderr) == native


def test_the_notebook_runs(project: Path) -> None:
    subjects = [f"synthetic/s{k:02d}" for k in (1, 2, 3)]
    write_task(paths.task("synthetic"), task_rows(subjects, 1, NAMES), "synthetic", NAMES)
    check(*executed(project, unpinned()), clips=12, subjects=3)


@pytest.mark.timeout(900)
def test_the_notebook_runs_on_the_smoke_profile(tmp_path: Path) -> None:
    study = Project(tmp_path / "project")
    study.run("dvc", "repro", "task@synthetic")
    check(*executed(study.folder, unpinned()), clips=12, subjects=3)
