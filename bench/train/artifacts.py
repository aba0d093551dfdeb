"""Where results and the outputs of a run lie; dvc.yaml says the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import fdpbench.models

__all__ = [
    "PRETRAINED",
    "RESULTS",
    "TAKEN",
    "Artifacts",
    "is_shipped",
    "located",
    "machine_of_weights",
    "shipped_weights",
    "weights_files",
]

RESULTS = Path("results")
PRETRAINED = Path("artifacts/pretrained")
TAKEN = Path(".scratch/kept")  # finished runs that `fdpbench part` found to be of now

# Weights that come with the package: in the repository models/weights, in a study a folder of the installed package.
SHIPPED = "models/weights/"
_SHIPPED = Path(fdpbench.models.__path__[0]) / "weights"


def shipped_weights() -> dict[str, str]:
    """Weights that come with the package: their files, as `located` takes them, by name."""
    return {path.stem: SHIPPED + path.name for path in sorted(_SHIPPED.glob("*.safetensors"))}


def weights_files(name: str, repetitions: int) -> tuple[str, ...]:
    """Files of what an entry of section `pretrain` made, one for each repetition."""
    return tuple((PRETRAINED / name / f"{repetition}.safetensors").as_posix() for repetition in range(repetitions))


def machine_of_weights(name: str) -> Path:
    """Which machine made the weights of an entry of section `pretrain`: in a folder beside the files of runs."""
    return Path("artifacts/machine/pretrained") / f"{name}.json"


def is_shipped(file: str) -> bool:
    """Whether a file of weights comes with the package; else section `pretrain` made it."""
    return file.startswith(SHIPPED)


def located(file: str) -> Path:
    """Where a file of weights lies on this machine."""
    return _SHIPPED / file.removeprefix(SHIPPED) if is_shipped(file) else Path(file)


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
