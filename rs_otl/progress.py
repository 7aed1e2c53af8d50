"""A progress bar for everything that may take longer than two seconds, and times in words."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def tracked(
    items: Iterable[Item], doing: str, shown: bool, total: int | None = None
) -> Iterable[Item]:
    """Iterate over ``items``, with a progress bar on standard error if ``shown``.

    Args:
        items: The items.
        doing: The activity, in a word or two.
        shown: Whether to show the bar.
        total: Number of items; by default their length.

    Returns:
        The same items.
    """
    console = Console(stderr=True)
    return track(items, doing, total=total, console=console, transient=True, disable=not shown)


def time_in_words(seconds: float) -> str:
    """Return a time in the largest unit that gives two or more, such as ``"50 minutes"``."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} seconds" if seconds >= 1.5 else "1 second"
