"""Published figures: the committed file, what is refused, and what stands beside what."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from fdpbench.bench.evaluate.evaluation import read_clips, read_evaluation
from fdpbench.bench.evaluate.records import POOLED
from fdpbench.bench.evaluate.scores import Score
from fdpbench.bench.plan.link import standard_task
from fdpbench.bench.plan.params import parse_task
from fdpbench.bench.report.published import (
    Published,
    PublishedError,
    beside,
    published_of,
    published_text,
    read_published,
)
from fdpbench.bench.report.tables import write_tables
from fdpbench.bench.train.settings import RunEntry
from fdpbench.commands import app
from fdpbench.models.common.registry import list_models
from fdpbench.prep.index.class_maps import all_class_maps
from fdpbench.prep.releases import release_info
from fdpbench.prep.settings.task import TaskParams
from fdpbench.prep.store import paths
from tests.support.builders import params, predictions, task_rows, write_params, write_predictions, write_task
from tests.support.evaluation import evaluated

FILE = Path(__file__).resolve().parents[3] / "results/published.csv"
HEAD = "task,part,model,metric,value,protocol,protocol_known_by,source,note\n"
LINE = "megc2019,smic,ststnet,uf1,0.68,honest,code,somebody,\n"


def test_the_committed_file_holds_what_the_field_compares_with() -> None:
    lines = read_published(FILE)
    figures = {(line.task, line.part, line.model, line.metric): line.value for line in reversed(lines)}
    assert figures["megc2019", "", "ststnet", "uf1"] == 0.7353
    assert figures["megc2019", "samm", "htnet", "uar"] == 0.8124
    assert figures["casme3_4", "", "sfamnet", "uf1"] == 0.4462 and figures["casme3_7", "", "alexnet", "uar"] == 0.1829
    known = {line.model for line in lines} & set(list_models())
    assert known == {
        *("lbp_top", "bi_woof", "off_apexnet", "ststnet", "dual_inception", "rcn", "featref", "emr", "htnet"),
        *({"capsulenet"} & set(list_models())),
    }
    assert {line.protocol for line in lines if line.model == "htnet"} == {"test_selected"}
    by_source = {(line.task, line.part, line.model, line.metric, line.source) for line in lines}
    for line in lines:  # each figure has both metrics, but those of MEB's notebooks, which print one
        other = {"uf1": "uar", "uar": "uf1"}[line.metric]
        assert line.source.startswith("MEB") or (line.task, line.part, line.model, other, line.source) in by_source


def test_recall_of_ststnet_is_recall_and_what_the_paper_prints_is_named() -> None:
    """The paper's UAR is the mean precision of the authors' log; both numbers are traceable."""
    lines = [
        line for line in read_published(FILE) if (line.task, line.model, line.metric) == ("megc2019", "ststnet", "uar")
    ]
    papers = {line.part: line for line in lines if "FG 2019" in line.source}
    assert {part: line.value for part, line in papers.items()} == {
        "": 0.7186, "casme2": 0.8190, "samm": 0.6415, "smic": 0.6703,
    }  # fmt: skip
    printed = {"": "0.7605", "casme2": "0.8686", "samm": "0.6810", "smic": "0.7013"}
    for part, line in papers.items():
        assert "mean precision" in line.note and f"prints {printed[part]}" in line.note


def test_each_protocol_says_how_it_is_known() -> None:
    found = {
        (line.model, "FG 2019" in line.source, line.protocol, line.protocol_known_by)
        for line in read_published(FILE)
        if line.task == "megc2019"
    }
    assert ("capsulenet", True, "test_selected", "author's words") in found
    assert ("rcn", False, "honest", "code") in found and ("ststnet", False, "honest", "code") in found
    assert ("emr", True, "test_selected", "code") in found and ("htnet", False, "test_selected", "code") in found
    assert ("ststnet", True, "unknown", "unknown") in found
    for model in ("off_apexnet", "ststnet"):
        assert {(model, False, protocol, "comments") for protocol in ("honest", "test_selected")} <= found
    meb = {
        (line.model, line.protocol): line.value
        for line in read_published(FILE)
        if line.protocol_known_by == "comments" and not line.part
    }
    assert {key: round(value, 3) for key, value in meb.items()} == {
        ("off_apexnet", "honest"): 0.703, ("off_apexnet", "test_selected"): 0.839,
        ("ststnet", "honest"): 0.713, ("ststnet", "test_selected"): 0.774,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,model\n", "expected the columns task,part,model,metric"),
        (HEAD + LINE.replace("uf1", "f1"), "line 2: metric 'f1' is not valid"),
        (HEAD + LINE.replace("0.68", "68%"), "line 2: value '68%' is no number"),
        (HEAD + LINE.replace("0.68", "68"), "line 2: value 68.0 is not valid"),
        (HEAD + LINE.replace("0.68", "nan"), "line 2: value nan is not valid"),
        (HEAD + LINE.replace("honest", "fair"), "line 2: protocol 'fair' is not valid"),
        (HEAD + LINE.replace("code", "hearsay"), "line 2: protocol_known_by 'hearsay' is not valid"),
        (HEAD + LINE.replace("code", "unknown"), "line 2: Value error, protocol honest cannot be known by unknown"),
        (HEAD + LINE.replace("honest", "unknown"), "line 2: Value error, protocol unknown cannot be known by code"),
        (HEAD + LINE + "x" * 200_000, "not a CSV file"),
        (HEAD + LINE.replace("somebody", ""), "line 2: source '' is not valid"),
        (HEAD + LINE.replace("megc2019", "megc"), "line 2: no task 'megc'; tasks: casme2_5"),
        (HEAD + LINE + LINE, "line 3: the same figure as in line 2"),
        (HEAD + LINE.replace("somebody", "See, Yap"), "line 2: expected 9 cells; quote those that hold a comma"),
        (HEAD + "megc2019,smic\n", "line 2: expected 9 cells"),
    ],
)
def test_a_bad_file_is_refused_by_line(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text(text)
    with pytest.raises(PublishedError) as error:
        read_published(path)
    assert message in str(error.value)


def task_of(release: str) -> TaskParams:
    return parse_task(*standard_task(release_info(release)))


def test_a_task_stands_for_the_published_one_of_its_release_and_classes(tmp_path: Path) -> None:
    for release in ("megc2019", "megc2019_flow"):
        found = published_of({"mine": task_of(release)}, FILE)
        assert {line.task for line in found["mine"]} == {"megc2019"}
    assert {line.task for line in published_of({"mine": task_of("casme3_a")}, FILE)["mine"]} == {"casme3_4"}
    seven = {name: list(group) for name, group in all_class_maps()["casme3_7"].classes.items()}
    other = task_of("casme3_a").model_copy(update={"classes": seven})
    assert {line.task for line in published_of({"mine": other}, FILE)["mine"]} == {"casme3_7"}
    # other classes, other clips: no published figure is theirs, and the file need not be there
    fewer = task_of("casme3_a").model_copy(update={"classes": {"happy": ["happy"], "sad": ["sad"]}})
    several = task_of("megc2019").model_copy(update={"releases": ["casme2", "smic_hs", "samm"]})
    assert published_of({"a": fewer, "b": several}, tmp_path / "nothing.csv") == {}
    assert published_of({"a": task_of("mmew")}, FILE) == {}  # nothing published is listed


def published(value: float = 0.5, part: str = "", model: str = "ststnet", metric: str = "uf1") -> Published:
    return Published.model_validate(
        {"task": "megc2019", "part": part, "model": model, "metric": metric, "value": value}
        | {"protocol": "unknown", "protocol_known_by": "unknown", "source": "A paper", "note": ""}
    )


ALL = [published(0.4 + 0.01 * k, part) for k, part in enumerate(("", "casme2", "samm", "smic"))]
ALL += [published(0.6, metric="uar"), published(0.7, model="capsulenet")]


def scores_of(project: Path, datasets: tuple[str, ...], **entries: RunEntry) -> list[Score]:
    rows = task_rows(subjects=[f"{name}/s{k}" for name in datasets for k in range(4)], length=2)
    write_task(paths.task("tiny"), rows)
    runs = {"it": RunEntry(task="tiny", model="ststnet")} | entries
    for run in runs:
        guess = [(row["label"] + int(number % 4 == 0)) % 3 for number, row in enumerate(rows)]
        write_predictions(run, predictions(run, rows, guess))
    return [*evaluated(runs, 1).scores]


def write() -> str:
    return write_tables(read_evaluation(), read_clips(), Path("results"), {"tiny": ALL})


def test_a_whole_composite_is_compared_over_all_clips_and_by_data_set(project: Path) -> None:
    scores = scores_of(project, ("casme2", "samm", "smic"))
    pairs = beside(scores, ALL)
    assert [(pair.published.part, pair.published.metric) for pair in pairs] == [
        ("", "uf1"), ("casme2", "uf1"), ("samm", "uf1"), ("smic", "uf1"), ("", "uar"),
    ]  # fmt: skip
    for pair in pairs:
        part, metric = pair.published.part or POOLED, pair.published.metric
        assert pair.measured == scores[0].mean(metric, part)
        assert pair.difference == pytest.approx(pair.measured - pair.published.value)
        found = scores[0].parts[part].intervals[metric]
        assert (pair.low, pair.high) == pytest.approx(
            (found.low - pair.published.value, found.high - pair.published.value)
        )
    text = write()
    _, section = text.split("### tiny: published figures")
    assert "Not the published protocol" not in section and "1. A paper" in section
    sizes = scores[0].clips_by_dataset
    partial = [f"{name} ({sizes[name]} of {whole})" for name, whole in (("casme2", 145), ("samm", 133), ("smic", 164))]
    assert f"**Not all clips**: {', '.join(partial)}." in section
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    printed = [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    assert [(row["model"], row["clips"]) for row in printed] == [
        ("ststnet", "all"), ("ststnet", "casme2"), ("ststnet", "samm"), ("ststnet", "smic"), ("capsulenet", "all"),
    ]  # fmt: skip
    first = pairs[0]
    assert printed[0]["published UF1"] == "0.4000" and printed[0]["measured UF1"] == f"{first.measured:.3f}"
    assert printed[0]["difference UF1"] == f"{first.difference:+.3f} [{first.low:+.3f}, {first.high:+.3f}]"
    assert {row["protocol"]: row["known by"] for row in printed} == {"unknown": "-"}
    assert printed[-1]["published UF1"] == "0.7000" and printed[-1]["measured UF1"] == printed[-1]["run"] == "-"
    own, _ = text.split("### tiny: published figures")
    assert "0.4000" not in own and "A paper" not in own  # never among what was measured
    frame = pd.read_csv("results/tables/published.csv", keep_default_na=False)
    assert frame["difference"].tolist() == pytest.approx([pair.difference for pair in pairs], abs=1e-6)
    assert frame["part"].tolist() == [pair.published.part for pair in pairs]


def test_a_part_of_a_composite_is_compared_by_data_set_and_said_to_be_another_protocol(project: Path) -> None:
    scores = scores_of(project, ("casme2", "smic"))
    pairs = beside(scores, ALL)
    assert [pair.published.part for pair in pairs] == ["casme2", "smic"]
    _, section = write().split("### tiny: published figures")
    sizes = scores[0].clips_by_dataset
    partial = [f"{name} ({sizes[name]} of {whole})" for name, whole in (("casme2", 145), ("smic", 164))]
    assert f"**Not all clips**: {', '.join(partial)}." in section, (
        "what is missing altogether is said in the other note"
    )
    assert "**Not the published protocol**" in section and "trained on all of casme2, samm, smic" in section
    assert "here were casme2 (24 clips), smic (24 clips) alone" in section


def test_one_data_set_of_a_composite_is_its_own_figure(project: Path) -> None:
    scores = scores_of(project, ("smic",))
    (pair,) = beside(scores, ALL)
    assert pair.published.part == "smic" and pair.measured == scores[0].mean("uf1")


def test_two_protocols_of_one_source_stand_in_two_rows(project: Path) -> None:
    scores = scores_of(project, ("casme2", "samm", "smic"))
    both = [
        Published.model_validate(
            published(value).model_dump() | {"protocol": protocol, "protocol_known_by": "comments"}
        )
        for value, protocol in ((0.45, "honest"), (0.55, "test_selected"))
    ]
    pairs = beside(scores, both)
    text = published_text("tiny", scores, both, pairs)
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| ststnet")]
    cells = [[cell.strip() for cell in line[1:6]] + [line[8].strip()] for line in lines]
    assert cells == [
        ["ststnet", "1", "honest", "comments", "all", "0.4500"],
        ["ststnet", "1", "test_selected", "comments", "all", "0.5500"],
    ]


def test_whose_runs_stand_beside(project: Path) -> None:
    """Every protocol does, with its name; rebuilt faults and changed settings do not."""
    run = {"task": "tiny", "model": "ststnet"}
    entries = {
        "it-test_selected": run | {"protocol": "test_selected", "table": "protocols"},
        "frozen": run | {"faults": {"frozen_batch_norm": True}},
        "ablated": run | {"table": "ablations", "set": {"lr": 0.1}},
        "other": run | {"model": "cnn3d"},
    }
    scores = scores_of(project, ("smic",), **{name: RunEntry.model_validate(entry) for name, entry in entries.items()})
    pairs = beside(scores, ALL)
    assert [(pair.run, pair.protocol) for pair in pairs] == [("it", "honest"), ("it-test_selected", "test_selected")]


def test_the_command_reads_the_file_and_says_where_it_is_missing(project: Path) -> None:
    content = params()
    content["runs"] = {"flow-ststnet": {"task": "tiny_flow", "model": "ststnet"}}
    write_params(content)
    classes = ("negative", "positive", "surprise")
    rows = task_rows(subjects=("smic/s01", "smic/s02", "casme2/sub01", "casme2/sub02"), classes=classes)
    write_task(paths.task("tiny_flow"), rows, name="tiny_flow", classes=classes)
    write_predictions("flow-ststnet", predictions("flow-ststnet", rows, [row["label"] for row in rows]))
    assert CliRunner().invoke(app, ["evaluate"]).exit_code == 0
    result = CliRunner().invoke(app, ["tables"])
    assert result.exit_code == 1 and "git checkout results/published.csv" in result.stderr
    Path("results").mkdir(exist_ok=True)
    Path("results/published.csv").write_bytes(FILE.read_bytes())
    result = CliRunner().invoke(app, ["tables"])
    assert result.exit_code == 0, result.output
    assert "### tiny_flow: published figures" in Path("results/tables.md").read_text()
    assert Path("results/published.csv").read_bytes() == FILE.read_bytes()
