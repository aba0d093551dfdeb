"""Stage `corpus`: plan and generate a corpus over worker processes, some people a shard (`SHARD`).

In: an entry of section `corpora`. Out: data/corpus/NAME with clips-0000.parquet and on (`prep.demo.corpus.table`),
corpus.json, and their checksums.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa

from fdpbench.prep.demo.corpus.planner import plan_people
from fdpbench.prep.demo.corpus.reading import SCHEMAS, shard_name
from fdpbench.prep.demo.corpus.table import generate
from fdpbench.prep.demo.synth.expressions import CLASS_OF, CLASSES, SIDED_UNITS, UNITS
from fdpbench.prep.runtime.progress import console, track
from fdpbench.prep.runtime.scratch import key_of, link_tree, open_scratch
from fdpbench.prep.runtime.workers import Context, Unit, run_units
from fdpbench.prep.settings.corpus import CorpusParams
from fdpbench.prep.settings.planned import Planned
from fdpbench.prep.settings.section import section
from fdpbench.prep.store import contents, paths, shards

__all__ = ["SHARD", "make_corpus", "run"]

SHARD = {"flow": 20, "frames": 4}  # people a shard: some seconds of work, which is what a killed run loses


def run(planned: Planned, jobs: int) -> None:
    """Run the stage as it is planned."""
    name = planned.item
    params = section(CorpusParams, planned.settings, f"corpora.{name}")
    make_corpus(name, params, paths.corpus(name), jobs, planned.made_by)


def make_corpus(
    name: str, params: CorpusParams, out: Path, jobs: int, made_by: Mapping[str, Any] | None = None
) -> None:
    """Write a corpus to ``out``; a killed run goes on with the shards that are left.

    Parameters
    ----------
    name
        Its name.
    params
        Its entry in params.yaml.
    out
        Folder of the corpus.
    jobs
        Number of worker processes; it does not change a byte.
    made_by
        Code and versions; kept work of others is not used.
    """
    size = SHARD[params.generator]
    starts = range(0, params.identities, size)
    people = {shard_name(k): (start, min(start + size, params.identities)) for k, start in enumerate(starts)}
    key = key_of(name=name, params=params.model_dump(), made_by=made_by)
    with open_scratch(f"corpus-{name}", key) as scratch:
        missing = scratch.missing(people)
        units = (Unit(shard, (name, params, shard, *people[shard])) for shard in missing)
        finished = run_units(units, _make_shard, scratch, jobs)
        done = len(people) - len(missing)
        for _ in track(finished, f"corpus {name}", len(people), done, what="shards", workers=jobs):
            pass

        def collect(staging: Path) -> None:
            for shard in people:
                link_tree(scratch.unit(shard), staging)
            text = json.dumps(describe_corpus(name, params), indent=2)
            (staging / "corpus.json").write_text(text + "\n", encoding="utf-8")
            contents.write_sums(staging)

        scratch.publish({out: collect})
    console.print(
        f"corpus {name}: {params.identities * params.clips_per_identity} clips of {params.identities} people, "
        "rendered: none of them is in a release"
    )


def describe_corpus(name: str, params: CorpusParams) -> dict[str, Any]:
    """What ``corpus.json`` says of a corpus."""
    return {
        "corpus": name,
        "rendered": True,
        "classes": {name: [emotion for emotion, of in CLASS_OF.items() if of == name] for name in CLASSES},
        "units": list(UNITS),
        "sided_units": list(SIDED_UNITS),
        "settings": params.model_dump(mode="json"),
    }


def _make_shard(payload: tuple[str, CorpusParams, str, int, int], context: Context) -> None:
    cv2.setNumThreads(1)
    name, params, shard, first, last = payload
    schema = SCHEMAS[params.generator]
    tables = (
        pa.Table.from_pylist(generate(name, person, params), schema=schema)
        for person in plan_people(params, first, last)
    )
    shards.write_subjects(context.folder / shard, shards.marked(schema), tables)
