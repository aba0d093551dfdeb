"""A small project with every kind of run, for the tests of the report."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fdpbench.bench.evaluate.stage import evaluate_runs
from fdpbench.bench.plan.params import run_names
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.provenance import write_provenance
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import rejected_table
from tests.support.builders import (
    CLASSES,
    PARAMS,
    params,
    perceived,
    predictions,
    task_rows,
    write_params,
    write_perception_data,
    write_predictions,
    write_task,
)

EVIL = "<script>alert('clip')</script> & \"more\""
TASK = PARAMS["tasks"]["tiny"]
REPETITIONS = 2

# Published and licensed tasks: subjects of each; the second has five data sets.
SUBJECTS = {
    "tiny": ("synthetic/s01", "synthetic/s02", "synthetic/s03", "synthetic/s10"),
    "licensed": tuple(f"{name}/s{k}" for name in ("casme2", "mmew", "samm", "dfme", "smic") for k in (1, 2)),
}
RELEASES = {"tiny": ["synthetic"], "licensed": ["casme2", "mmew", "samm", "dfme", "smic_hs"]}

LACKING = ("casme2/s1", 2)  # a subject, and the class that no clip of it shows

RUNS: dict[str, dict[str, Any]] = {
    "net": {"task": "tiny", "model": "ststnet"},
    "net-inner": {"task": "tiny", "model": "ststnet", "protocol": "inner", "table": "protocols"},
    "net-test_selected": {"task": "tiny", "model": "ststnet", "protocol": "test_selected", "table": "protocols"},
    "net-untested": {
        "task": "tiny",
        "model": "ststnet",
        "table": "faults",
        "faults": {"untested_subjects": ["synthetic/s03"]},
    },
    "majority": {"task": "tiny", "model": "majority"},
    "licensed-net": {"task": "licensed", "model": "ststnet"},
    "licensed-resnet_dynamic": {"task": "licensed", "model": "resnet_dynamic", "set": {"lr": 0.001}},
}

CURVE = "repetition,fold,epoch,loss,cross_entropy\n" + "".join(
    f"{k},{fold},{epoch},{3 / epoch + k},{2 / epoch}\n" for k in range(2) for fold in "ab" for epoch in (1, 2, 3)
)
INNER = (
    "training,repetition,fold,epoch,loss,watched_accuracy\n"
    "choice,0,a,1,2.0,0.5\nchoice,0,a,2,1.0,0.75\nfinal,0,a,1,2.0,\n"
)


def write_project(published: bool = True) -> dict[str, list[dict[str, Any]]]:
    """Write params, data and artifacts into the working directory, and evaluate; the rows of each task."""
    content = params(train={"repetitions": REPETITIONS})
    content["tasks"] = {name: TASK | {"releases": releases} for name, releases in RELEASES.items()}
    content |= {
        "runs": RUNS,
        "releases": [name for names in RELEASES.values() for name in names],
    }
    write_params(content)
    tasks = {}
    for seed, (name, subjects) in enumerate(SUBJECTS.items()):
        rows = task_rows(subjects=subjects, seed=seed)
        rows = [row for row in rows if (row["subject"], row["label"]) != LACKING]
        simulated = ["casme2"] if name == "licensed" else []
        write_task(paths.task(name), rows, name=name, published=published and name == "tiny", simulated=simulated)
        left_out = [{"clip_id": EVIL, "reason": "bad_row", "detail": "row 3"}] if name == "licensed" else []
        shards.write_table(rejected_table(left_out), paths.task(name) / "rejected.parquet")
        for release in RELEASES[name]:
            mine = [row for row in rows if release.startswith(row["dataset"])]
            write_perception_data(rows if name == "tiny" else mine, name, release)
            _write_release(release, mine)
        write_perception_data(rows, name, RELEASES[name][0])
        tasks[name] = rows
    for number, (run, entry) in enumerate(RUNS.items()):
        _write_run(run, entry, tasks[entry["task"]], number)
    evaluate_runs(run_names(), REPETITIONS, releases=RELEASES)
    return tasks


def _write_release(name: str, rows: list[dict[str, Any]]) -> None:
    folder = paths.manifest(name)
    correction = {"clip": "s01/a", "column": "apex", "sheet_value": "3", "value": "30", "source": EVIL}
    report = {
        "release": name,
        "clips": len(rows),
        "subjects": len({row["subject"] for row in rows}),
        "missing_apex": 1,
        "emotions": {label: sum(row["class"] == label for row in rows) for label in CLASSES},
        "class_maps": {f"{name}_3": {"classes": dict.fromkeys(CLASSES, 2), "subjects": 2}},
        "differences": [{"version": "1", "emotion": "surprise", "expected": 9, "found": 8, "clips": ["s09/a"]}],
        "corrections": [
            correction | {"found": "3", "applied": True},
            correction | {"found": None, "applied": False},
            correction | {"found": "4", "applied": False},
        ],
        "rejected": [],
        "notes": [EVIL],
    }
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    shards.write_table(rejected_table([]), folder / "rejected.parquet")
    gone = [{"clip_id": f"{name}/s09/a", "reason": "no_face", "detail": "frame 1"}]
    shards.write_table(rejected_table(gone), paths.aligned(name) / "rejected.parquet")


def _write_run(run: str, entry: dict[str, Any], rows: list[dict[str, Any]], number: int) -> None:
    """A run that is right of most clips; of `net` and the licensed task's also rank scores and images."""
    untested = entry.get("faults", {}).get("untested_subjects", [])
    rows = [row for row in rows if row["subject"] not in untested]
    wrong = 2 + number % 3
    written = []
    for k in range(REPETITIONS):
        said = [(row["label"] + (n % (wrong + k) == 0)) % len(CLASSES) for n, row in enumerate(rows)]
        if entry["model"] == "majority":
            said = [0] * len(rows)
        one = predictions(run, rows, said, repetition=k)
        written += perceived(one, seed=10 * number + k) if run in ("net", "licensed-net") else one
    none = entry["model"] == "majority"
    curve = "repetition,fold,epoch,loss\n" if none else INNER if entry.get("protocol") == "inner" else CURVE
    write_predictions(run, written, curve)
    made_of = {
        "run": {"task": entry["task"], "model": entry["model"], "inputs": ["flow"], "paper": EVIL, "entry": entry},
        "settings": {"epochs": 3},
        "train": {"seed": 1},
        "data": {"clips.parquet": "0" * 64, "task.json": "1" * 64},
        "code": {"bench/train/stage.py": "2" * 64},
        "files": {},
        "versions": {"torch": "2.13.0"},
        "hardware": ["cpu", "float32"],
    }
    path = Artifacts(run).provenance
    path.parent.mkdir(parents=True, exist_ok=True)
    write_provenance(path, run, made_of)


class Page(HTMLParser):
    """What a page holds: its elements with attributes, its numbers, its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.numbers: list[tuple[dict[str, str], str]] = []
        self.words: list[str] = []
        self._open: list[tuple[dict[str, str], str]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the element; a number's text follows."""
        given = {key: value or "" for key, value in attrs}
        self.elements.append((tag, given))
        if tag == "data":
            self._open.append((given, ""))

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.words.append(data)
        if self._open:
            given, text = self._open.pop()
            self._open.append((given, text + data))

    def handle_endtag(self, tag: str) -> None:
        """A number is complete."""
        if tag == "data":
            self.numbers.append(self._open.pop())

    @property
    def text(self) -> str:
        """The page's words, single-spaced."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of every element of a kind."""
        return [given for name, given in self.elements if name == tag]


def pages(folder: Path) -> dict[str, Page]:
    """Every page of a report by path."""
    return {path.relative_to(folder).as_posix(): Page(path) for path in sorted(folder.rglob("*.html"))}
