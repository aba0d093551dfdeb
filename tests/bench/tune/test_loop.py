"""The loop of a search: what it gives depends on seed, data and space alone; budgets; interruptions."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fdpbench.bench.tune.loop
from fdpbench.bench.tune.data import TuneError
from fdpbench.bench.tune.fold import read_outcomes
from fdpbench.bench.tune.journal import OWN, Trial
from fdpbench.bench.tune.loop import Budget, run_search
from fdpbench.bench.tune.progress import best_of
from fdpbench.prep.runtime.workers import UnitError
from tests.support.tuning import journal_text, made_up, run_backwards, search_of, told, write_tuning

pytest.importorskip("optuna", reason="needs the extra tune")

MANY = 60.0  # core-minutes: more than any test uses


class Killed(BaseException):
    """Nothing in the project catches it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A project with training made up, in which estimates of density begin with the fourth trial."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("project"))
        patch.setattr("fdpbench.bench.tune.journal.STARTUP", 4)
        patch.setattr("fdpbench.bench.tune.journal.UNPRUNED", 2)
        patch.setattr(fdpbench.bench.tune.loop, "run_units", run_backwards)
        patch.setattr(fdpbench.bench.tune.loop, "train_folds", made_up)
        patch.setattr(os, "fsync", lambda descriptor: None)  # Optuna calls it for each line: most of the time here
        write_tuning()
        yield Path.cwd()


@pytest.fixture(scope="module")
def undisturbed(place: Path) -> list[Trial]:
    return run_search(search_of(), place / "undisturbed", Budget(MANY, 14))


def test_the_first_trial_is_the_models_own_recipe_and_the_best_is_never_worse(undisturbed: list[Trial]) -> None:
    first, best = undisturbed[0], best_of(undisturbed)
    assert first.what == OWN and dict(first.settings) == search_of().own and first.state == "finished"
    assert [trial.what for trial in undisturbed[1:]] == ["sampled"] * 13
    assert first.uf1 and best and best.uf1 and best.uf1 > first.uf1
    assert {trial.state for trial in undisturbed} == {"finished", "pruned"}
    assert len({trial.seed for trial in undisturbed}) == 14, "each is drawn by a seed of its own"


def test_a_trial_below_the_median_is_stopped_after_a_fold(undisturbed: list[Trial]) -> None:
    for trial in undisturbed:
        done = [one for one in undisturbed[: trial.number] if one.state == "finished"]
        stopped = None
        for step, _ in enumerate(trial.pooled[:-1] if trial.state == "finished" else trial.pooled):
            values = sorted(one.pooled[step] or 0.0 for one in done)
            middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2 if len(done) >= 2 else 0.0
            if max(value or 0.0 for value in trial.pooled[: step + 1]) < middle:
                stopped = step
                break
        assert (stopped is not None) == (trial.state == "pruned"), trial.number
        assert trial.uf1 == (trial.pooled[-1] if stopped is None else None)
        assert trial.seconds == len(trial.pooled) == len(trial.by_fold) == (3 if stopped is None else stopped + 1)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.lists(st.integers(1, 12), max_size=4), st.data())
def test_neither_workers_nor_interruptions_change_a_trial(
    place: Path, undisturbed: list[Trial], jobs: int, cuts: list[int], data: st.DataObject
) -> None:
    """Killed after so many units of work, or interrupted by Ctrl-C, and gone on with another number of workers."""
    folder = Path(data.draw(st.uuids()).hex)
    failed = 0
    for cut in cuts:
        count = 0

        def cut_off(work: Any, context: Any, cut: int = cut) -> None:
            nonlocal count
            count += 1
            if count == cut:
                raise data.draw(st.sampled_from([Killed, KeyboardInterrupt]))()
            made_up(work, context)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fdpbench.bench.tune.loop, "train_folds", cut_off)
            try:
                run_search(search_of(), folder, Budget(MANY, 14), jobs)
            except (Killed, KeyboardInterrupt):
                failed += 1
        jobs = data.draw(st.integers(1, 4))
    trials = run_search(search_of(), folder, Budget(MANY, 14), jobs)
    assert told(trials) == told(undisturbed)
    cut_trials = [trial for trial in trials if trial.state == "failed"]
    assert len(cut_trials) == failed == len([trial for trial in trials if trial.again is not None])
    for trial in trials:
        if trial.again is not None:
            assert trials[trial.again].state == "failed" and trials[trial.again].settings == trial.settings
    assert sum(trial.seconds for trial in trials) == sum(trial.seconds for trial in undisturbed)


def test_another_seed_is_another_search(place: Path, undisturbed: list[Trial]) -> None:
    other = run_search(search_of(train={"seed": 2}), place / "seed", Budget(MANY, 4))
    assert other[0].settings == undisturbed[0].settings and other[1].settings != undisturbed[1].settings


