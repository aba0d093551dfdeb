"""The report: every number can be computed again, licensed faces are nowhere, the same bytes each time."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, kendalltau
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

from fdpbench.bench.evaluate.metrics import metric_of
from fdpbench.bench.evaluate.moments import frames_up_to_apex
from fdpbench.bench.evaluate.perception import pooled_copy
from fdpbench.bench.evaluate.records import PERCEPTION
from fdpbench.bench.external.read import read_said
from fdpbench.bench.external.score import compare_said, score_said
from fdpbench.bench.report.html.charts import curve, interval, ticks
from fdpbench.bench.train.provenance import machine, read_provenance
from fdpbench.commands.results import report
from fdpbench.prep.store import image_checks, images, paths
from tests.support.builders import CLASSES
from tests.support.reports import EVIL, RELEASES, RUNS, Page, pages, write_project

OUT = Path("results/report")
LABELS = list(range(len(CLASSES)))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """A project with its report, as working directory; the rows of its tasks."""
    with chdir(tmp_path_factory.mktemp("report")):
        tasks = write_project()
        report()
        yield tasks


@pytest.fixture(scope="module")
def found(built: object) -> dict[str, Page]:
    return pages(OUT)


# --- every number can be computed again from the predictions


class Again:
    """An independent calculation of a run's numbers, from its Parquet file."""

    def __init__(self, tasks: dict[str, list[dict[str, Any]]]) -> None:
        self.tasks = tasks
        self.truth = {
            row["clip_id"]: images.decode_png(row["dynamic_image"]) / 255.0 for rows in tasks.values() for row in rows
        }
        self.up_to_apex = {
            clip_id: count for task in tasks for clip_id, count in frames_up_to_apex(task, RELEASES[task]).items()
        }
        self.table = cache(lambda run: pd.read_parquet(f"artifacts/predictions/{run}.parquet"))
        said = cache(lambda run: read_said(Path(f"artifacts/predictions/{run}.parquet")))
        self.scored = cache(lambda run: score_said(said(run))["figures"])
        self.compared = cache(lambda one, other: compare_said(said(one), said(other))["differences"]["all"]["uf1"])

    def __call__(self, place: dict[str, str]) -> float:
        """A number by its place on the page."""
        table, figure = self.table(place["run"]), place["figure"]
        if "guess" in place:
            return self.guessed(table[table["repetition"] == 0], figure, place["guess"])
        if "dataset" in place and place["dataset"] != "all":
            table = table[table["dataset"] == place["dataset"]]
        if figure.endswith(("_low", "_high")):
            name, _, end = figure.rpartition("_")
            if name == "difference":
                return self.compared(place["run"], place["against"])["difference"][end]
            return self.scored(place["run"])[place["dataset"]][name][end]
        if figure == "p_value":
            return self.compared(place["run"], place["against"])["p_value"]
        if figure == "p_value_holm":
            return self.adjusted(place["run"], place["against"], place["table"])
        if figure == "difference":
            return self.mean(table, "uf1") - self.mean(self.table(place["against"]), "uf1")
        if figure in ("clips", "subjects"):
            return table["clip_id" if figure == "clips" else "subject"].nunique()
        if figure == "confusion":
            counts = confusion_matrix(table["y_true"], table["y_pred"], labels=LABELS)
            return counts[CLASSES.index(place["actual"]), CLASSES.index(place["predicted"])]
        if figure.startswith("class_"):
            return self.of_class(table, figure.removeprefix("class_"), CLASSES.index(place["class"]))
        if figure.startswith("subject_"):
            mine = table[table["subject"] == place["subject"]]
            right = (mine["y_true"] == mine["y_pred"]).mean()
            return right if figure == "subject_accuracy" else mine["clip_id"].nunique()
        if figure.startswith("clip_"):
            row = table[(table["clip_id"] == place["clip"]) & (table["repetition"] == int(place["repetition"]))]
            value = self.perceived(row.iloc[0], figure.removeprefix("clip_"))
            assert value is not None
            return value
        if figure in PERCEPTION:
            each = [self.perceived(row, figure) for _, row in table.iterrows()]
            return float(np.mean([one for one in each if one is not None]))
        if figure.endswith("_sd"):
            return float(np.std([self.one(part, figure[:-3]) for part in self.parts(table)], ddof=1))
        if place["repetition"] == "mean":
            return self.mean(table, figure)
        return self.one(table[table["repetition"] == int(place["repetition"])], figure)

    def adjusted(self, run: str, best: str, table: str) -> float:
        """Holm's p-value among the competing runs of a table: those that name it, and of its own the same models."""
        task = RUNS[run]["task"]
        named = [name for name, entry in RUNS.items() if entry["task"] == task and entry.get("table", "") == table]
        models = {RUNS[name]["model"] for name in named}
        own = [name for name, one in RUNS.items() if one["task"] == task and "table" not in one]
        members = {*named, *(name for name in own if RUNS[name]["model"] in models)}
        others = [
            name
            for name in members - {best}
            if RUNS[name].get("protocol") != "test_selected" and "faults" not in RUNS[name]
        ]
        raw = sorted((self.compared(name, best)["p_value"], name) for name in others)
        largest = 0.0
        for place, (p_value, name) in enumerate(raw):
            largest = max(largest, min(1.0, p_value * (len(raw) - place)))
            if name == run:
                break
        return largest

    def guessed(self, table: pd.DataFrame, figure: str, guess: str) -> float:
        truth = table["y_true"].to_numpy()
        if figure == "uar":
            return 1 / len(LABELS)
        if guess == "majority":
            said = np.full(len(truth), np.bincount(truth).argmax())
            return f1_score(truth, said, average="macro", labels=LABELS, zero_division=0.0)
        # expected F1 of a class: over how many of its clips, and how many of the others, are drawn to be of it
        total = 0.0
        for mine in np.bincount(truth, minlength=len(LABELS)):
            right, wrong = (binom.pmf(np.arange(n + 1), n, mine / len(truth)) for n in (mine, len(truth) - mine))
            total += sum(
                right[a] * wrong[b] * 2 * a / (mine + a + b) for a in range(len(right)) for b in range(len(wrong))
            )
        return total / len(LABELS)

    def parts(self, table: pd.DataFrame) -> list[pd.DataFrame]:
        return [part for _, part in table.groupby("repetition")]

    def mean(self, table: pd.DataFrame, figure: str) -> float:
        return float(np.mean([self.one(part, figure) for part in self.parts(table)]))

    def one(self, table: pd.DataFrame, figure: str) -> float:
        truth, said = table["y_true"], table["y_pred"]
        if figure.startswith("uf1_fold_mean"):
            values = []
            for _, fold in table.groupby("fold"):
                f1 = f1_score(fold["y_true"], fold["y_pred"], labels=LABELS, average=None, zero_division=0.0)
                there = [k for k in LABELS if (fold["y_true"] == k).any()]
                values.append(f1[there].sum() / (len(LABELS) if figure.endswith("zeros") else len(there)))
            return float(np.mean(values))
        known = {
            "uf1": lambda: f1_score(truth, said, average="macro", labels=LABELS, zero_division=0.0),
            "uar": lambda: recall_score(truth, said, average="macro"),
            "accuracy": lambda: accuracy_score(truth, said),
            "weighted_f1": lambda: f1_score(truth, said, average="weighted", labels=LABELS, zero_division=0.0),
        }
        counts = confusion_matrix(truth, said, labels=LABELS)
        return known[figure]() if figure in known else float(metric_of(counts, figure))

    def of_class(self, table: pd.DataFrame, figure: str, label: int) -> float:
        if figure == "clips":
            return table[table["y_true"] == label]["clip_id"].nunique()
        place = ("precision", "recall", "f1").index(figure)
        return float(
            np.mean(
                [
                    precision_recall_fscore_support(part["y_true"], part["y_pred"], labels=LABELS, zero_division=0.0)[
                        place
                    ][label]
                    for part in self.parts(table)
                ]
            )
        )

    def perceived(self, row: pd.Series, figure: str) -> float | None:
        if figure in ("order_accuracy", "order_to_apex"):
            ranks = row["rank_scores"]
            if figure == "order_to_apex":
                if row["clip_id"] not in self.up_to_apex:
                    return None
                ranks = ranks[: self.up_to_apex[row["clip_id"]]]
            return (kendalltau(np.arange(len(ranks)), ranks).statistic + 1) / 2
        image = images.decode_png(row["drawn"]) / 255.0
        if figure.endswith("_of_mean"):
            task = next(rows for rows in self.tasks.values() if any(one["clip_id"] == row["clip_id"] for one in rows))
            others = [self.truth[one["clip_id"]] for one in task if one["subject"] != row["subject"]]
            image = halved(np.mean(others, axis=0))
        if figure.endswith("_of_copy"):
            (clip,) = (one for rows in self.tasks.values() for one in rows if one["clip_id"] == row["clip_id"])
            image = halved(pooled_copy(np.stack([images.decode_png(frame) for frame in clip["frames"]])))
        truth = halved(self.truth[row["clip_id"]])
        if figure.startswith("psnr"):
            return peak_signal_noise_ratio(truth, image, data_range=1.0)
        return structural_similarity(truth, image, win_size=7, data_range=1.0)


