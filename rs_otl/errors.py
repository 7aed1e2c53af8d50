"""The error that a user can correct, and the lines that the user reads."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Longer lines are shortened: their message is hard to find.
LONGEST_LINE = 1000

# What is printed besides results, set by -q and -v: -1 only errors, 0 also notes and bars, 1 also
# logs of libraries. Functions that are called from a script print notes too.
_verbosity = 0
_silent = ContextVar("silent", default=False)


class InputError(ValueError):
    """Wrong use or bad input.

    The message is one line: it names the file or value, what was expected and what to do. The
    command line prints only this line and exits with code 2. Any other exception is a fault of the
    program.
    """


def printable(text: str) -> str:
    r"""Escape characters that cannot be printed: they become ``\n``, ``\x1b``, ``\udcff``."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def shortened(text: str, longest: int = 60) -> str:
    """Leave out the middle of a text of more than ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 3 :]}"


def one_line(text: str) -> str:
    """Make one printable line of bounded length from any text."""
    return printable(shortened(text, LONGEST_LINE))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``"1 epoch"``, ``"1,200 epochs"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def note(text: str) -> None:
    """Print a note on stderr, as one printable line, unless notes are switched off."""
    if _verbosity >= 0 and not _silent.get():
        complain(text)


def complain(text: str) -> None:
    """Print what has gone wrong on stderr, as one printable line, even with ``-q``."""
    print(one_line(text), file=sys.stderr)


def set_verbosity(level: int) -> None:
    """Set what is printed besides results: -1 only errors, 0 notes, 1 also logs of libraries."""
    global _verbosity
    _verbosity = level


def is_verbose() -> bool:
    """Whether to show the logs of libraries."""
    return _verbosity > 0


def wants_bars() -> bool:
    """Whether to show progress bars: on a terminal and without ``-q``."""
    return _verbosity >= 0 and sys.stderr.isatty()


@contextmanager
def without_notes() -> Iterator[None]:
    """Print no notes within the block, because the user has seen them before."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
