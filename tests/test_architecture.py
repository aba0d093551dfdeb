"""Rules that hold over all files: import direction, dvc.yaml, the two profiles, no pickle."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

import fdpbench.bench.train.features
import fdpbench.bench.train.run
import fdpbench.prep.align.stage
import fdpbench.prep.demo.stage
from fdpbench.bench.plan.check import load_runs
from fdpbench.models.common.registry import list_models
from fdpbench.prep.settings.profile import laid_over

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("prep", "models", "bench")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))

# Never changes what a stage writes, each for its reason; all else that a stage imports is a dep of it in dvc.yaml.
PLUMBING = {
    "bench/cli.py": "hands sections of params.yaml and paths on to a stage's module, which is a dep",
    "prep/runtime/training.py": "messages on the terminal",
    "prep/cli.py": "hands sections of params.yaml and paths on to a stage's module, which is a dep",
    "prep/runtime/command.py": "errors as one line, and the number of workers, which changes no byte (tests hold that)",
    "prep/runtime/disk.py": "words of an error, which ends the stage",
    "prep/runtime/durable.py": "how finished work is kept and told from damaged work; changes no byte of it",
    "prep/settings/problems.py": "words of an error, which ends the stage",
    "prep/runtime/progress.py": "messages on the terminal",
    "prep/runtime/time_left.py": "messages on the terminal",
}

# What a command calls for its error alone.
CHECKED = {"fdpbench.prep.releases.release_info"}

# Stages that keep finished work, and the code by which they key it.
KEYED = [
    ("synthesize", fdpbench.prep.demo.stage.CODE),
    ("align", fdpbench.prep.align.stage.CODE),
    ("features", fdpbench.bench.train.features.CODE),
    ("fit", fdpbench.bench.train.run.COMMON_CODE),
    ("train", fdpbench.bench.train.run.COMMON_CODE),
]


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


@cache
def imported_files(path: Path) -> frozenset[Path]:
    """Files of the project that a file imports, packages' ``__init__`` left out where they hold no code used."""
    return frozenset(found for dotted in imported(path) if (found := file_of(dotted)) is not None)


def file_of(dotted: str) -> Path | None:
    """The file of the project that holds what a dotted name imports."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1) if parts[0] in PACKAGES else ():
        base = ROOT.joinpath(*parts[:length])
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def command_imports(command: str) -> set[str]:
    """Dotted names that a command of dvc.yaml, ``python -m APP NAME ...``, uses of other modules."""
    _, _, app, name, *_ = command.split()
    tree = ast.parse((ROOT / app / "cli.py").read_text(encoding="utf-8"))
    at_top = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for function in tree.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "app.command":
                said = ast.literal_eval(decorator.args[0]) if decorator.args else function.name
                if said == name:
                    body = [node for statement in function.body for node in ast.walk(statement)]
                    words = {node.id for node in body if isinstance(node, ast.Name)}
                    inside = {
                        f"{node.module}.{alias.name}"
                        for node in body
                        if isinstance(node, ast.ImportFrom)
                        for alias in node.names
                    }
                    return (inside | {at_top[word] for word in words & set(at_top)}) - CHECKED
    raise AssertionError(f"no command {app} {name}")


def code_of(stage: dict[str, Any]) -> set[str]:
    """Files of the project that a stage's command imports, however indirectly."""
    starts = {file_of(dotted) for dotted in command_imports(stage["cmd"])} - {None}
    starts.add(ROOT / stage["cmd"].split()[2] / "__main__.py")
    return set().union(*(closure(start) for start in starts if start is not None and name_of(start) not in PLUMBING))


def closure(start: Path) -> set[str]:
    """Files of the project that a file imports, however indirectly; imports of plumbing are not followed."""
    seen: set[str] = set()
    queue = [start]
    while queue:
        path = queue.pop()
        if name_of(path) in seen or (name_of(path) in PLUMBING and path != start):
            continue
        seen.add(name_of(path))
        queue.extend(imported_files(path))
    return seen


def expansions(stage: dict[str, Any]) -> list[dict[str, Any]]:
    """A stage as DVC expands it: once, or once for each item of its ``foreach``."""
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


def covered(path: str, deps: list[str]) -> bool:
    return any(path == dep or path.startswith(dep + "/") for dep in deps)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    allowed = {"prep": {"prep"}, "models": {"models", "prep"}, "bench": {"bench", "models", "prep"}}[package]
    for dotted in imported(path):
        first = dotted.split(".")[0]
        assert first not in {*PACKAGES, "tests", "benchmarks"} - allowed, f"{name_of(path)} imports {dotted}"
        if package == "models" and first == "prep":
            assert dotted.startswith("fdpbench.prep.dynamic.rank_pooling"), f"{name_of(path)} imports {dotted}"
        if package == "prep":
            assert first not in {"torch", "safetensors"}, f"{name_of(path)} imports {dotted}"


