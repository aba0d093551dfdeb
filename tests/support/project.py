"""A study with a very small profile, and code of its own."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/golden/smoke.lock"


class Project:
    """A study of the smoke profile and a copy of the code that runs it, driven through the real command line."""

    def __init__(self, folder: Path, **sections: dict) -> None:
        self.folder, self.code = folder / "study", folder / "code"
        files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in filter(None, files.split("\0")):
            other = name.startswith(("docs/", "tests/", "results/")) and name != "results/published.csv"
            if (ROOT / name).is_file() and not other:
                target = self.code / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        folder.mkdir(exist_ok=True)
        command = ["fdpbench", "new", str(self.folder), "--profile", "smoke", "--alone"]
        subprocess.run(command, cwd=folder, env=self.environment(), check=True, capture_output=True)
        self.edit_params(**sections)

    def environment(self) -> dict[str, str]:
        """Variables with which commands find this project's own code."""
        found = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(self.code),
        }
        return found | {"DVC_NO_ANALYTICS": "1", "SHELL": "/bin/sh"}

    def edit_params(self, **sections: dict) -> None:
        """Update sections of params.yaml; a value of None in a section removes the key."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, values in sections.items():
            for key, value in values.items():
                if value is None:
                    del params[section][key]
                else:
                    params[section][key] = value
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def start(self, *arguments: str, jobs: int = 2, **variables: str) -> subprocess.Popen:
        """Start a command in a process group of its own; its output goes to ``log``."""
        environment = self.environment() | {"FDPBENCH_JOBS": str(jobs)} | variables
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(
                arguments, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *arguments: str, jobs: int = 2, **variables: str) -> str:
        """Run a command to its end and return what it printed; raise if it fails."""
        code, output = self.attempt(*arguments, jobs=jobs, **variables)
        assert code == 0, f"{' '.join(arguments)} gave {code}:\n{output}"
        return output

    def attempt(self, *arguments: str, jobs: int = 2, **variables: str) -> tuple[int, str]:
        """Run a command to its end; return its exit code and what it printed."""
        before = self.log()
        code = self.start(*arguments, jobs=jobs, **variables).wait(timeout=900)
        return code, self.log()[len(before) :]

    def log(self) -> str:
        """All that commands printed so far."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def hashes(self, *places: str) -> dict[str, str]:
        """SHA-256 of every file under the given files and folders."""
        found = {}
        for place in places:
            path = self.folder / place
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            for file in files:
                if file.is_file() and file.name != ".gitignore":
                    relative = file.relative_to(self.folder).as_posix()
                    found[relative] = hashlib.sha256(file.read_bytes()).hexdigest()
        return found

    def assert_golden(self) -> None:
        """See to it that the smoke profile gave what it gives on every machine."""
        code, output = self.attempt("fdpbench", "verify", "--against", str(GOLDEN))
        assert code == 0, output

    def finished_units(self, stage: str) -> int:
        """Number of units that a stage keeps in scratch."""
        return sum(1 for _ in (self.folder / ".scratch" / stage).glob("*/units/*"))


def executed(output: str) -> set[str]:
    """Names of the stages that DVC says it ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")}


def wait_until(condition: Callable[[], bool], process: subprocess.Popen, timeout: float = 200) -> None:
    """Wait for a condition; fail if the process ends first or time runs out."""
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, "the process ended before the condition held"
        assert time.monotonic() < end, "time ran out"
        time.sleep(0.02)


def descendants(process: subprocess.Popen) -> list[psutil.Process]:
    """Processes below a process, the process itself left out."""
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    """Worker processes of the stage that runs below a process."""
    found = []
    for child in descendants(process):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
