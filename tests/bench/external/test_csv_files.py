"""CSV files of predictions as people write them: delimiters, encodings, columns, class names, keys, limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fdpbench.bench.external.read import Known, OutsideError, read_said
from fdpbench.bench.external.score import compare_said, score_said
from fdpbench.bench.external.text import MAX_BYTES, MAX_CLASSES, MAX_COLUMNS, MAX_FIELD, MAX_ROWS
from fdpbench.commands import app

CLASSES = ("negative", "positive", "surprise")
# clips of one name of two subjects, and one number in three spellings
CLIPS = {
    "casme2/sub51/EP61_01": ("casme2", "casme2/sub51", 1),
    "casme2/sub52/EP61_01": ("casme2", "casme2/sub52", 0),
    "smic/s51/s51_ne_01": ("smic", "smic/s51", 0),
    "samm/051/051_1_1": ("samm", "samm/051", 2),
}
KNOWN = Known("list.csv", CLASSES, CLIPS)
PLAIN = """clip_id,y_pred
casme2/sub51/EP61_01,1
casme2/sub52/EP61_01,0
smic/s51/s51_ne_01,2
samm/051/051_1_1,2
"""
COLUMNS = """dataset,subject,clip,y_true,y_pred
casme2,sub51,EP61_01,1,1
casme2,sub52,EP61_01,0,0
smic,s51,s51_ne_01,0,2
samm,051,051_1_1,2,2
"""
UNNAMED = "subject,y_true,y_pred\na,0,0\na,1,1\nb,1,1\nb,0,1\nc,0,0\nc,1,1\n"


def write(folder: Path, text: str, name: str = "mine.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def refused(folder: Path, text: str, known: Known | None = KNOWN, name: str = "mine.csv") -> str:
    with pytest.raises(OutsideError) as caught:
        read_said(write(folder, text, name), known)
    assert name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("text", [PLAIN, COLUMNS])
def test_delimiters_and_encodings(tmp_path: Path, delimiter: str, encoding: str, text: str) -> None:
    said = read_said(write(tmp_path, text.replace(",", delimiter), encoding=encoding), KNOWN)
    assert said.clip_ids == tuple(sorted(CLIPS)) and said.y_pred.tolist() == [[1, 0, 2, 2]]
    assert said.named and said.notes == ()


def test_utf_16_of_either_byte_order(tmp_path: Path) -> None:
    for mark, encoding in (("\ufeff", "utf-16-le"), ("\ufeff", "utf-16-be")):
        assert read_said(write(tmp_path, mark + PLAIN, encoding=encoding), KNOWN).y_pred.tolist() == [[1, 0, 2, 2]]


@pytest.mark.parametrize("name", ["mine.csv", "mine.txt", "mine", "mine.log", "mine.tsv"])
def test_the_content_says_what_kind_of_file_it_is(tmp_path: Path, name: str) -> None:
    assert read_said(write(tmp_path, PLAIN, name), KNOWN).y_pred.tolist() == [[1, 0, 2, 2]]


def test_line_ends_quotes_and_blank_lines(tmp_path: Path) -> None:
    quoted = '"Clip ID";"Y-Pred";remark\r\n' + "".join(
        f'"{clip}";"{CLASSES[label]}";"a; b\r\nc"\r\n\r\n;;\r\n' for clip, (_, _, label) in CLIPS.items()
    )
    assert read_said(write(tmp_path, "\n \n" + quoted), KNOWN).y_pred.tolist() == [[1, 0, 2, 0][:2] + [2, 0]]


@pytest.mark.parametrize("change", [str.upper, str.title, str.lower, lambda name: f" {name} "])
def test_class_names_in_any_case(tmp_path: Path, change: object) -> None:
    rows = "".join(f"{clip},{change(CLASSES[label])}\n" for clip, (_, _, label) in CLIPS.items())  # type: ignore[operator]
    said = read_said(write(tmp_path, "clip_id,Predicted\n" + rows), KNOWN)
    assert (said.y_pred[0] == said.y_true).all()


def test_class_names_that_differ_by_case_or_are_numbers_are_not_mixed_up(tmp_path: Path) -> None:
    clips = {"d/s1/a": ("d", "d/s1", 0), "d/s1/b": ("d", "d/s1", 1)}
    text = "clip_id,y_pred\nd/s1/a,{}\nd/s1/b,{}\n"
    said = read_said(write(tmp_path, text.format("X", "x")), Known("k", ("x", "X"), clips))
    assert said.y_pred.tolist() == [[1, 0]]
    said = read_said(write(tmp_path, text.format("1", "2.0")), Known("k", ("1", "2"), clips))
    assert said.y_pred.tolist() == [[0, 1]]  # names, not places
    assert "'0' is no class" in refused(tmp_path, text.format("0", "1"), Known("k", ("1", "2"), clips))


@pytest.mark.parametrize(
    ("key", "clip"),
    [
        ("samm/51/051_1_1", "samm/051/051_1_1"),
        ("SAMM/051/051_1_1", "samm/051/051_1_1"),
        ("SMIC/51/s51_ne_1", "smic/s51/s51_ne_01"),
        ("smic/S51/S51_NE_01", "smic/s51/s51_ne_01"),
        ("CASME II/51/ep61_01", "casme2/sub51/EP61_01"),
        ("casme2/sub051/EP61_1", "casme2/sub51/EP61_01"),
    ],
)
def test_keys_written_otherwise_are_joined_and_said(tmp_path: Path, key: str, clip: str) -> None:
    said = read_said(write(tmp_path, PLAIN.replace(clip, key)), KNOWN)
    assert said.y_pred.tolist() == [[1, 0, 2, 2]]
    (note,) = said.notes
    assert note == f"written otherwise than in list.csv: 1 of 4 clips, such as {key} for {clip}"


def test_a_key_that_may_be_two_clips_is_refused(tmp_path: Path) -> None:
    clips = {f"casme2/sub51/{name}": ("casme2", "casme2/sub51", k) for k, name in enumerate(("EP1_2", "EP01_02"))}
    text = "clip_id,y_pred\n" + "".join(f"{clip},0\n" for clip in clips)
    two = Known("list.csv", CLASSES[:2], clips)
    assert read_said(write(tmp_path, text), two).notes == ()  # written as known: no doubt
    message = refused(tmp_path, text.replace("EP1_2", "EP1_02"), two)
    assert "'casme2/sub51/EP1_02' may be" in message and "EP1_2" in message and "EP01_02" in message


def test_a_key_column_that_is_short_of_something_is_explained(tmp_path: Path) -> None:
    message = refused(tmp_path, "clip,y_pred\nEP61_01,1\nEP61_01,0\n")
    assert "line 2: column clip holds 'EP61_01', short of data set and subject" in message
    assert "such as casme2/sub51/EP61_01" in message and "add columns dataset and subject" in message
    message = refused(tmp_path, "Filename,subject,y_pred\nEP61_01,sub51,1\n")
    assert "column Filename holds 'EP61_01', short of data set:" in message
    message = refused(tmp_path, "clip_id,y_pred\nsub51/EP61_01,1\n")
    assert "short of data set:" in message
    assert "more parts" in refused(tmp_path, "clip_id,y_pred\na/b/c/d,1\n")


def test_a_task_of_one_data_set_needs_no_column_for_it(tmp_path: Path) -> None:
    one = Known("task t", CLASSES[:2], {clip: row for clip, row in CLIPS.items() if row[0] == "casme2"})
    for text in (
        "subject,clip,y_pred\nsub51,EP61_01,1\n52,EP61_01,0\n",
        "clip_id,y_pred\nsub51/EP61_01,1\nsub52/EP61_01,0\n",
        "clip_id,y_pred\ncasme2\\sub51\\EP61_01,1\ncasme2/sub52/EP61_01,0\n",
    ):
        assert read_said(write(tmp_path, text), one).y_pred.tolist() == [[1, 0]]


def test_subject_and_two_columns_of_classes_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no params.yaml, no data: no project at all
    write(tmp_path, UNNAMED)
    result = CliRunner().invoke(app, ["score", "mine.csv", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["classes"] == ["0", "1"] and (report["clips"], report["subjects"]) == (6, 3)
    assert not report["clips_named"] and "the file does not name its clips: scored over subjects" in report["notes"]
    figures = report["figures"]["all"]
    assert figures["accuracy"]["value"] == pytest.approx(5 / 6)
    assert figures["uar"]["value"] == pytest.approx((2 / 3 + 1) / 2)
    assert figures["uf1"]["value"] == pytest.approx((4 / 5 + 6 / 7) / 2)
    assert figures["uf1"]["low"] < figures["uf1"]["value"] < figures["uf1"]["high"]  # subjects are resampled
    write(tmp_path, UNNAMED, "other.csv")
    result = CliRunner().invoke(app, ["compare", "mine.csv", "other.csv"])
    assert result.exit_code == 0 and "+0.000" in result.stdout, result.output


def test_files_are_paired_by_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, predicted in zip("abcdef", (UNNAMED, UNNAMED.replace(",0", ",1"), UNNAMED) * 2, strict=True):
        labels = [line.split(",")[1] for line in UNNAMED.splitlines()]
        lines = [line.split(",") for line in predicted.splitlines()]
        text = [",".join([line[0], label, *line[2:]]) for line, label in zip(lines, labels, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(text))

    def told(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments)
        return result.stdout if result.exit_code == 0 else result.stderr

    pooled = told("compare", "a.csv", "b.csv", "c.csv", "--with", "e.csv", "--with=d.csv", "--with=f.csv")
    assert "a - e" in pooled and "b - d" in pooled and "mean of the 3 differences" in pooled
    assert told("compare", "a.csv", "--with=b.csv") == told("compare", "a.csv", "b.csv")
    assert "3 file(s): give two, or the counterpart of each by --with" in told("compare", "a.csv", "b.csv", "c.csv")
    assert "2 file(s) and 1 by --with" in told("compare", "a.csv", "b.csv", "--with", "c.csv")
    assert "a.csv is given twice: its repetitions would count" in told("compare", "a.csv", "a.csv")
    assert "c.csv is given twice" in told("compare", "a.csv", "b.csv", "--with=c.csv", "--with=./c.csv")
    Path("link.csv").symlink_to("a.csv")
    assert "a.csv and link.csv are the same run" in told("compare", "a.csv", "b.csv", "--with=c.csv", "--with=link.csv")
    same = [f"--with={name}.csv" for name in "abc"]
    assert "Spearman's rho +1.000" in told("agreement", "a.csv", "b.csv", "c.csv", *same)
    assert "1 file(s) and 3 by --with" in told("agreement", "a.csv", *same)
    assert "a.csv is given twice" in told("agreement", "a.csv", "b.csv", "a.csv", *same)
    assert "at least 3" in told("agreement", "a.csv", "b.csv", *same[:2])


def test_classes_come_from_the_values(tmp_path: Path) -> None:
    said = read_said(
        write(tmp_path, UNNAMED.replace(",0", ",Happy").replace(",1", ",fear").replace("Happy", "happy", 1))
    )
    assert said.classes == ("fear", "Happy") and "classes by the values of the file: fear, Happy" in said.notes
    assert read_said(write(tmp_path, UNNAMED.replace(",1", ",7.0"))).classes == ("0", "7")
    assert "as numbers (0) and as names ('fear')" in refused(tmp_path, UNNAMED.replace(",1", ",fear"), None)
    assert "no labels (column y_true)" in refused(tmp_path, "subject,y_pred\na,1\n", None)


def test_a_file_with_its_own_labels_and_clips_stands_alone(tmp_path: Path) -> None:
    said = read_said(write(tmp_path, COLUMNS))
    assert said.clip_ids == tuple(sorted(CLIPS)) and said.y_true.tolist() == [1, 0, 2, 0][:2] + [2, 0]
    assert set(score_said(said, resamples=50)["figures"]) == {"all", "casme2", "samm", "smic"}
    short = "subject,clip,y_true,y_pred\n1,a,0,0\n2,a,1,1\n"
    assert read_said(write(tmp_path, short)).clip_ids == ("1/a", "2/a")
    assert "1/a is predicted 2 times" in refused(tmp_path, short + "1,a,0,1\n", None)
    assert "short of data set and subject" in refused(tmp_path, "clip,y_true,y_pred\na,0,0\n", None)


def test_labels_without_clips_are_checked_for_each_subject(tmp_path: Path) -> None:
    text = "dataset,subject,y_true,y_pred\ncasme2,51,1,1\ncasme2,sub52,0,1\nsmic,51,0,0\nsamm,51,2,2\n"
    said = read_said(write(tmp_path, text), KNOWN)
    assert said.subjects == ("casme2/sub51", "casme2/sub52", "samm/051", "smic/s51") and not said.named
    assert said.datasets == ("casme2", "casme2", "samm", "smic")
    message = refused(tmp_path, text.replace("sub52,0", "sub52,2"))
    assert "subject casme2/sub52 has 1 of surprise as labels, in list.csv 1 of negative" in message
    assert "subject smic/s51 has 2 of negative" in refused(tmp_path, text + "smic,s51,0,0\n")
    assert "1 of 4 subjects of list.csv are not predicted, first samm/051" in refused(
        tmp_path, text.replace("samm,51,2,2\n", "")
    )
    assert "line 2: subject 'casme2/53' is none of list.csv" in refused(
        tmp_path, text.replace("casme2,51", "casme2,53")
    )
    assert "names no clips and has no labels" in refused(tmp_path, "subject,y_pred\nsub51,1\n")


def test_predictions_with_and_without_clips_compare_over_subjects(tmp_path: Path) -> None:
    named = read_said(write(tmp_path, PLAIN), KNOWN)
    text = "dataset,subject,y_true,y_pred\nsamm,51,2,2\ncasme2,51,1,1\ncasme2,sub52,0,0\nsmic,51,0,0\n"
    unnamed = read_said(write(tmp_path, text, "other.csv"), KNOWN)
    report = compare_said(unnamed, named, resamples=50)
    assert report["differences"]["all"]["accuracy"]["difference"]["value"] == pytest.approx(1 / 4)
    fewer = read_said(write(tmp_path, UNNAMED, "fewer.csv"))
    with pytest.raises(OutsideError, match="fewer has 2 classes .0, 1., mine 3"):
        compare_said(fewer, named)


def test_a_figure_without_an_interval_is_given_all_the_same(tmp_path: Path) -> None:
    said = read_said(write(tmp_path, "subject,y_true,y_pred\na,0,0\na,1,0\n"))
    report = json.loads(json.dumps(score_said(said)))
    accuracy = report["figures"]["all"]["accuracy"]
    assert accuracy["value"] == 0.5 and accuracy["low"] is None and "subject" in accuracy["no_interval"]
    from fdpbench.bench.external.score import score_lines

    text = "\n".join(score_lines(report))
    assert "0.500" in text and "0.500 [" not in text and "all: no interval: " in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip_id,y_pred,pred\nx,1,1\n", "the columns y_pred and pred mean the same (y_pred)"),
        ("clip_id,y_pred,Y_Pred\nx,1,1\n", "the columns y_pred and Y_Pred mean the same"),
        ("clip_id,y_pred,y_true,label\nx,1,1,1\n", "the columns y_true and label mean the same (y_true)"),
        ("clip,filename,y_pred\nx,x,1\n", "the columns clip and filename mean the same (clip)"),
        ("clip_id;y_prediction\nx;1\n", "expected a column y_pred (the predicted class)"),
        ("y_pred,y_true\n1,1\n", "expected a column clip_id (dataset/subject/clip), or the columns subject, y_true"),
        (PLAIN.replace(",0\n", "\n"), "line 3: 1 fields, the header has 2"),
        (PLAIN.replace(",0\n", ",0,0\n"), "line 3: 3 fields, the header has 2"),
        (PLAIN.replace(",0\n", ",\n"), "line 3: column y_pred is empty"),
        (PLAIN.replace("casme2/sub52/EP61_01", ""), "line 3: column clip_id is empty"),
        (PLAIN.replace(",0\n", ",null\n"), "line 3: prediction 'null' is no class"),
        (PLAIN.replace(",0\n", ",inf\n"), "line 3: prediction 'inf' is no class"),
        (PLAIN.replace(",0\n", ",1e999\n"), "line 3: prediction '1e999' is no class"),
        (PLAIN.replace(",0\n", ",-1\n"), "line 3: prediction '-1' is no class"),
        (PLAIN.replace(",0\n", ",²\n"), "line 3: prediction '²' is no class"),
        (PLAIN.replace(",0\n", "," + "9" * 30 + "\n"), "is no class"),
        (PLAIN + '"casme2/sub51', "not a readable CSV file"),
        ("clip_id,y_pred\n", "a header, but no predictions"),
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        ("hello\n", "neither a CSV file with a header (clip_id, y_pred) nor a log"),
        (PLAIN + "\x00", "NUL characters"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_other_encodings_are_refused_and_the_cure_named(tmp_path: Path) -> None:
    for encoding in ("latin-1", "utf-16-le"):
        with pytest.raises(OutsideError, match="save it as UTF-8"):
            read_said(write(tmp_path, PLAIN.replace("EP61", "\xe9"), encoding=encoding), KNOWN)


def test_limits_are_named(tmp_path: Path) -> None:
    assert f"{MAX_FIELD:,}" in refused(tmp_path, PLAIN + "x" * (MAX_FIELD + 1) + ",1\n")
    message = refused(tmp_path, PLAIN + "x" * 300_000 + ",1\n")  # beyond the csv module's own limit
    assert f"a field may have {MAX_FIELD:,} characters" in message
    wide = "clip_id,y_pred" + ",c" * MAX_COLUMNS + "\n"
    assert f"more than {MAX_COLUMNS} columns" in refused(tmp_path, wide + "," * MAX_COLUMNS)
    assert f"more than {MAX_ROWS:,} rows" in refused(
        tmp_path, "subject,y_true,y_pred\n" + "a,0,0\n" * (MAX_ROWS + 1), None
    )
    many = "subject,y_true,y_pred\n" + "".join(f"a,{k},0\n" for k in range(MAX_CLASSES + 1))
    assert f"more than {MAX_CLASSES} classes" in refused(tmp_path, many, None)
    many = "subject,y_true,y_pred\n" + "".join(f"a{k},0,0\n" for k in range(5_001))
    assert "more than 5,000 subjects" in refused(tmp_path, many, None)
    many = "dataset,subject,y_true,y_pred\n" + "".join(f"d{k},a,0,0\n" for k in range(51))
    assert "more than 50 data sets" in refused(tmp_path, many, None)
    large = tmp_path / "large.csv"
    with large.open("wb") as file:
        file.write(PLAIN.encode())
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(OutsideError, match="larger than 32 MiB"):
        read_said(large, KNOWN)
