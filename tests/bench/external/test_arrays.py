"""Arrays as scikit-learn's users keep them: y_true, y_pred, groups in a .npz file, the same as in a CSV file."""

from __future__ import annotations

import io
import json
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fdpbench.bench.external.read import Known, OutsideError, read_said
from fdpbench.bench.external.score import compare_said, score_said
from fdpbench.bench.external.text import MAX_ROWS
from fdpbench.commands import app
from tests.bench.external.test_csv_files import CLIPS, KNOWN, UNNAMED
from tests.bench.external.test_fuzz_predictions import MUTATIONS, mutate, read

TRUE, PRED, GROUPS = [0, 1, 1, 0, 0, 1], [0, 1, 1, 1, 0, 1], [*"aabbcc"]  # those of UNNAMED


def savez(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def plain(**changed: Any) -> dict[str, Any]:
    arrays = {"y_true": TRUE, "y_pred": PRED, "groups": GROUPS} | changed
    return {key: value for key, value in arrays.items() if value is not None}


def problem(tmp_path: Path, known: Known | None = None, **changed: Any) -> str:
    path = savez(tmp_path / "mine.npz", **plain(**changed))
    with pytest.raises(OutsideError) as caught:
        read_said(path, known)
    assert str(path) in str(caught.value)
    return str(caught.value)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(["s1", "s2", "7", "ü"])),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["int64", "uint8", "float32", "names"]),
)
def test_arrays_say_what_the_same_csv_file_says(rows: list[tuple[int, int, str]], kind: str) -> None:
    names = np.array(["neg", "pos", "sur"])
    true, pred = (np.array([row[k] for row in rows]) for k in (0, 1))
    written = [names[values] if kind == "names" else values.astype(kind) for values in (true, pred)]
    with tempfile.TemporaryDirectory() as folder:
        groups = np.array([row[2] for row in rows])
        arrays = savez(Path(folder) / "mine.npz", y_true=written[0], y_pred=written[1], groups=groups)
        text = Path(folder) / "mine.csv"
        as_text = [(names[t], names[p]) if kind == "names" else (t, p) for t, p in zip(true, pred, strict=True)]
        lines = [f"{group},{t},{p}" for group, (t, p) in zip(groups, as_text, strict=True)]
        text.write_text("\n".join(["subject,y_true,y_pred", *lines]), encoding="utf-8")
        one, other = read_said(arrays), read_said(text)
    for name in ("classes", "clip_ids", "subjects", "datasets", "notes", "named", "name"):
        assert getattr(one, name) == getattr(other, name)
    assert np.array_equal(one.y_true, other.y_true) and np.array_equal(one.y_pred, other.y_pred)


def test_score_and_compare_read_them(tmp_path: Path) -> None:
    arrays, text = savez(tmp_path / "mine.npz", **plain()), tmp_path / "other.csv"
    text.write_text(UNNAMED)
    first, second = (
        json.loads(CliRunner().invoke(app, ["score", str(one), "--json"]).stdout) for one in (arrays, text)
    )
    assert first["figures"] == second["figures"] and first["figures"]["all"]["uf1"]["value"] == pytest.approx(29 / 35)
    result = CliRunner().invoke(app, ["compare", str(arrays), str(text), "--json"])
    assert json.loads(result.stdout)["differences"]["all"]["uf1"]["difference"]["value"] == 0


def test_repetitions(tmp_path: Path) -> None:
    both = np.array([PRED, TRUE])
    said = read_said(savez(tmp_path / "mine.npz", **plain(y_pred=both)))
    assert said.y_pred.shape == (2, 6) and np.array_equal(said.y_pred[1], said.y_true)
    alone = [read_said(savez(tmp_path / "one.npz", **plain(y_pred=one))) for one in both]
    values = [score_said(one, resamples=20)["figures"]["all"]["uf1"]["value"] for one in [said, *alone]]
    assert values[0] == pytest.approx(np.mean(values[1:]))
    rare = read_said(savez(tmp_path / "rare.npz", **plain(y_pred=[PRED, [2, *PRED[1:]]])))
    assert rare.classes == ("0", "1", "2"), "a class that one repetition alone predicts"


