"""Rules that hold over all files: import direction, dvc.yaml, the profiles, no pickle."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fdpbench.bench.plan.check import load_runs
from fdpbench.bench.plan.closure import closure
from fdpbench.bench.plan.stages import STAGES
from fdpbench.models.common.registry import list_models, model_info
from fdpbench.prep.settings.params import check_params
from fdpbench.prep.settings.profile import overlay

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("prep", "models", "bench", "fdpbench")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))

# What a package may import of the others; `fdpbench` itself holds the commands and the names that it offers from Python
# (`api`, which its `__init__` alone hands out), and above them all the arithmetic.
ALLOWED = {
    "prep": {"prep"},
    "models": {"models", "prep"},
    "bench": {"bench", "models", "prep"},
    "fdpbench": {"api", "bench", "commands", "models", "prep"},
}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, at its top or inside functions; of ``from a import b``, ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def profile(name: str) -> dict[str, Any]:
    return check_params(yaml.safe_load(overlay(ROOT / f"params.{name}.yaml", ROOT / "params.yaml")))


def expansions(stage: dict[str, Any]) -> list[dict[str, Any]]:
    """A stage as DVC expands it: once, or once for each item of its ``foreach`` or ``matrix``."""
    if "matrix" in stage:
        ((_, names),) = stage["matrix"].items()
        rest = yaml.safe_dump({key: value for key, value in stage.items() if key != "matrix"})
        return [yaml.safe_load(rest.replace("${key}", name)) for name in PARAMS[names.strip("${}")]]
    if "foreach" not in stage:
        return [stage]
    items = PARAMS[stage["foreach"].strip("${}")]
    pairs = items.items() if isinstance(items, dict) else ((name, name) for name in items)
    text = yaml.safe_dump(stage["do"])

    def expand(key: str, item: Any) -> str:
        result = text.replace("${key}", key).replace("${item}", str(item))
        for field, value in item.items() if isinstance(item, dict) else ():
            result = result.replace(f"${{item.{field}}}", str(value))
        return result

    return [yaml.safe_load(expand(key, item)) for key, item in pairs]


def stages() -> list[tuple[str, dict[str, Any]]]:
    return [(name, one) for name, stage in DVC["stages"].items() for one in expansions(stage)]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for dotted in imported(path):
        first, _, rest = dotted.partition(".")
        assert first not in {"prep", "models", "bench", "tests", "benchmarks"}, f"{name_of(path)} imports {dotted}"
        room = rest.partition(".")[0]
        if first == "fdpbench" and room != "arithmetic" and rest:
            assert room in ALLOWED[package], f"{name_of(path)} imports {dotted}"
            handed_out = name_of(path) == "fdpbench/__init__.py" or name_of(path).startswith("fdpbench/api/")
            assert room != "api" or handed_out, f"{name_of(path)} imports {dotted}"
        if package == "models" and room == "prep":
            light = ("prep.dynamic.rank_pooling", "prep.task.inputs")  # mathematics, and what inputs are called
            assert rest.startswith(light), f"{name_of(path)} imports {dotted}"
        if package == "prep":
            assert first not in {"torch", "safetensors"}, f"{name_of(path)} imports {dotted}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_parquet_is_written_and_read_by_one_module(path: Path) -> None:
    """Else a file would go without its checksums, or be read without a look at them."""
    used = {dotted for dotted in imported(path) if dotted.startswith(("pyarrow.parquet", "pyarrow.dataset"))}
    assert not used or name_of(path) == "prep/store/shards.py", f"{name_of(path)} imports {used}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = node.attr if isinstance(node, ast.Attribute) else None
        assert name not in {"read_parquet", "to_parquet"}, f"{name_of(path)} calls {name}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_pickle_is_ever_read(path: Path) -> None:
    banned = {"pickle", "cPickle", "dill", "joblib", "shelve", "cloudpickle", "marshal"}
    modules = set(imported(path))
    used = {dotted.split(".")[0] for dotted in modules} & banned
    assert not used, f"{name_of(path)} imports {used}"
    banned_calls = {"torch.load", "pd.read_pickle", "yaml.unsafe_load", "eval", "exec"}
    if not any(dotted.startswith("ruamel.yaml") for dotted in modules):  # there `yaml` is a round-trip loader, safe
        banned_calls.add("yaml.load")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        assert called not in banned_calls, f"{name_of(path)}:{node.lineno} calls {called}"
        if called in {"np.load", "numpy.load"}:
            given = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert given.get("allow_pickle") == "False", (
                f"{name_of(path)}:{node.lineno}: np.load without allow_pickle=False"
            )
        assert not any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords), (
            f"{name_of(path)}:{node.lineno} allows pickle"
        )


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_loads_is_in_its_closure(stage: str) -> None:
    """Python is asked what it has loaded: imports that are found by reading files must hold all of it."""
    script = (
        f"import sys, {STAGES[stage]}\n"
        "print(*(m.__file__ for n, m in sys.modules.items() if n.partition('.')[0] == 'fdpbench'), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in done.stdout.splitlines()}
    found = set(closure("fdpbench.arithmetic", STAGES[stage]).files.values())
    missing = {path for path in loaded - found if ROOT / "prep/runtime" not in path.parents}
    assert all(path.name == "__init__.py" for path in missing), missing  # those that hold no code
    assert ROOT.joinpath(*STAGES[stage].split(".")[1:]).with_suffix(".py") in loaded & found


def test_each_stage_depends_on_what_is_planned_for_it() -> None:
    assert [name for name in DVC["stages"] if name != "plan"] == list(STAGES)
    for name, stage in stages():
        assert stage["cmd"].split()[:2] == ["fdpbench", name]
        planned = [dep for dep in stage.get("deps", ()) if dep.startswith("artifacts/plan/")]
        item = stage["cmd"].split()[2:]
        assert planned == ([] if name == "plan" else ["/".join(["artifacts/plan", name, *item]) + ".json"])
        assert not [dep for dep in stage.get("deps", ()) if dep.split("/")[0] in PACKAGES], "code is planned"
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 150


def test_outs_are_not_pushed_unless_they_are_small_results() -> None:
    for name, stage in stages():
        outs = [(path, options) for out in stage["outs"] + stage.get("metrics", []) for path, options in out.items()]
        for path, options in outs:
            if path.startswith("results/") and path != "results/report":  # large, and of one machine
                assert options == {"cache": False}, f"{name}: {path}"
            else:
                assert path.startswith(("data/", "artifacts/", "results/report")), f"{name}: {path}"
                assert options.items() >= {"push": False}.items(), f"{name}: {path}"


def test_data_deps_are_outs_of_other_stages_or_links() -> None:
    outs = {path for _, stage in stages() for out in stage["outs"] for path in out}
    each = [stage["do"]["outs"] for stage in DVC["stages"].values() if "do" in stage]  # those of empty sections too
    outs |= {path.partition("$")[0] for folders in each for out in folders for path in out}
    for name, stage in stages():
        for dep in stage.get("deps", ()):
            if dep.split("/")[0] in {"data", "artifacts"}:
                written = any(f"{dep}/".startswith(f"{out}/") or f"{out}/".startswith(f"{dep}/") for out in outs)
                assert written or dep.startswith("data/raw/"), f"{name}: nothing writes {dep}"


def test_no_template_is_left_unexpanded() -> None:
    for name, stage in stages():
        text = yaml.safe_dump(stage)
        assert "${" not in text, name


@pytest.mark.parametrize("model", list_models())
def test_a_models_file_imports_no_other_model(model: str) -> None:
    """Else editing one model would have to retrain another."""
    others = {f"models/{other}.py" for other in list_models()} - {f"models/{model}.py"}
    assert not set(closure(f"fdpbench.models.{model}").files) & others


def test_nothing_depends_on_the_conformance_suite() -> None:
    """Else editing a check would have to retrain every model."""
    for module in (*STAGES.values(), *(f"fdpbench.models.{model}" for model in list_models())):
        suite = [name for name in closure(module).files if name.startswith("models/common/conformance")]
        assert not suite, f"{module} imports {suite}"


FOLDS = {"split": {"subject_kfold": 5}}


def test_the_smoke_profile_differs_from_the_calm_one_in_size_alone() -> None:
    texts = ((ROOT / f"params.{name}.yaml").read_text(encoding="utf-8") for name in ("smoke", "calm"))
    smoke, calm = map(yaml.safe_load, texts)
    assert smoke["synth"].keys() == calm["synth"].keys() and smoke["tasks"] == calm["tasks"]
    assert smoke["runs"].items() <= PARAMS["runs"].items() and calm["runs"] == PARAMS["runs"]
    assert {key for recipe in smoke["options"].values() for key in recipe} == {"epochs"}


def test_the_full_profile_has_every_protocol_and_ablation_of_fdp() -> None:
    full = profile("full")
    assert full["tasks"] == full["tasks"] | PARAMS["tasks"], "what both have is the same"
    assert full["runs"] == full["runs"] | {name: run | FOLDS for name, run in PARAMS["runs"].items()}
    assert all(run["split"] == FOLDS["split"] for run in full["runs"].values())
    loaded = {run.name: run for run in load_runs(full)}
    assert {run.entry.protocol for run in loaded.values()} == {"honest", "inner", "test_selected", "zero_shot"}
    models = [run.settings.model for run in loaded.values() if run.model.name == "fdp"]
    left_out = {model.get("without") for model in models}
    assert left_out >= {"dynamic_image", "ranking", "global_blocks", "local_blocks"}
    changed = {(option, value) for model in models for option, value in model.items()}
    assert changed >= {("input", "frames"), ("maps", 1), ("pooling", "learned"), ("ranking_weight", 0.0)}


def test_the_profile_of_baselines_has_every_model_once_and_those_of_flow_leave_one_subject_out_too() -> None:
    baselines = profile("baselines")
    assert baselines["runs"] == baselines["runs"] | {name: run | FOLDS for name, run in PARAMS["runs"].items()}
    runs = load_runs(baselines)
    assert sorted(run.model.name for run in runs if run.entry.printed_in == "5_folds") == list_models()
    flow = {name for name in list_models() if set(model_info(name).inputs) == {"flow"}} - {"flow_cnn"}
    assert sorted(run.model.name for run in runs if run.entry.printed_in is None) == sorted(flow) and len(flow) == 10
    assert {run.train.repetitions for run in runs} == {1}
    assert {run.entry.protocol for run in runs} == {"honest"}
    assert {run.settings.objective for run in runs} == {"erm", "group_dro"}
