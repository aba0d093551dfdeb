"""The drawn form of the embedded release: planned as a corpus is, people of its own; and the calm form as it was."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fdpbench.bench.plan.check import load_runs
from fdpbench.prep.demo.corpus.planner import person_seed, plan_people
from fdpbench.prep.demo.synth import EMOTIONS, ClipRecord, plan_release
from fdpbench.prep.demo.synth.camera import expose
from fdpbench.prep.demo.synth.clip import ClipPlan
from fdpbench.prep.demo.synth.expressions import CLASS_OF, SIDED_UNITS, UNIT_SETS
from fdpbench.prep.demo.synth.people import OF_CORPUS, OF_RELEASE, identity_seed
from fdpbench.prep.demo.synth.subject import bare_face
from fdpbench.prep.index.class_maps import classes_named
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.expressions import LARGEST_SEED
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.synth import DrawnSynthParams, SynthParams, synth_section
from fdpbench.prep.sheets.names import named_emotion, release_of
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.schema import MANIFEST
from fdpbench.prep.task.table import TASK
from tests.prep.demo.corpus.test_planner import ranges
from tests.support.builders import params as project_params
from tests.support.builders import write_params
from tests.test_architecture import ROOT, profile
from tests.test_cli import invoke

DRAWN: dict[str, Any] = {"seed": 7, "subjects": 3, "clips_per_subject": 5, "size": 240}
CALM: dict[str, Any] = {
    "seed": 1, "subjects": 2, "clips_per_emotion": 1, "size": 240, "frames_min": 24, "frames_max": 30, "peak_min": 1.0,
    "peak_max": 2.0, "drift": 1.0, "blink_rate": 0.2, "gaze_rate": 0.2, "overlap": 0.4,
}  # fmt: skip
FORMS = st.builds(
    lambda **changes: DrawnSynthParams(**(DRAWN | changes)),
    seed=st.integers(0, LARGEST_SEED),
    clips_per_subject=st.integers(1, 8),
    size=st.integers(120, 480),
    foreign=st.floats(0, 1),
    style=st.floats(0, 1),
    peak=ranges(0.1, 8),
    drift=ranges(0, 4),
    turn=st.floats(0, 8),
    blink=st.floats(0, 1),
    gaze=st.floats(0, 1),
    sensor_noise=ranges(0.5, 8),
)


def drawn(**changes: Any) -> DrawnSynthParams:
    return DrawnSynthParams(**(DRAWN | changes))


# --- the plan ---------------------------------------------------------------------------------------


@given(FORMS)
@settings(max_examples=40, deadline=None)
def test_clips_lie_within_the_ranges_and_agree_with_their_labels(release: DrawnSynthParams) -> None:
    plans = plan_release(release)
    assert plans == plan_release(release)
    names = [(f"s{s:02d}", f"c{k:02d}") for s in (1, 2, 3) for k in range(1, release.clips_per_subject + 1)]
    assert [(plan.subject, plan.clip) for plan in plans] == names
    assert len({plan.seed for plan in plans}) == len(plans) and len({plan.identity_seed for plan in plans}) == 3
    for plan in plans:
        assert 3 < plan.onset < plan.apex < plan.offset < plan.frames
        assert release.duration[0] <= plan.offset - plan.onset <= release.duration[1]
        assert release.peak[0] - 1e-9 <= plan.peak * 240 / release.size <= release.peak[1] + 1e-9
        assert release.drift[0] - 1e-9 <= plan.drift <= release.drift[1] + 1e-9
        assert release.sensor_noise[0] - 1e-9 <= plan.sensor_noise <= release.sensor_noise[1] + 1e-9
        assert plan.seat is not None and (release.turn > 0 or abs(plan.seat.yaw) == 0)
        assert {unit for unit, _ in plan.activation} <= set(SIDED_UNITS)
        noted = {unit.rstrip("LR") for unit in plan.action_units}
        sets = {one.units for one in UNIT_SETS[CLASS_OF[plan.emotion]] if one.emotion == plan.emotion}
        assert any(set(units) <= noted for units in sets)


@given(FORMS, st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_more_subjects_and_clips_leave_the_others_as_they_are(release: DrawnSynthParams, more: int) -> None:
    wider = {"subjects": release.subjects + more, "clips_per_subject": release.clips_per_subject + more}
    known = {(plan.subject, plan.clip): plan for plan in plan_release(release.model_copy(update=wider))}
    assert [known[plan.subject, plan.clip] for plan in plan_release(release)] == plan_release(release)


def test_motion_scales_with_the_frame_and_nothing_else_does() -> None:
    small, large = (plan_release(drawn(size=size)) for size in (120, 240))
    assert [replace(plan, peak=2 * plan.peak) for plan in small] == large


def test_classes_events_and_drift_are_as_frequent_as_asked_for() -> None:
    release = drawn(
        subjects=150, clips_per_subject=8, classes={"negative": 57.0, "positive": 25.0, "surprise": 18.0},
        blink=0.4, gaze=0.1, drift=(0.0, 4.0),
    )  # fmt: skip
    plans = plan_release(release)
    classes = Counter(CLASS_OF[plan.emotion] for plan in plans)
    shares = {name: classes[name] / len(plans) for name in classes}
    assert shares == pytest.approx({"negative": 0.57, "positive": 0.25, "surprise": 0.18}, abs=0.03)
    assert np.mean([plan.blink is not None for plan in plans]) == pytest.approx(0.4, abs=0.04)
    assert np.mean([plan.gaze_shift is not None for plan in plans]) == pytest.approx(0.1, abs=0.03)
    assert np.quantile([plan.drift for plan in plans], [0.25, 0.5, 0.75]) == pytest.approx([1, 2, 3], abs=0.25)
    assert {plan.emotion for plan in plans} == set(EMOTIONS)
    four = Counter(plan.emotion for plan in plan_release(drawn(subjects=60, clips_per_subject=8, emotions={})))
    assert min(four.values()) / 480 > 0.18 and len(four) == 4


def test_style_and_sitting_are_a_persons_own() -> None:
    def brow(plan: ClipPlan) -> float:
        moved = dict(plan.activation)
        return moved.get("AU4L", 0.0)

    def within_and_between(style: float) -> tuple[float, float]:
        release = drawn(subjects=60, clips_per_subject=12, foreign=0.0, one_sided=0.0, style=style)
        people: dict[str, list[float]] = {}
        for plan in plan_release(release):
            if brow(plan):
                people.setdefault(plan.subject, []).append(float(np.log(brow(plan))))
        several = [values for values in people.values() if len(values) > 2]
        return float(np.mean([np.std(v) for v in several])), float(np.std([np.mean(v) for v in several]))

    within, between = within_and_between(0.5)
    assert between > 0.5 > 3 * within, "AU4 is strong or weak with the person, not with the clip"
    assert within_and_between(0.0)[1] < 0.15
    seats = [plan.seat for plan in plan_release(drawn(clips_per_subject=6))]
    assert seats[0] == seats[1] == seats[2] != seats[3] == seats[5] and len(set(seats)) == 6


def test_the_noise_of_the_camera_is_that_of_the_clip_and_moves_nothing() -> None:
    still, noisy = (plan_release(drawn(sensor_noise=(low, low))) for low in (1.0, 4.0))
    assert [replace(plan, sensor_noise=4.0) for plan in still] == noisy
    light = np.full((3, 96, 96), 0.3, dtype=np.float32)
    images = [expose(light, np.random.default_rng(1), plan.sensor_noise) for plan in (still[0], noisy[0])]
    assert np.std(images[1]) / np.std(images[0]) == pytest.approx(4, rel=0.1)
    assert (expose(light, np.random.default_rng(1)) == images[0]).all()


# --- people -----------------------------------------------------------------------------------------

SEEDS = st.integers(0, LARGEST_SEED)


@given(SEEDS, SEEDS, SEEDS, SEEDS)
def test_seeds_of_people_are_those_of_no_corpus_and_of_no_calm_release(
    seed: int, number: int, other: int, another: int
) -> None:
    mine = identity_seed(OF_RELEASE, seed, number)
    assert mine >= 1 << 65 > identity_seed(OF_CORPUS, other, another) >= 1 << 64  # a calm release's are 64-bit numbers
    assert (mine >> 32) - (2 << 32) == seed and mine & LARGEST_SEED == number  # so no two are the same
    states = {
        tuple(np.random.SeedSequence(value).generate_state(8).tolist())
        for value in (mine, mine - (1 << 64), mine - (2 << 64))
    }
    assert len(states) == 3  # and numpy cuts none of them to 64 bits


def test_nobody_of_a_release_is_in_a_corpus_of_the_same_seed_or_in_a_calm_release() -> None:
    mine = {plan.identity_seed for plan in plan_release(drawn(subjects=25, clips_per_subject=1))}
    corpus = CorpusParams(generator="flow", identities=26, clips_per_identity=1, seed=7)
    others = {person.seed for person in plan_people(corpus)}
    assert person_seed(7, 3) in others
    calm = {plan.identity_seed for plan in plan_release(SynthParams(**(CALM | {"seed": 7, "subjects": 25})))}
    assert len(mine) == len(calm) == 25 and len(others) == 26
    assert max(calm) < 1 << 64 <= min(others) and max(others) < 1 << 65 <= min(mine)
    faces = np.stack([bare_face(seed)[0] for seed in sorted(mine | others | calm)])
    for k in range(len(faces)):
        apart = np.abs(np.delete(faces, k, axis=0) - faces[k]).max(axis=(1, 2))
        assert apart.min() > 0.01, "two people are closer than a millimetre at every point"


# --- settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CALM | {"clips_per_subject": 5}, r"synth: clips_per_emotion, .*overlap and clips_per_subject belong to two"),
        (DRAWN | {"overlap": 0.4, "peak": [1.0, 2.0]}, r"synth: overlap and clips_per_subject, peak belong to two"),
        (CALM | {"drift": [0.0, 4.0]}, r"synth\.drift: .*valid number"),
        (DRAWN | {"drift": 1.0}, r"synth\.drift: .*tuple"),
        (DRAWN | {"peak": [2.0, 0.3]}, r"synth\.peak: .*must not fall: write \[0\.3, 2\.0\]"),
        (DRAWN | {"classes": {}, "emotions": {}}, r"synth: .*give classes or emotions, not both"),
        (DRAWN | {"identities": 3}, r"synth\.identities: unknown key"),
        (DRAWN | {"clips_per_subjet": 3}, r"clips_per_subjet: unknown key \(did you mean 'clips_per_subject'\?\)"),
        (DRAWN | {"noise": [0.1, 0.2]}, r"synth\.noise: unknown key"),
        (DRAWN | {"seed": 2**32}, r"synth\.seed: "),
        ({"seed": 1, "subjects": 2, "size": 240}, r"synth\.clips_per_subject: missing"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_by_its_name(content: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        synth_section(content)
    with pytest.raises(ParamsError, match=said):
        load_runs(project_params() | {"synth": content})


def test_the_forms_are_told_apart_by_their_keys() -> None:
    assert isinstance(synth_section(CALM), SynthParams) and isinstance(synth_section(DRAWN), DrawnSynthParams)
    shared = set(SynthParams.model_fields) & set(DrawnSynthParams.model_fields)
    assert shared == {"seed", "subjects", "size", "drift"}
    for form in (SynthParams, DrawnSynthParams):
        assert all(field.description for field in form.model_fields.values())


def test_profiles_are_of_one_release_in_two_sizes() -> None:
    size = {"subjects", "clips_per_subject"}
    default, full = (synth_section(profile(name)["synth"]).model_dump(exclude=size) for name in ("weights", "full"))
    assert default == full == synth_section(profile("baselines")["synth"]).model_dump(exclude=size)
    found = synth_section(profile("full")["synth"])
    assert isinstance(found, DrawnSynthParams) and found.subjects >= 40 and found.clips_per_subject >= 8


# --- the calm form stays as it was ------------------------------------------------------------------


def test_the_calm_release_is_planned_as_ever() -> None:
    calm = synth_section(yaml.safe_load((ROOT / "params.calm.yaml").read_text(encoding="utf-8"))["synth"])
    plans = plan_release(calm)
    assert {plan.drift for plan in plans} == {calm.drift} and {plan.seat for plan in plans} == {None}
    rows = [
        (*astuple(ClipRecord.of(plan)), plan.identity_seed, plan.seed, plan.activation, plan.blink, plan.gaze_shift)
        for plan in plans
    ]
    found = hashlib.sha256(repr(rows).encode()).hexdigest()
    assert len(rows) == 120 and found == "e7ff9c3e484af14d85c8ed5497856f3347e7ffbfea609801d40efc53bf4a0c64"


def test_no_clip_of_one_form_has_the_name_of_one_of_the_other() -> None:
    mine = {f"{plan.subject}/{plan.clip}" for plan in plan_release(drawn(subjects=4, clips_per_subject=12))}
    theirs = {f"{plan.subject}/{plan.clip}" for plan in plan_release(SynthParams(**(CALM | {"subjects": 4})))}
    assert not mine & theirs
    assert release_of("s01", "c01", "synthetic") == "synthetic" and named_emotion("c01", "synthetic") is None


# --- on disk ----------------------------------------------------------------------------------------


def test_a_drawn_release_goes_from_frames_to_a_task(project: Path) -> None:
    """Each stage as DVC calls it: no clip is lost on the way, and labels are the planned ones."""
    content = project_params(releases=["synthetic"])
    del content["tasks"]["tiny_flow"]
    content["synth"] = {
        "seed": 8, "subjects": 2, "clips_per_subject": 3, "size": 160, "duration": [8, 10], "drift": [0.0, 4.0],
        "blink": 0.5, "style": 0.5, "sensor_noise": [1.0, 6.0],
    }  # fmt: skip
    content["tasks"]["tiny"]["classes"] = "synthetic_3"
    write_params(content)
    for command in (
        ("synthesize", "--jobs=1"), ("index", "synthetic"), ("align", "synthetic", "--jobs=1"), ("flow", "synthetic"),
        ("dynamic", "tiny"), ("task", "tiny"),
    ):  # fmt: skip
        result = invoke(*command)
        assert result.exit_code == 0, (result.output, result.exception)
    plans = plan_release(drawn(**content["synth"]))
    manifest = shards.read_table(paths.manifest("synthetic") / "manifest.parquet", MANIFEST).to_pylist()
    assert [row["clip_id"] for row in manifest] == [f"synthetic/{plan.subject}/{plan.clip}" for plan in plans]
    for row, plan in zip(manifest, plans, strict=True):
        assert (row["onset"], row["apex"], row["offset"], row["emotion"]) == (
            plan.onset, plan.apex, plan.offset, plan.emotion
        )  # fmt: skip
    task = shards.read_table(paths.task("tiny") / "clips.parquet", TASK).to_pylist()
    classes = list(classes_named("synthetic_3"))
    assert [(row["class"], row["label"]) for row in task] == [
        (CLASS_OF[plan.emotion], classes.index(CLASS_OF[plan.emotion])) for plan in plans
    ]
    flow = np.load(paths.raw("synthetic") / "truth/s02/c03/flow.npy", allow_pickle=False)
    assert flow.shape == (2, 160, 160) and 0.2 < np.isfinite(flow[0]).mean() < 0.9
