"""A study of somebody who has the installed wheel alone: no clone, no code beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.project import GOLDEN, ROOT

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; what it needs is taken from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", wheel], check=True)
    (site,) = (folder / "venv/lib").glob("python3*/site-packages")
    (site / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder / "venv"


def run(installed: Path, folder: Path, *command: str) -> str:
    path = f"{installed / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PATH": path}
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_nothing_else_is_installed_at_the_top(installed: Path) -> None:
    (site,) = (installed / "lib").glob("python3*/site-packages")
    names = {path.name for path in site.iterdir()} - {"__pycache__", "needed.pth"}
    ours = {name for name in names if not name.startswith(("pip", "setuptools", "_distutils", "distutils", "pkg_res"))}
    assert {name.partition("-")[0] for name in ours} == {"fdpbench"}
    where = run(installed, installed, "python", "-c", "import fdpbench.prep.store.shards as s; print(s.__file__)")
    assert Path(where.strip()).is_relative_to(installed)


def test_a_study_of_the_smoke_profile(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "fdpbench", "new", "study", "--profile", "smoke")
    study = tmp_path / "study"
    run(installed, study, "dvc", "repro")
    assert "| synthetic-fdp " in (study / "results/tables.md").read_text(encoding="utf-8")
    run(installed, study, "fdpbench", "verify", "--against", str(GOLDEN))
    assert "nothing has changed" in run(installed, study, "fdpbench", "plan")