def test_the_import_check_sees_imports_inside_functions() -> None:
    assert "fdpbench.bench.train.run.train_run" in imported(ROOT / "bench/cli.py")


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


@pytest.mark.parametrize(("stage", "code"), KEYED)
def test_deps_hold_the_code_that_scratch_is_keyed_by(stage: str, code: tuple[str, ...]) -> None:
    for name in code:
        assert (ROOT / name).is_file(), f"{stage}: {name} does not exist"
    for one in expansions(DVC["stages"][stage]):
        assert [name for name in code if not covered(name, one["deps"])] == []


@pytest.mark.parametrize(("stage", "code"), KEYED)
def test_scratch_is_keyed_by_the_code_that_deps_hold(stage: str, code: tuple[str, ...]) -> None:
    """A file that DVC reruns a stage for must also make kept work of no use."""
    for one in expansions(DVC["stages"][stage]):
        for dep in one["deps"]:
            files = [dep] if (ROOT / dep).is_file() else [name_of(p) for p in (ROOT / dep).rglob("*") if p.is_file()]
            for file in files:
                if file.split("/")[0] not in PACKAGES or "__pycache__" in file or "LICENSE" in file:
                    continue
                is_model = stage in {"features", "fit", "train"} and Path(file).stem in list_models()
                assert file in code or is_model, f"{stage}: {file} is a dep, but no part of the scratch key"


def test_outs_are_not_pushed_unless_they_are_small_results() -> None:
    for name, stage in stages():
        outs = [(path, options) for out in stage["outs"] + stage.get("metrics", []) for path, options in out.items()]
        for path, options in outs:
            if path.startswith("results/") and path != "results/report":  # large, and of one machine
                assert options == {"cache": False}, f"{name}: {path}"
            else:
                assert path.startswith(("data/", "artifacts/", "results/report")), f"{name}: {path}"
                assert options == {"push": False}, f"{name}: {path}"


def test_every_code_dep_exists() -> None:
    for name, stage in stages():
        for dep in stage["deps"]:
            if dep.split("/")[0] not in {"data", "artifacts"}:
                assert (ROOT / dep).exists(), f"{name}: {dep} does not exist"


def test_data_deps_are_outs_of_other_stages_or_links() -> None:
    outs = {path for _, stage in stages() for out in stage["outs"] for path in out}
    for name, stage in stages():
        for dep in stage["deps"]:
            if dep.split("/")[0] in {"data", "artifacts"}:
                written = covered(dep, list(outs)) or any(out.startswith(dep + "/") for out in outs)
                assert written or dep.startswith("data/raw/"), f"{name}: nothing writes {dep}"


def test_params_that_stages_name_exist() -> None:
    for name, stage in stages():
        for dotted in stage.get("params", []):
            value: Any = PARAMS
            for part in dotted.split("."):
                assert part in value, f"{name}: params.yaml has no {dotted}"
                value = value[part]


def test_no_template_is_left_unexpanded() -> None:
    for name, stage in stages():
        text = yaml.safe_dump(stage)
        assert "${" not in text, name
        assert not [field for _, field, _, _ in string.Formatter().parse(stage["cmd"]) if field], name


def missing_deps(stage: str) -> set[str]:
    """Code that a stage imports and dvc.yaml does not list for it."""
    missing = set()
    for one in expansions(DVC["stages"][stage]) or [DVC["stages"][stage]["do"]]:
        needed = code_of(one)
        if stage in {"index", "flow-images"}:  # the reader is imported by name
            needed.add(f"prep/releases/{one['cmd'].split()[-1]}.py")
        missing |= {
            file
            for file in needed - set(PLUMBING)
            if not covered(file, one["deps"]) and not (file.endswith("__init__.py") and is_bare(ROOT / file))
        }
    return missing


@pytest.mark.parametrize("stage", list(DVC["stages"]))
def test_deps_cover_all_the_code_that_a_stage_imports(stage: str) -> None:
    missing = missing_deps(stage)
    assert not missing, f"{stage}: imported, but no dep in dvc.yaml: {', '.join(sorted(missing))}"


