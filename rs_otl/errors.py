"""The error that a user can correct, and the lines that the user reads."""

import sys

# A line of more characters than this hides what it says.
LONGEST_LINE = 1000


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


def one_line(text: str) -> str:
    """Make one printable line of bounded length of a text that may echo anything.

    Args:
        text: The text; of a long one the middle is left out.
    """
    if len(text) > LONGEST_LINE:
        text = f"{text[: LONGEST_LINE // 2]} ... {text[-LONGEST_LINE // 3 :]}"
    return printable(text)


def note(text: str) -> None:
    """Tell the user something on stderr, as one printable line."""
    print(one_line(text), file=sys.stderr)
