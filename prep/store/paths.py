"""Where each stage's output lies, relative to the project's root; dvc.yaml says the same."""

from __future__ import annotations

from pathlib import Path

__all__ = ["aligned", "corpus", "dynamic", "flow", "frames", "manifest", "raw", "task"]

DATA = Path("data")


def raw(release: str) -> Path:
    """Folder of a release as it is, often a link."""
    return DATA / "raw" / release


def frames(release: str) -> Path:
    """Folder of the frames that were extracted from a release's videos; no stage's output, made where it is needed."""
    return DATA / "frames" / release


def corpus(name: str) -> Path:
    """Folder of a corpus: rendered clips to pretrain on."""
    return DATA / "corpus" / name


def manifest(release: str) -> Path:
    """Folder of manifest.parquet and rejected.parquet."""
    return DATA / "manifest" / release


def aligned(release: str) -> Path:
    """Folder of the aligned frames."""
    return DATA / "aligned" / release


def flow(release: str) -> Path:
    """Folder of the onset-to-apex flow."""
    return DATA / "flow" / release


def dynamic(task: str) -> Path:
    """Folder of a task's sampled frames and dynamic images."""
    return DATA / "dynamic" / task


def task(name: str) -> Path:
    """Folder of a task: what training reads, and nothing else."""
    return DATA / "task" / name
