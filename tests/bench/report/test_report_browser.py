"""The report in a real browser: Debian's chromium through Playwright, held against axe-core.

Skipped where there is no browser, or no Playwright (extra `browser`). FDPBENCH_CHROMIUM names another program.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import chdir
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fdpbench.commands.results import report
from tests.support.reports import RUNS, write_project

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install -e '.[browser]'")

CHROMIUM = os.environ.get("FDPBENCH_CHROMIUM") or shutil.which("chromium")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.pipeline,  # a minute and more: beside those that run the real command line
    pytest.mark.skipif(not CHROMIUM, reason="no browser: apt-get install chromium, or set FDPBENCH_CHROMIUM"),
]

PAGES = ("index.html", "audit.html", "data.html", *(f"runs/{run}.html" for run in RUNS))
BOARD = "section[aria-labelledby=task-tiny] table.board >> nth=0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in a folder of its own: nothing else of the project is beside it."""
    place, moved = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("moved") / "elsewhere"
    with chdir(place):
        write_project()
        report()
        shutil.move("results/report", moved)
    return moved


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM)
        yield running
        running.close()


class Visit:
    """A page in a tab of its own, with what it asked for and what went wrong."""

    def __init__(self, browser: Any, folder: Path, name: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto((folder / name).as_uri())

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def column(self, number: int) -> list[str]:
        """Texts of a column of the first leaderboard, the first line of each."""
        texts = self.page.locator(BOARD).locator("tbody >> nth=0").locator(f"td:nth-of-type({number})")
        return [text.split("\n")[0].strip() for text in texts.all_inner_texts()]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_from_disk_and_asks_for_nothing_else(browser: Any, folder: Path, name: str) -> None:
    with Visit(browser, folder, name) as visit:
        assert visit.faults == []
        inside = [folder.as_uri() in url for url in visit.asked if url != "data:,"]
        assert len(inside) >= 3 and all(inside), visit.asked  # the page, its sheet, its script
        broken = "images => images.filter(i => !(i.complete && i.naturalWidth)).map(i => i.src)"
        assert visit.page.eval_on_selector_all("img", broken) == []
        wide = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, "the page itself scrolls sideways"


@pytest.mark.parametrize("name", PAGES)
def test_no_space_is_lost_between_a_label_and_its_number(browser: Any, folder: Path, name: str) -> None:
    """A flexible box drops the space between a text and the element after it: neither may lie directly in one."""
    bare = """parts => parts.filter(part => /flex|grid/.test(getComputedStyle(part).display)
        && part.childElementCount && [...part.childNodes].some(n => n.nodeType === 3 && n.data.trim())
    ).map(part => part.outerHTML.slice(0, 200))"""
    with Visit(browser, folder, name) as visit:
        assert visit.page.eval_on_selector_all("body *", bare) == []
        text = visit.page.inner_text("main")
        assert not re.search(r"(UF1|UAR|SSIM|accuracy)[0-9]", text)
        assert name != "index.html" or re.search(r"UF1 0\.\d{3}, UAR 0\.\d{3}", text)


@pytest.mark.parametrize("width", [1024, 1400])
def test_no_column_of_a_leaderboard_is_cut_off(browser: Any, folder: Path, width: int) -> None:
    """The tasks here have one and five data sets."""
    cut = "parts => parts.filter(p => p.scrollWidth > p.clientWidth).map(p => p.getAttribute('aria-label'))"
    with Visit(browser, folder, "index.html", viewport={"width": width, "height": 900}) as visit:
        if width == 1400:
            assert visit.page.eval_on_selector_all(".scroll", cut) == []
            assert visit.page.locator("td.drawing >> nth=0").is_visible()
        else:
            assert [
                label for label in visit.page.eval_on_selector_all(".scroll", cut) if "Data sets" not in label
            ] == []


@pytest.mark.parametrize("name", ["index.html", "audit.html"])
def test_figures_are_seen_on_a_phone_beside_the_names_of_runs(browser: Any, folder: Path, name: str) -> None:
    """Of every row the first two numbers are inside the window, with their intervals, and nothing lies on them."""
    unseen = """rows => rows.flatMap(row => {
        row.scrollIntoView({block: "center", behavior: "instant"});
        const cells = [...row.querySelectorAll("td.number")].slice(0, 2);
        return cells.flatMap(cell => [...cell.querySelectorAll("data")]).filter(number => {
            const box = number.getBoundingClientRect();
            const seen = document.elementFromPoint((box.left + box.right) / 2, (box.top + box.bottom) / 2);
            return box.left < 0 || box.right > innerWidth || !number.contains(seen);
        }).map(number => row.textContent.trim().slice(0, 40) + ": " + number.outerHTML);
    })"""
    with Visit(browser, folder, name, viewport={"width": 390, "height": 844}) as visit:
        rows = "table.board tbody tr:not(.group)"
        assert visit.page.locator(rows).count() > 5
        assert visit.page.eval_on_selector_all(rows, unseen) == []
        assert visit.page.locator("td.drawing >> nth=0").is_hidden()


def test_every_link_leads_to_a_page(browser: Any, folder: Path) -> None:
    with Visit(browser, folder, "index.html") as visit:
        links = visit.page.eval_on_selector_all("a", "links => links.map(link => link.href)")
        for url in sorted(set(links)):
            visit.page.goto(url)
            assert visit.page.locator("h1").count() == 1, url
            if "#" in url:
                assert visit.page.locator(f"[id='{url.partition('#')[2]}']").count() == 1, url
        assert visit.faults == []


def test_columns_sort_by_mouse(browser: Any, folder: Path) -> None:
    with Visit(browser, folder, "index.html") as visit:
        head = visit.page.locator(BOARD).get_by_role("columnheader", name="UF1", exact=True)
        assert head.get_attribute("aria-sort") == "descending"
        before = visit.column(2)
        assert before == sorted(before, reverse=True) and len(set(before)) > 1
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "ascending" and visit.column(2) == before[::-1]
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == "descending" and visit.column(2) == before


def test_columns_sort_by_keyboard_and_it_is_announced(browser: Any, folder: Path) -> None:
    with Visit(browser, folder, "index.html") as visit:
        board = visit.page.locator(BOARD)
        board.get_by_role("button", name="run and protocol").focus()
        visit.page.keyboard.press("Enter")
        runs = board.locator("tbody >> nth=0").locator("th a").all_inner_texts()
        assert runs == sorted(runs)
        assert visit.page.get_by_role("status").inner_text() == "Sorted by run and protocol, ascending."
        visit.page.keyboard.press("Space")
        assert board.locator("tbody >> nth=0").locator("th a").all_inner_texts() == runs[::-1]
        assert board.locator("[aria-sort]").count() == 1


def test_runs_that_do_not_compete_stay_below_whatever_the_column(browser: Any, folder: Path) -> None:
    with Visit(browser, folder, "index.html") as visit:
        table = visit.page.locator("table.board", has_text="net-test_selected")
        for button in table.get_by_role("button").all():
            for _ in range(2):
                button.click()
                assert "net-test_selected" in table.locator("tbody").last.inner_text()
                assert table.locator("tbody").last.locator("tr").first.inner_text().startswith("Not competing")


def test_the_first_tab_stop_skips_to_the_content(browser: Any, folder: Path) -> None:
    with Visit(browser, folder, "runs/net.html") as visit:
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement.textContent") == "Skip to content"
        visit.page.keyboard.press("Enter")
        assert visit.page.evaluate("document.activeElement.id") == "main"


def test_pages_can_be_read_without_scripts(browser: Any, folder: Path) -> None:
    with Visit(browser, folder, "index.html", java_script_enabled=False) as visit:
        assert visit.page.locator("button").count() == 0
        assert visit.page.locator(BOARD).locator("tbody tr").count() >= 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "audit.html", "data.html", "runs/net.html", "runs/net-inner.html"])
