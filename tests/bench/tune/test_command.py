"""`fdpbench tune` as it is typed: errors in one line, and real processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import fdpbench.bench.tune.loop
from fdpbench.bench.tune.loop import Budget, run_search
from fdpbench.bench.tune.run import tune
from fdpbench.commands import app
from tests.support.builders import PARAMS, write_params
from tests.support.project import ROOT, Project, wait_until
from tests.support.tuning import SUBJECTS, made_up, search_of, told, write_tuning

optuna = pytest.importorskip("optuna", reason="needs the extra tune")


def said(*arguments: str) -> str:
    """What a command prints that fails, on one line."""
    result = CliRunner().invoke(app, ["tune", *arguments])
    assert result.exit_code == 1, result.output
    (line,) = result.output.splitlines()
    return line


def test_errors_are_one_line_that_says_what_to_do(here: Path) -> None:
    for arguments, expected in (
        (["ststnett"], "unknown model 'ststnett'; known models: .* (did you mean 'ststnet'?)"),
        (["ststnet", "--task", "tinny"], "no task 'tinny' (did you mean 'tiny'?); tasks: tiny, tiny_flow"),
        (["ststnet", "--task", "tiny_flow"], "there is no task 'tiny_flow'"),
        (["cnn3d", "--task", "tiny_flow"], "--task: cnn3d reads frames, but task tiny_flow gives flow"),
        (["stgcn"], "no task of params.yaml gives what stgcn reads: landmarks; name one by --task"),
        (["majority", "--whole"], "majority: nothing to tune: it is fitted at once"),
        (["ststnet", "--split", "one"], "--split: expected subject"),
        (["ststnet", "--whole", "--fold", "fold-1"], "--whole: there are no outer folds then"),
        (["ststnet", "--fold", "synthetic/s9"], "task tiny has no fold 'synthetic/s9'"),
        (["ststnet", "--whole", "--folds", "9"], "9 folds, but 5 subjects to test; set --folds to less"),
    ):
        line = said(*arguments)
        assert line.startswith("error tune: ")
        for part in expected.split(".*"):
            assert part in line, line
    assert not (here / "artifacts").exists()


def test_a_task_with_runs_of_its_own_is_not_tuned_on_as_a_whole(here: Path) -> None:
    write_params(PARAMS)
    assert "which run tiny-ststnet of params.yaml reports on" in said("ststnet", "--whole")


def test_wrong_own_settings_are_named(here: Path) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["options"]["ststnet"] = {"model": {"dropuot": 0.5}}
    write_params(content)
    assert "options.ststnet.model.dropuot" in said("ststnet", "--whole") and "dropout" in said("ststnet", "--whole")


def test_without_optuna_the_command_says_what_to_install(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert "pip install 'fdpbench[tune]'" in said("ststnet", "--whole")


def test_optuna_is_imported_by_a_search_alone() -> None:
    script = (
        "import fdpbench.commands, fdpbench.bench.tune.run, fdpbench.bench.tune.report, sys\n"
        "print(*[name for name in sys.modules if name == 'optuna' or name.startswith('optuna.')])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_each_outer_fold_is_a_search_of_its_own(here: Path) -> None:
    arguments = ["tune", "ststnet", "--trials", "2", "--folds", "2"]
    result = CliRunner().invoke(app, [*arguments, "--fold", SUBJECTS[1], "--fold", SUBJECTS[0]])
    assert result.exit_code == 0, result.output
    folder = here / "artifacts/tuning/ststnet/tiny/subject"
    assert sorted(path.name for path in folder.iterdir()) == ["synthetic%2Fs01", "synthetic%2Fs02"]
    for name in folder.iterdir():
        found = {path.name for path in name.iterdir()}
        assert found == {"journal.jsonl", "trials.csv", "best.yaml", "record.json", "budget.png"}
    assert result.output.count("UF1 on the tuning data: own recipe") == 2 and "2 searches" in result.output
    every = CliRunner().invoke(app, [*arguments, "--folder", "every"])
    assert len(list((here / "every/subject").iterdir())) == len(SUBJECTS) and every.exit_code == 0


def test_ctrl_c_says_that_the_same_command_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def interrupted(work: object, context: object) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise KeyboardInterrupt
        made_up(work, context)  # type: ignore[arg-type]

    monkeypatch.setattr(fdpbench.bench.tune.loop, "train_folds", interrupted)
    command = ["tune", "ststnet", "--whole", "--trials", "3"]
    stopped = CliRunner().invoke(app, command)
    assert stopped.exit_code == 130 and "run the same command to go on" in stopped.output
    assert (here / "artifacts/tuning/ststnet/tiny/whole/trials.csv").read_text().count("\n") == 3
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and "trial 1 was cut off; its values are tried again" in again.output
    assert "going on, 1 trials" in again.output and "3 trials (0 pruned)" in again.output


def test_make_tune_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    done = subprocess.run(["make", "--old-file=install", "tune"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and 'make tune MODEL="ststnet fdp" MINUTES=15' in done.stdout
    plan = subprocess.run(
        ["make", "--old-file=install", "-n", "tune", "MODEL=ststnet", "MINUTES=20"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--minutes 20 --trials 1000" in plan and "dvc repro task" in plan and "for model in ststnet; do" in plan


class Command:
    """`fdpbench tune ststnet` inside an outer fold of the working directory's task, as a process of its own."""

    def __init__(self, folder: str) -> None:
        self.arguments = ["fdpbench", "tune", "ststnet", "--fold", SUBJECTS[1], "--folds", "2", "--trials", "12"]
        self.arguments += ["--folder", folder]
        self.folder = Path(folder) / "subject/synthetic%2Fs02"
        self.environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }

    def start(self) -> subprocess.Popen:
        with Path("log").open("a") as log:
            return subprocess.Popen(
                self.arguments,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # what a shell starts in the background, such as these tests, ignores Ctrl-C
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def lines(self, *parts: str) -> int:
        """Lines of the journal that hold one of some texts."""
        journal = self.folder / "journal.jsonl"
        text = journal.read_text() if journal.exists() else ""
        return sum(any(part in line for part in parts) for line in text.splitlines())

    def told(self) -> list[tuple[str, dict, float | None]]:
        """States, settings and values of the trials that count, read by Optuna alone."""
        storages = optuna.storages
        backend = storages.journal.JournalFileBackend(str(self.folder / "journal.jsonl"))
        study = optuna.load_study(study_name="ststnet", storage=storages.JournalStorage(backend))
        return [
            (trial.state.name, trial.user_attrs["settings"], trial.value)
            for trial in study.trials
            if trial.state.name in ("COMPLETE", "PRUNED")
        ]


@pytest.mark.pipeline
@pytest.mark.timeout(900)
def test_killed_in_the_middle_of_a_trial_it_goes_on_as_if_nothing_had_been(project: Path) -> None:
    """The real command line and its worker processes: kill -9 of all of them, and Ctrl-C."""
    write_tuning()
    straight, cut = Command("straight"), Command("cut")
    assert straight.start().wait(timeout=300) == 0
    for done, signal_of in ((1, signal.SIGKILL), (3, signal.SIGINT), (6, signal.SIGKILL)):
        process = cut.start()
        failed = cut.lines('"state":3')

        def at_work(done: int = done, failed: int = failed) -> bool:
            """Some trials are told of, and another one has its settings."""
            told_of = cut.lines('"state":1', '"state":2')
            return told_of >= done and cut.lines('"user_attr":{"settings"') > told_of + failed

        wait_until(at_work, process)
        os.killpg(process.pid, signal_of)
        assert process.wait(timeout=60) == (-9 if signal_of == signal.SIGKILL else 130)
    assert cut.start().wait(timeout=300) == 0
    log = Path("log").read_text()
    assert log.count("was cut off; its values are tried again") == cut.lines('"state":3') and "Traceback" not in log
    assert cut.told() == straight.told() and len(cut.told()) == 12
    # of the three that were at work, one or the other may have ended before the signal came
    assert 1 <= cut.lines('"state":3') <= 3


@pytest.mark.pipeline
@pytest.mark.timeout(900)
def test_on_the_smoke_profile(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.run("dvc", "repro", "task@synthetic")
    refused = project.attempt("fdpbench", "tune", "ststnet", "--whole")
    assert refused[0] == 1 and "run synthetic-ststnet of params.yaml reports on" in refused[1]
    for model in ("ststnet", "lbp_top"):
        command = ("fdpbench", "tune", model, "--fold", "synthetic/s02", "--folds", "2", "--trials", "3")
        assert "3 trials" in project.run(*command, "--folder", f"found/{model}")
    report = project.run("fdpbench", "tune-report", "found")
    assert "| ststnet, subject/synthetic%2Fs02 | 3 " in " ".join(report.split())
    assert "| lbp_top, subject/synthetic%2Fs02 | 3 " in " ".join(report.split())
    assert (project.folder / "found/tables.csv").is_file() and (project.folder / "found/budget.png").is_file()


@pytest.mark.pipeline
@pytest.mark.timeout(900)
def test_real_workers_give_what_one_gives(project: Path) -> None:
    write_tuning()
    found = [run_search(search_of("ststnet"), project / str(jobs), Budget(60, 2), jobs) for jobs in (1, 2)]
    assert told(found[0]) == told(found[1]) and all(trial.seconds > 0 for trials in found for trial in trials)
    (alone,) = tune("flow_histogram", Budget(60, 6), whole=True, jobs=2)
    assert len(told(alone.trials)) == 6
