"""Files of settings as plain values: YAML 1.2, as DVC reads it, without what can take memory, time or meaning away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.composer import Composer, MaxDepthExceededError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

from fdpbench.prep.settings.problems import ParamsError

__all__ = ["MOST_BYTES", "MOST_LEVELS", "MOST_VALUES", "parse_yaml", "read_yaml"]

# A study of a thousand runs has some 10,000 values on 6 levels in 100 kB. The most takes 3 s to read.
MOST_BYTES = 1_000_000
MOST_VALUES = 30_000
MOST_LEVELS = 20

# A number as YAML 1.2 has it, which ruamel.yaml, and so DVC, reads but for `.5e3`.
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+")
_FLOAT_TAG, _STR_TAG = "tag:yaml.org,2002:float", "tag:yaml.org,2002:str"


def read_yaml(path: Path) -> Any:
    """Read a YAML file of plain values.

    Raises
    ------
    ParamsError
        If it is too large, no text, no YAML, or `parse_yaml` refuses what it holds.
    """
    with path.open("rb") as stream:
        content = stream.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ParamsError(f"{path}: larger than {MOST_BYTES:,} bytes, the limit for a file of settings")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: byte {error.start + 1} is not UTF-8; save the file as UTF-8 text") from None
    return parse_yaml(text, path)


def parse_yaml(text: str, path: Path) -> Any:
    """Parse YAML of plain values by the parser that DVC uses, so that both see values of one type.

    Parameters
    ----------
    text
        The YAML.
    path
        Where it is from, for messages.

    Raises
    ------
    ParamsError
        If it is no YAML, a key stands twice or is no single value, or there are more values (aliases written out)
        or levels than `MOST_VALUES` and `MOST_LEVELS`.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    yaml.max_depth = MOST_LEVELS
    try:
        node = yaml.compose(text)
        if node is None:
            return None
        _Check(path).size(node, "")
        return yaml.constructor.construct_document(node)
    except MaxDepthExceededError as error:
        line = error.problem_mark.line + 1
        raise ParamsError(f"{path}, line {line}: nested more than {MOST_LEVELS} levels deep") from None
    except _TooManyValues as error:
        raise ParamsError(f"{path}, line {error}: more than {MOST_VALUES:,} values, the limit") from None
    except ParamsError:
        raise
    except (YAMLError, ValueError) as error:  # ValueError: a date or a whole number that Python does not take
        raise ParamsError(f"{path} is not valid YAML: {error}") from error


class _TooManyValues(Exception):
    """The line in which the limit is passed."""


class _Composer(Composer):
    """Stops at `MOST_VALUES`, before the rest of the file is read."""

    values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.values += 1
        if self.values > MOST_VALUES:
            raise _TooManyValues(self.parser.peek_event().start_mark.line + 1)
        return super().compose_node(parent, index)


class _Check:
    """Goes once through each node of a document, before any value is made of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sizes: dict[int, tuple[int, int]] = {}  # by node: values and levels, aliases written out
        self.open: set[int] = set()

    def size(self, node: Node, key: str) -> tuple[int, int]:
        """Values and levels of a node; its key, dotted, is for messages. Recursion ends at `MOST_LEVELS`."""
        if id(node) in self.open:
            raise self._error(node, f"{key or 'the file'} holds itself by an alias (*name); write its values out")
        if id(node) not in self.sizes:
            self.open.add(id(node))
            parts = self._parts(node, key)
            self.open.remove(id(node))
            size = 1 + sum(values for values, _ in parts), 1 + max((levels for _, levels in parts), default=0)
            if size[0] > MOST_VALUES:
                raise self._error(
                    node, f"{key or 'the file'} has more than {MOST_VALUES:,} values, aliases (*name) written out"
                )
            if size[1] > MOST_LEVELS:
                raise self._error(node, f"{key} is nested more than {MOST_LEVELS} levels deep")
            self.sizes[id(node)] = size
        return self.sizes[id(node)]

    def _parts(self, node: Node, key: str) -> list[tuple[int, int]]:
        if isinstance(node, ScalarNode):
            if node.style is None and node.tag == _STR_TAG and _FLOAT.fullmatch(node.value):
                node.tag = _FLOAT_TAG
            return []
        if not isinstance(node, MappingNode):
            return [self.size(child, f"{key}.{number}".lstrip(".")) for number, child in enumerate(node.value)]
        lines: dict[str, int] = {}
        parts = []
        for name, child in node.value:
            if not isinstance(name, ScalarNode):
                raise self._error(name, f"a key of {key or 'the file'} is no single word")
            line = name.start_mark.line + 1
            if name.value in lines:
                raise self._error(
                    name,
                    f"the key {name.value!r} stands twice, first in line {lines[name.value]}; put its lines under the "
                    "first one",
                )
            lines[name.value] = line
            parts += [self.size(name, key), self.size(child, f"{key}.{name.value}".lstrip("."))]
        return parts

    def _error(self, node: Node, problem: str) -> ParamsError:
        return ParamsError(f"{self.path}, line {node.start_mark.line + 1}: {problem}")