def test_axe_finds_nothing(browser: Any, folder: Path, name: str, scheme: str) -> None:
    """WCAG 2.2 A and AA with contrast, and axe-core's practices (landmarks, headings)."""
    spec = find_spec("axe_playwright_python")
    if spec is None or spec.origin is None:
        pytest.skip("no axe-core: pip install -e '.[browser]'")
    axe = Path(spec.origin).parent / "axe.min.js"
    with Visit(browser, folder, name, color_scheme=scheme) as visit:
        visit.page.add_script_tag(path=str(axe))
        visit.page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
        found = visit.page.evaluate("axe.run(document)")
        faults = [
            f"{rule['id']}: {node['html'][:120]} {node['failureSummary'][:200]}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]
        assert faults == []
        passed = {rule["id"] for rule in found["passes"]}
        assert {"color-contrast", "region", "landmark-one-main", "html-has-lang"} <= passed


def test_both_schemes_differ(browser: Any, folder: Path) -> None:
    grounds = set()
    for scheme in ("light", "dark"):
        with Visit(browser, folder, "index.html", color_scheme=scheme) as visit:
            grounds.add(visit.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2


def test_print_shows_what_is_folded_and_cuts_no_table(browser: Any, folder: Path) -> None:
    with Visit(browser, folder, "runs/net.html", color_scheme="dark") as visit:
        visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert visit.page.locator("details:not([open])").count() == 0
        visit.page.emulate_media(media="print")
        assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert visit.page.locator(".scroll").first.evaluate("part => getComputedStyle(part).overflowX") == "visible"
        visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert visit.page.locator("details[open]").count() == 0
