"""Stage `corpus`: the same bytes however it is run, labels in their columns, resumed after a kill, flat in memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from fdpbench.bench.plan.check import load_runs
from fdpbench.bench.plan.resolve import resolve
from fdpbench.commands import app
from fdpbench.prep.demo.corpus import stage
from fdpbench.prep.demo.corpus.flow import flow_clips
from fdpbench.prep.demo.corpus.frames import frame_clips
from fdpbench.prep.demo.corpus.planner import plan_people
from fdpbench.prep.demo.corpus.reading import CORPUS, FRAMES_CORPUS, CorpusError, read_corpus, read_shards
from fdpbench.prep.demo.synth.expressions import CLASS_OF, CLASSES, SIDED_UNITS, UNITS
from fdpbench.prep.runtime.workers import run_units
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.params import read_params
from fdpbench.prep.settings.problems import ParamsError
from fdpbench.prep.store import paths, shards
from fdpbench.prep.store.documents import DocumentError
from fdpbench.prep.task.inputs import INPUTS
from tests.support.builders import PARAMS, write_params
from tests.support.project import ROOT

ENTRY: dict[str, Any] = {"generator": "flow", "identities": 5, "clips_per_identity": 4, "seed": 3}

# A corpus made in a process of its own, two people a shard.
SCRIPT = """
import resource, sys
from fdpbench.arithmetic import pin_arithmetic
pin_arithmetic()
from pathlib import Path
from fdpbench.prep.demo.corpus import stage
from fdpbench.prep.settings.corpus import CorpusParams
if __name__ == "__main__":
    stage.SHARD = dict.fromkeys(stage.SHARD, 2)
    params = CorpusParams.model_validate_json(sys.argv[1])
    stage.make_corpus("flow", params, Path(sys.argv[2]), int(sys.argv[3]))
    print(*(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


def params(**changes: Any) -> CorpusParams:
    return CorpusParams(**(ENTRY | changes))


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def start(corpus: CorpusParams, out: Path, jobs: int = 1) -> subprocess.Popen[str]:
    script = Path("make.py")
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(script), corpus.model_dump_json(), str(out), str(jobs)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )


@pytest.fixture
def small_shards(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stage, "SHARD", dict.fromkeys(stage.SHARD, 2))
    return project


@pytest.fixture
def made(small_shards: Path) -> Path:
    stage.make_corpus("flow", params(true_flow=True), Path("data/one"), 1)
    return Path("data/one")


def test_two_workers_give_the_bytes_of_one(made: Path) -> None:
    assert list(digest(made)) == [
        "SHA256SUMS", "clips-0000.parquet", "clips-0001.parquet", "clips-0002.parquet", "corpus.json",
    ]  # fmt: skip
    shutil.rmtree(".scratch")  # else the second takes over what the first has kept
    stage.make_corpus("flow", params(true_flow=True), Path("data/two"), 2)
    assert digest(Path("data/two")) == digest(made)


@pytest.mark.pipeline
def test_a_killed_run_goes_on_and_gives_the_same_bytes(small_shards: Path) -> None:
    corpus = params(identities=8, clips_per_identity=30)
    process = start(corpus, Path("data/killed"))
    end = time.monotonic() + 60
    while not (kept := list(Path(".scratch").glob("corpus-flow/*/units/*"))):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not Path("data/killed").exists()
    before = {path: (path / "clips-0000.parquet").stat().st_mtime_ns for path in kept[:1]}
    time.sleep(0.5)  # a worker ends with its parent, within two tenths of a second
    assert len(list(Path(".scratch").glob("corpus-flow/*/units/*"))) < 4
    process = start(corpus, Path("data/killed"))
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert {path: (path / "clips-0000.parquet").stat().st_mtime_ns for path in before} == before
    shutil.rmtree(".scratch")
    stage.make_corpus("flow", corpus, Path("data/whole"), 1)
    assert digest(Path("data/killed")) == digest(Path("data/whole"))


@pytest.mark.pipeline
def test_memory_does_not_grow_with_the_corpus(small_shards: Path) -> None:
    peaks = []
    for identities in (4, 60):
        process = start(params(identities=identities, clips_per_identity=2), Path(f"data/{identities}"))
        said, _ = process.communicate(timeout=120)
        peaks.append([int(kilobytes) for kilobytes in said.split()])
    (small, small_worker), (large, large_worker) = peaks
    assert large < small + 10_000 and large_worker < small_worker + 10_000  # kB


def test_rows_hold_the_plan_and_its_labels(made: Path) -> None:
    rows = [row for file in sorted(made.glob("*.parquet")) for row in shards.read_rows(file, CORPUS)]
    planned = [one for person in plan_people(params()) for one in person.clips]
    clips = [clip for person in plan_people(params()) for clip in flow_clips(person)]
    assert len(rows) == len(planned) == 20
    for row, plan, clip in zip(rows, planned, clips, strict=True):
        assert row["clip_id"] == f"corpus-flow/{plan.clip.subject}/{plan.clip.clip}"
        assert row["clip_id"].startswith(row["subject"] + "/") and row["dataset"] == "corpus-flow"
        assert (row["onset"], row["apex"], row["offset"]) == (plan.clip.onset, plan.clip.apex, plan.clip.offset)
        assert row["class"] == CLASSES[row["label"]] == CLASS_OF[row["emotion"]]
        codes = row["action_units"].split("+")
        assert tuple("AU" + code.lstrip("LR") + code.rstrip("0123456789") for code in codes) == plan.clip.action_units
        assert row["intensity"] == clip.intensity.tolist() and len(row["intensity"]) == len(SIDED_UNITS)
        for unit in plan.clip.action_units:  # what is noted moves
            moved = [v for part, v in zip(SIDED_UNITS, row["intensity"], strict=True) if part.rstrip("LR") in unit]
            assert max(moved) > 0
        assert row["flow"] == clip.image.tobytes()
        true_flow = np.frombuffer(row["true_flow"], "<f2").reshape(2, 28, 28)
        np.testing.assert_array_equal(true_flow, clip.true_flow.astype(np.float16))
    description = json.loads((made / "corpus.json").read_bytes())
    assert list(description["classes"]) == list(CLASSES) and description["sided_units"] == list(SIDED_UNITS)
    assert CorpusParams(**description["settings"]) == params(true_flow=True)


def test_a_corpus_is_read_in_the_form_of_a_tasks_flow(made: Path) -> None:
    whole = read_corpus(made)
    people = list(read_shards(made))
    assert len(people) == 5 and len({name for one in people for name in one.subject}) == 5
    flow = whole.inputs["flow"]
    assert flow.shape == (20, *INPUTS["flow"].shape({"h": 28, "w": 28})) and flow.dtype == np.float32
    assert (flow.min(axis=(2, 3)) == 0).all() and (flow.max(axis=(2, 3)) == 1).all()
    assert [CLASSES[label] for label in whole.label] == [CLASS_OF[str(emotion)] for emotion in whole.emotion]
    assert whole.label.shape == (20,) and whole.units.shape == (20, len(UNITS))
    assert set(np.unique(whole.units)) <= {0.0, 0.5, 1.0} and (whole.units.max(axis=1) == 1).all()
    with pytest.raises(shards.ShardError, match=r"no clips-0000\.parquet; run `fdpbench corpus nowhere`"):
        read_corpus(Path("data/corpus/nowhere"))


# --- of frames --------------------------------------------------------------------------------------

FRAMES: dict[str, Any] = ENTRY | {"generator": "frames", "identities": 3, "clips_per_identity": 1}
ALL = ("frames", "dynamic_image", "flow", "apex")


@pytest.fixture
def made_of_frames(small_shards: Path) -> Path:
    stage.make_corpus("frames", CorpusParams(**FRAMES), Path("data/frames"), 2)
    return Path("data/frames")


def test_a_corpus_of_frames_is_a_tasks_table(made_of_frames: Path) -> None:
    corpus = CorpusParams(**FRAMES)
    whole = read_corpus(made_of_frames, ALL)
    lengths = {"T": 8, "H": 96, "W": 96, "h": 28, "w": 28}
    assert {name: array.shape for name, array in whole.inputs.items()} == {
        name: (3, *INPUTS[name].shape(lengths)) for name in ALL
    }
    rows = [row for file in sorted(made_of_frames.glob("*.parquet")) for row in shards.read_rows(file, FRAMES_CORPUS)]
    for k, (row, person) in enumerate(zip(rows, plan_people(corpus), strict=True)):
        (clip,) = frame_clips(person, corpus)
        assert (whole.inputs["frames"][k, :, 0] == clip.frames).all()
        assert (whole.inputs["apex"][k, 0] == clip.apex).all()
        assert row["clip_id"] == f"corpus-frames/{person.subject}/c000" and row["intensity"] == clip.intensity.tolist()
        assert row["emotion"] == str(whole.emotion[k]) == person.clips[0].clip.emotion
        assert row["frames"] == person.clips[0].clip.frames
    parts = list(read_shards(made_of_frames, ("apex",)))
    assert len(parts) == 3 and all(list(one.inputs) == ["apex"] for one in parts)
    assert (np.concatenate([one.inputs["apex"] for one in parts]) == whole.inputs["apex"]).all()
    description = json.loads((made_of_frames / "corpus.json").read_bytes())
    assert CorpusParams(**description["settings"]) == corpus and "noise" not in description["settings"]


def test_one_worker_that_is_killed_between_gives_the_bytes_of_two(
    made_of_frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(".scratch")

    def killed(*arguments: Any) -> Iterator[str]:
        yield next(run_units(*arguments))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "run_units", killed)
        stage.make_corpus("frames", CorpusParams(**FRAMES), Path("data/again"), 1)
    (kept,) = Path(".scratch").glob("corpus-frames/*/units/clips-0000*/clips-0000.parquet")
    before = kept.stat().st_mtime_ns
    stage.make_corpus("frames", CorpusParams(**FRAMES), Path("data/again"), 1)
    assert digest(Path("data/again")) == digest(made_of_frames)
    assert (Path("data/again/clips-0000.parquet")).stat().st_mtime_ns == before


def test_what_a_corpus_does_not_give_is_named(made: Path, made_of_frames: Path) -> None:
    with pytest.raises(CorpusError, match="data/one: no frames, apex: a corpus of the generator flow gives flow$"):
        read_corpus(made, ("flow", "frames", "apex"))
    with pytest.raises(CorpusError, match="no landmarks: a corpus of the generator frames gives frames, dynamic_image"):
        next(read_shards(made_of_frames, ("landmarks",)))


def test_a_description_of_an_unknown_generator(made_of_frames: Path) -> None:
    path = made_of_frames / "corpus.json"
    path.write_text(path.read_text().replace('"generator": "frames"', '"generator": "film"'))
    with pytest.raises(DocumentError, match=r"(?s)corpus\.json: settings .*generator.*; run `fdpbench corpus"):
        read_corpus(made_of_frames, ("frames",))


def test_without_true_flow_none_is_kept(small_shards: Path) -> None:
    stage.make_corpus("flow", params(identities=1, clips_per_identity=1), Path("data/one"), 1)
    (row,) = shards.read_rows(Path("data/one/clips-0000.parquet"), CORPUS)
    assert row["true_flow"] is None


# --- as a stage -------------------------------------------------------------------------------------


def test_the_command_makes_the_corpus_that_params_yaml_lists(project: Path) -> None:
    write_params(PARAMS | {"corpora": {"mine": ENTRY | {"identities": 1, "clips_per_identity": 2}}})
    result = CliRunner().invoke(app, ["corpus", "mine", "--jobs", "1"])
    assert result.exit_code == 0, result.output
    assert len(read_corpus(paths.corpus("mine")).label) == 2
    result = CliRunner().invoke(app, ["corpus", "mime"])
    assert result.exit_code == 1 and "no corpus 'mime' (did you mean 'mine'?)" in " ".join(result.stderr.split())


def test_a_plan_follows_its_own_entry_alone(project: Path) -> None:
    write_params(PARAMS | {"corpora": {"a": ENTRY, "b": ENTRY | {"seed": 4}}})
    content = read_params()
    one, other = (resolve("corpus", name, content) for name in "ab")
    assert one.settings["seed"] == 3 and other.settings["seed"] == 4
    assert one.settings["peak"] == [0.5, 4.0], "ranges that are not set are planned too"
    assert "prep/demo/synth/expressions.py" in one.code and "prep/settings/corpus.py" in one.code
    assert not [name for name in one.code if name.startswith(("bench/", "models/"))]


def test_every_fault_of_every_corpus_is_said_at_once() -> None:
    content = PARAMS | {"corpora": {"a": ENTRY | {"peak": [2, 1]}, "b": {"generator": "flow"}}}
    with pytest.raises(ParamsError) as raised:
        load_runs(content)
    said = str(raised.value)
    for key in ("corpora.a.peak", "corpora.b.identities: missing", "corpora.b.seed: missing"):
        assert key in said


def test_the_example_of_params_yaml_is_one() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    start = text.index("#   corpora:")
    lines = [line.removeprefix("#   ") for line in text[start:].split("\ncorpora:")[0].splitlines()]
    corpora = yaml.safe_load("\n".join(lines))["corpora"]
    assert [CorpusParams.model_validate(entry).identities for entry in corpora.values()] == [400, 100]