def halved(image: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels: the tests' drawings are half as large as the true images."""
    return image.reshape(8, 2, 8, 2).mean(axis=(1, 3))


def places(found: dict[str, Page]) -> list[tuple[str, dict[str, str], float, str]]:
    """Page, place, full value and text of every number."""
    return [
        (page, {k.removeprefix("data-"): v for k, v in given.items() if k != "value"}, float(given["value"]), text)
        for page, content in found.items()
        for given, text in content.numbers
    ]


def check(numbers: list[tuple[str, dict[str, str], float, str]], again: Callable[[dict[str, str]], float]) -> None:
    for page, place, value, text in numbers:
        assert again(place) == pytest.approx(value, abs=1e-9), f"{page}: {place}"
        shown = text.replace("\u2212", "-")
        decimals = len(shown.partition(".")[2])
        assert float(shown) == pytest.approx(value, abs=0.5 * 10**-decimals + 1e-12), f"{page}: {place} reads {text}"


def test_twenty_numbers_at_random_are_what_the_predictions_say(built: Any, found: dict[str, Page]) -> None:
    numbers = places(found)
    order = np.random.default_rng().permutation(len(numbers))
    check([numbers[k] for k in order[:20]], Again(built))


def test_one_number_of_every_kind_is_what_the_predictions_say(built: Any, found: dict[str, Page]) -> None:
    """By page, figure and all that a place names but clips, classes and subjects."""
    kinds = {}
    for number in places(found):
        place = number[1]
        kinds[number[0], place["figure"], place.get("dataset"), place.get("repetition"), place.get("guess")] = number
    assert {kind[1] for kind in kinds} >= {
        "uf1", "uf1_low", "uar_high", "accuracy", "weighted_f1", "uf1_sd", "confusion", "class_f1", "subject_accuracy",
        "p_value", "p_value_holm", "difference", "difference_low", "uf1_fold_mean", "uf1_fold_mean_zeros",
        "psnr", "ssim_of_mean", "order_accuracy", "clip_psnr", "clip_order_accuracy", "clips", "subjects",
    }  # fmt: skip
    assert {kind[0] for kind in kinds} == {"index.html", "audit.html", *(f"runs/{run}.html" for run in RUNS)}
    check(list(kinds.values()), Again(built))


def test_every_figure_in_a_run_pages_tables_names_its_place(found: dict[str, Page]) -> None:
    """No number of figures, classes, subjects and the confusion matrix stands there without its place."""
    text = (OUT / "runs/net.html").read_text()
    for part in ("figures", "confusion", "classes", "subjects"):
        body = text.split(f'<h2 id="{part}">')[1].split("</section>")[0].split("<tbody>", 1)[1]
        cells = [cell.split("</td>")[0] for cell in body.split("<td")[1:]]
        assert cells and all("<data " in cell or "<svg" in cell for cell in cells), part


def test_the_printed_p_value_is_the_one_that_the_mark_beside_it_comes_from(found: dict[str, Page]) -> None:
    text = (OUT / "index.html").read_text()
    cells = [cell.split("</td>")[0] for cell in text.split("<td") if "p_value" in cell]
    assert cells and all('data-figure="p_value_holm"' in cell for cell in cells)
    marked = ["not significant" in cell for cell in cells]
    assert marked == [float(re.search(r'<data value="([^"]+)"', cell)[1]) > 0.05 for cell in cells]  # type: ignore[index]
    assert any(marked) and not all(marked)
    assert "adjusted for the number of runs in the table (Holm)" in found["index.html"].text


def test_a_table_in_which_nothing_can_be_significant_says_so(found: dict[str, Page]) -> None:
    notes = re.findall(r'<p class="note">(With [^<]+)</p>', (OUT / "index.html").read_text())
    assert len(notes) == 2  # of tiny: its own table, and `protocols`; one run alone is compared with nothing
    assert all("With 4 subjects the permutation test gives no p-value below about 0.125" in note for note in notes)


def test_pages_say_which_subjects_lack_a_class_only_where_some_do(found: dict[str, Page]) -> None:
    assert "lack" not in found["runs/net.html"].text
    assert "1 of 10 subjects lacks a class, so that its UF1 is not defined." in found["runs/licensed-net.html"].text


def test_no_page_shows_markdown(found: dict[str, Page]) -> None:
    for name, page in found.items():
        assert not re.search(r"[*`]{1,2}\w", page.text), name
    assert "Simulated (casme2, written by prep simulate)." in found["runs/licensed-net.html"].text


# --- faces


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def images_inside(data: bytes) -> list[np.ndarray]:
    """Every PNG that begins anywhere in some bytes, decoded."""
    decoded, start = [], data.find(image_checks.PNG_SIGNATURE)
    while start >= 0:
        end = data.find(b"IEND", start) + 8
        decoded.append(images.decode_png(data[start:end]))
        start = data.find(image_checks.PNG_SIGNATURE, end)
    return decoded


def seen(folder: Path, faces: list[bytes]) -> list[str]:
    """Where images are in a folder: as files, in files, encoded as text, as plain pixels, or coded anew."""
    pixels = [images.decode_png(png) for png in faces]
    result = []
    for name, data in files(folder).items():
        inside = images_inside(data)
        for png, plain in zip(faces, pixels, strict=True):
            forms = (png, base64.b64encode(png)[:-4], png.hex().encode(), plain.tobytes())
            if any(form in data for form in forms) or any(np.array_equal(plain, one) for one in inside):
                result.append(name)
    return result


def faces_of(rows: list[dict[str, Any]], run: str) -> list[bytes]:
    pngs = [png for row in rows for png in (*row["frames"], row["dynamic_image"])]
    return pngs + pd.read_parquet(f"artifacts/predictions/{run}.parquet")["drawn"].tolist()


def test_faces_that_may_be_published_are_found_by_the_search(built: Any) -> None:
    assert len(seen(OUT, faces_of(built["tiny"], "net"))) >= 3 * 5  # frames, dynamic image, drawing of each class


def test_faces_of_a_licensed_release_are_in_no_byte(built: Any, found: dict[str, Page]) -> None:
    assert seen(OUT, faces_of(built["licensed"], "licensed-net")) == []
    page = found["runs/licensed-net.html"]
    assert page.all("img") == [] and "forbids publishing faces" in page.text
    assert "pairs in order" in page.text  # figures are no faces


def test_a_report_of_licensed_releases_alone_holds_no_image_at_all(tmp_path: Path) -> None:
    with chdir(tmp_path):
        tasks = write_project(published=False)
        report()
        for task, run in (("tiny", "net"), ("licensed", "licensed-net")):
            assert seen(OUT, faces_of(tasks[task], run)) == []
        for name, data in files(OUT).items():
            assert name.endswith((".html", ".css", ".js")), name
            for sign in (
                image_checks.PNG_SIGNATURE,
                image_checks.JPEG_SIGNATURE,
                b"data:image",
                b"<img",
                b"<image",
                b"base64",
            ):
                assert sign not in data, f"{name}: {sign!r}"


# --- the folder


def test_the_same_bytes_each_time_and_nothing_stays_behind(built: Any) -> None:
    before = files(OUT)
    (OUT / "runs/gone.html").write_text("old")
    report()
    assert files(OUT) == before


def test_every_link_and_image_resolves_within_the_folder(found: dict[str, Page]) -> None:
    ids = {name: {given["id"] for _, given in page.elements if "id" in given} for name, page in found.items()}
    for name, page in found.items():
        targets = [given.get("href") or given.get("src") or "" for _, given in page.elements]
        for target in filter(None, targets):
            if target == "data:,":  # no icon, and none is asked for
                continue
            path, _, anchor = unquote(target).partition("#")
            file = (OUT / name).parent / path if path else OUT / name
            assert file.is_file() and file.resolve().is_relative_to(OUT.resolve()), f"{name}: {target}"
            if anchor:
                assert anchor in ids[file.resolve().relative_to(OUT.resolve()).as_posix()], f"{name}: {target}"


def test_nothing_asks_for_a_network(built: Any) -> None:
    for name, data in files(OUT).items():
        assert b"http:" not in data and b"https:" not in data and b"url(" not in data, name


def test_texts_of_releases_are_escaped(found: dict[str, Page]) -> None:
    for name in ("data.html", "runs/net.html"):
        assert EVIL in found[name].text
        assert [given["src"] for given in found[name].all("script")] == [("../" * name.count("/")) + "report.js"]


def test_every_page_has_landmarks_and_headings_in_order(found: dict[str, Page]) -> None:
    for name, page in found.items():
        tags = [tag for tag, _ in page.elements]
        assert tags.count("main") == tags.count("h1") == tags.count("title") == 1, name
        assert {"header", "nav", "footer"} <= set(tags) and page.all("html") == [{"lang": "en"}], name
        levels = [int(tag[1]) for tag in tags if tag in ("h1", "h2", "h3", "h4")]
        assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False)), name
        ids = [given["id"] for _, given in page.elements if "id" in given]
        assert len(ids) == len(set(ids)), name
        assert tags.count("caption") == tags.count("table"), name
        assert all("scope" in given for given in page.all("th")), name
        assert all(given.get("alt") for given in page.all("img")), name


