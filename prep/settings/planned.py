"""What stage `plan` resolved for an item of a stage: its settings, and all that its result depends on beside data.

Each item has a small JSON file, artifacts/plan/STAGE/ITEM.json, which its stage depends on in dvc.yaml.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fdpbench.prep.settings.problems import ParamsError

__all__ = ["PLAN", "Planned", "place_of", "read_planned"]

PLAN = Path("artifacts/plan")


@dataclass(frozen=True)
class Planned:
    """An item of a stage, resolved.

    Attributes
    ----------
    settings
        What its command needs of params.yaml, defaults filled in.
    code
        Hash of each file that its command imports, by its name in the package.
    versions
        Installed version of each package that these files import, by the name of the import.
    files
        SHA-256 of each file that its options name, such as weights.
    stage, item
        Name of the stage and of the item; of a stage that has one alone, the item is empty.
    """

    settings: Mapping[str, Any]
    code: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    stage: str = ""
    item: str = ""

    @property
    def made_by(self) -> dict[str, Mapping[str, str]]:
        """What makes kept work of no use when it changes, settings and data aside."""
        return {"code": self.code, "versions": self.versions, "files": self.files}

    def as_json(self) -> str:
        """Text of its file: keys in order, so that it repeats."""
        content = {key: value for key, value in asdict(self).items() if key not in ("stage", "item")}
        return json.dumps(content, indent=1, sort_keys=True) + "\n"


def place_of(stage: str, item: str = "") -> Path:
    """The file of an item."""
    return PLAN / stage / f"{item}.json" if item else PLAN / f"{stage}.json"


def read_planned(stage: str, item: str = "") -> Planned:
    """Read what was resolved for an item.

    Raises
    ------
    ParamsError
        If nothing is planned for it, or its file cannot be read.
    """
    path = place_of(stage, item)
    try:
        content = json.loads(path.read_bytes())
        return Planned(**content, stage=stage, item=item)
    except FileNotFoundError:
        what = f"{stage} {item}".strip()
        raise ParamsError(f"{path} not found: nothing is planned for `fdpbench {what}`; run `fdpbench plan`") from None
    except (OSError, TypeError, ValueError) as error:
        raise ParamsError(
            f"{path}: not what `fdpbench plan` writes ({error}); delete it, run `fdpbench plan`"
        ) from None
