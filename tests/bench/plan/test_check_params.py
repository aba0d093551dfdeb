"""`fdpbench check`: whatever a later stage would refuse of params.yaml is refused first, all of it at once."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fdpbench.bench.plan.check import TYPES, check_project, load_runs
from fdpbench.bench.plan.stage import plan_project
from fdpbench.commands import app
from fdpbench.prep.align import faces_dlib
from fdpbench.prep.settings.params import OPTIONAL, SECTIONS, read_params
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.profile import overlay
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import MANIFEST
from tests.support.builders import checked_params, params, write_params

ROOT = Path(__file__).resolve().parents[3]


def put(dotted: str, value: Any, content: dict[str, Any] | None = None) -> dict[str, Any]:
    content = checked_params() if content is None else content
    place = content
    *parts, last = dotted.split(".")
    for part in parts:
        place = place[part]
    place[last] = value
    return content


def problems(content: Any) -> list[str]:
    """What `check` prints of a params.yaml, line by line, without what each line begins with."""
    write_params(content)
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 1, (result.output, result.exception)
    lines = result.stderr.splitlines()
    assert lines and all(line.startswith("error check: ") for line in lines), result.stderr
    return [line.removeprefix("error check: ") for line in lines]


def problem(content: Any) -> str:
    """The only one."""
    found = problems(content)
    assert len(found) == 1, found
    return found[0]


def test_all_is_well(project: Path) -> None:
    write_params(checked_params())
    result = CliRunner().invoke(app, ["check"])
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("name", ["params.yaml", "params.smoke.yaml"])
def test_shipped_files_pass(name: str, project: Path) -> None:
    path = ROOT / "params.yaml"
    Path("params.yaml").write_text(path.read_text() if name == path.name else overlay(ROOT / name, path))
    assert [run.name for run in check_project()] == list(read_params()["runs"])


def test_a_study_without_the_rendered_release(project: Path) -> None:
    """Nothing but a release that is linked, a task by the name of its class map, and a run."""
    flow = {"size": 28, "scaling": "per_image"}
    content = {key: params()[key] for key in ("align", "flow", "train")} | {
        "releases": ["megc2019_flow"],
        "tasks": {"mine": {"releases": ["megc2019_flow"], "classes": "megc2019", "flow": flow}},
        "runs": {"mine-htnet": {"task": "mine", "model": "htnet"}},
    }
    write_params(content)
    paths.raw("megc2019_flow").mkdir(parents=True)
    (run,) = check_project()
    assert run.settings.epochs == 60 and list(run.task_params.classes) == ["negative", "positive", "surprise"]


def test_every_section_at_once(project: Path) -> None:
    content = checked_params()
    content["synth"]["subjects"] = "ten"
    content["releases"].append("casme2x")
    content["releases"] += ["casme2", "casme2"]
    content["align"]["size"] = "ninety"
    content["flow"]["method"] = "raft"
    content["tasks"]["tiny"]["classes"]["happiness"] = ["hapiness"]
    content["tasks"]["other"] = {"releases": ["synthetic"], "classes": {"a": ["disgust"]}}
    content["tasks"]["t; touch x"] = params()["tasks"]["tiny"]
    content["tasks"]["mapped"] = content["tasks"]["tiny"] | {"classes": "casme2-5"}
    content["runs"]["tiny-ststnet"]["model"] = "ststne"
    content["runs"]["lost"] = {"task": "tinny", "model": "majority"}
    content["feature_runs"] = {"old": {"task": "tiny", "model": "lbp_top"}}
    content["train"]["device"] = "gpu"
    content["options"]["cnn3d"]["lr"] = "quick"
    content["options"]["ststnt"] = {}
    content["extra"] = {}
    expected = [
        "unknown key 'extra'",
        "releases: casme2 stands twice",
        "feature_runs: write its lines under runs: old: {task: tiny, model: lbp_top}",
        "tasks.t; touch x: a name may hold letters",
        "synth.subjects: Input should be a valid integer (found 'ten')",
        "align.size: Input should be a valid integer (found 'ninety')",
        "flow.method: Input should be 'dis', 'farneback' or 'tvl1' (found 'raft')",
        "train.device: Input should be 'auto', 'cpu' or 'cuda' (found 'gpu')",
        "tasks.tiny.classes.happiness: synthetic is not known to have the emotion 'hapiness' (did you mean 'happiness'",
        "tasks.other.classes: Dictionary should have at least 2 items",
        "tasks.mapped.classes: Value error, unknown class map (did you mean 'casme2_5'?)",
        "options.cnn3d.lr: Input should be a valid number (found 'quick')",
        "options.ststnt: unknown model 'ststnt'",
        "runs.lost.task: no task 'tinny' (did you mean 'tiny'?)",
        "runs.tiny-ststnet.model: unknown model 'ststne'",
        "releases: unknown release 'casme2x' (did you mean 'casme2'?)",
        "releases: 'casme2' is named, but data/raw/casme2 is not there",
    ]
    found = problems(content)
    assert [words for words in expected if not any(words in line for line in found)] == []
    assert len(found) == len(expected), found
    unknown = [line for line in found if "unknown model" in line]
    assert len(unknown) == 2 and all("(did you mean 'ststnet'?)" in line for line in unknown), unknown


@pytest.mark.parametrize("key", list(SECTIONS))
def test_no_section_goes_unread(key: str, project: Path) -> None:
    content = checked_params()
    if key in TYPES or key == "synth":
        content[key]["no_such_key"] = 1
    elif key == "ensembles":
        content[key] = {"new": ["no_such_key"]}
    elif isinstance(content[key], list):
        content[key] = ["no_such_key"]
    elif key == "options":
        content[key]["no_such_key"] = {}
    else:
        content[key]["new"] = {"no_such_key": 1}
    assert any("no_such_key" in line for line in problems(content))


@pytest.mark.parametrize("value", [None, 3, "text"])
@pytest.mark.parametrize("key", list(SECTIONS))
def test_a_section_of_the_wrong_kind_hides_nothing_of_the_others(key: str, value: Any, project: Path) -> None:
    content = put("synth.seed" if key != "synth" else "train.seed", "one")
    content[key] = value
    found = problems(content)
    assert any(f"{key} must be" in line for line in found) and any("seed: " in line for line in found), found


@pytest.mark.parametrize("key", [key for key in SECTIONS if key not in OPTIONAL or key == "synth"])
def test_a_missing_section_is_said_once(key: str, project: Path) -> None:
    content = checked_params()
    del content[key]
    found = problems(content)
    assert f"section '{key}' is missing" in found[0]
    assert not any(line.startswith(f"params.yaml: {key}") for line in found[1:]), found


@pytest.mark.parametrize(
    ("dotted", "value", "meant"),
    [
        ("algin", {}, "align"),
        ("align.sice", 3, "size"),
        ("flow.methd", "dis", "method"),
        ("flow.method", "DIS", "dis"),
        ("tasks.tiny.samplng", {}, "sampling"),
        ("tasks.tiny.sampling.rule", "unifrom", "uniform"),
        ("runs.tiny-ststnet.taks", "tiny", "task"),
        ("runs.tiny-ststnet.protocol", "iner", "inner"),
        ("runs.tiny-ststnet.task", "tyny", "tiny"),
        ("runs.tiny-ststnet.model", "stsnet", "ststnet"),
        ("runs.tiny-ststnet.set", {"epoch": 3}, "epochs"),
        ("runs.tiny-ststnet.set", {"model": {"dropot": 0.1}}, "dropout"),
        ("options.ststnet.weight_decy", 0.0, "weight_decay"),
        ("options.ststnet.model", {"dropuot": 0.1}, "dropout"),
        ("options.cnn_3d", {}, "cnn3d"),
        ("releases", ["synthetc"], "synthetic"),
        ("tasks.tiny.releases", ["sinthetic"], "synthetic"),
        ("tasks.tiny.classes.surprise", ["suprise"], "surprise"),
        ("train.devise", "cpu", "device"),
    ],
)
def test_did_you_mean(dotted: str, value: Any, meant: str, project: Path) -> None:
    assert any(f"(did you mean '{meant}'?)" in line for line in problems(put(dotted, value)))


def test_nothing_is_guessed_where_no_name_is_like_it(project: Path) -> None:
    assert "did you mean" not in problem(put("flow.method", "raft"))


# Emotions of classes


def flow_task(release: str, **classes: list[str]) -> dict[str, Any]:
    content = params(releases=["synthetic", release])
    content["tasks"]["it"] = content["tasks"].pop("tiny_flow") | {"releases": [release], "classes": classes}
    return content


def emotion_problems(content: dict[str, Any]) -> list[str]:
    try:
        load_runs(content)
    except ParamsError as error:
        return [line for line in error.problems if "not known to have the emotion" in line]
    return []


def write_manifest(release: str, *emotions: str) -> None:
    rows = [{"clip_id": f"{release}/s/{k}", "emotion": emotion} for k, emotion in enumerate(emotions)]
    path = paths.manifest(release) / "manifest.parquet"
    path.parent.mkdir(parents=True)
    shards.write_table(pa.Table.from_pylist(rows, schema=MANIFEST), path)


def test_a_class_whose_emotion_no_release_has(project: Path) -> None:
    (line,) = emotion_problems(flow_task("casme2", a=["happiness", "disgust"], b=["contentment"]))
    assert "tasks.it.classes.b: casme2 is not known to have the emotion 'contentment'" in line
    assert "it has disgust, fear, happiness" in line
    both = flow_task("casme2", a=["happiness"], b=["contempt"])
    assert emotion_problems(both)
    both["releases"].append("samm")
    both["tasks"]["it"]["releases"].append("samm")
    assert not emotion_problems(both), "SAMM has it"


def test_every_class_map_of_the_literature_passes() -> None:
    from fdpbench.prep.index.class_maps import maps_of
    from fdpbench.prep.releases import RELEASES

    for release in RELEASES:
        for class_map in maps_of(release):
            classes = {name: list(group) for name, group in class_map.classes.items()}
            assert not emotion_problems(flow_task(release, **classes)), (class_map.name, release)


def test_a_manifest_on_disk_tells_what_is_not_known_of_the_release(project: Path) -> None:
    content = flow_task("fourdme", a=["positive"], b=["negtive"])
    assert not emotion_problems(content), "nothing is known of what 4DME holds, nor is it here"
    write_manifest("fourdme", "positive", "negative")
    assert "(did you mean 'negative'?)" in emotion_problems(content)[0]


def test_a_sheet_that_has_more_emotions_than_are_known_is_believed(project: Path) -> None:
    content = flow_task("casme2", a=["happiness"], b=["anger"])
    assert "fdpbench index casme2" in emotion_problems(content)[0]
    write_manifest("casme2", "happiness", "anger")
    assert not emotion_problems(content)


def test_a_damaged_manifest_is_no_reason_to_refuse(project: Path) -> None:
    """The stage `index` writes it anew, after the check."""
    content = flow_task("casme2", a=["happiness"], b=["disgust"])
    paths.manifest("casme2").mkdir(parents=True)
    (paths.manifest("casme2") / "manifest.parquet").write_bytes(b"PAR1 and no more")
    assert not emotion_problems(content)


# What later stages would refuse


def test_more_training_subjects_than_there_are(project: Path) -> None:
    """Of the rendered release params.yaml tells, of a linked one its manifest, once it is there."""
    content = put("runs.tiny-ststnet.training_subjects", 2)  # of two subjects
    assert problem(content) == (
        "params.yaml: runs.tiny-ststnet.training_subjects: 2 is more than task 'tiny' has beside those that are "
        "tested; it has 2 subjects: set it to 1 or less"
    )
    write_params(put("runs.tiny-ststnet.training_subjects", 1))
    assert check_project()

    content["releases"], content["tasks"]["tiny"]["releases"] = ["casme2"], ["casme2"]
    paths.raw("casme2").mkdir(parents=True)
    write_params(content)
    assert check_project()  # nothing is known
    row = {name: None for name in MANIFEST.names} | {"dataset": "casme2"}
    seen = [("casme2/s1", "happiness"), ("casme2/s1", "disgust"), ("casme2/s2", "surprise"), ("casme2/s3", "fear")]
    rows = [row | {"subject": subject, "emotion": emotion} for subject, emotion in seen]
    path = paths.manifest("casme2") / "manifest.parquet"
    shards.write_table(pa.Table.from_pylist(rows, schema=MANIFEST), path)
    assert "it has 2 subjects: set it to 1 or less" in problem(content)


def test_more_folds_than_subjects(project: Path) -> None:
    said = "params.yaml: runs.tiny-ststnet.split: 3 folds, but task 'tiny' has 2 subjects; set less"
    assert problem(put("runs.tiny-ststnet.split", {"subject_kfold": 3})) == said
    content = put("synth.subjects", 5)
    put("runs.tiny-ststnet", {"task": "tiny", "model": "ststnet", "split": {"subject_kfold": 3}}, content)
    write_params(content)
    assert check_project()
    put("runs.tiny-ststnet.training_subjects", 4, content)  # the largest of three folds of five subjects has two
    assert problem(content).endswith("it has 5 subjects: set it to 3 or less")


def test_runs_of_different_splits_share_no_table(project: Path) -> None:
    content = put("synth.subjects", 5)
    for name, split in (("loso", {}), ("k", {"split": {"subject_kfold": 2}}), ("l", {"split": {"subject_kfold": 3}})):
        content["runs"][name] = {"task": "tiny", "model": "majority", "table": "mine"} | split
    assert problem(content) == (
        "params.yaml: runs.k.table: 'mine' holds run loso, whose split is another: runs of different splits are not "
        "ranked together; name another table"
    )
    del content["runs"]["loso"], content["runs"]["l"]["table"]
    write_params(content)
    assert check_project()


def test_a_class_without_emotions(project: Path) -> None:
    assert "tasks.tiny.classes.none: gathers no emotion" in problem(put("tasks.tiny.classes.none", []))


@pytest.mark.parametrize(
    ("releases", "expected"),
    [
        (["synthetic", "synthetic"], "tasks.tiny.releases: 'synthetic' stands twice"),
        (["synthetic", "casme2"], "tasks.tiny.releases: needs release 'casme2', which is prepared by no stage"),
    ],
)
def test_releases_of_a_task_that_no_run_uses(releases: list[str], expected: str, project: Path) -> None:
    """DVC makes every task, whether or not a run needs it."""
    content = put("tasks.tiny.releases", releases)
    content["tasks"]["other"] = checked_params()["tasks"]["tiny"]
    content["runs"] = {"other": {"task": "other", "model": "majority"}}
    assert expected in problem(content)


def test_flow_images_tell_no_pixels(project: Path) -> None:
    paths.raw("megc2019_flow").mkdir(parents=True)
    content = put("tasks.flow", copy.deepcopy(params()["tasks"]["tiny_flow"]))
    content["releases"].append("megc2019_flow")
    content["tasks"]["flow"]["flow"]["scaling"] = "pixels"
    assert "tasks.flow.flow.scaling: pixels needs pixels, which the flow images" in problem(content)


def test_a_release_that_is_not_linked(project: Path) -> None:
    content = put("releases", ["synthetic", "casme2", "samm"])
    found = problems(content)
    assert ["fdpbench link casme2" in found[0], "fdpbench link samm" in found[1]] == [True, True]


def test_inputs_that_a_model_does_not_take(project: Path) -> None:
    """Its own limits, found by building it without memory, not after hours of other runs."""
    content = put("options.capsulenet", {"model": {"preset": "released"}})
    content["tasks"]["tiny"]["apex"] = True
    content["runs"]["caps"] = {"task": "tiny", "model": "capsulenet"}
    assert "runs.caps: input 'apex' has shape (1, 32, 32)" in problem(content)


def test_inputs_that_hand_crafted_features_do_not_take(project: Path) -> None:
    content = put("tasks.tiny.sampling.frames", 2)
    content["runs"]["lbp"] = {"task": "tiny", "model": "lbp_top"}
    assert "runs.lbp: " in problem(content)


def test_cuda_that_is_not_there(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "train.device is cuda, but torch sees no CUDA device" in problem(put("train.device", "cuda"))


def test_dlib_that_is_not_installed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise faces_dlib.MissingDlibError("dlib is not installed")

    monkeypatch.setattr(faces_dlib, "require_dlib", missing)
    assert problem(put("align.landmarks", "dlib")) == "dlib is not installed"


@pytest.mark.parametrize("name", ["a" * 101, "é", "a/b", "..", "-x", "a b", "a\nb", "$(touch x)", "t; touch x"])
@pytest.mark.parametrize("key", ["releases", "tasks", "runs"])
def test_names_that_are_no_names(key: str, name: str, project: Path) -> None:
    content = checked_params()
    if isinstance(content[key], list):
        content[key].append(name)
    else:
        content[key][name] = copy.deepcopy(next(iter(content[key].values())))
    assert any("a name may hold letters, digits, - and _ only" in line for line in problems(content))


def test_a_name_that_yaml_reads_as_a_number(project: Path) -> None:
    assert "runs: 7 is no name but a value of YAML; write it in quotes" in problems(put("runs", {7: {}}))[0]


# Files that options name


def adapters(project: Path, weights: str) -> dict[str, Any]:
    content = checked_params()
    content["runs"]["it"] = {"task": "tiny", "model": "adapters", "set": {"model": {"weights": weights}}}
    return content


@pytest.mark.parametrize(
    "place", ["elsewhere/vit.safetensors", "weights/../vit.safetensors", "weights/none", "weights"]
)
def test_a_file_lies_where_dvc_sees_it_replaced(place: str, project: Path) -> None:
    for folder in ("weights", "elsewhere"):
        (project / folder).mkdir()
        (project / folder / "vit.safetensors").write_bytes(b"")
    (project / "vit.safetensors").write_bytes(b"")
    assert "runs.it.set.model.weights: expected a file below weights/" in problem(adapters(project, place))
    assert "runs.it.set.model.weights: " in problem(adapters(project, str(project / "weights/vit.safetensors")))


def test_hashes_of_the_files_of_each_run(project: Path) -> None:
    """A run's training depends on those of its own: a file that is replaced changes what is planned of it alone."""
    from safetensors.torch import save_file

    from fdpbench.models.adapters import Encoder, Sizes

    (project / "weights").mkdir()
    write_params(adapters(project, "weights/vit.safetensors"))
    seen = []
    for depth in (1, 2):
        save_file(Encoder(Sizes(image=32, depth=depth)).state_dict(), "weights/vit.safetensors")
        assert plan_project()
        found = Path("artifacts/plan/train").glob("*.json")
        seen.append({path.stem: json.loads(path.read_text())["files"] for path in found})
    first, second = (files.pop("it") for files in seen)
    assert first.keys() == second.keys() == {"weights/vit.safetensors"} and first != second
    assert set(map(str, (*seen[0].values(), *seen[1].values()))) == {"{}"}
    (project / "weights/vit.safetensors").write_bytes(b"no safetensors")
    assert "runs.it: adapters: weights/vit.safetensors is no safetensors file" in problem(read_params())