def test_finished_folds_of_a_trial_that_was_cut_off_are_kept(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []

    def noted(work: Any, context: Any) -> None:
        names.append(work.folds[0][0])
        if len(names) == 3:
            raise Killed
        made_up(work, context)

    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", noted)
    with pytest.raises(Killed):
        run_search(search_of(), place / "kept", Budget(MANY, 1))
    run_search(search_of(), place / "kept", Budget(MANY, 1))
    assert names == ["fold-1", "fold-2", "fold-3", "fold-3"]
    assert not list((place / ".scratch").glob("tune*/*/units/*")), "of no use when the budget is used"


def test_the_budget_is_of_all_calls_together_and_its_last_trial_is_finished(place: Path) -> None:
    def cost(minutes: float, trials: int | None = None) -> tuple[float, int]:
        found = run_search(search_of(), place / "budget", Budget(minutes, trials))
        return sum(trial.seconds for trial in found), sum(trial.counts for trial in found)

    seconds, done = cost(7 / 60)
    assert 7 <= seconds < 10 and done == 3
    assert cost(7 / 60) == cost(0.01) == (seconds, done), "used up: nothing is done"
    assert cost(MANY, 4)[1] == 4 and cost(MANY, 2)[1] == 4
    more, _ = cost(20 / 60)
    assert 20 <= more < 23


def refuse(when: Callable[[Any], bool], message: str = "loss is nan in epoch 1") -> Callable[[Any, Any], None]:
    """Training that refuses some settings in their second fold."""

    def train(work: Any, context: Any) -> None:
        made_up(work, context)
        path = context.folder / "outcome.json"
        if when(work.run.settings) and work.folds[0][0] == "fold-2":
            path.write_text(
                '[{"fold": "fold-2", "confusion": null, "seconds": 0.5, "refused": "fold fold-2: ' + message + '"}]'
            )

    return train


def test_settings_that_cannot_be_trained_count_as_the_worst(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", refuse(lambda settings: settings.lr > 0.0015))
    trials = run_search(search_of(), place / "refused", Budget(MANY, 12))
    refused = [trial for trial in trials if trial.state == "refused"]
    assert refused and all(trial.settings["lr"] > 0.0015 and trial.seconds == 1.5 for trial in refused)
    assert all(trial.refused == "fold fold-2: loss is nan in epoch 1" and trial.uf1 is None for trial in refused)
    assert all(trial.settings["lr"] <= 0.0015 for trial in trials if trial.state == "finished")
    assert run_search(search_of(), place / "refused", Budget(MANY, 12)) == trials


def test_a_model_that_cannot_be_trained_by_its_own_recipe_is_an_error(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", refuse(lambda settings: True))
    for _ in range(3):
        with pytest.raises(
            TuneError, match="ststnet cannot be trained with its own settings: fold fold-2: loss is nan"
        ):
            run_search(search_of(), place / "broken", Budget(MANY, 3))
    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", made_up)
    trials = run_search(search_of(), place / "broken", Budget(MANY, 1))
    assert [trial.state for trial in trials] == ["failed"] * 3 + ["finished"] and trials[-1].what == OWN


def test_settings_whose_worker_dies_twice_are_set_aside(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for lack of memory; the model's own are tried for ever, since nothing goes without them."""
    first = run_search(search_of(), place / "deaths", Budget(MANY, 3))

    def dies(work: Any, context: Any) -> None:
        raise UnitError("it: the worker process died (exit code -9)")

    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", dies)
    for _ in range(2):
        with pytest.raises(UnitError, match="died"):
            run_search(search_of(), place / "deaths", Budget(MANY, 4))
    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", made_up)
    trials = run_search(search_of(), place / "deaths", Budget(MANY, 5))
    assert trials[:3] == first and [trial.state for trial in trials[3:5]] == ["failed", "refused"]
    assert trials[4].refused == "its worker died 2 times" and trials[5].settings != trials[4].settings

    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", dies)
    for _ in range(4):
        with pytest.raises(UnitError, match="died"):
            run_search(search_of(), place / "own deaths", Budget(MANY, 1))
    assert journal_text(place / "own deaths").count(OWN) == 4


def test_files_are_told_of_at_the_beginning_and_whatever_ends_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told_of: list[int] = []
    run_search(search_of(), place / "told", Budget(MANY, 2), 1, lambda trials: told_of.append(len(trials)))
    assert told_of == [0, 2]

    def interrupted(work: Any, context: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_search(search_of(), place / "told", Budget(MANY, 3), 1, lambda trials: told_of.append(len(trials)))
    assert told_of == [0, 2, 2, 3]


def test_a_damaged_outcome_is_named(tmp_path: Path) -> None:
    (tmp_path / "outcome.json").write_text("[{")
    with pytest.raises(ValueError, match=r"outcome.json: damaged .*; delete .* and run the same command"):
        read_outcomes(tmp_path)
