"""params.yaml: every unknown key, wrong type and impossible run is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fdpbench.bench.plan.check import load_runs
from fdpbench.bench.plan.link import check_links
from fdpbench.bench.plan.params import load_run, load_tasks, load_train, parse_task, run_names
from fdpbench.models.common.registry import ModelOptionError, UnknownModelError, model_info
from fdpbench.prep.demo.synth import EMOTIONS
from fdpbench.prep.flow.methods import METHODS
from fdpbench.prep.index.class_maps import all_class_maps
from fdpbench.prep.settings.align import AlignParams
from fdpbench.prep.settings.flow import FlowParams
from fdpbench.prep.settings.index import IndexParams
from fdpbench.prep.settings.params import OPTIONAL, check_params, read_params
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.profile import overlay
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.synth import synth_section
from fdpbench.prep.settings.task import FlowInput, Sampling, TaskParams
from tests.support.builders import PARAMS, params, write_params

ROOT = Path(__file__).resolve().parents[3]


def shipped(name: str) -> dict[str, Any]:
    params = ROOT / "params.yaml"
    return read_params(params) if name == params.name else check_params(yaml.safe_load(overlay(ROOT / name, params)))


SHIPPED = [
    "params.yaml",
    "params.baselines.yaml",
    "params.calm.yaml",
    "params.full.yaml",
    "params.pretrained.yaml",
    "params.smoke.yaml",
    "params.weights.yaml",
]  # a user's are others


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_load_and_check(name: str) -> None:
    content = shipped(name)
    runs = load_runs(content)
    assert [run.name for run in runs] == list(content["runs"])
    synth_section(content["synth"])
    section(AlignParams, content["align"], "align")
    section(FlowParams, content["flow"], "flow")
    for run in runs:
        assert set(run.model.inputs) <= set(run.task_params.inputs)


def test_the_small_params_of_these_tests_load(project: Path) -> None:
    runs = {run.name: run for run in load_runs(params())}
    assert list(runs) == list(PARAMS["runs"])
    assert runs["tiny-ststnet"].settings.epochs == 2
    assert runs["tiny-majority"].settings.epochs is None
    assert load_tasks()["tiny"].inputs == ("frames", "dynamic_image", "flow")
    assert load_tasks()["tiny_flow"].inputs == ("flow",)


def test_a_profile_stands_in_place_of_whole_sections_and_keeps_comments(tmp_path: Path) -> None:
    profile = tmp_path / "params.mine.yaml"
    profile.write_text("runs:\n  one: {task: synthetic, model: majority} # mine\n", encoding="utf-8")
    text = overlay(profile, ROOT / "params.yaml")
    content = yaml.safe_load(text)
    assert content["runs"] == {"one": {"task": "synthetic", "model": "majority"}}
    assert check_params(content) == read_params(ROOT / "params.yaml") | {"runs": content["runs"]}
    assert "# mine" in text and "# cuda if there is one" in text


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """PyYAML would take the last one: a second `runs:` would hide the first."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    path = tmp_path / "params.yaml"
    path.write_text(text + "\nruns:\n  mine: {task: synthetic, model: majority}\n", encoding="utf-8")
    first = next(number for number, line in enumerate(text.splitlines(), start=1) if line == "runs:")
    with pytest.raises(
        ParamsError, match=f"line {len(text.splitlines()) + 2}: the key 'runs' .* first in line {first}"
    ):
        read_params(path)
    path.write_text(text.replace("  seed: 1\n", "  seed: 1\n  seed: 2\n"), encoding="utf-8")
    with pytest.raises(ParamsError, match="the key 'seed' stands twice"):
        read_params(path)


def test_a_profile_keeps_to_the_embedded_release_whatever_else_is_linked(tmp_path: Path) -> None:
    linked = (ROOT / "params.yaml").read_text(encoding="utf-8")
    linked = linked.replace("\nreleases: [synthetic]", "\nreleases: [synthetic, casme2]")
    (tmp_path / "params.yaml").write_text(linked, encoding="utf-8")
    for profile in ("full", "baselines", "calm", "smoke"):
        content = yaml.safe_load(overlay(ROOT / f"params.{profile}.yaml", tmp_path / "params.yaml"))
        assert content["releases"] == ["synthetic"]


