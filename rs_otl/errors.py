"""The error that a user can correct, and the lines that the user reads."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A line of more characters than this hides what it says.
LONGEST_LINE = 1000

_silent = ContextVar("silent", default=False)


class InputError(ValueError):
    """Wrong use or bad input.

    The message is one line: it names the file or value, what was expected and what to do. The
    command line prints only this line and exits with code 2. Any other exception is a fault of the
    program.
    """


def printable(text: str) -> str:
    r"""Escape what would not print: control characters come out as ``\n``, ``\x1b``, ``\udcff``."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def shortened(text: str, longest: int = 60) -> str:
    """Leave out the middle of a text of more than ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 3 :]}"


def one_line(text: str) -> str:
    """Make one printable line of bounded length of a text that may echo anything."""
    return printable(shortened(text, LONGEST_LINE))


def note(text: str) -> None:
    """Tell the user something on stderr, as one printable line."""
    if not _silent.get():
        print(one_line(text), file=sys.stderr)


@contextmanager
def without_notes() -> Iterator[None]:
    """Tell the user nothing within the block, since it has been told before."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
