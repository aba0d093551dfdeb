"""The conformance suite on every listed model, and what the registry promises beside it.

A new file in ``models/`` is tested without a line added here. That each check can fail is tested in
test_conformance_counterexamples.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fdpbench.models
from fdpbench.models import list_models, model_info
from fdpbench.models.common.conformance import Check, checks_of
from fdpbench.models.common.registry import Recipe, UnknownModelError, register_model
from tests.support.added_models import added_model

ALL = list_models()
CHECKS = [pytest.param(model, check, id=f"{name}-{model}") for model in ALL for name, check in checks_of(model)]


@pytest.mark.parametrize(("model", "check"), CHECKS)
def test_model(model: str, check: Check) -> None:
    check(model)


# Registry


def test_the_names_are_the_public_files() -> None:
    files = {path.stem for path in Path(fdpbench.models.__file__).parent.glob("[!_]*.py")}
    assert ALL == sorted(files - {"registry", "blocks"})


def test_unknown_model_is_refused_with_those_known() -> None:
    with pytest.raises(UnknownModelError, match="majority"):
        model_info("no_such_model")


def test_the_majority_needs_no_torch() -> None:
    """Nor do the checks of it."""
    code = (
        "import sys, fdpbench.models.common.conformance as suite\n"
        "for _, check in suite.checks_of('majority'): check('majority')\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(fdpbench.models.__file__).parents[1])


def test_a_broken_file_breaks_itself_alone(tmp_path: Path) -> None:
    broken = "import a_module_that_does_not_exist\n"
    with added_model(tmp_path, "broken_model", broken), added_model(tmp_path, "empty_model", ""):
        assert {"broken_model", "empty_model"} <= set(list_models())
        with pytest.raises(ModuleNotFoundError, match="a_module_that_does_not_exist"):
            model_info("broken_model")
        with pytest.raises(UnknownModelError, match="0 classes"):
            model_info("empty_model")
        assert model_info("majority").kind == "estimator"


def test_a_wrong_declaration_is_refused() -> None:
    with pytest.raises(TypeError, match="sound"):
        register_model(inputs=("sound",), paper="-")(object)
    with pytest.raises(TypeError, match="derive it"):
        register_model(inputs=(), paper="-")(object)


def test_a_network_has_a_recipe_and_an_estimator_none() -> None:
    class Net:
        kind = "module"

        def __init__(self, num_classes: int, *, width: int = 3) -> None: ...

    class Fitted(Net):
        kind = "estimator"
        hand_crafted = False

    recipe: dict[str, Any] = {"epochs": 3, "batch_size": 4, "lr": 1e-3, "weight_decay": 0.0}
    with pytest.raises(TypeError, match="Net: give a module's recipe"):
        register_model(inputs=(), paper="-")(Net)
    with pytest.raises(TypeError, match="Fitted: an estimator takes no recipe"):
        register_model(inputs=(), paper="-", recipe=Recipe(**recipe))(Fitted)
    with pytest.raises(TypeError, match="Net: its recipe sets widht; its options: width"):
        register_model(inputs=(), paper="-", recipe=Recipe(**recipe, options={"widht": 3}))(Net)
    register_model(inputs=(), paper="-", recipe=Recipe(**recipe, options={"width": 4}))(Net)
    for wrong in ({"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}, {"lr": "1e-3"}, {"weight_decay": -1.0}, {"epoch": 3}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Recipe(**recipe | wrong)