@pytest.mark.parametrize("name", ["chance", "published"])
def test_a_task_named_like_a_table_of_results_is_refused(name: str, project: Path) -> None:
    content = params()
    content["tasks"][name] = content["tasks"]["tiny"]
    with pytest.raises(ParamsError, match=f"tasks.{name}: a table of results has this name"):
        load_tasks(content)


def test_a_profile_with_an_unknown_section_or_no_file_is_refused(tmp_path: Path) -> None:
    profile = tmp_path / "params.mine.yaml"
    with pytest.raises(ParamsError, match="params.mine.yaml not found"):
        overlay(profile, ROOT / "params.yaml")
    profile.write_text("runs: {}\nruns: {}\n", encoding="utf-8")
    with pytest.raises(ParamsError, match="params.mine.yaml, line 2: the key 'runs' stands twice"):
        overlay(profile, ROOT / "params.yaml")
    profile.write_text("run: {}\n", encoding="utf-8")
    with pytest.raises(ParamsError, match="params.mine.yaml: unknown key 'run' .did you mean 'runs'"):
        overlay(profile, ROOT / "params.yaml")


OLD_KEYS = [
    (
        {
            "feature_runs": {
                "a": {"task": "tiny", "model": "lbp_top"},
                "b": {"task": "tiny", "model": "mdmo", "set": {}},
            }
        },
        [
            "feature_runs: write its lines under runs: a: {task: tiny, model: lbp_top}",
            "feature_runs: write its lines under runs: b: {task: tiny, model: mdmo, set: {}}",
        ],
    ),
    (
        {"releases": ["synthetic"], "flow_releases": ["megc2019_flow"]},
        ["flow_releases: write `releases: [synthetic, megc2019_flow]`; all releases stand under releases"],
    ),
    ({"feature_runs": {}}, ["feature_runs: leave it out; all runs stand under runs"]),
    ({"flow_releases": None}, ["flow_releases: leave it out; all releases stand under releases"]),
]


@pytest.mark.parametrize(("old", "lines"), OLD_KEYS)
def test_a_key_of_an_older_file_is_refused_with_the_line_to_write(
    old: dict[str, Any], lines: list[str], project: Path
) -> None:
    mine = Path("params.mine.yaml")
    write_params(params() | old)
    with pytest.raises(ParamsError) as caught:
        read_params()
    assert list(caught.value.problems) == [f"params.yaml: {line}" for line in lines]
    write_params()
    write_params(old, mine)
    with pytest.raises(ParamsError) as caught:
        overlay(mine, Path("params.yaml"))
    assert list(caught.value.problems) == [f"params.mine.yaml: {line}" for line in lines]


def load(content: dict[str, Any]) -> None:
    """Read params.yaml as the commands do."""
    write_params(content)
    content = read_params()
    synth_section(content["synth"])
    section(AlignParams, content["align"], "align")
    section(FlowParams, content["flow"], "flow")
    load_runs(content)
    check_links(content)


def put(dotted: str, value: Any, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """`PARAMS`, or another content, with one value set."""
    content = params() if content is None else content
    *parts, last = dotted.split(".")
    place = content
    for part in parts:
        place = place[part]
    place[last] = value
    return content


@pytest.mark.parametrize(
    "dotted",
    [
        "extra",
        "synth.extra",
        "align.extra",
        "flow.extra",
        "tasks.tiny.extra",
        "tasks.tiny.sampling.extra",
        "tasks.tiny.flow.extra",
        "runs.tiny-majority.extra",
        "runs.tiny-majority.set.extra",
        "runs.tiny-majority.faults.extra",
        "train.extra",
        "options.ststnet.extra",
    ],
)
def test_unknown_key(project: Path, dotted: str) -> None:
    content = params()
    content["runs"]["tiny-majority"] |= {"set": {}, "faults": {}}
    *parts, last = dotted.split(".")
    place = content
    for part in parts:
        place = place[part]
    place[last] = 1
    with pytest.raises(ParamsError, match="unknown key") as caught:
        load(content)
    assert "extra" in str(caught.value) and "params.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("dotted", "known"),
    [
        ("tasks.tiny.sampling.extra", "rule, frames"),
        ("tasks.tiny.flow.extra", "size, scaling, limit, strain_limit"),
        ("runs.tiny-ststnet.faults.extra", "own_set_normalisation, frozen_batch_norm, untested_subjects"),
    ],
)
def test_unknown_key_of_an_inner_section_names_the_keys_there(project: Path, dotted: str, known: str) -> None:
    content = params()
    content["runs"]["tiny-ststnet"]["faults"] = {}
    with pytest.raises(ParamsError) as caught:
        load(put(dotted, 1, content))
    assert dotted in str(caught.value)
    assert f"known keys here: {known}" in str(caught.value)


