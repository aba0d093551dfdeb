"""Sheets as they circulate: other column names, encodings, words for what is not known, and labels that are wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fdpbench.prep.demo.simulate import VERSIONS, Simulated, SimulateError, simulate
from fdpbench.prep.index.class_maps import all_class_maps
from fdpbench.prep.index.doubts import too_long
from fdpbench.prep.index.sheet_report import report_lines, report_of_sheet
from fdpbench.prep.releases import ReleaseError, read_annotations, read_release, release_info
from fdpbench.prep.releases.common.composite import official_labels
from fdpbench.prep.sheets.columns import ALIASES, MORE
from fdpbench.prep.sheets.workbooks import decode
from fdpbench.prep.store.schema import Reason
from tests.support.grids import COLUMNS, Grid, found, read, reasons, write_xlsx
from tests.test_cli import invoke

Write = Callable[..., Simulated]


def sheet(path: Path, head: str, *rows: str) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


# --- columns: one table for all readers

MARKS = ("onset", "apex", "offset")


@pytest.mark.parametrize("release", COLUMNS)
@pytest.mark.parametrize("turn", [1, 2, -1])
def test_any_name_of_a_column_is_taken_for_any_release(
    simulated: Write, tmp_path: Path, release: str, turn: int
) -> None:
    """Each column under another of its names; the columns that one release alone has keep theirs."""
    grid = Grid.of(release, simulated(release))
    good = found(read(grid, tmp_path / "good.xlsx"))
    header = grid.rows[grid.header]
    for ours, name in COLUMNS[release].items():
        names = [other for other in ALIASES[ours] if other not in ("fold_name", "count")]
        if name not in ("fold_name", "count"):
            header[header.index(name)] = names[turn % len(names)].upper().replace(" ", "_")
    again = read_annotations(release, write_xlsx(tmp_path / "other.xlsx", grid.book()))
    assert found(again) == good and again.rejected == []


def test_no_name_stands_for_two_columns() -> None:
    names = Counter(name.lower().replace("_", "").replace(" ", "") for names in ALIASES.values() for name in names)
    assert not {name for name, count in names.items() if count > 1}


def test_of_two_columns_of_emotions_words_go_before_classes(tmp_path: Path) -> None:
    head = "Subject,Clip,Class,Onset,Apex,Offset,Label,Estimated Emotion"
    (clip,) = read_annotations("samm", sheet(tmp_path / "a.csv", head, "41,041_1_1,III,1,2,3,7,Anger")).clips
    assert clip.emotion == "anger"


def test_a_sheet_without_labels_is_named_for_what_it_may_be(tmp_path: Path) -> None:
    path = sheet(tmp_path / "DFME_test_A.csv", "Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame", "sub9001,a,1,2,3")
    with pytest.raises(ReleaseError, match="Estimated Emotion.*not found.*a challenge's test part, without labels"):
        read_annotations("dfme", path)


def test_the_training_sheet_is_found_beside_test_parts(simulated: Write, tmp_path: Path) -> None:
    root = tmp_path / "release"
    written = simulate("dfme", root)
    sheet(root / "DFME_zz_test_B.csv", "Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame", "sub9001,a,1,2,3")
    assert len(read_release("dfme", root).clips) == len(written.clips)


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("casme2", "CASME2_label_Ver_2.xlsx"),
        ("casme2", "casme2-coding-20140508.XLSX"),
        ("samm", "SAMM_20181215_Micro_FACS_Codes_v2.xlsx"),
        ("casme_sq", "CAS(ME)^2code_final(Updated).xlsx"),
        ("casme_sq", "code_final.xlsx"),
        ("casme3_a", "CAS(ME)3_part_a_ME.xlsx"),
        ("mmew", "MMEW.xlsx"),
        ("casme2", "labels/CASME2-coding-20140508.xlsx"),
    ],
)
def test_other_names_of_the_sheet(tmp_path: Path, release: str, name: str) -> None:
    root = tmp_path / "release"
    written = simulate(release, root)
    (root / name).parent.mkdir(exist_ok=True)
    written.sheet.rename(root / name)
    assert {row["clip_id"] for row in read_release(release, root).clips} == {clip.clip_id for clip in written.clips}


# --- what is not known


@pytest.mark.parametrize("apex", ["unknown", "N/A", "#N/A", "—", "...", "??", "-1", "无", "no apex", "(none)", "UNK"])
@pytest.mark.parametrize("release", ["casme2", "casme3_a", "dfme"])
def test_ways_to_write_that_an_apex_is_unknown(simulated: Write, tmp_path: Path, release: str, apex: str) -> None:
    grid = Grid.of(release, simulated(release))
    grid.rows.append(grid.row(-1, clip="zz", apex=apex))
    again = read(grid, tmp_path / "sheet.xlsx")
    assert again.rejected == [] and again.clips[-1].apex is None


@pytest.mark.parametrize("emotion", ["unknown", "-", "未知", "#REF!"])
def test_ways_to_write_that_an_emotion_is_unknown(simulated: Write, tmp_path: Path, emotion: str) -> None:
    grid = Grid.of("casme2", simulated("casme2"))
    grid.rows.append(grid.row(-1, clip="zz", emotion=emotion))
    assert reasons(read(grid, tmp_path / "sheet.xlsx")) == [Reason.BAD_ROW]


# --- encodings

TEXT = "Subject,Filename,Onset,Apex,Offset,Emotion,Remarks\n1,EP41_01,1,2,3,fear,"


@pytest.mark.parametrize(
    ("encoding", "remark", "said"),
    [
        ("utf-8", "surprisé 微表情", None),
        ("utf-8-sig", "微表情", None),
        ("utf-16", "微表情", "utf-16"),
        ("utf-16-le", "surprised", "utf-16-le"),
        ("utf-16-be", "surprised", "utf-16-be"),
        ("gb18030", "微表情数据库", "gb18030"),
        ("gb18030", "R右 AU12L左", "gb18030"),
        ("cp1252", "naïve café – “quoted”", "cp1252"),
        ("cp1252", "Größe", "cp1252"),
        ("cp1252", "süß, une idée créée", "cp1252"),
        ("utf-8", "Größe", None),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, remark: str, said: str | None) -> None:
    data = (TEXT + remark + "\n").encode(encoding)
    assert decode(data)[0] == TEXT + remark + "\n"
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    annotations = read_annotations("casme2", path)
    assert len(annotations.clips) == 1
    assert [note.split(", by")[0] for note in annotations.notes] == (
        [f"the sheet is not UTF-8 but {said}"] if said else []
    )


# Frequent words, as they stand in sheets; each of its own is all that is not ASCII.
CHINESE = (
    "左",
    "右",
    "未知",
    "高兴",
    "惊讶",
    "厌恶",
    "微表情",
    "眨眼",
    "头动",
    "无",
    "备注：左眉",
    "（无）",
    "摄像机1",
)
EUROPEAN = (
    "Größe",
    "größer",
    "süß",
    "Füße",
    "créée",
    "idée",
    "Ärger",
    "Überraschung",
    "dégoût",
    "¿año?",
    "maïs",
    "œil",
)


@given(st.lists(st.sampled_from(CHINESE), min_size=1), st.sampled_from(["", "EP02_01f", "AU", "R ", "4"]))
def test_chinese_beside_letters_is_chinese(words: list[str], before: str) -> None:
    text = TEXT + ",".join(before + word for word in words)
    assert decode(text.encode("gb18030")) == (text, "gb18030")


@given(st.lists(st.sampled_from(EUROPEAN), min_size=1), st.sampled_from(["", "Probe ", "x", "(4) "]))
def test_accents_within_words_are_accents(words: list[str], before: str) -> None:
    text = TEXT + ",".join(before + word for word in words)
    assert decode(text.encode("cp1252")) == (text, "cp1252")


# --- delimiters

MARKED = "Subject{0}Filename{0}Onset{0}Apex{0}Offset{0}Emotion{0}Remarks"


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize(
    ("remarks", "above"),
    [
        (["0,5", "1,25", "2,75"], ""),
        (["left, then right, then left, then a blink, a smile, a nod, a turn", "a, b, c, d, e, f, g, h, i", "1,5"], ""),
        (["4,12,25,26,1,2,5,6", "4,12,25,26,1,2,5,6", "4,12"], ""),
        (
            ["x", "y", "z"],
            "a sheet, of clips, as they were coded, by two coders, in May, June, July, August, and so on\n",
        ),
    ],
)
def test_commas_in_cells_are_no_separators(remarks: list[str], above: str, delimiter: str, tmp_path: Path) -> None:
    rows = [delimiter.join(["1", f"EP0{k}_01", "1", "2", "3", "fear", text]) for k, text in enumerate(remarks)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([above + MARKED.format(delimiter), *rows]), encoding="utf-8")
    assert [clip.clip for clip in read_annotations("casme2", path).clips] == ["EP00_01", "EP01_01", "EP02_01"]


def test_semicolons_in_cells_are_no_separators(tmp_path: Path) -> None:
    rows = [f'1,EP0{k}_01,1,2,3,fear,"a; b; c; d; e; f; g; h{"; i" * k}"' for k in range(3)]
    path = tmp_path / "a.csv"
    path.write_text("\n".join([MARKED.format(","), *rows]), encoding="utf-8")
    assert len(read_annotations("casme2", path).clips) == 3


# --- words for emotions that a reader does not expect

STRANGE = ("amused", "puzzled", "awed")


@pytest.mark.parametrize("release", sorted({*VERSIONS} - {"flow_images", "megc2019", "megc2019_flow"}))
def test_a_vocabulary_that_no_reader_knows_does_not_empty_a_release(tmp_path: Path, release: str) -> None:
    """What a simulator writes is not what the reader expects, and the clips are kept and named."""
    written = simulate(release, tmp_path / "release", emotions=STRANGE)
    listing = read_release(release, tmp_path / "release")
    assert Counter(row["emotion"] for row in listing.clips) == Counter(clip.emotion for clip in written.clips)
    assert set(STRANGE) == {row["emotion"] for row in listing.clips}
    if release != "fourdme":  # all of whose words are kept
        assert any("is not known to hold: amused 2, awed 2, puzzled 2" in note for note in listing.notes)


def test_a_few_strange_words_are_left_out_by_name(simulated: Write, tmp_path: Path) -> None:
    grid = Grid.of("casme2", simulated("casme2"))
    grid.rows += [grid.row(2, clip=f"EP9{k}_01", emotion="hapiness") for k in range(2)]
    again = read(grid, tmp_path / "few.xlsx")
    assert reasons(again) == [Reason.UNKNOWN_EMOTION] * 2 and len(again.clips) == 6
    grid.rows += [grid.row(2, clip="EP92_01", emotion="hapiness")]
    again = read(grid, tmp_path / "more.xlsx")
    assert reasons(again) == [] and len(again.clips) == 9
    grid.rows += [grid.row(2, clip=f"EP{k}_01", emotion="fear") for k in range(100, 130)]
    assert reasons(read(grid, tmp_path / "share.xlsx")) == [Reason.UNKNOWN_EMOTION] * 3  # 3 of 39 are no tenth


def test_numbers_are_no_words(simulated: Write, tmp_path: Path) -> None:
    grid = Grid.of("samm", simulated("samm"))
    for row in grid.rows[grid.header + 1 :]:
        row[grid.place("emotion")] = 3
    again = read(grid, tmp_path / "sheet.xlsx")
    assert again.clips == [] and set(reasons(again)) == {Reason.UNKNOWN_EMOTION}


def test_emotions_of_part_c(tmp_path: Path) -> None:
    rows = ["51,1,1,9,4,Negative", "51,2,20,29,4,positive", "52,1,3,9,4,surprise", "52,2,11,19,4,Others"]
    annotations = read_annotations(
        "casme3_c", sheet(tmp_path / "part_C.csv", "sub,count,onset,offset,au,emotion", *rows)
    )
    report = report_of_sheet(annotations)
    assert report["class_maps"]["casme3_c_4"]["classes"] == dict.fromkeys(all_class_maps()["casme3_c_4"].classes, 1)
    assert annotations.rejected == [] and annotations.notes == []


def test_words_to_simulate(tmp_path: Path) -> None:
    with pytest.raises(SimulateError, match="classes are fixed"):
        simulate("megc2019", tmp_path / "a", emotions=("joy",))
    with pytest.raises(SimulateError, match="expected words"):
        simulate("samm", tmp_path / "a", emotions=("joy", ""))
    result = invoke("simulate", "mmew", str(tmp_path / "a"), "--emotions", "joy,awe", "--clips", "1")
    assert result.exit_code == 0, result.output
    assert {row["emotion"] for row in read_release("mmew", tmp_path / "a").clips} == {"joy", "awe"}


# --- labels against names


def smic(path: Path, *rows: str, head: str = "subject,clip,onset_frame,apex_frame,offset_frame,label") -> Any:
    return read_annotations("smic_hs", sheet(path, head, *rows))


def test_another_code_for_the_classes_of_smic(tmp_path: Path) -> None:
    rows = [f"s51,s51_{code}_{k:02d},{10 * k},{10 * k + 3},{10 * k + 8},{label}" for code, label in
            (("ne", 2), ("po", 1), ("sur", 3)) for k in range(1, 4)]  # fmt: skip
    annotations = smic(tmp_path / "a.csv", *rows)
    assert Counter(reasons(annotations)) == {Reason.CONTRADICTS_NAME: 3, Reason.UNKNOWN_EMOTION: 3}
    assert {clip.emotion for clip in annotations.clips} == {"positive"}
    assert any("by the names 1 is positive (3), 2 is negative (3), 3 is surprise (3)" in n for n in annotations.notes)
    right = [row[:-1] + {"1": "1", "2": "0", "3": "2"}[row[-1]] for row in rows]
    annotations = smic(tmp_path / "b.csv", *right)
    assert annotations.rejected == [] and annotations.notes == [] and len(annotations.clips) == 9


@pytest.mark.parametrize(("word", "emotion"), [("neg", "negative"), ("ne", "negative"), ("NEGATIVE", "negative")])
def test_words_for_the_classes_of_smic(tmp_path: Path, word: str, emotion: str) -> None:
    (clip,) = smic(tmp_path / "a.csv", f"s51,s51_ne_01,1,2,9,{word}").clips
    assert clip.emotion == emotion
    assert reasons(smic(tmp_path / "b.csv", f"s51,s51_po_01,1,2,9,{word}")) == [Reason.CONTRADICTS_NAME]


def test_a_clip_of_the_embedded_release_under_another_emotion(tmp_path: Path) -> None:
    head = "Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame,Action Units,Emotion"
    path = sheet(tmp_path / "annotations.csv", head, "s01,happiness_1,1,2,3,,disgust", "s01,joy_1,1,2,3,,disgust")
    annotations = read_annotations("synthetic", path)
    assert reasons(annotations) == [Reason.CONTRADICTS_NAME] and len(annotations.clips) == 1


def test_folders_of_another_emotion(tmp_path: Path) -> None:
    for release, old, new in (("smic_hs", "negative", "surprise"), ("mmew", "surprise", "fear")):
        root = tmp_path / release
        written = simulate(release, root, clips=1)
        moved = next(clip for clip in written.clips if clip.emotion == old)
        folder = (root / moved.frames[0]).parent
        (folder.parent.parent / new).mkdir(exist_ok=True)
        folder.rename(folder.parent.parent / new / folder.name)
        (row,) = read_release(release, root).rejected
        assert (row["clip_id"], row["reason"]) == (moved.clip_id, Reason.CONTRADICTS_NAME)
        assert repr(new) in row["detail"] and repr(old) in row["detail"]


def test_paths_of_another_camera_or_clip(tmp_path: Path) -> None:
    head = "data,subject,clip,label,onset_frame,apex_frame,offset_frame,paths"
    rows = ["SMIC_HS,s51,s51_ne_01,0,1,2,9,HS/s51/micro/negative/s51_ne_01", "SMIC_HS,s51,s51_ne_02,0,1,2,9,VIS/s51/x",
            "SMIC_HS,s51,s51_ne_03,0,1,2,9,HS\\s51\\s51_ne_09", "SMIC_NIR,s51,s51_ne_04,0,1,2,9,NIR/s51"]  # fmt: skip
    annotations = smic(tmp_path / "a.csv", *rows, head=head)
    assert [clip.clip for clip in annotations.clips] == ["s51_ne_01"]
    assert reasons(annotations) == [Reason.CONTRADICTS_NAME] * 2
    assert annotations.notes == ["1 rows of other data sets are passed over: SMIC_NIR 1"]


def test_a_file_named_for_another_camera(tmp_path: Path) -> None:
    path = sheet(
        tmp_path / "SMIC-NIR-E_annotation.csv", "Subject,Filename,OnsetF,OffsetF,Emotion", "1,s1_ne_01,1,9,negative"
    )
    assert len(read_annotations("smic_nir", path).clips) == 1
    with pytest.raises(
        ReleaseError, match="a sheet of camera NIR by its name; give that of HS, or read .* as smic_nir"
    ):
        read_annotations("smic_hs", path)


def test_lists_of_the_composite_that_contradict_names(tmp_path: Path) -> None:
    path = sheet(tmp_path / "combined_3class_gt.csv", "smic,s51,s51_ne_01,0", "smic,s51,s51_po_02,2")
    with pytest.raises(ReleaseError, match="row 2: label 2 is surprise, but s51_po_02 is named as positive"):
        official_labels(path)
    path = sheet(tmp_path / "headed.csv", "dataset,subject,clip,label", "SMIC,s51,s51_ne_01,0", "casme2,sub41,EP1_1,1")
    assert len(official_labels(path)) == 2


def test_a_subject_in_a_name_of_dfme(tmp_path: Path) -> None:
    head = "Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame,Emotion,Fps"
    path = sheet(tmp_path / "train.csv", head, "sub9001,sub9002_01,1,2,3,fear,200", "sub9001,x7,1,2,3,fear,200")
    annotations = read_annotations("dfme", path)
    assert reasons(annotations) == [Reason.BAD_ROW] and [clip.clip for clip in annotations.clips] == ["x7"]


# --- several expressions in one row


def test_each_expression_of_a_row_is_a_clip(tmp_path: Path) -> None:
    head = "Subject,Filename,OnsetF,OffsetF,Onset2F,Offset2F,Onset3F,Offset3F,Emotion"
    path = sheet(tmp_path / "a.csv", head, "51,s51_ne_01,10,20,30,40,0,0,negative", "51,s51_po_02,5,9,,,/,/,positive",
                 "51,s51_ne_03,10,20,30,,50,60,negative")  # fmt: skip
    annotations = read_annotations("smic_hs", path)
    assert {(clip.clip, clip.recording, clip.onset, clip.offset) for clip in annotations.clips} == {
        ("s51_ne_01", "s51_ne_01", 10, 20), ("s51_ne_01_2", "s51_ne_01", 30, 40), ("s51_po_02", "s51_po_02", 5, 9),
        ("s51_ne_03", "s51_ne_03", 10, 20), ("s51_ne_03_3", "s51_ne_03", 50, 60),
    }  # fmt: skip
    assert reasons(annotations) == [Reason.BAD_ROW]  # the second of the third row has no offset
    assert "3 rows' further micro-expressions are clips of their own" in annotations.notes[0]
    assert max(MORE) == 5


# --- doubtful marks, and known corrections


def test_clips_that_last_too_long_are_noted_and_kept(tmp_path: Path) -> None:
    head = "Subject,Filename,Onset,Apex,Offset,AU,emotion"
    path = sheet(
        tmp_path / "a.csv",
        head,
        "spNO.951,a,10,13,135,4,sad",
        "spNO.951,b,10,10,129,4,sad",
        "spNO.951,c,0,3,3000,4,fear",
    )
    annotations = read_annotations("casme3_a", path)
    report = report_of_sheet(annotations)
    assert len(annotations.clips) == 3 and annotations.rejected == []
    assert [row["clip_id"].rpartition("/")[2] for row in report["too_long"]] == ["c_0", "a_10"]
    assert report["too_long"][0]["detail"] == "frames 0 to 3000 at 30 fps are 100.0 s, more than 4 s"
    assert report["apex_is_onset"] == ["casme3_a/spNO.951/b_10"]
    lines = report_lines(report, most=None)
    assert any("c_0: frames 0 to 3000 at 30 fps are 100.0 s" in line for line in lines)
    assert any(line.startswith("1 clips have their onset as apex") for line in lines)
    shown = invoke("annotations", "casme3_a", str(path), "--json")
    assert json.loads(shown.stdout)["too_long"] == report["too_long"]


@pytest.mark.parametrize(
    ("release", "fps", "frames", "noted"),
    [("casme2", 200.0, 100, 0), ("casme2", 200.0, 101, 1), ("dfme", 200.0, 101, 0), ("dfme", 200.0, 801, 1),
     ("smic_vis", 25.0, 12, 0), ("smic_vis", 25.0, 13, 1), ("dfme", None, 9999, 0), ("casme_sq", 30.0, 121, 1)],
)  # fmt: skip
def test_how_long_is_too_long(release: str, fps: float | None, frames: int, noted: int) -> None:
    clip = {"clip_id": "a", "fps": fps, "onset": 7, "offset": 7 + frames}
    assert len(too_long([clip], release_info(release).longest)) == noted


def test_the_known_fault_of_samm(tmp_path: Path) -> None:
    """Rows like those of copies in circulation; of the second nobody knows what is right, so it is left out by name."""
    head = "Subject,Filename,Onset Frame,Apex Frame,Offset Frame,Action Units,Estimated Emotion"
    path = sheet(
        tmp_path / "SAMM_Micro_FACS_Codes_v2.csv",
        head,
        "32,032_3_1,4896,1930,4970,4,Anger",
        "28,028_4_1,1071,1143,1134,14,Contempt",
    )
    annotations = read_annotations("samm", path)
    assert [(clip.clip, clip.apex) for clip in annotations.clips] == [("032_3_1", 4930)]
    assert [(row["clip_id"], row["reason"]) for row in annotations.rejected] == [("samm/028/028_4_1", Reason.BAD_MARKS)]
    (correction,) = annotations.corrections
    assert correction["applied"] and correction["found"] == "1930"


def test_doubts_about_real_sheets(shared_data: Path) -> None:
    """As many as `prep.index.doubts` says."""
    counts = {}
    for release, pattern in (("casme2", "casme2/*.xlsx"), ("samm", "samm/*.xlsx"), ("casme3_a", "casme3/*.xlsx")):
        (path,) = (shared_data / "annotations").glob(pattern)
        report = report_of_sheet(read_annotations(release, path))
        counts[release] = report["clips"], len(report["too_long"]), len(report["apex_is_onset"])
    assert counts == {"casme2": (255, 10, 1), "samm": (159, 0, 0), "casme3_a": (860, 20, 55)}
