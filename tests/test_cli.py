"""The commands: help that teaches, errors as one line with exit code 1, and `fdpbench link`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from fdpbench.bench.plan.check import load_runs
from fdpbench.commands import app
from fdpbench.models.common.registry import list_models
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.store import paths
from tests.support.added_models import ESTIMATOR, added_model
from tests.support.builders import (
    CLASSES,
    PARAMS,
    checked_params,
    params,
    perceived,
    predictions,
    write_flow_whole,
    write_params,
    write_perception_data,
    write_predictions,
    write_synthetic,
    write_task,
)

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def invoke(*arguments: str):
    return CliRunner().invoke(app, arguments)


def error_of(*arguments: str) -> str:
    """The one line that a failing command prints."""
    result = invoke(*arguments)
    assert result.exit_code == 1, (result.exit_code, result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(f"error {arguments[0]}: ")
    assert "Traceback" not in result.output
    return lines[0]


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_overview(arguments: tuple[str, ...]) -> None:
    output = invoke(*arguments).output
    for name in COMMANDS:
        assert name in output
    assert "dvc repro" in output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_option_and_argument_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help and len(command.help.strip()) > 20
    assert command.help.strip().splitlines()[0].rstrip().endswith((".", ")", ":"))
    for parameter in command.params:
        help_text = getattr(parameter, "help", None)
        assert help_text and len(help_text) > 10, f"{name}: {parameter.name} has no help"
    result = invoke(name, "--help")
    assert result.exit_code == 0 and "Usage" in result.output
    for parameter in command.params:
        shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
        assert shown is not None and re.search(re.escape(shown), result.output, re.IGNORECASE)


@pytest.mark.parametrize(
    "stage",
    ["synthesize", "index casme2", "align casme2", "flow casme2", "dynamic x", "task x"],
)
def test_dvc_yaml_runs_commands_that_exist(stage: str) -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"cmd: fdpbench ([\w-]+)", text))
    assert used <= set(COMMANDS)
    assert stage.split()[0] in used


def test_python_m_is_the_same_as_the_command() -> None:
    for command in (["fdpbench"], [sys.executable, "-m", "fdpbench"]):
        result = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "Usage: fdpbench" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("synthesize",),
        ("index", "synthetic"),
        ("align", "synthetic"),
        ("dynamic", "tiny"),
        ("task", "tiny"),
        ("check",),
        ("train", "tiny-majority"),
        ("tables",),
    ],
)
def test_without_params(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "params.yaml not found: run the command from the project's root folder" in error_of(*arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("index", "nowhere"), "no release 'nowhere'; releases: synthetic, megc2019_flow"),
        (("align", "nowhere"), "no release 'nowhere'"),
        (("flow", "nowhere"), "no release 'nowhere'"),
        (("link", "nowhere", "."), "unknown release 'nowhere'"),
        (("link", "synthetic", "."), "written by `fdpbench synthesize`"),
        (("index", "megc2019_flow"), "fdpbench link megc2019_flow"),
        (("align", "synthetic"), "dvc repro"),
        (("flow", "synthetic"), "dvc repro"),
        (("link", "casme2", "missing"), "not found"),
        (("dynamic", "nowhere"), "no task 'nowhere'; tasks: tiny, tiny_flow"),
        (("task", "nowhere"), "no task 'nowhere'"),
        (("task", "tiny"), "dvc repro"),
        (("train", "nowhere"), "no run 'nowhere'; runs: tiny-majority"),
        (("train", "tiny-majority"), "data/task/tiny/task.json not found"),
        (("train", "tiny-histogram"), "data/task/tiny/task.json not found"),
        (("check",), "fdpbench link megc2019_flow"),
        (("tables",), "dvc repro"),
        (("gallery", "tiny"), "dvc repro"),
    ],
)
def test_errors_are_one_line(project: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in error_of(*arguments)


def test_broken_yaml_is_one_line(project: Path) -> None:
    (project / "params.yaml").write_text("runs: {a: [1\ntrain: x\n")
    assert "params.yaml is not valid YAML" in error_of("check")


def test_an_error_of_the_program_keeps_its_traceback(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr("fdpbench.bench.plan.check.check_project", broken)
    result = invoke("check")
    assert isinstance(result.exception, RuntimeError)


@pytest.mark.parametrize(
    ("command", "interrupts", "stderr"),
    [
        (["check"], "check.check_project", "check: interrupted."),
        (["train", "net"], "resolve.resolve", "train: interrupted. What was finished is kept: run the same command to"),
    ],
)
def test_an_interrupted_command(
    project: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], interrupts: str, stderr: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"fdpbench.bench.plan.{interrupts}", interrupted)
    result = invoke(*command)
    assert result.exit_code == 130 and " ".join(result.stderr.split()).startswith(stderr)
    assert ("run the same command" in result.stderr) == ("run the same command" in stderr)


@pytest.mark.parametrize("jobs", ["0", "-1", "many"])
def test_number_of_workers(project: Path, jobs: str) -> None:
    assert invoke("align", "synthetic", "--jobs", jobs).exit_code == 2


def test_models_are_listed() -> None:
    result = invoke("models")
    assert result.exit_code == 0
    for name in list_models():
        assert re.search(rf"^{name} \(", result.stdout, re.MULTILINE)


def test_conformance_of_a_model_that_passes() -> None:
    result = invoke("conformance", "majority")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "majority: declaration_is_sound passed"
    assert lines[-1] == "majority: 8 of 8 checks passed" and len(lines) == 9


def test_conformance_goes_on_after_a_failure(tmp_path: Path) -> None:
    faulty = ESTIMATOR.replace('paper="none"', 'paper=""').replace("return rows", "return rows[None][1]")
    with added_model(tmp_path, "faulty", faulty) as file:
        result = invoke("conformance", "faulty", "majority")
    assert result.exit_code == 1
    lines = dict(line.split(" ", 2)[1:] for line in result.stdout.splitlines() if line.startswith("faulty: "))
    assert lines["declaration_is_sound"] == (
        "failed: expected the paper that the model follows; found none. Say it in register_model(paper=...)."
    )
    assert lines["wrong_type_is_refused"] == "passed"
    number = faulty[: faulty.index("return rows[None][1]")].count("\n") + 1
    assert lines["fits_and_repeats"].startswith(f"failed: IndexError at {file}:{number}: index 1 is out of bounds")
    assert "faulty: 2 of 9 checks passed" in result.stdout
    assert result.stdout.endswith("majority: 8 of 8 checks passed\n")


def test_conformance_looks_up_every_model_first() -> None:
    error = error_of("conformance", "majority", "majoritty")
    assert "unknown model 'majoritty'" in error


def test_releases_are_listed(project: Path) -> None:
    paths.raw("synthetic").mkdir(parents=True)
    listing = invoke("releases").stdout
    assert re.search(r"synthetic \(frames, at data/raw/synthetic\)", listing)
    assert re.search(r"casme2 \(frames, not linked\)", listing)


def test_check_says_what_each_run_will_do(project: Path) -> None:
    write_params(checked_params())
    result = invoke("check")
    assert result.exit_code == 0
    for run in PARAMS["runs"]:
        assert f"{run}: " in result.stdout
    assert "tiny-ststnet: ststnet on tiny, inputs flow" in result.stdout
    assert "protocol honest, epochs 2, batch_size 4, lr 0.001, weight_decay 0.0" in result.stdout


def test_check_says_by_which_protocol(project: Path) -> None:
    """A run that looks at the test subject, or rebuilds a fault, is seen to do so before it trains."""
    runs = {
        "it-test_selected": {"task": "tiny", "model": "ststnet", "protocol": "test_selected"},
        "nested": {"task": "tiny", "model": "ststnet", "protocol": "inner", "faults": {"frozen_batch_norm": True}},
    }
    write_params(checked_params(runs=runs))
    lines = {line.partition(":")[0]: line.partition(":")[2] for line in invoke("check").stdout.splitlines()}
    assert "test_selected" in lines["it-test_selected"]
    assert "inner" in lines["nested"] and "frozen batch norm" in lines["nested"]
    assert "test_selected" not in lines["tiny-ststnet"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"model": "ststnet", "protocol": "test_selected"}, "call it bad-test_selected"),
        ({"model": "ststnet", "protocol": "best"}, "runs.bad.protocol"),
        ({"model": "majority", "protocol": "inner"}, "majority is fitted at once"),
        ({"model": "ststnet", "faults": {"frozen": True}}, "runs.bad.faults.frozen: unknown key"),
    ],
)
def test_check_refuses_a_protocol_that_cannot_be(project: Path, entry: dict[str, Any], expected: str) -> None:
    write_params(checked_params(runs={"bad": {"task": "tiny"} | entry}))
    assert expected in error_of("check")


def test_check_refuses_a_run_whose_task_lacks_its_input(project: Path) -> None:
    write_params(checked_params(runs={"bad": {"task": "tiny", "model": "stgcn"}}))
    assert "'stgcn' needs landmarks" in error_of("check")


# --- prep link

COMMENTED = "# first\nreleases: [synthetic] # the embedded one\n"


def commented_params(project: Path) -> None:
    """params.yaml with comments, before any release is linked."""
    content = {key: value for key, value in PARAMS.items() if key not in {"releases", "tasks", "runs"}}
    content["tasks"] = {"tiny": PARAMS["tasks"]["tiny"]}
    content["runs"] = {"tiny-majority": PARAMS["runs"]["tiny-majority"]}
    (project / "params.yaml").write_text(COMMENTED + "\n# the rest\n" + yaml.safe_dump(content, sort_keys=False))


def test_link(project: Path) -> None:
    commented_params(project)
    write_flow_whole(project / "elsewhere")
    result = invoke("link", "megc2019_flow", "elsewhere")
    assert result.exit_code == 0, result.output
    link = paths.raw("megc2019_flow")
    assert link.is_symlink() and link.resolve() == (project / "elsewhere").resolve()
    assert "7 clips of 6 subjects" in result.stderr and "casme2 3 of 145" in result.stderr
    text = (project / "params.yaml").read_text()
    for comment in ("# first", "# the embedded one", "# the rest"):
        assert comment in text
    content = read_params()
    assert content["releases"] == ["synthetic", "megc2019_flow"]
    assert content["tasks"]["megc2019"]["classes"] == "megc2019"
    # one line in the run list away from being scored
    content["runs"] |= {"megc2019-ststnet": {"task": "megc2019", "model": "ststnet"}}
    runs = {run.name: run.task_params.classes for run in load_runs(content)}
    assert list(runs) == ["tiny-majority", "megc2019-ststnet"]
    assert runs["megc2019-ststnet"] == {name: [name] for name in ("negative", "positive", "surprise")}


def test_link_again_changes_nothing(project: Path) -> None:
    commented_params(project)
    write_flow_whole(project / "elsewhere")
    write_flow_whole(project / "moved")
    invoke("link", "megc2019_flow", "elsewhere")
    text = (project / "params.yaml").read_text()
    result = invoke("link", "megc2019_flow", "moved")
    assert result.exit_code == 0 and "are there already" in result.stderr
    assert (project / "params.yaml").read_text() == text
    assert paths.raw("megc2019_flow").resolve() == (project / "moved").resolve()


def test_link_to_a_wrong_folder_changes_nothing(project: Path) -> None:
    commented_params(project)
    (project / "wrong").mkdir()
    before = (project / "params.yaml").read_text()
    assert "no flow images found" in error_of("link", "megc2019_flow", "wrong")
    assert not paths.raw("megc2019_flow").is_symlink()
    assert (project / "params.yaml").read_text() == before


def test_link_does_not_replace_a_folder(project: Path) -> None:
    write_flow_whole(project / "elsewhere")
    write_flow_whole(paths.raw("megc2019_flow"))
    assert "a folder of its own" in error_of("link", "megc2019_flow", "elsewhere")
    assert not paths.raw("megc2019_flow").is_symlink()


def test_link_replaces_a_broken_link(project: Path) -> None:
    commented_params(project)
    write_flow_whole(project / "elsewhere")
    paths.raw("megc2019_flow").parent.mkdir(parents=True)
    paths.raw("megc2019_flow").symlink_to(project / "gone")
    assert invoke("link", "megc2019_flow", "elsewhere").exit_code == 0
    assert paths.raw("megc2019_flow").is_dir()


def test_link_with_an_empty_list(project: Path) -> None:
    """``releases:`` with nothing behind it is an empty list to a person."""
    commented_params(project)
    path = project / "params.yaml"
    path.write_text(path.read_text().replace("releases: [synthetic]", "releases:"))
    write_flow_whole(project / "elsewhere")
    result = invoke("link", "megc2019_flow", "elsewhere")
    assert result.exit_code in (0, 1) and not isinstance(result.exception, TypeError), result.exception
    if result.exit_code == 0:
        assert read_params()["releases"] == ["megc2019_flow"]
    else:
        assert "releases" in result.stderr


# --- commands end to end, on data that is there


def test_index_and_tables_print_where_their_output_lies(project: Path) -> None:
    write_synthetic(paths.raw("synthetic"), [("s01", "a", 1, 4, 8, "", CLASSES[0]), ("s01", "b", 5, 4, 3, "", "x")])
    result = invoke("index", "synthetic")
    assert result.exit_code == 0
    assert "1 clips of 1 subjects (happiness 1)" in result.stderr and "bad_row 1" in result.stderr

    write_params(params() | {"runs": {"tiny-majority": PARAMS["runs"]["tiny-majority"]}})
    rows = write_task(paths.task("tiny"))
    write_predictions("tiny-majority", predictions("tiny-majority", rows, [0] * len(rows)))
    result = invoke("evaluate")
    assert result.exit_code == 0 and "artifacts/evaluation" in result.stderr
    result = invoke("tables")
    assert result.exit_code == 0 and "results/tables.md" in result.stderr
    assert "tiny-majority" in Path("results/tables.md").read_text()


PICTURE = Path("results/dynamic_images.png")


def gallery(*arguments: str) -> bytes:
    """Evaluate, and draw the picture of the task ``tiny``."""
    for command in (("evaluate",), ("gallery", "tiny", *arguments)):
        result = invoke(*command)
        assert result.exit_code == 0, (result.output, result.exception)
    return PICTURE.read_bytes()


def write_run(run: str, rows: list[dict[str, Any]], seed: int = 0, **options: Any) -> None:
    """Write predictions of a run that holds rank scores and generated images."""
    write_predictions(run, perceived(predictions(run, rows, [0] * len(rows)), seed=seed, **options))


def list_runs(repetitions: int = 1, /, **runs: dict[str, Any]) -> None:
    """Write params.yaml with these runs alone, of ststnet on the task ``tiny`` if they do not say otherwise."""
    listed = {name: {"task": "tiny", "model": "ststnet"} | entry for name, entry in runs.items()}
    write_params(params(train={"repetitions": repetitions}) | {"runs": listed})


@pytest.fixture
def generated(project: Path) -> list[dict[str, Any]]:
    """A task, what the gallery reads beside it, and three runs: one ranks, two generate images, in this order."""
    list_runs(ranks={}, images={}, images_too={}, elsewhere={"task": "tiny_flow"})
    rows = write_task(paths.task("tiny"))
    write_perception_data(rows)
    write_run("ranks", rows, side=None)
    write_run("images", rows)
    write_run("images_too", rows, seed=1)
    other = write_task(paths.task("tiny_flow"), name="tiny_flow", inputs=("flow",))
    write_predictions("elsewhere", predictions("elsewhere", other, [0] * len(other)))
    return rows


def test_gallery_of_runs_without_images(generated: list[dict[str, Any]]) -> None:
    list_runs(ranks={})
    picture = gallery()
    assert picture.startswith(b"\x89PNG") and gallery() == picture


def test_gallery_of_a_task_without_frames(generated: list[dict[str, Any]]) -> None:
    gallery()
    assert "no frames to draw" in error_of("gallery", "tiny_flow")


def test_gallery_of_the_first_task_that_may_be_shown(generated: list[dict[str, Any]]) -> None:
    """No name is demanded of a task; where none may be shown, the stage's output says so."""
    shown = gallery()
    assert invoke("gallery").exit_code == 0 and PICTURE.read_bytes() == shown
    write_task(paths.task("tiny"), published=False)
    result = invoke("gallery")
    assert result.exit_code == 0 and "no task has frames of faces that may be published" in result.stderr
    assert PICTURE.read_bytes() != shown