def test_options_of_a_model_that_does_not_exist(project: Path) -> None:
    with pytest.raises(ValueError, match="no_such_model"):
        load(put("options.no_such_model", {}))


@pytest.mark.parametrize(
    ("dotted", "value"),
    [
        ("synth.seed", "one"),
        ("synth.subjects", 2.5),
        ("synth.size", None),
        ("synth.blink_rate", 1.5),
        ("synth.frames_max", 23),
        ("synth.frames_min", 25),
        ("synth.peak_min", 2.0),
        ("align.size", "96"),
        ("align.eye_distance", 1.0),
        ("align.colour", 1),
        ("align.track", 1),
        ("tasks.tiny.apex", "yes"),
        ("tasks.tiny.landmarks", 1),
        ("flow.method", "DIS"),
        ("flow.missing_apex", True),
        ("tasks.tiny.releases", "synthetic"),
        ("tasks.tiny.releases", []),
        ("tasks.tiny.classes", {"only": ["one"]}),
        ("tasks.tiny.classes", {"a": ["joy"], "b": ["joy"]}),
        ("tasks.tiny.sampling.frames", 1),
        ("tasks.tiny.sampling.frames", None),
        ("tasks.tiny.sampling.rule", "random"),
        ("tasks.tiny.sampling.rule", "all"),  # with frames
        ("tasks.tiny.rank_pooling", "cubic"),
        ("tasks.tiny.rank_pooling", None),
        ("tasks.tiny.flow.size", 0),
        ("tasks.tiny.flow.scaling", "fixed"),  # without limits
        ("tasks.tiny.flow.limit", 2.0),  # per_image
        ("runs.tiny-majority.task", 3),
        ("runs.tiny-majority.task", ""),
        ("runs.tiny-majority", "majority"),
        ("runs.tiny-ststnet.protocol", "Honest"),
        ("runs.tiny-ststnet.protocol", "test-selected"),
        ("runs.tiny-ststnet.protocol", None),
        ("runs.tiny-ststnet.faults", "frozen_batch_norm"),
        ("runs.tiny-ststnet.faults", ["frozen_batch_norm"]),
        ("runs.tiny-ststnet.faults", {"frozen_batch_norm": 1}),
        ("runs.tiny-ststnet.faults", {"own_set_normalisation": "yes"}),
        ("runs.tiny-ststnet.faults", {"untested_subjects": "synthetic/s01"}),
        ("runs.tiny-ststnet.faults", {"untested_subjects": [18]}),
        ("runs.tiny-ststnet.table", ""),
        ("runs.tiny-ststnet.table", 3),
        ("train.deterministic", "yes"),
        ("train.device", "gpu"),
        ("train.repetitions", 0),
        ("train.seed", True),
        ("train.precision", "float16"),
        ("options.ststnet.epochs", 0),
        ("options.ststnet.epochs", 1.5),
        ("options.ststnet.lr", "1e-3 "),  # text, in quotes
        ("options.ststnet.lr", 0),
        ("options.ststnet.batch_size", 1),
        ("options.ststnet.model", []),
    ],
)
def test_wrong_value(project: Path, dotted: str, value: Any) -> None:
    with pytest.raises(ParamsError) as caught:
        load(put(dotted, value))
    where = dotted.split(".")
    assert ".".join(where[:2]) in str(caught.value) or where[0] in str(caught.value)


