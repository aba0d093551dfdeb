"""Additions to a YAML file that a person wrote: text is put in, and no other byte of the file changes."""

from __future__ import annotations

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import MappingNode, ScalarNode

__all__ = [
    "append_section",
    "append_to_list",
    "append_to_mapping",
    "block",
    "inline",
    "replace_section",
    "section_text",
]


def append_to_list(text: str, key: str, value: str) -> str:
    """Add a word to the list under a top-level key, in the list's own style."""
    node = _section(text, key)
    if node.flow_style:
        if not node.value:
            return _insert(text, node.start_mark.index + 1, value)
        return _insert(text, node.value[-1].end_mark.index, f", {value}")
    return _insert_line(text, _last_line(node), f"{' ' * node.start_mark.column}- {value}\n")


def append_to_mapping(text: str, key: str, name: str, value: dict[str, Any]) -> str:
    """Add an entry to the mapping under a top-level key: before the comments that lead on to the next section."""
    node = _section(text, key)
    if node.flow_style and not node.value:  # ``{}`` gives way to lines, as all other entries will be
        start, end = node.start_mark.index, node.end_mark.index
        lines = "".join(f"  {line}" for line in block({name: value}).splitlines(keepends=True))
        return _insert_line(text[:start].rstrip(" ") + text[end:], node.start_mark.line, lines)
    if node.flow_style:
        entry = inline({name: value})
        return _insert(text, node.value[-1][1].end_mark.index, f", {entry}")
    indent = " " * node.start_mark.column
    lines = "".join(indent + line for line in block({name: value}).splitlines(keepends=True))
    return _insert_line(text, _last_line(node), lines)


def inline(content: dict[str, Any]) -> str:
    """Entries of a mapping on one line, without the braces around them."""
    yaml = YAML()
    yaml.default_flow_style = True
    yaml.width = 1_000_000
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue().strip().removeprefix("{").removesuffix("}")


def block(content: dict[str, Any]) -> str:
    """Lines of a mapping, its innermost lists and mappings on one line each."""
    yaml = YAML()
    yaml.width = 110
    yaml.default_flow_style = None
    stream = io.StringIO()
    yaml.dump(content, stream)
    return stream.getvalue()


def append_section(text: str, section: str) -> str:
    """Add the text of a section at the end."""
    return f"{text.rstrip()}\n\n{section}" if text.strip() else section


def section_text(text: str, key: str) -> str:
    """The lines of a top-level section, without the comments around it."""
    root = YAML(typ="safe", pure=True).compose(text)
    name, node = next((name, node) for name, node in root.value if name.value == key)
    lines = text.splitlines(keepends=True)
    return "".join(lines[name.start_mark.line : max(name.start_mark.line, _last_line(node)) + 1])


def replace_section(text: str, key: str, section: str) -> str:
    """Put the text of a section in place of the one that is there; comments around it stay."""
    return text.replace(section_text(text, key), section, 1)


def _section(text: str, key: str) -> Any:
    root = YAML(typ="safe", pure=True).compose(text)
    return next(node for name, node in root.value if name.value == key)


def _last_line(node: Any) -> int:
    """Number of the line, from 0, in which a node's last value ends; block nodes themselves end at the next token."""
    if isinstance(node, ScalarNode) or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    return max(map(_last_line, last)) if isinstance(node, MappingNode) else _last_line(last)


def _insert(text: str, index: int, new: str) -> str:
    return text[:index] + new + text[index:]


def _insert_line(text: str, after: int, new: str) -> str:
    lines = text.splitlines(keepends=True)
    if not lines[after].endswith("\n"):
        lines[after] += "\n"
    return "".join([*lines[: after + 1], new, *lines[after + 1 :]])