def test_gallery_of_a_run_that_generates_images(generated: list[dict[str, Any]]) -> None:
    """The first of the task's runs that does; its picture repeats, and shows more than one without."""
    picture = gallery()
    assert picture.startswith(b"\x89PNG") and gallery() == picture == gallery("--run", "images")
    assert gallery("--run", "images_too") != picture
    list_runs(ranks={})
    without = gallery()
    assert size_of(picture)[1] > size_of(without)[1] and len(picture) > len(without)


def size_of(png: bytes) -> tuple[int, ...]:
    """Height and width, from the file's head."""
    return int.from_bytes(png[20:24], "big"), int.from_bytes(png[16:20], "big")


def test_gallery_follows_its_images_scores_and_marks(generated: list[dict[str, Any]]) -> None:
    """What a panel shows comes from where it should."""
    seen = {gallery()}
    write_run("images", generated, seed=7)
    seen.add(gallery())
    write_run("images", generated, ranks=False)
    seen.add(gallery())
    write_run("images", generated, side=16)
    seen.add(gallery())
    write_run("images", generated)
    for row in generated:
        row["frames"] = row["frames"][:3] + row["frames"][:1]
    write_task(paths.task("tiny"), generated)
    seen.add(gallery())
    assert len(seen) == 5


def test_gallery_shows_held_out_predictions_of_the_first_repetition(generated: list[dict[str, Any]]) -> None:
    list_runs(images={})
    picture = gallery()
    list_runs(2, images={})
    first, second = (
        perceived(predictions("images", generated, [0] * len(generated), repetition=k), seed=k) for k in range(2)
    )
    for rows in (second + first[::-1], first + second):
        write_predictions("images", rows)
        assert gallery() == picture


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("tiny", "--run", "nowhere"),
            "no run 'nowhere' of task tiny; its runs: ranks, images, images_too",
        ),
        (("tiny", "--run", "elsewhere"), "no run 'elsewhere' of task tiny"),
        (("tiny", "--run", "ranks"), "the model of run 'ranks' generates no dynamic images; leave --run out"),
        (("tiny_flow", "--run", "elsewhere"), ""),
    ],
)
def test_gallery_of_a_run_that_cannot_be(
    generated: list[dict[str, Any]], arguments: tuple[str, ...], expected: str
) -> None:
    assert invoke("evaluate").exit_code == 0
    assert expected in error_of("gallery", *arguments)
    assert not PICTURE.exists()


