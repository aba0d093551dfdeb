"""Models that lie outside the repository: in a file anywhere, or in another installed distribution."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fdpbench.bench.plan import check
from fdpbench.bench.plan.check import check_project, load_runs
from fdpbench.bench.plan.resolve import make_plan
from fdpbench.bench.plan.stage import plan_project
from fdpbench.bench.train.artifacts import Artifacts
from fdpbench.bench.train.stage import train_run
from fdpbench.models import create_model, list_models, model_info
from fdpbench.models.common.registry import UnknownModelError
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.planned import place_of
from fdpbench.prep.settings.problems import ParamsError
from tests.support.builders import checked_params, run_of, write_params, write_task
from tests.support.distributions import Distribution

NET = """
import torch
from fdpbench.models.common.blocks import Classifier, ModelOutput, input_shape
from fdpbench.models.common.registry import Count, Recipe, register_model

@register_model(
    inputs=("flow",), paper="ACME, 2026", recipe=Recipe(epochs=2, batch_size=4, lr=1e-3, weight_decay=0.0)
)
class AcmeNet(Classifier):
    def __init__(self, num_classes, *, shapes, width: Count = 3):
        super().__init__()
        channels, height, width_ = input_shape(shapes, "flow", "C H W", C=(3, 3), H=(8, None), W=(8, None))
        self.classify = torch.nn.Linear(channels * height * width_, num_classes)

    def forward(self, flow):
        return ModelOutput(logits=self.classify(flow.flatten(1)))
