"""params.tuning.yaml: nobody in it is in a release that results are reported on, and its task suits every model."""

from __future__ import annotations

from typing import Any

import yaml

from fdpbench.bench.plan.check import load_runs
from fdpbench.bench.plan.study import PROFILES
from fdpbench.bench.tune.data import check_unreported
from fdpbench.bench.tune.search import check_task_gives
from fdpbench.models.common.registry import list_models, model_info
from fdpbench.prep.demo.synth import plan_release
from fdpbench.prep.settings.params import check_params
from fdpbench.prep.settings.profile import overlay
from fdpbench.prep.settings.synth import synth_section
from tests.support.project import ROOT


def profile(name: str) -> dict[str, Any]:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    if name:
        text = overlay(ROOT / f"params.{name}.yaml", ROOT / "params.yaml")
    return check_params(yaml.safe_load(text))


def people(name: str) -> set[int]:
    return {plan.identity_seed for plan in plan_release(synth_section(profile(name)["synth"]))}


def test_its_people_are_in_no_other_release() -> None:
    tuning = people("tuning")
    assert len(tuning) == profile("tuning")["synth"]["subjects"] == 18
    for name in ("", *(one for one in PROFILES if one != "tuning")):
        assert not tuning & people(name), name or "params.yaml"
    assert people("") & people("full"), "these two do share people: the test looks at what it should"


def test_it_differs_from_the_embedded_release_in_people_alone() -> None:
    tuning, embedded = profile("tuning"), profile("")
    changed = {key for key in embedded["synth"] if tuning["synth"][key] != embedded["synth"][key]}
    assert changed == {"seed", "subjects"}
    assert embedded["tasks"]["synthetic"].items() < tuning["tasks"]["tuning"].items()
    assert {key for key in tuning["align"] if tuning["align"][key] != embedded["align"][key]} == {"track"}


def test_every_model_can_be_tuned_on_all_of_it() -> None:
    params = profile("tuning")
    load_runs(params)
    check_unreported("tuning", params)
    for name in list_models():
        check_task_gives(model_info(name), "tuning", params)
