"""What the stage `evaluate` leaves for tables, report, gallery and audit: typed records, and the files they lie in.

``evaluation.json`` holds an `Evaluation`, ``clips.parquet`` a row for each run, repetition and clip. Both have the same
bytes whatever the order in which runs are listed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.evaluate.records import PERCEPTION, Effect, Ranks, Table
from fdpbench.bench.evaluate.scores import Score, ranked
from fdpbench.prep.store import shards
from fdpbench.prep.store.documents import DocumentError, read_object

__all__ = ["FOLDER", "ClipResult", "Evaluation", "read_clips", "read_evaluation", "write_evaluation"]

FOLDER = Path("artifacts/evaluation")

CLIPS = pa.schema(
    [
        ("run", pa.string()),
        ("repetition", pa.int32()),
        ("clip_id", pa.string()),
        ("subject", pa.string()),
        ("y_true", pa.int32()),
        ("y_pred", pa.int32()),
        *((name, pa.float64()) for name in PERCEPTION),  # null where the model does not give it
    ]
)


DOCUMENT, CLIP_TABLE = "evaluation.json", "clips.parquet"


@dataclass(frozen=True)
class ClipResult:
    """What a run says of a clip, and what of `PERCEPTION` was measured there."""

    run: str
    repetition: int
    clip_id: str
    subject: str
    y_true: int
    y_pred: int
    perception: dict[str, float]

    @classmethod
    def of(cls, row: Mapping[str, Any], perception: dict[str, float]) -> ClipResult:
        """That of a row with the other names."""
        return cls(**{name: row[name] for name in NAMED}, perception=perception)


NAMED = [field.name for field in fields(ClipResult) if field.name != "perception"]


@dataclass(frozen=True)
class Evaluation:
    """Results of all listed runs.

    Attributes
    ----------
    metrics
        Those that were computed: the keys of `METRICS`.
    scores
        In order of run.
    tables
        Those of one task after another, its own first.
    chance
        By task, way to guess and metric; see `bench.evaluate.metrics.chance_levels`.
    effects
        Runs that depart from the honest protocol, in order of run.
    ranks
        Models over tasks, where there are enough of both.
    """

    metrics: tuple[str, ...]
    scores: tuple[Score, ...]
    tables: tuple[Table, ...]
    chance: dict[str, dict[str, dict[str, float | None]]]
    effects: tuple[Effect, ...]
    ranks: Ranks | None

    @property
    def by_run(self) -> dict[str, Score]:
        """Scores by name of run."""
        return {score.run: score for score in self.scores}

    @property
    def by_task(self) -> dict[str, list[Score]]:
        """Scores of each task, in the order in which tables print them."""
        tasks = dict.fromkeys(score.task.task for score in self.scores)
        return {name: ranked([score for score in self.scores if score.task.task == name]) for name in tasks}

    def tables_of(self, task: str) -> list[Table]:
        """Tables of one task, its own first."""
        return [table for table in self.tables if table.task == task]


ADAPTER = TypeAdapter(Evaluation)


def write_evaluation(
    evaluation: Evaluation, clips: Sequence[ClipResult], folder: Path, sources: Sequence[Path]
) -> None:
    """Write an evaluation's two files.

    Parameters
    ----------
    evaluation
        The results.
    clips
        By run, repetition and clip.
    folder
        Where to write; made if missing.
    sources
        The files of predictions behind them: what was made with arithmetic that is not pinned is marked so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = ADAPTER.dump_python(evaluation, mode="json")
    for score in content["scores"]:  # as in task.json, where nothing stands unless there are some
        if not score["task"]["given_crops"]:
            del score["task"]["given_crops"]
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    (folder / DOCUMENT).write_text(text + "\n", encoding="utf-8")
    rows = [{name: getattr(clip, name) for name in NAMED} | clip.perception for clip in clips]
    shards.write_table(pa.Table.from_pylist(rows, schema=shards.marked(CLIPS, *sources)), folder / CLIP_TABLE)


def read_evaluation(folder: Path = FOLDER) -> Evaluation:
    """Read what `write_evaluation` wrote, without the clips.

    Raises
    ------
    DocumentError
        If the file is missing, damaged, or of other metrics than `METRICS`.
    """
    path = folder / DOCUMENT
    if not path.is_file():
        raise DocumentError(f"{path} not found: the stage `evaluate` has not run; run `dvc repro`")
    cure = "run `fdpbench evaluate` again"
    try:
        evaluation = ADAPTER.validate_python(read_object(path, cure))
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise DocumentError(f"{path}: {where}: {problem['msg']}; {cure}") from None
    if set(evaluation.metrics) != set(METRICS):
        raise DocumentError(f"{path}: metrics {', '.join(evaluation.metrics)}, expected {', '.join(METRICS)}; {cure}")
    return evaluation


def read_clips(folder: Path = FOLDER) -> dict[str, list[ClipResult]]:
    """Read the results of each clip, by run.

    Raises
    ------
    prep.store.shards.ShardError
        If the file is missing or damaged, or has other columns.
    """
    found: dict[str, list[ClipResult]] = {}
    for row in shards.read_table(folder / CLIP_TABLE, CLIPS).to_pylist():
        measured = {name: row[name] for name in PERCEPTION if row[name] is not None}
        found.setdefault(row["run"], []).append(ClipResult.of(row, measured))
    return found
