"""The same bytes on this machine and on emulated processors: `make test-portable` (qemu-user; minutes).

The emulator has no AVX-512, so a machine that has it stands for that side itself; whether all machines agree is what
`tests/golden` is for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fdpbench.arithmetic import arithmetic
from fdpbench.prep.settings.profile import overlay
from tests.support.portable import EMULATED, EMULATOR
from tests.support.project import ROOT
from tests.support.videos import FORMATS, numbered_frame, write_video

QEMU = "qemu-x86_64"

pytestmark = [
    pytest.mark.portable,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"no {QEMU} here (Debian: apt-get install qemu-user)"),
    pytest.mark.skipif(arithmetic() != "pinned", reason="the arithmetic is not pinned here"),
]


def project(folder: Path) -> Path:
    """A folder with params.yaml: eight small clips of two subjects, a feature run and two networks, a few epochs."""
    params = yaml.safe_load(overlay(ROOT / "params.smoke.yaml", ROOT / "params.yaml"))
    params["synth"] |= {"subjects": 2, "size": 120, "frames_min": 24, "frames_max": 24}
    params["runs"] = {
        f"synthetic-{name}": {"task": "synthetic", "model": name} for name in ("ststnet", "fdp", "lbp_top")
    }
    params["options"] = {"ststnet": {"epochs": 2}, "fdp": {"epochs": 1}}
    (folder / "results").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    shutil.copyfile(ROOT / "results/published.csv", folder / "results/published.csv")
    return folder


def run(what: str, folder: Path, processor: str | None = None) -> dict[str, str]:
    """Hashes that `tests.support.portable` gives on this machine, or on an emulated processor."""
    environment = {name: value for name, value in os.environ.items() if name not in (EMULATED, EMULATOR)}
    command = [sys.executable, "-m", "tests.support.portable", what, str(project(folder))]
    if processor is not None:
        environment |= {EMULATED: processor.split("-")[0], EMULATOR: f"{QEMU} -cpu {processor}"}
        command = [QEMU, "-cpu", processor, *command]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    said = "\n".join(line for line in done.stderr.splitlines() if "TCG doesn't support" not in line)
    assert done.returncode == 0, said[-4000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_the_emulated_processor_is_seen(tmp_path: Path) -> None:
    """A process that runs on the machine itself, where another processor is asked for, ends at once."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.portable", "steps", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {EMULATED: "No Such Processor"},
        capture_output=True,
        text=True,
    )
    assert done.returncode and "this process runs on" in done.stderr


def test_a_clip_and_training_steps_on_an_emulated_processor(tmp_path: Path) -> None:
    here = run("steps", tmp_path / "here")
    assert len(here) > 25
    assert run("steps", tmp_path / "there", "Haswell") == here


@pytest.mark.parametrize("processor", ["Haswell", "EPYC-Rome"])
def test_the_pipeline_on_an_emulated_processor(tmp_path: Path, processor: str) -> None:
    here = run("pipeline", tmp_path / "here")
    assert {"results/metrics.json", "artifacts/predictions/synthetic-fdp.parquet"} <= set(here)
    assert run("pipeline", tmp_path / "there", processor) == here


@pytest.mark.parametrize("processor", ["Haswell", "EPYC-Rome"])
def test_frames_of_videos_on_an_emulated_processor(tmp_path: Path, processor: str) -> None:
    """Written once, on this machine; with and without more than 8 bits and a standard that leaves nothing open."""
    for name, codec, pixels in FORMATS:
        write_video(tmp_path / "here/videos" / name, [numbered_frame(k) for k in range(12)], codec, pixels)
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    here = run("videos", tmp_path / "here")
    assert len(here) == len(FORMATS)
    assert run("videos", tmp_path / "there", processor) == here


@pytest.mark.campaign
def test_every_network_on_an_emulated_processor(tmp_path: Path) -> None:
    here = run("networks", tmp_path / "here")
    assert run("networks", tmp_path / "there", "Haswell") == here
