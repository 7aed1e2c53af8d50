"""What a benchmark finds: rows, and how they are measured and shown."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch


class Row(NamedTuple):
    """A line of a benchmark.

    Attributes:
        name: What was measured.
        rate: Images in a second; an image is all its views.
        ratio: Rate over that of the row that the others are held against; ``None`` where the
            two do not compare.
    """

    name: str
    rate: float
    ratio: float | None


def now() -> float:
    """Return the time in seconds, when all that a GPU was given is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turn(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Measure each in turn, round after round, so that other load falls on all alike.

    Args:
        contestants: What to call, by name. Each is called once before, to warm up.
        rounds: Times that each is measured.

    Returns:
        The median of each one's seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for measured in (False, *[True] * rounds):
        for name, call in contestants.items():
            began = now()
            call()
            if measured:
                seconds[name].append(now() - began)
    return {name: statistics.median(found) for name, found in seconds.items()}


def text(rows: list[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = ["| | images/s | ratio |", "|---|---|---|"]
    for name, rate, ratio in rows:
        lines.append(f"| {name} | {rate:,.1f} | {'' if ratio is None else f'{ratio:.2f}'} |")
    return "\n".join(lines)
