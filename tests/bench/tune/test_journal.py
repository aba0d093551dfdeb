"""The journal: damage, journals of other searches, what it holds of machine and user, and reading it without us."""

from __future__ import annotations

import getpass
import json
import os
import platform
from pathlib import Path
from typing import Any

import pytest

from fdpbench.bench.tune.data import TuneError
from fdpbench.bench.tune.journal import JOURNAL, Journal, require_optuna
from fdpbench.bench.tune.loop import Budget, run_search
from fdpbench.bench.tune.search import PARTS, Search
from fdpbench.prep.store import paths
from tests.support.builders import write_task
from tests.support.tuning import inside, journal_text, search_of, told, write_tuning

optuna = pytest.importorskip("optuna", reason="needs the extra tune")

DONE = Budget(60, 5)


def opened(search: Search, folder: Path) -> Journal:
    return Journal(folder / JOURNAL, search.run.model.name, search.space, search.made_of)


def test_it_can_be_read_by_optuna_alone(here: Path) -> None:
    trials = run_search(search_of(), here / "it", DONE)
    storages = optuna.storages
    storage = storages.JournalStorage(storages.journal.JournalFileBackend(str(here / "it" / JOURNAL)))
    study = optuna.load_study(study_name="ststnet", storage=storage)
    best = max(trials, key=lambda trial: trial.uf1 or 0.0)
    assert study.best_value == best.uf1 and study.best_trial.user_attrs["settings"] == best.settings
    assert study.user_attrs["made_of"] == search_of().made_of
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 5


def test_it_names_no_machine_no_user_and_no_path(here: Path) -> None:
    run_search(search_of(), here / "it", DONE)
    text = journal_text(here / "it")
    names = {getpass.getuser(), platform.node(), str(here), str(Path.home()), str(os.getpid()), here.name}
    for name in names - {"root", "localhost", "", "1"}:
        assert name not in text
    for line in map(json.loads, text.splitlines()):
        assert not [value for value in _texts(line) if value.startswith(("/", "~", "C:\\"))]
        assert line.keys() <= ALLOWED, line


# What a line of Optuna's may hold: `worker_id` is a random number and that of a thread.
ALLOWED = {
    *("op_code", "worker_id", "study_id", "study_name", "directions", "trial_id", "user_attr", "user_attrs"),
    *("system_attr", "system_attrs", "state", "value", "values", "distributions", "distribution", "params"),
    *("param_name", "param_value_internal", "datetime_start", "datetime_complete", "step", "intermediate_value"),
    "intermediate_values",
}


def _texts(content: Any) -> list[str]:
    if isinstance(content, dict):
        return [text for key, value in content.items() for text in [key, *_texts(value)]]
    if isinstance(content, list):
        return [text for value in content for text in _texts(value)]
    return [content] if isinstance(content, str) else []


def test_a_journal_moved_to_another_place_goes_on(here: Path) -> None:
    straight = run_search(search_of(), here / "straight", Budget(60, 7))
    run_search(search_of(), here / "one", DONE)
    (here / "two").mkdir()
    (here / "two" / JOURNAL).write_bytes((here / "one" / JOURNAL).read_bytes())
    assert told(run_search(search_of(), here / "two", Budget(60, 7))) == told(straight)


@pytest.mark.parametrize("kept", [1, 7, -2])
def test_a_line_that_a_kill_cut_short_is_dropped(here: Path, kept: int) -> None:
    """Else the next line would be written behind it, and nobody could read the file again."""
    straight = told(run_search(search_of(), here / "straight", DONE))
    path = here / "it" / JOURNAL
    run_search(search_of(), here / "it", Budget(60, 3))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:kept])
    assert told(run_search(search_of(), here / "it", DONE)) == straight


def test_a_file_cut_off_at_any_line_goes_on(here: Path) -> None:
    straight = told(run_search(search_of(), here / "straight", Budget(60, 3)))
    lines = (here / "straight" / JOURNAL).read_bytes().splitlines(keepends=True)
    for number in range(0, len(lines), 7):
        path = here / f"cut{number}" / JOURNAL
        path.parent.mkdir()
        path.write_bytes(b"".join(lines[:number]))
        assert told(run_search(search_of(), path.parent, Budget(60, 3))) == straight, number


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (2, "{", "line 3: damaged; take the file from git again"),
        (0, "[1, 2]", "line 1: damaged"),
        (1, '{"op_code": 99, "worker_id": "a"}', "not a journal that Optuna can read"),
        (0, '{"any": "thing"}', "not a journal that Optuna can read"),
    ],
)
def test_damage_is_named(here: Path, number: int, line: str, said: str) -> None:
    run_search(search_of(), here / "it", DONE)
    path = here / "it" / JOURNAL
    lines = path.read_text().splitlines()
    lines[number] = line
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(TuneError, match=f"journal.jsonl.*{said}"):
        run_search(search_of(), here / "it", DONE)
    assert path.read_text().splitlines() == lines, "it is left as it is"


def test_a_journal_of_anything_else_is_refused_by_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_search(search_of(), here / "it", DONE)
    with pytest.raises(TuneError, match="it is the journal of ststnet, not of rcn; name another --folder"):
        opened(search_of("rcn"), here / "it")
    other = {
        r"part of the task \(whole, now subject/s": search_of(data=inside()),
        r"own settings of the model|search space": search_of(options={"ststnet": {"epochs": 3}}),
        r"section train of params.yaml \(seed\)": search_of(train={"seed": 2}),
        r"settings of the task \(sampling\)": search_of(
            tasks={"tiny": _task() | {"sampling": {"rule": "tim", "frames": 4}}}
        ),
    }
    rows = write_tuning()
    rows[3]["flow"] = rows[4]["flow"]
    write_task(paths.task("tiny"), rows, inputs=("frames", "dynamic_image", "flow", "apex"))
    other["other input data"] = search_of()
    for said, search in other.items():
        with pytest.raises(TuneError, match=said):
            opened(search, here / "it")


def _task() -> dict[str, Any]:
    from tests.support.builders import PARAMS

    return dict(PARAMS["tasks"]["tiny"])


@pytest.mark.parametrize("part", list(PARTS))
def test_each_part_that_a_trial_depends_on_is_compared(here: Path, part: str) -> None:
    search = search_of()
    run_search(search, here / "it", Budget(60, 1))
    value = search.made_of[part]
    changed = value | {"new": 1} if isinstance(value, dict) else "other"
    with pytest.raises(TuneError, match=f"{JOURNAL}: its trials were made with other {PARTS[part]} .*--folder"):
        Journal(here / "it" / JOURNAL, "ststnet", search.space, search.made_of | {part: changed})


def test_all_that_a_search_is_made_of_is_compared(here: Path) -> None:
    assert set(search_of().made_of) == set(PARTS)
    assert {"models/ststnet.py", "bench/train/step.py", "bench/evaluate/metrics.py"} <= set(search_of().made_of["code"])
    assert {"torch", "numpy", "optuna"} <= set(search_of().made_of["versions"])


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(TuneError, match=r"not installed: pip install 'fdpbench\[tune\]'"):
        require_optuna()
