"""A real Slurm on this machine, of Debian's packages: a controller and two nodes side by side, without munge."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

__all__ = ["PROGRAMS", "Slurm"]

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "scancel", "squeue", "sinfo")

CONF = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.%n.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=60
KillWait=3
MinJobAge=60
SchedulerParameters=bf_interval=2,sched_interval=2
MpiDefault=none
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=2000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=2000
PartitionName=p Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """Started in a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fdpslurm"))
        for name in ("state", "spool.n1", "spool.n2"):
            (self.folder / name).mkdir()
        probes = [socket.socket() for _ in range(3)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        ports = [probe.getsockname()[1] for probe in probes]
        for probe in probes:
            probe.close()
        conf = CONF.format(host=socket.gethostname().split(".")[0], ports=ports, folder=self.folder)
        (self.folder / "slurm.conf").write_text(conf)
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        commands = (["slurmctld", "-D"], ["slurmd", "-N", "n1", "-D"], ["slurmd", "-N", "n2", "-D"])
        with (self.folder / "out").open("w") as out:
            self.daemons = [
                subprocess.Popen(command, env=os.environ | self.environment, stdout=out, stderr=out, cwd=self.folder)
                for command in commands
            ]
        self.wait_for(lambda: self.run("sinfo", "--noheader", "--format=%t").split() == ["idle"], 60)

    def run(self, *command: str, cwd: Path | None = None, **variables: str) -> str:
        """Run one of Slurm's commands."""
        environment = os.environ | self.environment | variables
        done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def jobs(self, name: str, state: str = "RUNNING") -> list[str]:
        """Numbers of jobs of a name that are in a state."""
        return self.run("squeue", "--noheader", "--array", f"--name={name}", f"--states={state}", "--format=%i").split()

    def wait_for(self, condition, timeout: float) -> None:
        """Wait for a condition; fail where time runs out, with what the daemons said."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                logs = [path.read_text()[-2000:] for path in (self.folder / "out", *self.folder.glob("*.log"))]
                raise AssertionError("\n".join(["time ran out", *logs]))
            time.sleep(0.3)

    def stop(self) -> None:
        """End all jobs, then the daemons."""
        for job in self.run("squeue", "--noheader", "--format=%A").split():
            self.run("scancel", job)
        end = time.monotonic() + 30
        while self.run("squeue", "--noheader") and time.monotonic() < end:
            time.sleep(0.3)
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait(timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)