@pytest.mark.parametrize("value", ["text", 3, None, ["a"]])
@pytest.mark.parametrize("name", ["synth", "align", "flow", "tasks", "runs", "train", "options"])
def test_a_section_that_is_no_mapping(project: Path, name: str, value: Any) -> None:
    with pytest.raises(ParamsError, match=name):
        load(params(**{name: value}))


@pytest.mark.parametrize("value", ["synthetic", 3, None])
def test_a_list_of_releases_that_is_none(project: Path, value: Any) -> None:
    with pytest.raises(ParamsError, match="releases must be a list"):
        load(params() | {"releases": value})


@pytest.mark.parametrize("name", sorted(set(PARAMS) - set(OPTIONAL) | {"synth"}))
def test_missing_section(project: Path, name: str) -> None:
    content = params()
    del content[name]
    with pytest.raises(ParamsError, match=f"section '{name}' is missing"):
        load(content)


def test_sections_that_may_be_left_out(project: Path) -> None:
    """A study of one's own has no rendered release, and need not repeat a recipe or a default."""
    content = params(releases=["megc2019_flow"], runs={"it": {"task": "tiny_flow", "model": "ststnet"}})
    for key in ("tiny-majority", "tiny-ststnet", "tiny-histogram"):
        del content["runs"][key]
    del content["tasks"]["tiny"]
    for name in OPTIONAL:
        content.pop(name, None)
    write_params(content)
    (run,) = load_runs(read_params())
    recipe = {"epochs": 150, "batch_size": 64, "lr": 1e-3, "weight_decay": 0.0}
    assert run.settings.model_dump(exclude_defaults=True) == recipe
    assert section(IndexParams, read_params()["index"], "index").lost_frames == "reject"


@pytest.mark.parametrize(
    "dotted",
    ["synth.seed", "align.size", "flow.method", "tasks.tiny.classes", "runs.tiny-ststnet.model", "train.device"],
)
def test_missing_key(project: Path, dotted: str) -> None:
    content = params()
    *parts, last = dotted.split(".")
    place = content
    for part in parts:
        place = place[part]
    del place[last]
    with pytest.raises(ParamsError, match=f"{dotted}: missing"):
        load(content)


