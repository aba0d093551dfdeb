"""Every template of the report escapes what it is given; `test_report.test_texts_of_releases_are_escaped` tries it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from fdpbench.bench.report.html import build

TEMPLATES = Path(build.__file__).parent / "templates"


def test_every_template_is_rendered_with_escaping() -> None:
    source = inspect.getsource(build)
    assert source.count("Environment(") == 1 and "autoescape=True" in source


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.j2")), ids=lambda path: path.name)
def test_no_template_turns_escaping_off(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"autoescape\s+false", text)
    # what is marked as HTML stands in the template itself, in quotes
    assert len(re.findall(r"\|\s*safe\b", text)) == len(re.findall(r"'\s*\|\s*safe\b", text))
