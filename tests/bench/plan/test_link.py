"""`fdpbench link`: additions to a file that a person wrote, everything checked first and written last."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fdpbench.bench.plan.check import load_runs
from fdpbench.bench.plan.link import activated, link_release
from fdpbench.bench.train.settings import Run
from fdpbench.commands import app
from fdpbench.prep.releases import ReleaseError, release_info
from fdpbench.prep.settings.params import check_params, read_params
from fdpbench.prep.settings.plain_yaml import parse_yaml, read_yaml
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.profile import overlay
from fdpbench.prep.settings.yaml_edit import append_to_list, append_to_mapping, section_text
from fdpbench.prep.store import paths
from tests.support.builders import params, write_flow_whole, write_params

ROOT = Path(__file__).resolve().parents[3]
FILE = Path("params.yaml")
RELEASE = "megc2019_flow"


@pytest.fixture
def shipped(project: Path) -> str:
    """The project's own params.yaml, and a release to link."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    FILE.write_text(text, encoding="utf-8")
    write_flow_whole(project / "elsewhere")
    return text


def changes(before: str, after: str) -> tuple[list[str], list[str]]:
    """Lines that went, and lines that came."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return tuple([line[2:] for line in lines if line.startswith(sign)] for sign in "-+")  # type: ignore[return-value]


def test_nothing_but_the_addition_changes(shipped: str) -> None:
    link_release(RELEASE, Path("elsewhere"))
    gone, came = changes(shipped, FILE.read_text(encoding="utf-8"))
    assert gone == ["releases: [synthetic]"]
    assert came == [
        f"releases: [synthetic, {RELEASE}]",
        "  megc2019:",
        f"    releases: [{RELEASE}]",
        "    classes: megc2019",
        "    flow: {size: 28, scaling: per_image}",
    ]


def test_the_task_stands_with_the_tasks_and_before_the_comment_on_runs(shipped: str) -> None:
    link_release(RELEASE, Path("elsewhere"))
    text = FILE.read_text(encoding="utf-8")
    before, _, after = text.partition("\nruns:\n")
    comment = before.splitlines()[-2]
    assert comment.startswith("# A run: a task, a model and") and "megc2019" not in after
    task = before[before.index("\ntasks:\n") :]
    assert task.index("apex: true") < task.index("  megc2019:") < task.index("# A run")


@pytest.mark.parametrize("release", ["casme2", "samm", "smic_vis", "megc2019", "casme3_c", "megc2019_flow"])
def test_every_value_that_was_there_stays_the_same(release: str, project: Path) -> None:
    content = (ROOT / "params.yaml").read_text(encoding="utf-8")
    content = content.replace("style: 0.5", "style: 5e-1").replace("drift: [0.0, 4.0]", "drift: [0.0, 4.e-0]")
    content = content.replace("0.40", ".4")
    FILE.write_text(content, encoding="utf-8")
    text, said = activated(release_info(release), FILE, FILE)
    before, after = read_params(), parse_yaml(text, FILE)
    assert len(said) == 2 and after["releases"].pop() == release
    added = set(after["tasks"]) - set(before["tasks"])
    assert len(added) == 1 and after["tasks"].pop(added.pop())["releases"] == [release]
    assert repr({key: before[key] for key in after}) == repr(after)
    assert not any(before[key] for key in set(before) - set(after))
    assert {"5e-1", "4.e-0]", ".4"} <= set(text.split())


STYLES = {
    "flow list": ("a: [x, y] # last\nb: 1\n", "a: [x, y, new] # last\nb: 1\n"),
    "empty": ("a: []\nb: 1\n", "a: [new]\nb: 1\n"),
    "empty with a blank": ("a: [ ]\n", "a: [new ]\n"),
    "trailing comma": ("a: [x, ] # c\n", "a: [x, new, ] # c\n"),
    "over lines": ("a: [\n  x, # one\n  y # two\n]\n", "a: [\n  x, # one\n  y, new # two\n]\n"),
    "block": ("a:\n  - x # one\n  # two\n\n# of b\nb: 1\n", "a:\n  - x # one\n  - new\n  # two\n\n# of b\nb: 1\n"),
    "block not indented": ("a:\n- x\n- y\nb: 1\n", "a:\n- x\n- y\n- new\nb: 1\n"),
    "no last line end": ("a:\n  - x", "a:\n  - x\n  - new\n"),
    "quoted": ("a: ['x', \"y\"]\n", "a: ['x', \"y\", new]\n"),
}


@pytest.mark.parametrize(("before", "after"), STYLES.values(), ids=STYLES)
def test_a_word_is_added_to_a_list_in_its_own_style(before: str, after: str) -> None:
    assert append_to_list(before, "a", "new") == after
    values = parse_yaml(before, FILE)
    values["a"].append("new")
    assert parse_yaml(after, FILE) == values


MAPPINGS = {
    "block": "a:\n  x:\n    y: [1,\n      2] # end\n\n  # of x\n# of b\nb: 1\n",
    "deeper": "a:\n    x: {y: 1}\nb: 1\n",
    "flow": "a: {x: {y: 1}} # end\nb: 1\n",
    "empty": "a: {}\nb: 1\n",
    "last": "b: 1\na:\n  x: 1",
}


@pytest.mark.parametrize("before", MAPPINGS.values(), ids=MAPPINGS)
def test_an_entry_is_added_to_a_mapping_in_its_own_style(before: str) -> None:
    entry = {"releases": ["r"], "classes": {"no": ["on"], "b": ["1e3", "c"]}, "flow": {"size": 28}}
    after = append_to_mapping(before, "a", "new", entry)
    values = parse_yaml(before, FILE)
    values["a"]["new"] = entry
    assert parse_yaml(after, FILE) == values
    gone, _ = changes(before, after)
    assert gone in ([], ["a: {}"], ["a: {x: {y: 1}} # end"])
    if "# of b" in before:
        assert after.index("new:") < after.index("# of x")


def test_the_text_of_a_section() -> None:
    text = "# head\na: [1,\n  2] # one\n\n# of b\nb:\n  c: {d: 1}\n  # tail\n\ne: 1\n"
    assert section_text(text, "a") == "a: [1,\n  2] # one\n"
    assert section_text(text, "b") == "b:\n  c: {d: 1}\n"


def test_without_params_no_link_is_made(project: Path) -> None:
    write_flow_whole(project / "elsewhere")
    FILE.unlink()
    with pytest.raises(ParamsError, match=r"params\.yaml not found"):
        link_release(RELEASE, Path("elsewhere"))
    assert not list(project.glob("data/raw/*"))


@pytest.mark.parametrize("text", ["a: [1", "runs: {}\n", "tasks: 3\n"])
def test_with_params_that_are_wrong_no_link_is_made(text: str, project: Path) -> None:
    write_flow_whole(project / "elsewhere")
    FILE.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError):
        link_release(RELEASE, Path("elsewhere"))
    assert not list(project.glob("data/raw/*")) and FILE.read_text(encoding="utf-8") == text


def test_what_cannot_be_added_to_is_left_alone(shipped: str, project: Path) -> None:
    """Two names for one list: an addition to one would change the other."""
    text = shipped.replace("\nreleases: [synthetic]\n", "\nreleases: &all [synthetic]\n")
    text = text.replace("    releases: [synthetic]\n", "    releases: *all\n")
    FILE.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match="by hand"):
        link_release(RELEASE, Path("elsewhere"))
    assert not list(project.glob("data/raw/*")) and FILE.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("call", ["fsync", "symlink", "replace"])
def test_a_full_disk_changes_nothing(call: str, shipped: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_flow_whole(project / "before")
    paths.raw(RELEASE).parent.mkdir(parents=True)
    paths.raw(RELEASE).symlink_to(project / "before")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        link_release(RELEASE, Path("elsewhere"))
    assert FILE.read_text(encoding="utf-8") == shipped
    assert paths.raw(RELEASE).readlink() == project / "before"
    left = {path.name for folder in (project, project / "data/raw") for path in folder.iterdir()}
    assert left == {"before", "elsewhere", "data", "params.yaml", RELEASE}


def test_the_file_keeps_its_mode_and_a_link_to_it_stays_one(shipped: str, project: Path) -> None:
    (project / "kept").mkdir()
    FILE.rename("kept/params.yaml")
    os.chmod("kept/params.yaml", 0o640)
    FILE.symlink_to("kept/params.yaml")
    link_release(RELEASE, Path("elsewhere"))
    assert FILE.is_symlink() and (project / "kept/params.yaml").stat().st_mode & 0o777 == 0o640
    assert read_params()["releases"] == ["synthetic", RELEASE]


# Studies


def test_a_release_linked_for_a_study_leaves_params_as_it_is(shipped: str, project: Path) -> None:
    link_release(RELEASE, Path("elsewhere"), study="mine")
    assert FILE.read_text(encoding="utf-8") == shipped
    mine = Path("params.mine.yaml")
    definition = {"releases": [RELEASE], "classes": "megc2019", "flow": {"size": 28, "scaling": "per_image"}}
    assert read_yaml(mine) == {
        "releases": [RELEASE],
        "tasks": {"megc2019": definition},
        "runs": {"megc2019-majority": {"task": "megc2019", "model": "majority"}},
    }
    mine.write_text(mine.read_text().replace("\nruns:\n", "\nruns:\n  it: {task: megc2019, model: ststnet}\n"))
    assert [run.name for run in runs_of_study()] == ["it", "megc2019-majority"]


def runs_of_study() -> list[Run]:
    mine = Path("params.mine.yaml")
    return load_runs(check_params(parse_yaml(overlay(mine, FILE), mine), mine))


def test_a_second_release_joins_a_study(shipped: str, simulated: Callable[..., Any]) -> None:
    link_release(RELEASE, Path("elsewhere"), study="mine")
    text = Path("params.mine.yaml").read_text(encoding="utf-8")
    link_release("casme2", simulated("casme2").sheet.parent, study="mine")
    gone, came = changes(text, Path("params.mine.yaml").read_text(encoding="utf-8"))
    assert gone == [f"releases: [{RELEASE}]"] and came[0] == f"releases: [{RELEASE}, casme2]"
    assert list(read_yaml(Path("params.mine.yaml"))["runs"]) == ["megc2019-majority"], "none was asked for"
    assert FILE.read_text(encoding="utf-8") == shipped


def test_a_study_that_has_runs_alone_gets_the_sections_it_needs(shipped: str) -> None:
    mine = Path("params.mine.yaml")
    mine.write_text("runs: # my own\n  it: {task: synthetic, model: majority}\n", encoding="utf-8")
    link_release(RELEASE, Path("elsewhere"), study="mine")
    found = read_yaml(mine)
    assert found.keys() == {"runs", "releases", "tasks"} and list(found["runs"]) == ["it"]
    assert found["releases"] == ["synthetic", RELEASE] and list(found["tasks"]) == ["synthetic", "megc2019"]
    assert mine.read_text(encoding="utf-8").startswith("runs: # my own\n")


# Runs and class maps


def test_runs_of_models_are_added_with_the_task(shipped: str) -> None:
    link_release(RELEASE, Path("elsewhere"), models=["majority", "htnet"])
    gone, came = changes(shipped, FILE.read_text(encoding="utf-8"))
    assert gone == ["releases: [synthetic]"]
    assert came[-2:] == [f"  megc2019-{model}: {{task: megc2019, model: {model}}}" for model in ("majority", "htnet")]
    assert {run.name: run.settings.epochs for run in load_runs(read_params())}["megc2019-htnet"] == 60
    text = FILE.read_text(encoding="utf-8")
    link_release(RELEASE, Path("elsewhere"), models=["htnet", "ststnet"])
    _, came = changes(text, FILE.read_text(encoding="utf-8"))
    assert came == ["  megc2019-ststnet: {task: megc2019, model: ststnet}"]


def test_runs_are_added_to_a_new_study_and_to_one_that_is_there(shipped: str) -> None:
    for models in (["ststnet"], ["htnet"]):
        link_release(RELEASE, Path("elsewhere"), study="mine", models=models)
    assert [run.name for run in runs_of_study()] == ["megc2019-ststnet", "megc2019-htnet"]


def test_models_that_cannot_be_run_are_all_named_and_nothing_is_written(shipped: str, project: Path) -> None:
    with pytest.raises(ParamsError) as caught:
        link_release(RELEASE, Path("elsewhere"), study="mine", models=["ststnt", "cnn3d", "htnet"])
    first, second = caught.value.problems
    assert "unknown model 'ststnt'" in first and "(did you mean 'ststnet'?)" in first
    assert "runs.megc2019-cnn3d: model 'cnn3d' needs frames, but task 'megc2019' gives flow" in second
    assert not Path("params.mine.yaml").exists() and not list(project.glob("data/raw/*"))


def test_what_a_task_gives_is_what_the_file_says_of_it(shipped: str) -> None:
    """A person may have added an input to the task that link wrote."""
    release, mine = release_info("casme2"), Path("params.mine.yaml")
    with pytest.raises(ParamsError, match="needs apex"):
        activated(release, FILE, mine, models=["capsulenet"])
    text, _ = activated(release, FILE, mine)
    mine.write_text(text.replace("    rank_pooling:", "    apex: true\n    rank_pooling:"))
    assert activated(release, FILE, mine, models=["capsulenet"])[1] == ["run casme2_5-capsulenet added"]


def test_a_class_map_is_chosen_by_its_name(shipped: str, simulated: Callable[..., Any]) -> None:
    folder = simulated("casme2").sheet.parent
    for classes in (None, "casme2_3"):
        link_release("casme2", folder, study="mine", classes=classes)
    tasks = read_yaml(Path("params.mine.yaml"))["tasks"]
    assert [(name, task["classes"]) for name, task in tasks.items()] == [
        (name, name) for name in ("casme2_5", "casme2_3")
    ]
    with pytest.raises(ParamsError, match=r"no class map 'casme2_4' \(did you mean .*it has casme2_5, casme2_3$"):
        link_release("casme2", folder, study="mine", classes="casme2_4")


def test_the_command_offers_every_class_map_and_takes_models(shipped: str, simulated: Callable[..., Any]) -> None:
    folder = str(simulated("casme2").sheet.parent)
    result = CliRunner().invoke(app, ["link", "casme2", folder, "--study", "mine", "--runs", "majority, ststnet"])
    assert result.exit_code == 0, result.output
    assert "by --classes: casme2_3" in result.stderr
    assert "Then: fdpbench new ../mine --profile params.mine.yaml" in result.stderr, "no Makefile is here"
    assert [run.name for run in runs_of_study()] == ["casme2_5-majority", "casme2_5-ststnet"]
    Path("Makefile").touch()
    result = CliRunner().invoke(app, ["link", "casme2", folder, "--study", "mine"])
    assert "Then: make study NAME=mine" in result.stderr


@pytest.mark.parametrize("name", ["../mine", "", "a b", "a/b"])
def test_names_of_studies(name: str, shipped: str) -> None:
    with pytest.raises(ParamsError, match="a name may hold"):
        link_release(RELEASE, Path("elsewhere"), study=name)


def test_a_wrong_folder_writes_no_study(shipped: str, project: Path) -> None:
    (project / "wrong").mkdir()
    with pytest.raises(ReleaseError):
        link_release(RELEASE, project / "wrong", study="mine")
    assert not Path("params.mine.yaml").exists() and not list(project.glob("data/raw/*"))


# Profiles


@pytest.mark.parametrize("number", ["1e-3", "+1e3", "1.e-3", "1E5", "1.0e-3", "0.10", "1_000", "0x10"])
def test_a_profile_keeps_every_number_as_it_is_written(number: str, project: Path) -> None:
    write_params(params())
    Path("params.mine.yaml").write_text(f"options: {{cnn3d: {{lr: {number}}}}}\n", encoding="utf-8")
    text = overlay(Path("params.mine.yaml"), FILE)
    wanted = read_params() | read_yaml(Path("params.mine.yaml"))
    assert repr(parse_yaml(text, FILE)) == repr(wanted)


@pytest.mark.parametrize("text", ["- runs\n", "runs\n", "3\n"])
def test_a_profile_that_is_no_mapping(text: str, project: Path) -> None:
    write_params(params())
    Path("params.mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"params\.mine\.yaml: expected a mapping of sections"):
        overlay(Path("params.mine.yaml"), FILE)


def test_an_unknown_section_of_a_profile_is_told_from_the_one_that_was_meant(project: Path) -> None:
    write_params(params())
    Path("params.mine.yaml").write_text(yaml.safe_dump({"run": {}, "trane": {}}), encoding="utf-8")
    with pytest.raises(ParamsError, match=r"'run' \(did you mean 'runs'\?\).*'trane' \(did you mean 'train'\?\)"):
        overlay(Path("params.mine.yaml"), FILE)