def test_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParamsError, match="project's root folder"):
        read_params()


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [1", "a: &x [*x", "!!python/object/apply:os.getcwd []\n"])
def test_no_mapping_or_no_yaml(project: Path, text: str) -> None:
    (project / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"params\.yaml"):
        read_params()


def test_unknown_run(project: Path) -> None:
    with pytest.raises(ParamsError, match="no run 'other'; runs: tiny-majority"):
        load_run("other")


def test_no_runs_at_all(project: Path) -> None:
    with pytest.raises(ParamsError, match="runs is empty"):
        run_names(params() | {"runs": {}})


def run_with(**entry: Any) -> dict[str, Any]:
    return params(runs={"it": {"task": "tiny", "model": "majority"} | entry})


def test_unknown_task() -> None:
    with pytest.raises(ParamsError, match=r"runs\.it\.task: no task 'elsewhere'; tasks: tiny, tiny_flow"):
        load_run("it", run_with(task="elsewhere"))


def test_unknown_model() -> None:
    with pytest.raises(UnknownModelError, match="'resnet1000'.*majority"):
        load_run("it", run_with(model="resnet1000"))


def test_unknown_model_option() -> None:
    content = run_with(model="flow_histogram", set={"model": {"colour": 3}})
    with pytest.raises(ModelOptionError, match="no option 'colour'.*bins"):
        load_run("it", content)


def test_wrong_model_option() -> None:
    with pytest.raises(ModelOptionError, match="'bins'.*'eight'"):
        load_run("it", run_with(model="flow_histogram", set={"model": {"bins": "eight"}}))


def test_task_that_cannot_give_the_input() -> None:
    with pytest.raises(ParamsError, match="'cnn3d' needs frames, but task 'tiny_flow' gives flow"):
        load_run("it", run_with(model="cnn3d", task="tiny_flow"))


def test_task_that_cannot_give_the_target() -> None:
    """FDP reads frames, and is trained towards dynamic images: both are asked of the task."""
    with pytest.raises(ParamsError, match="dynamic_image"):
        load_run("it", run_with(model="fdp", task="tiny_flow"))


def test_no_release() -> None:
    with pytest.raises(ParamsError, match="releases: none is named; 'synthetic', the embedded one"):
        load_runs(params(releases=[]))


def test_release_that_no_stage_prepares() -> None:
    with pytest.raises(ParamsError, match=r"tasks\.tiny\.releases: needs release 'synthetic'"):
        load_runs(params(releases=["casme2"]))


@pytest.mark.parametrize("key", ["epochs", "batch_size", "lr", "weight_decay"])
def test_a_network_needs_its_recipe(key: str) -> None:
    with pytest.raises(ParamsError, match=f"runs.it: {key} is null; this model is trained in epochs"):
        load_run("it", run_with(model="ststnet", set={key: None}))


@pytest.mark.parametrize("key", ["epochs", "batch_size"])
def test_an_estimator_takes_no_recipe(key: str) -> None:
    with pytest.raises(ParamsError, match=f"runs.it.set: {key} mean nothing to majority"):
        load_run("it", run_with(set={key: 3}))
    with pytest.raises(ParamsError, match=f"options.majority: {key} mean nothing to majority"):
        load_run("it", run_with() | {"options": {"majority": {key: 3}}})


def test_a_task_and_a_model_are_a_whole_run() -> None:
    settings = load_run("it", run_with(model="fdp") | {"options": {}}).settings
    recipe = model_info("fdp").recipe
    assert recipe is not None and recipe.options == {"preset": "tiny"}
    wanted = recipe.model_dump(exclude={"options"}) | {"model": recipe.options}
    assert {key: value for key, value in settings.model_dump().items() if key in wanted} == wanted
    assert settings.model_dump(exclude_defaults=True).keys() <= wanted.keys()


def test_the_recipe_then_options_then_the_run() -> None:
    runs = {
        "it": {"task": "tiny", "model": "fdp", "set": {"epochs": 9, "model": {"without": "ranking"}}},
        "plain": {"task": "tiny", "model": "fdp"},
    }
    content = params(runs=runs, options={"fdp": {"epochs": 7, "batch_size": 3, "model": {"preset": "small"}}})
    changed, plain = load_run("it", content).settings, load_run("plain", content).settings
    assert (changed.epochs, changed.batch_size, changed.lr) == (9, 3, 2e-3)
    assert changed.model == {"preset": "small", "without": "ranking"}
    assert (plain.epochs, plain.batch_size, plain.model) == (7, 3, {"preset": "small"})


def test_sections_cannot_be_changed_later() -> None:
    train = load_train(params())
    with pytest.raises(ValueError, match="frozen"):
        train.seed = 3


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"protocol": "best"}, r"runs\.it\.protocol: .*'inner', 'test_selected' or 'zero_shot' \(found 'best'\)"),
        (
            {"faults": {"frozen_batchnorm": True}},
            r"runs\.it\.faults\.frozen_batchnorm: unknown key \(did you mean 'frozen_batch_norm'\?\); known",
        ),
        ({"split": "subjects"}, r"runs\.it\.split: expected subject, or .* \(did you mean 'subject'\?\) \(found 'sub"),
        (
            {"split": "release"},
            r"runs\.it\.split: expected subject, or \{subject_kfold: 2 or more\} \(found 'release'\)",
        ),
        ({"split": {"subject_kfold": 1}}, r"runs\.it\.split: expected subject, or "),
        ({"split": {"subject_kfold": True}}, r"runs\.it\.split: expected subject, or "),
        ({"split": {"subject_kfolds": 5}}, r"runs\.it\.split: .*did you mean 'subject_kfold'"),
        ({"split": {"subject_kfold": 5, "seed": 1}}, r"runs\.it\.split: expected subject, or "),
        ({"split": None}, r"runs\.it\.split: expected subject, or "),
        ({"training_subjects": 0}, r"runs\.it\.training_subjects: .*greater than or equal to 1 \(found 0\)"),
        ({"training_subjects": "2"}, r"runs\.it\.training_subjects: .*integer \(found '2'\)"),
        ({"training_subjects": 1, "protocol": "inner"}, r"runs\.it\.training_subjects: protocol inner .* at least 2"),
        (
            {"training_subjects": 1, "faults": {"untested_subjects": ["a"]}},
            r"runs\.it\.training_subjects: every fold trains on faults\.untested_subjects, .* leave one of both out",
        ),
        ({"faults": {"frozen_batch_norm": "yes"}}, r"runs\.it\.faults\.frozen_batch_norm: .*boolean \(found 'yes'\)"),
        ({"faults": {"untested_subjects": "s1"}}, r"runs\.it\.faults\.untested_subjects: .*list \(found 's1'\)"),
        (
            {"faults": {"untested_subjects": ["a", 3]}},
            r"runs\.it\.faults\.untested_subjects\.1: .*string \(found 3\)",
        ),
    ],
)
def test_a_wrong_protocol_or_fault_is_named(entry: dict[str, Any], key: str) -> None:
    with pytest.raises(ParamsError, match=key):
        load_run("it", run_with(model="ststnet", **entry))


