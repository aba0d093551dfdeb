"""What is wrong with settings, in words: several problems at once, and the name that was meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = ["NAME", "NAME_LENGTH", "ParamsError", "Problems", "near", "shown"]

MOST_SHOWN = 80

# Names become stage names, file names and words of a command.
NAME_LENGTH = 100
NAME = rf"^[A-Za-z0-9][A-Za-z0-9_-]{{0,{NAME_LENGTH - 1}}}$"


class ParamsError(ValueError):
    """params.yaml cannot be used; each problem names the file, the key and what was expected."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Problems:
    """Collects the problems of several checks, each once, where the first would end them all."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, *problems: str | ValueError) -> None:
        """Add problems that are not there yet; of an error, all that it says."""
        for problem in problems:
            said = [problem] if isinstance(problem, str) else getattr(problem, "problems", [str(problem)])
            lines = (" ".join(line.split()) for line in said)
            self.found += [line for line in dict.fromkeys(lines) if line not in self.found]

    @contextmanager
    def gather(self) -> Iterator[None]:
        """Run one check; what it refuses is kept."""
        try:
            yield
        except ValueError as error:
            self.add(error)

    def refuse(self) -> None:
        """Raise what was found.

        Raises
        ------
        ParamsError
            If there is any problem.
        """
        if self.found:
            raise ParamsError(*self.found)


def near(name: object, known: Iterable[str]) -> str:
    """Words for the known name that somebody may have meant; empty if none is like it."""
    by_case = {word.casefold(): word for word in known}
    found = difflib.get_close_matches(str(name).casefold(), by_case, n=1)
    return f" (did you mean {by_case[found[0]]!r}?)" if found else ""


def shown(value: object) -> str:
    """A value as a message shows it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