def test_the_protocol_stands_beside_every_run_and_who_does_not_compete_stands_below(found: dict[str, Page]) -> None:
    text = (OUT / "index.html").read_text()
    rows = [row.split("</th>")[0] for row in text.split('<th scope="row"')[1:]]
    assert len(rows) >= len(RUNS) and all('class="badge ' in row for row in rows)
    table = text.split("tiny: protocols</h3>")[1].split("</table>")[0]
    honest, _, others = table.partition("Not competing")
    assert "net-test_selected.html" in others and "net-test_selected.html" not in honest
    assert 'class="number best"' in honest and 'class="number best"' not in others


def test_a_task_of_several_data_sets_shows_each(found: dict[str, Page]) -> None:
    uar = [place for page, place, _, _ in places(found) if page == "index.html" and place["figure"] == "uar"]
    places_of = [place for place in uar if "guess" not in place]
    assert {place["dataset"] for place in places_of if place["run"] == "licensed-net"} == {
        "all", "casme2", "mmew", "samm", "dfme", "smic",
    }  # fmt: skip
    assert {place["dataset"] for place in places_of if place["run"] == "net"} == {"all"}


def test_run_pages_say_what_the_run_was_made_of(found: dict[str, Page]) -> None:
    text = found["runs/net-inner.html"].text
    for what in ("fdpbench train net-inner", "torch 2.13.0", "0" * 64, "2" * 64, "seed: 1", "epochs: 3"):
        assert what in text, what
    assert "arithmetic" in text and "OPENBLAS_CORETYPE" in text and machine("cpu")["processor"] not in text
    assert "watched accuracy" in text  # of the training that chose the epoch
    assert "fitted at once" in found["runs/majority.html"].text