@pytest.mark.parametrize("with_groups", [True, False])
def test_named_clips_of_a_task(tmp_path: Path, with_groups: bool) -> None:
    clips = sorted(CLIPS, reverse=True)
    arrays: dict[str, Any] = {"clip_ids": clips, "y_pred": [CLIPS[clip][2] for clip in clips]}
    if with_groups:
        arrays["groups"] = [CLIPS[clip][1] for clip in clips]
    said = read_said(savez(tmp_path / "mine.npz", **arrays), KNOWN)
    assert said.named and said.clip_ids == tuple(sorted(CLIPS)) and np.array_equal(said.y_pred[0], said.y_true)
    with pytest.raises(OutsideError, match="1 of 4 clips of list.csv are not predicted"):
        read_said(savez(tmp_path / "few.npz", **{key: value[:3] for key, value in arrays.items()}), KNOWN)
    with pytest.raises(OutsideError, match="it has no labels"):
        read_said(tmp_path / "mine.npz")
    wrong = arrays | {"y_true": [(value + 1) % 3 for value in arrays["y_pred"]]}
    with pytest.raises(OutsideError, match=r"item 0: .* is labelled"):
        read_said(savez(tmp_path / "wrong.npz", **wrong), KNOWN)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_pred": None}, "no array 'y_pred' (predicted class of each clip); it has 'y_true', 'groups'"),
        ({"y_pred": None, "y_preds": PRED}, "(did you mean 'y_preds'?)"),
        ({"groups": None}, "no array 'groups' (subject of each clip)"),
        ({"y_true": TRUE[:5]}, "y_true has shape (5,), y_pred (6,): expected (6,)"),
        ({"groups": [GROUPS]}, "groups has shape (1, 6)"),
        ({"y_pred": np.zeros((6, 2, 2))}, "y_pred has shape (6, 2, 2)"),
        ({"y_pred": []}, "y_pred has shape (0,)"),
        ({"y_pred": 3}, "y_pred has shape ()"),
        ({"y_pred": [0.5] * 6}, "y_pred holds 0.5, expected whole numbers or names (not scores)"),
        ({"y_true": [np.nan] * 6}, "y_true holds nan"),
        ({"y_true": [np.inf] * 6}, "y_true holds inf"),
        ({"y_true": [1j] * 6}, "y_true holds complex128"),
        ({"groups": ["", *GROUPS[1:]]}, "groups, item 0 is empty"),
        ({"groups": [*GROUPS[:5], "x" * 1001]}, "groups, item 5 has 1,001 characters; the limit is 1,000"),
        ({"groups": [b"\xff", *[b"a"] * 5]}, "groups holds bytes that are not UTF-8"),
        (
            {"groups": np.array(GROUPS, dtype=object)},
            "groups holds Python objects, which are not read; save it as text",
        ),
        ({"y_pred": ["a"] * 6}, "classes are written as numbers (0) and as names ('a')"),
    ],
)
def test_what_is_wrong_is_said_by_file_and_array(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    assert message in problem(tmp_path, **changed)


def test_known_labels_name_the_item(tmp_path: Path) -> None:
    assert "item 1: prediction '9' is no class; classes: negative" in problem(
        tmp_path,
        KNOWN,
        y_true=[1, 0, 0, 2],
        y_pred=[1, 9, 0, 2],
        groups=["casme2/sub51", "casme2/sub52", "smic/s51", "samm/051"],
    )


def test_arrays_that_are_not_read_are_said(tmp_path: Path) -> None:
    said = read_said(savez(tmp_path / "mine.npz", **plain(y_score=np.zeros((6, 2)))))
    assert "arrays that are not read: y_score" in said.notes


def test_limits(tmp_path: Path) -> None:
    many: dict[str, Any] = {key: np.zeros(MAX_ROWS + 1, np.uint8) for key in ("y_true", "y_pred", "groups")}
    assert f"more than {MAX_ROWS:,} rows" in problem(tmp_path, **many)
    assert "y_true is larger than 32 MiB" in problem(tmp_path, y_true=np.zeros(33 * 2**20, np.uint8))


class Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("a pickle was read",)


def test_no_pickle_is_read(tmp_path: Path) -> None:
    assert "Python objects" in problem(tmp_path, y_pred=np.array([Trap()] * 6, dtype=object))
    (tmp_path / "pickled.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(OutsideError, match="not a whole archive of arrays"):
        read_said(tmp_path / "pickled.npz")


def test_other_archives_and_single_arrays(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "sheet.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")
    with pytest.raises(OutsideError, match="no array 'y_pred'.* it has no array"):
        read_said(tmp_path / "sheet.xlsx")
    np.save(tmp_path / "pred.npy", PRED)
    with pytest.raises(OutsideError, match=r"write it by np\.savez"):
        read_said(tmp_path / "pred.npy")
    hostile = io.BytesIO()
    np.lib.format.write_array_header_1_0(hostile, {"descr": "<i8", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(tmp_path / "hostile.npz", "w") as archive:
        for key in ("y_true", "y_pred", "groups"):
            archive.writestr(f"{key}.npy", hostile.getvalue())
    with pytest.raises(OutsideError, match="y_pred holds no whole array"):
        read_said(tmp_path / "hostile.npz")


def archive(compressed: bool) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **plain())
    return content.getvalue()


@given(MUTATIONS, st.booleans())
def test_any_archive(mutations: list[tuple[int, str, int]], compressed: bool) -> None:
    read(mutate(archive(compressed), mutations, lambda number: bytes([number % 256]) * 4), "mine.npz", None)


def test_two_arrays_of_other_subjects_are_not_compared(tmp_path: Path) -> None:
    first = read_said(savez(tmp_path / "first.npz", **plain()))
    second = read_said(savez(tmp_path / "second.npz", **plain(groups=[*"aabbcd"])))
    with pytest.raises(OutsideError, match="first has .* where second has"):
        compare_said(first, second)
