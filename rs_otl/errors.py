"""The error that a user can correct, and the lines that the user reads."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A line of more characters than this hides what it says.
LONGEST_LINE = 1000

# What a command says beside its results, as its -q and -v ask: -1 nothing but errors, 0 notes and
# bars, 1 what the libraries log too. Notes are also what functions say in anyone's script.
_verbosity = 0
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
    """Tell the user something on stderr, as one printable line, unless it is to be quiet."""
    if _verbosity >= 0 and not _silent.get():
        complain(text)


def complain(text: str) -> None:
    """Tell the user on stderr, quiet or not, as one printable line, what has gone wrong."""
    print(one_line(text), file=sys.stderr)


def set_verbosity(level: int) -> None:
    """Set what is said beside results: -1 nothing, 0 notes, 1 the logs of libraries too."""
    global _verbosity
    _verbosity = level


def is_verbose() -> bool:
    """Whether libraries are to say what they do."""
    return _verbosity > 0


def wants_bars() -> bool:
    """Whether to show progress: on a terminal, unless it is to be quiet."""
    return _verbosity >= 0 and sys.stderr.isatty()


@contextmanager
def without_notes() -> Iterator[None]:
    """Tell the user nothing within the block, since it has been told before."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