def test_the_data_page_tells_of_every_rejection_and_correction(found: dict[str, Page]) -> None:
    text = found["data.html"].text
    for what in ("casme2/s09/a", "no_face", "no: no such clip", "no: the sheet has 4", "1 without an apex", "bad_row"):
        assert what in text, what


# --- what is missing


def test_a_run_without_provenance_is_an_error_that_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with chdir(tmp_path):
        write_project()
        Path("artifacts/provenance/net.json").unlink()
        with pytest.raises(SystemExit):
            report()
        assert "artifacts/provenance/net.json not found" in capsys.readouterr().err
        assert not OUT.exists()


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"command": "x"})])
def test_damaged_provenance_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"run\.json"):
        read_provenance(path)


def test_a_task_without_rejections_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with chdir(tmp_path):
        write_project()
        shutil.rmtree(paths.manifest("casme2"))
        with pytest.raises(SystemExit):
            report()
        assert "data/manifest/casme2/report.json not found" in capsys.readouterr().err


# --- drawings


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.07, 0.12, [-0.1, -0.05, 0, 0.05, 0.1, 0.15]),
        (0, 37, [0, 10, 20, 30, 40]),
        (3, 3, [3, 4, 5, 6]),
    ],
)
def test_ticks_are_round_and_span_what_they_must(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_an_interval_is_drawn_where_its_axis_says() -> None:
    drawn = str(interval(0.5, (0.25, 0.75)))
    assert 'cx="120.00"' in drawn and 'x1="66.00" x2="174.00"' in drawn  # 12 + share * 216
    assert "departs" in str(interval(0.5, None, kind="departs")) and "range" not in str(interval(0.5, None))


def test_a_curves_names_are_escaped() -> None:
    assert EVIL not in str(curve([1], [], EVIL, EVIL, EVIL))
