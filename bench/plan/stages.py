"""The stages, in order of the data flow, each with the module that runs it: its function ``run(planned, jobs)``."""

from __future__ import annotations

__all__ = ["STAGES"]

STAGES = {
    "synthesize": "fdpbench.prep.demo.stage",
    "corpus": "fdpbench.prep.demo.corpus.stage",
    "index": "fdpbench.prep.index.stage",
    "align": "fdpbench.prep.align.stage",
    "flow": "fdpbench.prep.flow.stage",
    "dynamic": "fdpbench.prep.dynamic.stage",
    "task": "fdpbench.prep.task.stage",
    "pretrain": "fdpbench.bench.train.pretrain",
    "init": "fdpbench.bench.train.init",
    "train": "fdpbench.bench.train.stage",
    "evaluate": "fdpbench.bench.evaluate.stage",
    "tables": "fdpbench.bench.report.tables",
    "gallery": "fdpbench.bench.report.gallery",
    "report": "fdpbench.bench.report.html.build",
}
