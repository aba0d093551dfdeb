"""The planner of corpora: labels that agree with what moves, draws within their ranges, people of no release."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fdpbench.prep.demo.corpus.planner import Person, person_seed, plan_people
from fdpbench.prep.demo.synth import EMOTIONS, plan_release
from fdpbench.prep.demo.synth.expressions import CLASS_OF, CLASSES, SIDED_UNITS, UNIT_SETS, UNITS
from fdpbench.prep.demo.synth.head import load_head
from fdpbench.prep.demo.synth.motion import BLINK
from fdpbench.prep.demo.synth.people import FAINT, SITTING_CLIPS
from fdpbench.prep.demo.synth.subject import bare_face, build_subject
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.expressions import LARGEST_SEED
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.settings.section import section
from fdpbench.prep.settings.synth import SynthParams

SMALL: dict[str, Any] = {"generator": "flow", "identities": 3, "clips_per_identity": 5, "seed": 7}


def params(**changes: Any) -> CorpusParams:
    return CorpusParams(**(SMALL | changes))


def ranges(low: float, high: float) -> st.SearchStrategy[tuple[float, float]]:
    return st.tuples(st.floats(low, high), st.floats(low, high)).map(lambda pair: (min(pair), max(pair)))


CORPORA = st.builds(
    params,
    seed=st.integers(0, LARGEST_SEED),
    clips_per_identity=st.integers(1, 9),
    foreign=st.floats(0, 1),
    one_sided=st.floats(0, 1),
    style=st.floats(0, 1),
    peak=ranges(0.1, 8),
    drift=ranges(0, 4),
    eye_distance=ranges(0.3, 0.7),
    noise=ranges(0.01, 1),
    blink=st.floats(0, 1),
    gaze=st.floats(0, 1),
)


@given(CORPORA)
@settings(max_examples=40, deadline=None)
def test_what_is_planned_lies_within_the_ranges_and_agrees_with_its_labels(corpus: CorpusParams) -> None:
    people = list(plan_people(corpus))
    assert people == list(plan_people(corpus))
    assert [person.subject for person in people] == ["p0000", "p0001", "p0002"]
    for person in people:
        names = [f"c{k:03d}" for k in range(corpus.clips_per_identity)]
        assert [planned.clip.clip for planned in person.clips] == names
        for planned in person.clips:
            clip, crop = planned.clip, planned.sitting.crop
            assert clip.identity_seed == person.seed and clip.subject == person.subject
            assert 1 <= clip.onset < clip.apex < clip.offset < clip.frames
            assert corpus.duration[0] <= clip.offset - clip.onset <= corpus.duration[1]
            for value, (low, high) in (
                (clip.peak, corpus.peak),
                (clip.drift, corpus.drift),
                (crop.eye_distance, corpus.eye_distance),
                (planned.estimator.noise, corpus.noise),
            ):
                assert low - 1e-9 <= value <= high + 1e-9
            assert CLASSES[planned.label] == CLASS_OF[clip.emotion]
            moved = {unit.rstrip("LR") for unit, _ in clip.activation}
            noted = {unit.rstrip("LR") for unit in clip.action_units}
            sets = {one.units for one in UNIT_SETS[CLASSES[planned.label]] if one.emotion == clip.emotion}
            assert any(set(units) <= noted and len(moved - set(units)) <= 1 for units in sets)
            assert noted <= moved and len(noted) == len(clip.action_units)
            assert {unit for unit, _ in clip.activation} <= set(SIDED_UNITS) and BLINK not in moved
            assert all(weight > 0 for _, weight in clip.activation)


@given(CORPORA, st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_more_people_and_clips_leave_the_others_as_they_are(corpus: CorpusParams, more: int) -> None:
    larger = corpus.model_copy(
        update={"identities": corpus.identities + more, "clips_per_identity": corpus.clips_per_identity + more}
    )
    people = [replace(one, clips=one.clips[: corpus.clips_per_identity]) for one in plan_people(larger)]
    assert people[: corpus.identities] == list(plan_people(corpus))
    assert list(plan_people(larger, 1, 3)) == list(plan_people(larger))[1:3]


def all_clips(people: list[Person]) -> list[Any]:
    return [planned for person in people for planned in person.clips]


def test_classes_and_events_are_as_frequent_as_asked_for() -> None:
    corpus = params(
        identities=60, clips_per_identity=20, classes={"negative": 2.0}, blink=0.4, gaze=0.1, foreign=0.0, one_sided=0.0
    )
    clips = all_clips(list(plan_people(corpus)))
    shares = {label: count / len(clips) for label, count in Counter(planned.label for planned in clips).items()}
    assert shares == pytest.approx({0: 0.5, 1: 0.25, 2: 0.25}, abs=0.04)
    assert np.mean([planned.clip.blink is not None for planned in clips]) == pytest.approx(0.4, abs=0.05)
    assert np.mean([planned.clip.gaze_shift is not None for planned in clips]) == pytest.approx(0.1, abs=0.04)
    assert {planned.clip.emotion for planned in clips} == set(EMOTIONS) == set(CLASS_OF)
    own = {one.units for sets in UNIT_SETS.values() for one in sets}
    assert {tuple(dict.fromkeys(u.rstrip("LR") for u, _ in planned.clip.activation)) for planned in clips} == own


def test_clips_of_a_sitting_share_pose_and_crop() -> None:
    (person,) = plan_people(params(identities=1, clips_per_identity=7))
    sittings = [planned.sitting for planned in person.clips]
    assert SITTING_CLIPS == 3
    assert all(one is sittings[k - k % 3] for k, one in enumerate(sittings)) and len(set(map(id, sittings))) == 3
    seats = [planned.clip.seat for planned in person.clips]
    assert all(one == seats[k - k % 3] for k, one in enumerate(seats)) and len(set(seats)) == 3


def test_a_movement_of_one_side_is_noted_as_such() -> None:
    leaning = all_clips(list(plan_people(params(identities=20, one_sided=1.0, style=0.0))))
    noted = [unit for planned in leaning for unit in planned.clip.action_units]
    assert {unit for unit in noted if unit[-1] in "LR"} >= {"AU12L", "AU12R", "AU14L", "AU14R"}
    even = all_clips(list(plan_people(params(identities=20, one_sided=0.0, style=0.0))))
    assert not [unit for planned in even for unit in planned.clip.action_units if unit[-1] in "LR"]


def test_a_faint_foreign_unit_moves_but_is_not_noted() -> None:
    clips = all_clips(list(plan_people(params(identities=30, foreign=1.0, style=0.0))))
    unnoted = 0
    for planned in clips:
        activation = dict(planned.clip.activation)
        noted = {unit.rstrip("LR") for unit in planned.clip.action_units}
        for unit, weight in activation.items():
            if unit.rstrip("LR") not in noted:
                assert weight < FAINT
                unnoted += 1
    assert unnoted > 10


def test_every_set_names_units_and_an_emotion_of_its_class() -> None:
    assert set(UNIT_SETS) == set(CLASSES)
    for name, sets in UNIT_SETS.items():
        assert len({one.units for one in sets}) == len(sets)
        for one in sets:
            assert CLASS_OF[one.emotion] == name and set(one.units) <= set(UNITS) and one.weight > 0
    for emotion, variants in EMOTIONS.items():  # what the embedded release shows is shown here too, sides aside
        for variant in variants:
            units = {unit.rstrip("LR") for unit in variant}
            assert any(units == set(one.units) for one in UNIT_SETS[CLASS_OF[emotion]])


# --- people -----------------------------------------------------------------------------------------

RELEASE = SynthParams(
    seed=2026, subjects=40, clips_per_emotion=1, size=120, frames_min=24, frames_max=24, peak_min=0.5, peak_max=1.0,
    drift=1.0, blink_rate=0.0, gaze_rate=0.0, overlap=0.0,
)  # fmt: skip


@given(st.integers(0, LARGEST_SEED), st.integers(0, LARGEST_SEED), st.integers(0, LARGEST_SEED))
def test_seeds_of_people_are_those_of_no_release_and_of_no_other_corpus(seed: int, number: int, other: int) -> None:
    mine = person_seed(seed, number)
    assert mine >= 1 << 64  # a release's are 64-bit numbers
    assert (mine >> 32) - (1 << 32) == seed and mine & LARGEST_SEED == number  # so no two are the same
    state, cut = (np.random.SeedSequence(value).generate_state(8).tolist() for value in (mine, mine - (1 << 64)))
    assert state != cut  # and numpy does not cut them to 64 bits


def test_nobody_of_a_corpus_is_in_the_embedded_release() -> None:
    theirs = {plan.identity_seed for plan in plan_release(RELEASE)}
    assert len(theirs) == RELEASE.subjects and max(theirs) < 1 << 64
    release = np.stack([bare_face(seed)[0] for seed in sorted(theirs)])
    people = list(plan_people(params(identities=40, clips_per_identity=1, seed=RELEASE.seed)))
    corpus = np.stack([bare_face(person.seed)[0] for person in people])
    faces = np.concatenate([release, corpus])
    for k in range(len(faces)):
        apart = np.abs(np.delete(faces, k, axis=0) - faces[k]).max(axis=(1, 2))
        assert apart.min() > 0.01, "two people are closer than a millimetre at every point"


def test_a_bare_face_is_that_of_the_rendered_person() -> None:
    seed = person_seed(3, 4)
    face, scale = bare_face(seed)
    person = build_subject(seed, density=10.0)
    bald = load_head().vertices[:, 1] < 7.3  # below the hair
    assert scale == person.scale
    assert np.abs(face - person.vertices)[bald].max() < 0.2 and np.median(np.abs(face - person.vertices)[bald]) == 0


# --- settings ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"peak": [4.0, 0.5]}, r"corpora\.flow\.peak: .*must not fall: write \[0\.5, 4\.0\]"),
        ({"peak": [0.0, 1.0]}, r"corpora\.flow\.peak\.0: .*greater than 0"),
        ({"noise": 0.1}, r"corpora\.flow\.noise: "),
        ({"drift": [-1, 1]}, r"corpora\.flow\.drift\.0: "),
        ({"duration": [2, 90]}, r"corpora\.flow\.duration\.0: "),
        ({"blink": 2}, r"corpora\.flow\.blink: "),
        ({"seed": 2**32}, r"corpora\.flow\.seed: "),
        ({"identities": 0}, r"corpora\.flow\.identities: "),
        (
            {"generator": "frames", "noise": [0.1, 0.2], "eye_height": [0.2, 0.3]},
            r"corpora\.flow: .*eye_height, noise: for generator flow alone, not frames; leave out, or write "
            r"eye_height as crop: \{eye_height: 0\.32\}",
        ),
        ({"crop": {"size": 64}}, r"corpora\.flow: .*crop: for generator frames alone, not flow; leave out"),
        ({"sensor_noise": [1.0, 6.0]}, r"corpora\.flow: .*sensor_noise: for generator frames alone, not flow"),
        ({"emotions": {}, "classes": {}}, r"corpora\.flow: .*give classes or emotions, not both"),
        ({"emotions": {"joy": 1}}, r"corpora\.flow\.emotions\.joy: unknown key"),
        (
            {"generator": "frames", "sampling": {"rule": "tim", "frames": 8}},
            r"sampling\.rule tim needs every frame of a clip, .*write uniform or truncated",
        ),
        (
            {"generator": "frames", "sampling": {"rule": "uniform", "frames": 30}},
            r"sampling\.frames 30: the shortest clip has 25 frames; raise duration, or sample fewer",
        ),
        ({"generator": "frames", "crop": {"eye_distance": 1.0}}, r"corpora\.flow\.crop\.eye_distance"),
        ({"generator": "frame"}, r"corpora\.flow\.generator: "),
        ({"classes": {"negativ": 1}}, r"corpora\.flow\.classes\.negativ: unknown key \(did you mean 'negative'\?\)"),
        ({"eye_distanc": [0.4, 0.5]}, r"corpora\.flow\.eye_distanc: unknown key \(did you mean 'eye_distance'\?\)"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        section(CorpusParams, SMALL | change, "corpora.flow")


def test_every_range_is_explained_and_survives_the_plan() -> None:
    for name, field in CorpusParams.model_fields.items():
        assert field.description and len(field.description) > 20, name
    corpus = section(CorpusParams, SMALL | {"peak": [1, 2]}, "corpora.flow")
    assert section(CorpusParams, corpus.model_dump(mode="json"), "corpora.flow") == corpus
