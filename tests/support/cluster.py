"""A real Ray cluster on this machine: a head without processors of its own, and nodes of one processor each."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
STORE = 100_000_000  # bytes of each node's object store


@dataclass
class RayNode:
    """A node, with the folder by which its processes are known."""

    folder: Path

    def processes(self, *words: str) -> list[psutil.Process]:
        """Processes of Ray's own on this node whose command has all of some words."""
        found = []
        for process in psutil.process_iter():
            try:
                command = process.cmdline()
            except psutil.Error:
                continue
            if any(str(self.folder) in part for part in command) and all(
                any(word in part for part in command) for word in words
            ):
                found.append(process)
        return found

    @property
    def raylet(self) -> psutil.Process:
        """The node's main process, whose children the workers are."""
        (found,) = (process for process in self.processes("raylet_socket_name") if process.name() == "raylet")
        return found

    def workers(self) -> list[psutil.Process]:
        """Processes in which this node's workers have their units built."""
        below = self.raylet.children(recursive=True)
        return [process for process in below if "be_process" in " ".join(process.cmdline())]

    def actors(self) -> list[psutil.Process]:
        """Ray's own processes of this node's workers."""
        return [process.parent() or process for process in self.workers()]

    def kill(self) -> None:
        """Kill the node without grace: its main process first, whose end Ray takes for the node's."""
        try:
            below = self.raylet.children(recursive=True)
            self.raylet.kill()
        except ValueError:  # it is gone
            below = []
        for process in [*self.processes(), *below]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue


class RayCluster:
    """Started by `ray start`, as a person does it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fdp"))  # short: the names of sockets are limited
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.nodes: list[RayNode] = []
        self.head = self._start("--head", f"--port={self.port}", "--num-cpus=0", "--include-dashboard=false")

    def add_node(self, cpus: int = 1, wrapper: tuple[str, ...] = (), **variables: str) -> RayNode:
        """Start a node; a wrapper is a command that runs its command."""
        node = self._start(f"--address={self.address}", f"--num-cpus={cpus}", wrapper=wrapper, **variables)
        self.nodes.append(node)
        return node

    def _start(self, *options: str, wrapper: tuple[str, ...] = (), **variables: str) -> RayNode:
        node = RayNode(self.folder / str(len(list(self.folder.iterdir()))))
        node.folder.mkdir()
        command = [str(Path(sys.executable).parent / "ray"), "start", *options, "--num-gpus=0"]
        command += [f"--temp-dir={node.folder}", f"--object-store-memory={STORE}", "--include-log-monitor=false"]
        fixed = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # Ray's own is 15, behind all else here
        environment = os.environ | fixed | {"PYTHONPATH": str(ROOT)} | variables
        done = subprocess.run(
            [*wrapper, *command], env=environment, cwd=node.folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return node

    def stop(self) -> None:
        """End every process of the cluster."""
        for node in (*self.nodes, self.head):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
