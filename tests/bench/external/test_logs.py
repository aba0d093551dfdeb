"""Logs of predictions as released code writes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdpbench.bench.external.read import Known, OutsideError, known_of_official_list, read_said, write_megc_log
from fdpbench.bench.external.text import MAX_FIELD, MAX_SUBJECTS
from fdpbench.commands import app

OFFICIAL = """casme2,sub61,EP71_01f,1
casme2,sub61,EP71_02,0
smic,s61,s61_ne_01,0
smic,s61,s61_sur_01,2
samm,61,061_1_1,2
samm,61,061_1_2,0
"""
BARE = """casme2 61
EP71_01f 1 1
EP71_02 0 2
smic 61
s61_ne_01 0 0
s61_sur_01 2 2
samm 61
061_1_1 2 2
061_1_2 0 1
"""
LISTS = """lr=0.000050, epochs=800, device=cpu

Subject: 061
Predicted   : [0, 2]
Ground Truth: [0, 2]
UF1: 1.0 | UAR: nan
Subject: s61
Predicted    : [1, 2]
Ground Truth : [0, 2]
Evaluation until this subject:
UF1: 0.8 | UAR: 0.8
Subject: sub61
Predicted   : [0, 1]
Ground Truth: [0, 1]
Final Evaluation:
UF1: 0.8 | UAR: 0.8
"""


@pytest.fixture
def official(tmp_path: Path) -> Known:
    (tmp_path / "list.csv").write_text(OFFICIAL)
    return known_of_official_list(tmp_path / "list.csv")


def write(folder: Path, text: str, name: str = "log.txt") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def refused(folder: Path, text: str, known: Known | None = None) -> str:
    with pytest.raises(OutsideError) as caught:
        read_said(write(folder, text), known)
    assert "log.txt" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["log.txt", "log.csv", "log"])
def test_heads_with_bare_numbers_in_a_file_of_any_name(tmp_path: Path, official: Known, name: str) -> None:
    said = read_said(write(tmp_path, BARE, name), official)
    assert said.clip_ids == tuple(sorted(official.clips)) and said.named
    assert said.y_pred.tolist() == [[1, 2, 2, 1, 0, 2]] and said.y_true.tolist() == [1, 0, 2, 0, 0, 2]


def test_clips_and_data_sets_written_otherwise(tmp_path: Path, official: Known) -> None:
    text = BARE.replace("casme2 61", "CASME2 SUB61").replace("s61_ne_01", "s61_ne_1")
    said = read_said(write(tmp_path, text), official)
    assert said.y_pred.tolist() == [[1, 2, 2, 1, 0, 2]]
    assert "such as smic/s61/s61_ne_1 for smic/s61/s61_ne_01" in said.notes[-1]
    alone = read_said(write(tmp_path, BARE), None, "gt-pred")
    assert alone.subjects[0] == "casme2/sub61" and alone.classes == ("negative", "positive", "surprise")


def test_a_log_in_which_every_clip_is_right_has_no_order_to_find(tmp_path: Path, official: Known) -> None:
    right = BARE.replace("0 2\n", "0 0\n").replace("0 1\n", "0 0\n")
    said = read_said(write(tmp_path, right), official)
    assert (said.y_pred[0] == said.y_true).all()


def test_another_subjects_clip_under_a_bare_number_is_refused(tmp_path: Path, official: Known) -> None:
    text = BARE.replace("smic 61", "smic 62")
    assert "line 5: smic 62 s61_ne_01 is no clip of MEGC2019" in refused(tmp_path, text, official)


def test_lists_for_each_subject_are_scored_over_subjects(tmp_path: Path, official: Known) -> None:
    said = read_said(write(tmp_path, LISTS), official)
    assert not said.named and said.subjects == ("casme2/sub61",) * 2 + ("samm/061",) * 2 + ("smic/s61",) * 2
    assert said.y_true.tolist() == [0, 1, 0, 2, 0, 2] and said.y_pred.tolist() == [[0, 1, 0, 2, 1, 2]]
    assert said.datasets[0] == "casme2" and said.classes == official.classes
    assert said.notes == ("the file does not name its clips: scored over subjects",)
    with pytest.raises(OutsideError, match="does not name its clips"):
        write_megc_log(said, 0, tmp_path / "again.txt")


def test_lists_are_checked_against_what_is_known_of_each_subject(tmp_path: Path, official: Known) -> None:
    other = LISTS.replace("Ground Truth : [0, 2]", "Ground Truth : [0, 0]")
    assert "subject smic/s61 has 2 of negative as labels, in list.csv 1 of negative, 1 of surprise" in refused(
        tmp_path, other, official
    )
    assert "1 of 3 subjects of list.csv are not predicted, first casme2/sub61" in refused(
        tmp_path, LISTS[: LISTS.index("Subject: sub61")], official
    )
    assert "line 12: subject 'casme2/sub62' is none of list.csv" in refused(
        tmp_path, LISTS.replace("sub61", "sub62"), official
    )
    # a bare number is SAMM's, not sub61 without its letters
    assert "'samm/062' is none" in refused(tmp_path, LISTS.replace("061", "062"), official)


def test_lists_of_other_people_stand_by_themselves_and_that_is_said(tmp_path: Path, official: Known) -> None:
    """A list of other subjects cannot check them; the figures are those of the log alone."""
    text = "Subject: 071\nPredicted: [0, 0, 1]\nGround Truth: [0, 0, 1]\n"
    text += "Subject: 072\nPredicted: [0, 1, 2]\nGround Truth: [0, 0, 2]\n"
    said = read_said(write(tmp_path, text), official)
    assert "none of its subjects is in list.csv: its labels stand, UNCHECKED" in said.notes
    (tmp_path / "params.yaml").unlink(missing_ok=True)
    command = ["score", str(tmp_path / "log.txt"), "--official", str(tmp_path / "list.csv"), "--json"]
    figures = json.loads(CliRunner().invoke(app, command).stdout)["figures"]["all"]
    # by hand: recalls 3/4, 1, 1; F1 6/7, 2/3, 1
    assert figures["uar"]["value"] == pytest.approx(2.75 / 3)
    assert figures["uf1"]["value"] == pytest.approx((6 / 7 + 2 / 3 + 1) / 3)


def test_lists_without_anything_known(tmp_path: Path) -> None:
    said = read_said(write(tmp_path, LISTS))
    assert set(said.datasets) == {"casme2", "smic", "samm"} and said.classes == ("0", "1", "2")
    alike = read_said(write(tmp_path, LISTS.replace("s61", "062").replace("sub61", "063")))
    assert set(alike.datasets) == {""}  # one spelling alone says no data set
    other = read_said(write(tmp_path, LISTS.replace("Subject: s61", "Subject: spNO.61")))
    assert set(other.datasets) == {""} and "spNO.61" in other.subjects


def test_best_predicted_is_called_what_it_is(tmp_path: Path, official: Known) -> None:
    best = LISTS.replace("Predicted ", "Best Predicted ").replace("UF1: 0.8 | UAR", "best UF1: 0.8 | best UAR")
    said = read_said(write(tmp_path, best), official)
    assert said.y_pred.tolist() == [[0, 1, 0, 2, 1, 2]]
    assert any("best on the test subject" in note for note in said.notes)
    both = LISTS.replace("Predicted ", "Best Predicted : [0, 0]\nPredicted ")
    said = read_said(write(tmp_path, both), official)
    assert said.y_pred.tolist() == [[0, 1, 0, 2, 1, 2]] and not any("Best" in note for note in said.notes)


@pytest.mark.parametrize("form", ["tensor([{}])", "[{}\n]", "[\n{}]", "array([{}], dtype=int64)"])
def test_other_ways_to_print_a_list(tmp_path: Path, official: Known, form: str) -> None:
    said = read_said(
        write(tmp_path, LISTS.replace("[1, 2]", form.format("1, 2")).replace("[0, 2]", "[0 2.]")), official
    )
    assert said.y_pred.tolist() == [[0, 1, 0, 2, 1, 2]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Predicted    : [1, 2]\n", "", "line 7: subject s61 has no list 'Predicted: [...]'"),
        ("Ground Truth : [0, 2]\n", "", "line 7: subject s61 has no list 'Ground Truth: [...]'"),
        ("[1, 2]", "[1, 2, 0]", "line 7: subject s61 has 3 predictions, 2 labels"),
        ("Subject: s61", "Subject: 061", "line 7: subject 061 comes twice"),
        ("[1, 2]", "[1, ", "line 8: the list '[1,' does not end"),
        ("[1, 2]", "[]", "line 8: '[]' is no list of classes"),
        ("[1, 2]", "[[1], [2]]", "line 8: '[[1], [2]]' is no list of classes"),
        ("[1, 2]", "[" * 5000, "does not end"),
        ("[1, 2]", "[inf, 2]", "line 8: '[inf, 2]' is no list of classes"),
        ("[1, 2]", "[1, 5]", "line 7: prediction '5' is no class"),
        ("lr=0", "Predicted: [0]\nlr=0", "line 1: 'Predicted: [0]' stands before any line 'Subject: ...'"),
        ("Predicted    : [1, 2]\n", "Predicted: [1, 2]\n" * 2, "line 9: subject s61 has two lists 'Predicted'"),
    ],
)
def test_a_log_with_lists_that_is_refused(tmp_path: Path, official: Known, old: str, new: str, message: str) -> None:
    assert message in refused(tmp_path, LISTS.replace(old, new, 1), official)


def test_too_many_subjects(tmp_path: Path) -> None:
    text = "".join(f"Subject: {k}\nPredicted: [0]\nGround Truth: [0]\n" for k in range(MAX_SUBJECTS + 1))
    assert f"more than {MAX_SUBJECTS:,} subjects" in refused(tmp_path, text)
    for text in (LISTS.replace("061", "6" * 2_000_000), BARE.replace("EP71_02", "EP" * 2_000_000)):
        message = refused(tmp_path, text)
        assert f"at most {MAX_FIELD:,}" in message and len(message) < 500


def test_the_real_list_checks_lists_for_each_subject(tmp_path: Path, shared_data: Path) -> None:
    known = known_of_official_list(shared_data / "annotations/combined_3class_gt.csv")
    labels: dict[str, list[int]] = {}
    for _, subject, label in known.clips.values():
        labels.setdefault(subject.partition("/")[2], []).append(label)
    text = "".join(
        f"Subject: {name} \nPredicted   : {[0] * len(mine)} \nGround Truth: {sorted(mine)} \n"
        for name, mine in labels.items()
    )
    said = read_said(write(tmp_path, text), known)
    assert (len(said.clip_ids), len(set(said.subjects)), len(set(said.datasets))) == (442, 68, 3)
    assert said.notes == ("the file does not name its clips: scored over subjects",)
