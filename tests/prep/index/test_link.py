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

from fdpbench.bench.plan.check import load_runs
from fdpbench.prep.index.link import activated, link_release
from fdpbench.prep.releases import ReleaseError, release_info
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.plain_yaml import parse_yaml, read_yaml
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.profile import laid_over
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
    assert gone == ["flow_releases: []"]
    assert came[0] == f"flow_releases: [{RELEASE}]" and came[1] == "  megc2019:"
    assert all(line.startswith("  ") for line in came[1:])


def test_the_task_stands_with_the_tasks_and_before_the_comment_on_runs(shipped: str) -> None:
    link_release(RELEASE, Path("elsewhere"))
    text = FILE.read_text(encoding="utf-8")
    before, _, after = text.partition("\nruns:\n")
    comment = before.splitlines()[-1]
    assert comment.startswith("# A run: a task, a model and") and "megc2019" not in after
    task = before[before.index("\ntasks:\n") :]
    assert task.index("apex: true") < task.index("  megc2019:") < task.index("# A run")


@pytest.mark.parametrize("release", ["casme2", "samm", "smic_vis", "megc2019", "casme3_c", "megc2019_flow"])
def test_every_value_that_was_there_stays_the_same(release: str, project: Path) -> None:
    content = (ROOT / "params.yaml").read_text(encoding="utf-8")
    content = content.replace("lr: 1.0e-3", "lr: 1e-3").replace("drift: 1.0", "drift: 1.e-0").replace("0.40", ".4")
    FILE.write_text(content, encoding="utf-8")
    text, said = activated(release_info(release), FILE, FILE)
    before, after = read_params(), parse_yaml(text, FILE)
    listed = "flow_releases" if release == "megc2019_flow" else "releases"
    assert len(said) == 2 and after[listed].pop() == release
    added = set(after["tasks"]) - set(before["tasks"])
    assert len(added) == 1 and after["tasks"].pop(added.pop())["releases"] == [release]
    assert repr(before) == repr(after)
    assert {"1e-3", "1.e-0", ".4,", ".4"} & set(text.replace(",", " ").split())


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
    text = shipped.replace("releases: [synthetic]\nflow", "releases: &all [synthetic]\nflow", 1)
    text = text.replace("    releases: [synthetic]\n", "    releases: *all\n").replace("flow_releases: []", "")
    text = text.replace("\ntasks:", "\nflow_releases: *all\ntasks:")
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
    assert read_params()["flow_releases"] == [RELEASE]


# Studies


def test_a_release_linked_for_a_study_leaves_params_as_it_is(shipped: str, project: Path) -> None:
    link_release(RELEASE, Path("elsewhere"), study="mine")
    assert FILE.read_text(encoding="utf-8") == shipped
    mine = Path("params.mine.yaml")
    found = read_yaml(mine)
    assert set(found) == {"releases", "flow_releases", "tasks", "runs", "feature_runs"}
    assert found["flow_releases"] == [RELEASE] and list(found["tasks"]) == ["synthetic", "megc2019"]
    mine.write_text(mine.read_text().replace("\nruns:\n", "\nruns:\n  it: {task: megc2019, model: ststnet}\n"))
    whole = parse_yaml(laid_over(mine, FILE), mine)
    assert "it" in [run.name for run in load_runs(whole)]


def test_a_second_release_joins_a_study(shipped: str, simulated: Callable[..., Any]) -> None:
    link_release(RELEASE, Path("elsewhere"), study="mine")
    text = Path("params.mine.yaml").read_text(encoding="utf-8")
    link_release("casme2", simulated("casme2").sheet.parent, study="mine")
    gone, came = changes(text, Path("params.mine.yaml").read_text(encoding="utf-8"))
    assert gone == ["releases: [synthetic]"] and came[0] == "releases: [synthetic, casme2]"
    assert FILE.read_text(encoding="utf-8") == shipped


def test_a_study_that_has_runs_alone_gets_the_sections_it_needs(shipped: str) -> None:
    mine = Path("params.mine.yaml")
    mine.write_text("runs: # my own\n  it: {task: synthetic, model: majority}\n", encoding="utf-8")
    link_release(RELEASE, Path("elsewhere"), study="mine")
    found = read_yaml(mine)
    assert set(found) == {"runs", "releases", "flow_releases", "tasks"} and list(found["runs"]) == ["it"]
    assert mine.read_text(encoding="utf-8").startswith("runs: # my own\n")


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
    text = laid_over(Path("params.mine.yaml"), FILE)
    wanted = read_params() | read_yaml(Path("params.mine.yaml"))
    assert repr(parse_yaml(text, FILE)) == repr(wanted)


@pytest.mark.parametrize("text", ["- runs\n", "runs\n", "3\n"])
def test_a_profile_that_is_no_mapping(text: str, project: Path) -> None:
    write_params(params())
    Path("params.mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=r"params\.mine\.yaml: expected a mapping of sections"):
        laid_over(Path("params.mine.yaml"), FILE)


def test_an_unknown_section_of_a_profile_is_told_from_the_one_that_was_meant(project: Path) -> None:
    write_params(params())
    Path("params.mine.yaml").write_text(yaml.safe_dump({"run": {}, "trane": {}}), encoding="utf-8")
    with pytest.raises(ParamsError, match=r"'run' \(did you mean 'runs'\?\).*'trane' \(did you mean 'train'\?\)"):
        laid_over(Path("params.mine.yaml"), FILE)
