"""A progress bar for whatever may take longer than two seconds."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")


def tracked(
    items: Iterable[Item], doing: str, shown: bool, total: int | None = None
) -> Iterable[Item]:
    """Go through ``items``, with a bar on standard error if ``shown``.

    Args:
        items: What to go through.
        doing: What is being done, in a word or two.
        shown: Whether to show the bar.
        total: Number of items; by default their length.

    Returns:
        The same items.
    """
    console = Console(stderr=True)
    return track(items, doing, total=total, console=console, transient=True, disable=not shown)
