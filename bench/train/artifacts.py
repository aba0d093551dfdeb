"""Where results and the outputs of a run lie; dvc.yaml says the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RESULTS", "Artifacts"]

RESULTS = Path("results")


@dataclass(frozen=True)
class Artifacts:
    """Where a run's outputs lie."""

    run: str

    @property
    def predictions(self) -> Path:
        """One row for each clip and repetition."""
        return Path("artifacts/predictions") / f"{self.run}.parquet"

    @property
    def curves(self) -> Path:
        """Loss of each epoch of each fold."""
        return Path("artifacts/curves") / f"{self.run}.csv"

    @property
    def provenance(self) -> Path:
        """What the predictions were made of: data, code, settings, packages, arithmetic."""
        return Path("artifacts/provenance") / f"{self.run}.json"

    @property
    def machine(self) -> Path:
        """Which machine trained the run; no output of DVC, since results do not depend on it."""
        return Path("artifacts/machine") / f"{self.run}.json"

    @property
    def checkpoints(self) -> Path:
        """One safetensors file for each fold and repetition."""
        return Path("artifacts/checkpoints") / self.run