def test_a_run_is_honest_unless_it_says_otherwise() -> None:
    entry = load_run("tiny-ststnet", params()).entry
    assert entry.protocol == "honest" and entry.table is None
    assert entry.faults.model_dump() == {
        "own_set_normalisation": False,
        "frozen_batch_norm": False,
        "untested_subjects": [],
    }


@pytest.mark.parametrize("model", ["majority", "flow_histogram"])
@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("it", {"protocol": "inner"}),
        ("it-test_selected", {"protocol": "test_selected"}),
        ("it", {"faults": {"frozen_batch_norm": True}}),
        ("it", {"faults": {"own_set_normalisation": True}}),
    ],
)
def test_an_estimator_has_no_epoch_to_choose(name: str, entry: dict[str, Any], model: str) -> None:
    content = params(runs={name: {"task": "tiny", "model": model} | entry})
    with pytest.raises(ParamsError, match=f"^runs.{name}: {model} (is fitted at once|reads its inputs as they are)"):
        load_run(name, content)


def test_an_estimator_may_leave_subjects_untested() -> None:
    run = load_run("it", run_with(faults={"untested_subjects": ["synthetic/s01"]}))
    assert run.entry.faults.untested_subjects == ["synthetic/s01"]


def named(name: str, protocol: str) -> dict[str, Any]:
    return params(runs={name: {"task": "tiny", "model": "ststnet", "protocol": protocol}})


@pytest.mark.parametrize("name", ["fdp-test_selected", "test_selected", "my-test_selected-run"])
def test_the_name_says_test_selected(name: str) -> None:
    assert load_run(name, named(name, "test_selected")).entry.protocol == "test_selected"
    for protocol in ("honest", "inner"):
        with pytest.raises(ParamsError, match=f"runs.{name}: its name says test_selected, its protocol is {protocol}"):
            load_run(name, named(name, protocol))


@pytest.mark.parametrize("name", ["fdp", "fdp-test-selected", "fdp-selected", "fdp-TEST_SELECTED"])
def test_a_name_that_hides_test_selected(name: str) -> None:
    with pytest.raises(ParamsError, match=f"runs.{name}: .*call it {name}-test_selected"):
        load_run(name, named(name, "test_selected"))


@pytest.mark.parametrize(("name", "protocol"), [("fdp", "test_selected"), ("fdp-test_selected", "honest")])
def test_the_run_list_alone_refuses_such_names(name: str, protocol: str) -> None:
    """`fdpbench tables` reads no more than the list, and prints figures under these names."""
    with pytest.raises(ParamsError, match=f"runs.{name}"):
        run_names(named(name, protocol))


@pytest.mark.parametrize("table", ["a b", "../a", "a/b", "a|b", "50%", "a.b"])
def test_names_of_tables_suit_files(table: str) -> None:
    """A table's name becomes a file and a heading."""
    with pytest.raises(ParamsError, match=r"runs\.it\.table"):
        run_names(run_with(table=table))


NO_NAMES = ["a b", "a;b", "../a", "-a", "50%", "a.b", "a@b"]


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_of_runs_suit_files_shells_dvc_and_latex(name: str) -> None:
    """A run's name becomes a file, a word of dvc.yaml's command line, a dotted param and a table cell."""
    with pytest.raises(ParamsError, match="runs"):
        check_params(params(runs={name: {"task": "tiny", "model": "majority"}}))