@pytest.mark.parametrize(
    ("stage", "module"),
    [
        ("train", "bench/plan/params.py"),
        ("fit", "prep/settings/params.py"),
        ("train", "prep/runtime/workers.py"),
        ("tables", "bench/plan/params.py"),
        ("align", "prep/runtime/workers.py"),
        ("dynamic", "prep/store/paths.py"),
        ("report", "prep/runtime/scratch.py"),
        ("synthesize", "prep/settings/plain_yaml.py"),
    ],
)
def test_a_module_that_changes_results_is_missed_where_it_is_not_listed(
    stage: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stages read through, not their own modules alone: an edit there left tables stale."""
    definition = DVC["stages"][stage].get("do", DVC["stages"][stage])
    monkeypatch.setitem(definition, "deps", [dep for dep in definition["deps"] if dep != module])
    assert missing_deps(stage) == {module}


def test_plumbing_is_there() -> None:
    assert [name for name in PLUMBING if not (ROOT / name).is_file()] == []


def test_every_stage_waits_for_the_check() -> None:
    """A plain `dvc repro` refuses names that are words of a shell, and all else, before any other command runs."""
    built = {path: name for name, stage in stages() for out in stage["outs"] for path in out}
    outs: dict[str, list[str]] = {}
    for name, stage in stages():
        outs.setdefault(name, []).extend(path for out in stage["outs"] for path in out)

    def before(name: str) -> set[str]:
        deps = [dep for other, stage in stages() if other == name for dep in stage["deps"]]
        return {built[path] for path in built for dep in deps if covered(path, [dep]) or covered(dep, [path])}

    for name in outs:
        reached: set[str] = set()
        queue = [name]
        while queue:
            for earlier in before(queue.pop()) - reached:
                reached.add(earlier)
                queue.append(earlier)
        assert "check" in reached or name == "check", f"{name} does not wait for check"
    assert all(not dep.startswith(("data/", "artifacts/")) for dep in DVC["stages"]["check"]["deps"])


def test_check_depends_on_every_section() -> None:
    assert DVC["stages"]["check"]["params"] == sorted(PARAMS)


def is_bare(path: Path) -> bool:
    """Whether an ``__init__`` only gives names on, or holds nothing but its docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr | ast.ImportFrom | ast.Assign) for node in body)


@pytest.mark.parametrize("model", list_models())
def test_a_models_file_imports_no_other_model(model: str) -> None:
    """Else editing one model would have to retrain another."""
    others = {f"models/{other}.py" for other in list_models()} - {f"models/{model}.py"}
    found = closure(ROOT / f"models/{model}.py")
    assert not found & others
    deps = [*fdpbench.bench.train.run.COMMON_CODE, f"models/{model}.py", "models/__init__.py"]
    assert sorted(found - set(deps)) == []


def test_a_run_that_reads_features_differs_from_the_others_in_these_alone() -> None:
    """`fit` and `train` run one command; DVC's lists cannot be filtered, so that it stands twice."""
    fit, train = DVC["stages"]["fit"]["do"], DVC["stages"]["train"]["do"]
    assert fit["cmd"] == train["cmd"] and fit["outs"] == train["outs"]
    assert set(fit["deps"]) - set(train["deps"]) == {"data/features/${key}.parquet"}
    assert set(train["deps"]) <= set(fit["deps"])


def keys(value: Any) -> Any:
    return {key: keys(inner) for key, inner in value.items()} if isinstance(value, dict) else None


def test_the_smoke_profile_has_the_same_keys() -> None:
    smoke = yaml.safe_load((ROOT / "params.smoke.yaml").read_text(encoding="utf-8"))
    lists = ("runs", "feature_runs")
    assert all(smoke[listed].items() <= PARAMS[listed].items() and smoke[listed] for listed in lists)
    assert keys(smoke | dict.fromkeys(lists)) == keys(PARAMS | dict.fromkeys(lists))


def profile(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(laid_over(ROOT / f"params.{name}.yaml", ROOT / "params.yaml"))
    assert content["train"] == PARAMS["train"] | {"repetitions": 3}
    assert content["align"] | {"track": False} == PARAMS["align"], "crops are the same; landmarks take their time"
    return content


def test_the_full_profile_has_every_protocol_and_ablation_of_fdp() -> None:
    full = profile("full")
    for section in ("tasks", "runs", "feature_runs"):
        assert full[section] == full[section] | PARAMS[section], f"{section}: what both have is the same"
    loaded = {run.name: run for run in load_runs(full)}
    assert {run.entry.protocol for run in loaded.values()} == {"honest", "inner", "test_selected"}
    left_out = {run.settings.model.get("without") for run in loaded.values() if run.model.name == "fdp"}
    assert left_out >= {"dynamic_image", "ranking", "global_blocks", "local_blocks"}


def test_the_profile_of_baselines_has_every_model_once() -> None:
    baselines = profile("baselines")
    assert baselines["runs"] == baselines["runs"] | PARAMS["runs"]
    runs = load_runs(baselines)
    assert sorted(run.model.name for run in runs if run.entry.table is None) == list_models()
    assert {run.entry.protocol for run in runs} == {"honest"}
    assert {run.settings.objective for run in runs} == {"erm", "group_dro"}


def test_every_model_has_options_in_params() -> None:
    assert set(PARAMS["options"]) == set(list_models())