@pytest.mark.parametrize("stage", ["tables", "gallery", "report", "audit", "costs"])
def test_results_of_other_runs_are_never_shown(generated: list[dict[str, Any]], stage: str) -> None:
    assert "evaluation.json not found" in error_of(stage)
    gallery()
    before = PICTURE.read_bytes()
    list_runs(ranks={}, images={"set": {"lr": 0.1}}, images_too={}, elsewhere={"task": "tiny_flow"})
    assert "(images differ)" in error_of(stage)
    list_runs(ranks={}, images={}, images_too={})
    assert "(elsewhere differ)" in error_of(stage)
    assert PICTURE.read_bytes() == before and [path.name for path in Path("results").iterdir()] == [PICTURE.name]


def test_a_run_that_is_not_trained_cannot_be_evaluated(generated: list[dict[str, Any]]) -> None:
    Path("artifacts/predictions/images.parquet").unlink()
    assert "images.parquet not found" in error_of("evaluate")
    assert not Path("artifacts/evaluation").exists()


def test_gallery_of_a_run_with_untested_subjects(generated: list[dict[str, Any]]) -> None:
    """The first subject is one it says nothing about: clips of those that were held out are drawn."""
    untested = generated[0]["subject"]
    entry = {"faults": {"untested_subjects": [untested]}}
    list_runs(images=entry)
    write_run("images", [row for row in generated if row["subject"] != untested])
    picture = gallery()
    write_run("images", [row for row in generated if row["subject"] != untested], seed=5)
    assert gallery() != picture


def test_gallery_of_a_clip_without_an_annotated_apex(generated: list[dict[str, Any]]) -> None:
    """`write_perception_data` leaves the first clip's out; a data set without any marks is drawn too."""
    list_runs(images={})
    picture = gallery()
    write_perception_data([row | {"clip_id": row["clip_id"] + "x"} for row in generated])
    rows = [row | {"clip_id": row["clip_id"] + "x"} for row in generated]
    write_task(paths.task("tiny"), rows)
    write_run("images", rows)
    assert gallery() != picture


def test_gallery_of_a_run_with_faces_that_may_not_be_published(generated: list[dict[str, Any]]) -> None:
    write_task(paths.task("tiny"), published=False)
    assert invoke("evaluate").exit_code == 0
    for arguments in ((), ("--run", "images")):
        assert "forbids publishing faces" in error_of("gallery", "tiny", *arguments)
    assert not PICTURE.exists()


def test_tables_refuse_a_run_whose_name_hides_test_selected(generated: list[dict[str, Any]]) -> None:
    """Else its figures would be printed under a name without that word."""
    list_runs(images={"protocol": "test_selected"})
    assert "images-test_selected" in error_of("tables")
    assert not Path("results").exists()