@pytest.mark.parametrize("name", NO_NAMES)
def test_names_of_tasks_suit_files_shells_and_dvc(name: str) -> None:
    content = params(runs={"it": {"task": name, "model": "majority"}})
    content["tasks"][name] = content["tasks"]["tiny"]
    with pytest.raises(ParamsError, match="tasks"):
        check_params(content)


def test_links_are_checked(project: Path) -> None:
    with pytest.raises(ParamsError, match="fdpbench link megc2019_flow"):
        check_links(params())
    (project / "data/raw/megc2019_flow").mkdir(parents=True)
    check_links(params())


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"releases": ["nowhere"]}, "unknown release 'nowhere'"),
        ({"releases": [3]}, "3"),
    ],
)
def test_releases_are_known(project: Path, sections: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        check_links(params(**sections))


def test_task_inputs_follow_its_sections() -> None:
    flow = TaskParams(releases=["r"], classes={"a": ["a"], "b": ["b"]}, flow={"size": 28, "scaling": "pixels"})  # type: ignore[arg-type]
    assert flow.inputs == ("flow",)
    with pytest.raises(ValueError, match="needs frames"):
        TaskParams(releases=["r"], classes={"a": ["a"], "b": ["b"]})


@pytest.mark.parametrize("name", list(all_class_maps()))
def test_a_class_map_by_its_name_is_the_map_written_out(name: str) -> None:
    content = params()["tasks"]["tiny_flow"]
    task = parse_task("it", content | {"classes": name})
    classes = task.classes
    assert task == section(TaskParams, content | {"classes": classes}, "tasks.it")
    wanted = {label: list(emotions) for label, emotions in all_class_maps()[name].classes.items()}
    assert list(classes.items()) == list(wanted.items()), "in order of class index"
    if name.startswith("synthetic"):
        assert {emotion for group in classes.values() for emotion in group} == set(EMOTIONS)


def test_a_class_map_that_does_not_exist() -> None:
    message = (
        r"tasks\.tiny\.classes: .*unknown class map \(did you mean 'casme2_5'\?\); class maps: casme2_5, casme2_3, "
    )
    with pytest.raises(ParamsError, match=message + r".* \(found 'casme2_6'\)"):
        load_tasks(put("tasks.tiny.classes", "casme2_6"))


@pytest.mark.parametrize("name", METHODS)
def test_every_flow_method_can_be_asked_for(name: str) -> None:
    assert section(FlowParams, {"method": name, "missing_apex": "estimate"}, "flow").method == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rule": "tim"}, "rule tim needs frames"),
        ({"rule": "uniform"}, "rule uniform needs frames"),
        ({"rule": "all", "frames": 8}, "rule all takes every frame: leave frames out"),
    ],
)
def test_frames_belong_to_the_rules_that_count_them(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=f"tasks.x.sampling: .*{message}"):
        section(Sampling, content, "tasks.x.sampling")
    assert section(Sampling, {"rule": "all"}, "tasks.x.sampling").frames is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"scaling": "fixed"}, "needs limit .pixels. and strain_limit"),
        ({"scaling": "fixed", "limit": 2.0}, "needs limit .pixels. and strain_limit"),
        ({"scaling": "fixed", "limit": 0.0, "strain_limit": 0.1}, "greater than 0"),
        ({"scaling": "pixels", "limit": 2.0}, "limit: for scaling fixed alone, not pixels"),
        ({"scaling": "per_image", "strain_limit": 0.1}, "strain_limit: for scaling fixed alone, not per_image"),
    ],
)
def test_limits_belong_to_fixed_scaling(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        section(FlowInput, {"size": 28} | content, "tasks.x.flow")


def test_a_task_of_all_frames_gives_no_frames() -> None:
    """Its clips differ in length; a model that wants T frames of each is refused by name."""
    content = put("tasks.tiny.sampling", {"rule": "all"}, run_with(model="cnn3d"))
    assert load_tasks(content)["tiny"].inputs == ("dynamic_image", "flow")
    with pytest.raises(ParamsError, match="'cnn3d' needs frames, but task 'tiny' gives dynamic_image, flow"):
        load_run("it", content)