"""
SHAPES = {"flow": (3, 28, 28)}


@pytest.fixture
def file(project: Path) -> str:
    """A model in a file of the project; its reference."""
    (project / "mine").mkdir()
    (project / "mine/net.py").write_text(NET)
    return "mine/net.py:AcmeNet"


def error_of(reference: str) -> str:
    with pytest.raises(UnknownModelError) as caught:
        model_info(reference)
    return str(caught.value)


def test_a_model_in_a_file(file: str, project: Path) -> None:
    info = model_info(file)
    assert (info.name, info.inputs, dict(info.options)) == ("net:AcmeNet", ("flow",), {"width": 3})
    assert model_info(f"{project}/{file}") == info, "whatever the folder"
    assert create_model(file, 3, shapes=SHAPES)(torch.zeros(2, 3, 28, 28)).logits.shape == (2, 3)
    assert file not in list_models()


def test_a_file_that_was_edited_is_imported_anew(file: str) -> None:
    for year in range(2026, 2036):  # of one size, within a second
        Path("mine/net.py").write_text(NET.replace("ACME, 2026", f"ACME, {year}"))
        assert model_info(file).paper == f"ACME, {year}"
    assert [path.name for path in Path("mine").iterdir()] == ["net.py"], "no compiled files in the user's folder"


def test_files_that_hold_no_such_model(file: str) -> None:
    assert "expected a file and its class, path/to/file.py:Class" in error_of("mine/net.py")
    assert "expected a file and its class" in error_of("mine/net.txt:AcmeNet")
    assert "no file of a model" in error_of("mine/nett.py:AcmeNet")
    assert "holds no class AcmeNe declared with @register_model; it holds AcmeNet" in error_of("mine/net.py:AcmeNe")
    Path("mine/net.py").write_text("import acme_beside\n")
    assert "no file beside it" in error_of(file) and "acme_beside" in error_of(file)
    Path("mine/net.py").write_text("class AcmeNet(:\n")
    assert "mine/net.py: cannot be imported (SyntaxError" in error_of(file)
    assert "path/to/file.py:Class" in error_of("acmenet")


@pytest.mark.parametrize("target", ["acme_net", "acme_net:AcmeNet"])
def test_a_model_of_another_distribution(distribution: Distribution, target: str) -> None:
    distribution("fdpbench.models", "acme", target, NET)
    assert "acme" in list_models() and model_info("acme").name == "acme"
    assert create_model("acme", 3, shapes=SHAPES)(torch.zeros(2, 3, 28, 28)).logits.shape == (2, 3)


def test_other_distributions_that_cannot_be_used(distribution: Distribution) -> None:
    distribution("fdpbench.models", "acme", "acme_broken", "import acme_that_is_not_there")
    distribution("fdpbench.models", "acme2", "acme_empty", "")
    distribution("fdpbench.models", "fdp", "acme_double", NET)
    assert "acme_broken cannot be imported (No module named 'acme_that_is_not_there')" in error_of("acme")
    assert "holds 0 classes with @register_model" in error_of("acme2")
    assert "two models have the name 'fdp'" in error_of("fdp") and "acme_double" in error_of("fdp")
    distribution("fdpbench.models", "acme", "acme_other", NET)
    assert "two models have the name 'acme': " in error_of("acme") and "acme_other" in error_of("acme")
    assert model_info("majority").kind == "estimator"


def test_a_run_of_a_file_is_checked_like_any_other(file: str) -> None:
    content = checked_params()
    content["runs"] = {
        "good": {"task": "tiny", "model": file},
        "wide": {"task": "tiny", "model": file, "set": {"model": {"width": "3"}}},
        "lost": {"task": "tiny", "model": "mine/nett.py:AcmeNet"},
    }
    content["options"] = {file: {"lr": 0.01}, "mine/nett.py:AcmeNet": {"lr": 0.01}}
    write_params(content)
    with pytest.raises(ParamsError) as caught:
        check_project()
    assert len(caught.value.problems) == 3
    assert all("good" not in problem for problem in caught.value.problems)
    del content["runs"]["wide"], content["runs"]["lost"], content["options"]["mine/nett.py:AcmeNet"]
    write_params(content)
    (run,) = check_project()
    assert run.model.name == "net:AcmeNet" and run.settings.lr == 0.01


def hashed(item: str, stage: str = "train") -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(place_of(stage, item).read_bytes())
    return found


def test_an_edit_of_a_file_or_of_a_distribution_is_planned(
    file: str, distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = distribution("fdpbench.models", "acme", "acme_net:AcmeNet", NET)
    content = checked_params()
    content["runs"] |= {"mine": {"task": "tiny", "model": file}, "acme": {"task": "tiny", "model": "acme"}}
    write_params(content)
    monkeypatch.setattr(check, "check_project", lambda: load_runs(read_params()))
    assert plan_project() and not plan_project()
    before = {name: hashed(name) for name in content["runs"]}
    assert {"mine/net.py", "models/common/blocks.py"} <= before["mine"]["code"].keys()
    assert "acme_net.py" in before["acme"]["code"] and "torch" in before["acme"]["versions"]
    for edited, run in ((Path("mine/net.py"), "mine"), (installed, "acme")):
        edited.write_text(NET + "# edited\n")
        assert plan_project() and not plan_project()
        after = {name: hashed(name) for name in content["runs"]}
        assert {name for name in after if after[name] != before[name]} == {run}
        before = after


def test_an_edit_of_another_reader_indexes_its_release_anew(distribution: Distribution, project: Path) -> None:
    from fdpbench.prep.releases import _modules

    reader = distribution("fdpbench.releases", "acme_me", "acme_reader", "import yaml\n")
    _modules.cache_clear()
    try:
        params = read_params() | {"releases": ["acme_me"]}
        before = next(planned for planned in make_plan(params) if planned.stage == "index")
        assert "acme_reader.py" in before.code
        reader.write_text("import yaml\nEDITED = 1\n")
        after = next(planned for planned in make_plan(params) if planned.stage == "index")
        assert {name for name in after.code if after.code[name] != before.code[name]} == {"acme_reader.py"}
    finally:
        _modules.cache_clear()


@pytest.mark.pipeline
def test_a_run_of_a_file_is_trained_in_workers(file: str) -> None:
    write_task(Path("data/task/tiny"))
    run = run_of(file, epochs=1)
    train_run(run, Path("data/task/tiny"), Artifacts("it"), 2, 1)
    checkpoints = sorted(Artifacts("it").checkpoints.iterdir())
    assert len(checkpoints) == 3 and b"net:AcmeNet" in checkpoints[0].read_bytes()
