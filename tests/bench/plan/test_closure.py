"""The code that a stage depends on: edits of real lines change the stages whose results they can change, no others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import fdpbench
from fdpbench.bench.plan.closure import Code, closure, forget, version_of
from fdpbench.bench.plan.stages import STAGES
from fdpbench.bench.train.artifacts import shipped_weights

ROOT = Path(__file__).resolve().parents[3]
EVALUATION = {
    stage for stage in STAGES if STAGES[stage].startswith(("fdpbench.bench.evaluate", "fdpbench.bench.report"))
}
IMAGED = EVALUATION - {"tables"}  # those that look at dynamic images
PREPARED = {"synthesize", "corpus", "index", "align", "flow", "dynamic", "task"}
TRAINED = {"pretrain", "train", "other model"}
ALL = PREPARED | TRAINED | {"init"} | EVALUATION


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the packages, which closures are then found in."""
    folder = tmp_path_factory.mktemp("tree")
    for name in ("bench", "fdpbench", "models", "prep"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fdpbench, "__path__", [str(folder / "fdpbench"), str(folder)])
        forget()
        yield folder
    forget()


@pytest.fixture(scope="module")
def before(tree: Path) -> dict[str, dict[str, str]]:
    return codes()


def codes() -> dict[str, dict[str, str]]:
    """What each stage depends on, the training of two models among them."""
    forget()
    modules: dict[str, tuple[str, ...]] = {stage: (STAGES[stage],) for stage in STAGES}
    modules["index"] += ("fdpbench.prep.releases.casme2",)
    modules["other model"] = (*modules["train"], "fdpbench.models.adapters")
    modules["train"] += ("fdpbench.models.ststnet",)
    without = ("fdpbench.prep.align.faces_dlib",)
    return {name: closure("fdpbench.arithmetic", *starts, without=without).hashes() for name, starts in modules.items()}


EDITS = [
    ("prep/index/manifest.py", "def load_manifest", {"align", "flow", "task"}),
    ("prep/settings/align.py", "def tracks", {"align"}),
    ("prep/settings/task.py", "def inputs", {"corpus", "dynamic", "task"} | TRAINED | EVALUATION),
    ("prep/task/inputs.py", "def shape", {"corpus", "dynamic", "task"} | TRAINED | EVALUATION),
    ("prep/flow/methods.py", "def scale_fixed", {"corpus", "flow", "task"}),
    ("fdpbench/arithmetic.py", "ONE_THREAD = {", ALL),
    (
        "prep/dynamic/rank_pooling.py",
        "def coefficients",
        {"corpus", "flow", "dynamic", "task"} | EVALUATION - {"tables"},
    ),
    ("prep/align/face_models/LICENSE.mediapipe", "", set()),
    ("prep/sheets/corrections.csv", "", {"index"}),
    ("prep/demo/synth/raster.py", "def ", {"synthesize", "corpus"}),
    ("prep/demo/synth/expressions.py", "def ", {"synthesize", "corpus"}),
    ("prep/demo/synth/people.py", "def ", {"synthesize", "corpus"}),
    ("prep/demo/corpus/planner.py", "def ", {"corpus"}),
    ("prep/settings/expressions.py", "def ", {"synthesize", "corpus", "pretrain"}),
    ("prep/settings/corpus.py", "def ", {"corpus", "pretrain"}),
    ("prep/demo/corpus/estimator.py", "def ", {"corpus"}),
    ("bench/train/pretrain.py", "def ", {"pretrain"}),
    ("bench/train/init.py", "def started", {"init", "train", "other model"}),
    ("prep/releases/casme2.py", "def read", {"index"}),
    ("prep/releases/samm.py", "def read", set()),
    ("bench/train/seeds.py", "def seed_of", TRAINED | EVALUATION),  # folds are drawn of it
    ("bench/train/folds.py", "def _subject_kfold", TRAINED | EVALUATION),
    ("bench/train/kept.py", "def difference", {"train", "other model"}),
    ("bench/train/objectives.py", "def ", TRAINED),
    ("bench/train/settings.py", 'default="erm"', TRAINED | EVALUATION),
    ("models/ststnet.py", "class ", {"train"}),
    ("models/adapters.py", "class ", {"other model"}),
    ("models/common/blocks.py", "class ", TRAINED),
    ("bench/evaluate/bootstrap.py", "def ", {"evaluate"}),
    ("bench/report/gallery.py", "def shown_task", {"gallery", "report"}),
    ("bench/report/html/templates/base.html.j2", "", {"report"}),
    ("fdpbench/commands/runs.py", "def train", set()),
    ("prep/runtime/progress.py", "def ", set()),
    ("prep/runtime/workers.py", "def ", set()),
    ("bench/external/logs.py", "def ", set()),
    ("prep/preview/page.py", "def ", set()),
]


@pytest.mark.parametrize(("file", "line", "changed"), EDITS, ids=[f"{edit[0]}: {edit[1]}" for edit in EDITS])
def test_an_edit_reaches_the_stages_whose_results_it_can_change(
    tree: Path, before: dict[str, dict[str, str]], file: str, line: str, changed: set[str]
) -> None:
    path = tree / file
    text = path.read_text(encoding="utf-8")
    assert line in text
    try:
        path.write_text(text.replace(line, line.replace(" ", "  ", 1), 1) + "\n", encoding="utf-8")
        after = codes()
    finally:
        path.write_text(text, encoding="utf-8")
    assert {stage for stage in before if before[stage] != after[stage]} == changed


def test_data_files_and_packages(tree: Path) -> None:
    found = closure(STAGES["align"])
    assert {"prep/align/face_models/face_landmark.tflite", "prep/align/stage.py"} <= set(found.files)
    assert {"cv2", "numpy", "pyarrow"} <= set(found.packages) and "pathlib" not in found.packages
    assert "rich" not in found.packages and "typer" not in found.packages  # of the plumbing
    assert "dlib" not in closure(STAGES["align"], without=("fdpbench.prep.align.faces_dlib",)).packages
    assert all(version for version in found.versions().values())


@pytest.mark.parametrize("stage", STAGES)
def test_weights_that_come_with_the_package_are_no_code(stage: str) -> None:
    """Else runs that read none would be trained anew with each change of them, and their cards would never settle."""
    assert shipped_weights() and not [name for name in closure(STAGES[stage]).files if "weights/" in name]


def test_imports_for_type_checkers_and_within_functions(tree: Path) -> None:
    (tree / "prep/a.py").write_text(
        '"""A."""\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import fdpbench.prep.b\n'
        "def f():\n    from fdpbench.prep import c\n    import scipy.stats\n"
    )
    for name in "bc":
        (tree / f"prep/{name}.py").write_text("x = 1\n")
    forget()
    found: Code = closure("fdpbench.prep.a")
    assert set(found.files) == {"fdpbench/__init__.py", "prep/a.py", "prep/c.py"} and found.packages == ("scipy",)
    with pytest.raises(ModuleNotFoundError, match="no module fdpbench.prep.d"):
        closure("fdpbench.prep.d")
    (tree / "prep/a.py").write_text("from . import b\n")
    forget()
    with pytest.raises(ValueError, match="relative import"):
        closure("fdpbench.prep.a")


def test_versions_by_the_name_of_the_import() -> None:
    assert version_of("cv2") and version_of("sklearn") and version_of("yaml")
    assert version_of("torch") == (version_of("torch") or "").partition("+")[0]
    assert version_of("no_such_package") is None
