"""Predictions from anywhere: forms, joins by clip, refusals by name, and what `fdpbench score` makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.bench.evaluate.metrics import METRICS
from fdpbench.bench.external.agreement import agreement_lines, agreement_said
from fdpbench.bench.external.read import (
    Known,
    OutsideError,
    known_of_official_list,
    read_said,
    refuse_twice,
    write_megc_log,
)
from fdpbench.bench.external.score import (
    compare_pairs_said,
    compare_said,
    comparison_lines,
    score_lines,
    score_said,
)
from tests.support.builders import predictions, task_rows, write_predictions

OFFICIAL = """casme2,sub01,EP02_01f,1
casme2,sub01,EP19_05f,0
casme2,sub02,EP01_11f,2
smic,s01,s01_ne_01,0
smic,s01,s01_po_01,1
smic,s02,s02_sur_01,2
samm,6,006_1_2,0
samm,7,007_3_1,1
samm,7,007_3_2,2
"""
LOG = """casme2 sub01
EP02_01f 1 1
EP19_05f 0 2

casme2 sub02
EP01_11f 2 2
smic s01
s01_ne_01 0 0
s01_po_01 1 0
smic s02
s02_sur_01 2 2
samm 006
006_1_2 0 0
samm 007
007_3_1 1 1
007_3_2 2 1
"""


@pytest.fixture
def official(tmp_path: Path) -> Known:
    (tmp_path / "list.csv").write_text(OFFICIAL)
    return known_of_official_list(tmp_path / "list.csv")


def write(tmp_path: Path, text: str, name: str = "log.txt") -> Path:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path / name


def swapped(log: str) -> str:
    rows = (line.split() for line in log.splitlines())
    return "\n".join(" ".join([row[0], row[2], row[1]]) if len(row) == 3 else " ".join(row) for row in rows)


@pytest.mark.parametrize(("text", "order"), [(LOG, "gt, pred"), (swapped(LOG), "pred, gt")])
def test_the_order_of_a_log_is_found_and_said(tmp_path: Path, official: Known, text: str, order: str) -> None:
    said = read_said(write(tmp_path, text), official)
    assert said.clip_ids[:2] == ("casme2/sub01/EP02_01f", "casme2/sub01/EP19_05f")
    assert said.y_true.tolist() == [1, 0, 2, 0, 1, 2, 0, 1, 2] and said.y_pred.tolist() == [[1, 2, 2, 0, 1, 1, 0, 0, 2]]
    assert said.subjects[-1] == "smic/s02" and order in said.notes[0]


def test_a_log_by_itself_needs_its_order(tmp_path: Path) -> None:
    path = write(tmp_path, LOG)
    with pytest.raises(OutsideError, match="does not say which column is the label; give --official"):
        read_said(path)
    assert read_said(path, None, "gt-pred").y_true.tolist() == [1, 0, 2, 0, 1, 2, 0, 1, 2]


def test_what_is_written_reads_back(tmp_path: Path, official: Known) -> None:
    said = read_said(write(tmp_path, LOG), official)
    write_megc_log(said, 0, tmp_path / "again.txt")
    again = read_said(tmp_path / "again.txt", official)
    assert again.clip_ids == said.clip_ids and (again.y_pred == said.y_pred).all()
    with pytest.raises(OutsideError, match="repetitions 0 to 0, not 1"):
        write_megc_log(said, 1, tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("EP02_01f 1 1\n", "EP02_01f 1 1\nEP02_01f 1 1\n", "casme2/sub01/EP02_01f is predicted 2 times"),
        ("EP02_01f 1 1\n", "", "1 of 9 clips of list.csv are not predicted, first casme2/sub01/EP02_01f"),
        ("EP02_01f 1 1", "EP99 1 1", "line 2: 'casme2/sub01/EP99' is no clip of list.csv"),
        ("EP02_01f 1 1", "EP02_01f 2 0", "neither column holds the labels of list.csv"),
        ("EP02_01f 1 1", "EP02_01f 1 5", "line 2: 'EP02_01f 1 5'; expected a line such as"),
        ("casme2 sub01", "casme2 s01", "line 2: casme2 s01 EP02_01f is no clip of MEGC2019"),
    ],
)
def test_a_log_that_is_refused(tmp_path: Path, official: Known, old: str, new: str, message: str) -> None:
    with pytest.raises(OutsideError) as caught:
        read_said(write(tmp_path, LOG.replace(old, new, 1)), official)
    assert message in str(caught.value) and "log.txt" in str(caught.value)


def csv_of(known: Known, **changes: str) -> str:
    rows = [f"{clip},{changes.get(clip, known.classes[row[2]])},{row[2]}" for clip, row in known.clips.items()]
    return "\n".join(["\ufeffClip_ID,Prediction,label,remark", *(row + ",x" for row in rows)])


def test_csv_files(tmp_path: Path, official: Known) -> None:
    said = read_said(write(tmp_path, csv_of(official), "mine.csv"), official)
    assert (said.y_pred[0] == said.y_true).all()
    with pytest.raises(OutsideError, match="--task NAME, or --official"):
        read_said(write(tmp_path, csv_of(official).replace("label", "comment"), "mine.csv"))
    with pytest.raises(OutsideError, match="line 2: prediction 'joy' is no class; classes: negative, positive"):
        read_said(write(tmp_path, csv_of(official, **{"casme2/sub01/EP02_01f": "joy"}), "mine.csv"), official)
    with pytest.raises(OutsideError, match="expected a column clip_id .* it has a, b"):
        read_said(write(tmp_path, "a,b\n1,2\n", "mine.csv"), official)
    wrong = csv_of(official).replace("EP02_01f,positive,1", "EP02_01f,positive,0")
    with pytest.raises(OutsideError, match="casme2/sub01/EP02_01f is labelled 0, in list.csv 1"):
        read_said(write(tmp_path, wrong, "mine.csv"), official)
    with pytest.raises(OutsideError, match="no such file"):
        read_said(tmp_path / "nothing.csv", official)


@given(st.permutations(range(9)))
def test_the_order_of_lines_changes_nothing(order: list[int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "list.csv").write_text(OFFICIAL)
        known = known_of_official_list(Path(folder) / "list.csv")
        head, *rows = csv_of(known).splitlines()
        first = read_said(write(Path(folder), "\n".join([head, *rows]), "mine.csv"), known)
        second = read_said(write(Path(folder), "\n".join([head, *(rows[k] for k in order)]), "mine.csv"), known)
        assert first.clip_ids == second.clip_ids and (first.y_pred == second.y_pred).all()


def test_scores_and_differences(tmp_path: Path, official: Known) -> None:
    said = read_said(write(tmp_path, LOG), official)
    report = json.loads(json.dumps(score_said(said, resamples=100)))
    # by hand: 6 of 9 right; F1 2*2/(2*2+1+1), 2*2/(2*2+1+1), 2*2/(2*2+1+1)
    assert report["figures"]["all"]["accuracy"]["value"] == pytest.approx(6 / 9)
    assert report["figures"]["all"]["uf1"]["value"] == pytest.approx(2 / 3)
    assert set(report["figures"]) == {"all", "casme2", "samm", "smic"} and report["clips"] == 9
    text = "\n".join(score_lines(report))
    assert "0.667 [" in text and "95% intervals (BCa)" in text

    perfect = read_said(write(tmp_path, csv_of(official), "mine.csv"), official)
    report = json.loads(json.dumps(compare_said(perfect, said, resamples=100)))
    assert report["differences"]["all"]["uf1"]["difference"]["value"] == pytest.approx(1 / 3)
    assert report["tests"] == 4 * len(METRICS) and "mine - log" in "\n".join(comparison_lines(report))


def test_pairs_are_compared_one_by_one_and_together(tmp_path: Path, official: Known) -> None:
    said = read_said(write(tmp_path, LOG), official)
    perfect = read_said(write(tmp_path, csv_of(official), "mine.csv"), official)
    report = json.loads(json.dumps(compare_pairs_said([(perfect, said), (said, said), (perfect, said)], resamples=100)))
    assert report["pairs"][0] == json.loads(json.dumps(compare_said(perfect, said, resamples=100)))
    value = report["pooled"]["differences"]["all"]["uf1"]["difference"]["value"]
    assert value == pytest.approx((1 / 3 + 0 + 1 / 3) / 3) and report["pooled"]["tests"] == 4 * len(METRICS)
    text = "\n".join(comparison_lines(report))
    assert text.count("mine - log") == 2 and "log - log" in text and "mean of the 3 differences" in text
    fewer = Known("fewer", official.classes, dict(list(official.clips.items())[1:]))
    other = read_said(write(tmp_path, csv_of(fewer), "fewer.csv"), fewer)
    with pytest.raises(OutsideError, match="casme2/sub01/EP02_01f"):
        compare_pairs_said([(perfect, said), (other, other)])


def test_order_of_models_on_two_releases(tmp_path: Path, official: Known) -> None:
    clips = list(official.clips)
    said = [
        read_said(
            write(tmp_path, csv_of(official, **dict.fromkeys(clips[:wrong], "negative")), f"{wrong}.csv"), official
        )
        for wrong in (0, 4, 9)
    ]
    report = json.loads(json.dumps(agreement_said(list(zip(said, [said[1], said[0], said[2]], strict=True)), 0.9, 50)))
    assert report["spearman"]["value"] == pytest.approx(0.5) and report["kendall"]["value"] == pytest.approx(1 / 3)
    assert [one["second"]["rank"] for one in report["models"]] == [2, 1, 3]
    text = "\n".join(agreement_lines(report))
    assert "Spearman's rho +0.500 [" in text and "3 models on 9 clips" in text and "90% percentile" in text


def test_models_of_other_folds_are_not_put_in_one_order(tmp_path: Path, official: Known) -> None:
    said = read_said(write(tmp_path, LOG), official)
    folds = [replace(said, folds=text) for text in ("5 folds", "5 folds", None)]
    with pytest.raises(OutsideError, match="in the same folds, but here they differ: .*5 folds; .*not told"):
        agreement_said(list(zip(folds, [said] * 3, strict=True)), 0.9, 50)


def test_other_clips_are_not_compared(tmp_path: Path, official: Known) -> None:
    said = read_said(write(tmp_path, LOG), official)
    fewer = Known("fewer", official.classes, dict(list(official.clips.items())[1:]))
    other = read_said(write(tmp_path, csv_of(fewer), "mine.csv"), fewer)
    with pytest.raises(OutsideError, match="casme2/sub01/EP02_01f"):
        compare_said(said, other)


def test_a_data_set_that_lacks_a_class_is_named(tmp_path: Path, official: Known) -> None:
    fewer = Known("fewer", official.classes, {key: row for key, row in official.clips.items() if key[-5:] != "007_3"})
    fewer.clips.pop("samm/007/007_3_2")
    report = score_said(read_said(write(tmp_path, csv_of(fewer), "mine.csv"), fewer), resamples=50)
    assert "no clip is labelled" in report["figures"]["samm"] and np.isfinite(report["figures"]["all"]["uf1"]["low"])
    assert "not defined" in "\n".join(score_lines(report))


def test_a_run_given_twice_is_refused(project: Path) -> None:
    """Under whatever name, since its seeds would be resampled as those of two runs."""
    rows = task_rows(per_class=1)
    made = {run: predictions(run, rows, [row["label"] for row in rows]) for run in ("a", "b")}
    files = [write_predictions(run, mine) for run, mine in made.items()]
    refuse_twice([*files, Path("missing.csv")])
    copy = write_predictions("copy", list(reversed(made["a"])))  # other bytes
    assert copy.read_bytes() != files[0].read_bytes()
    with pytest.raises(OutsideError, match=r"a\.parquet and .*copy\.parquet are the same run"):
        refuse_twice([*files, copy])
    refuse_twice([*files, write_predictions("copy", [row | {"seed": 8} for row in made["a"]])])
