"""Where and when scenes are wanted, written as in STAC's searches."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from rs_otl.errors import InputError

_DATE = re.compile(r"(\d{4})(?:-?(\d\d)(?:-?(\d\d))?)?")
_OPEN = ("", "..")
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Interval:
    """A span of time, with both ends included.

    Attributes:
        start: Start, in UTC.
        end: End, in UTC.
    """

    start: datetime
    end: datetime

    @classmethod
    def of(cls, text: str) -> "Interval":
        """Read a time as STAC writes it: a date, or two with a slash between, ``..`` for open.

        Args:
            text: Such as ``2024``, ``2024-05/2024-08``, ``2024-05-01/..`` or
                ``2024-05-01T10:00:00Z/2024-05-01T12:00:00Z``. A year, month or day stands for all
                of it; times without a zone are UTC.

        Raises:
            InputError: It is no time, or ends before it begins.
        """
        parts = text.split("/")
        try:
            (start, _), (_, end) = _span(parts[0], _FIRST), _span(parts[-1], _LAST)
        except (ValueError, OverflowError):
            parts = []
        if len(parts) not in (1, 2) or all(part in _OPEN for part in parts) or start > end:
            raise InputError(
                f"--datetime {text}: expected a date, or two from the earlier to the later, such "
                "as 2024-05-01, 2024-05/2024-08 or 2024-05-01/.."
            )
        return cls(start, end)

    def __str__(self) -> str:
        """Return the interval as a search of STAC takes it."""
        start, end = (
            ".." if time == unbounded else time.isoformat().replace("+00:00", "Z")
            for time, unbounded in ((self.start, _FIRST), (self.end, _LAST))
        )
        return f"{start}/{end}"

    def meets(self, properties: Mapping[str, Any]) -> bool:
        """Whether an item was taken in the interval, by the item's properties.

        Raises:
            ValueError: The properties say no time.
        """
        one = properties.get("datetime")
        start, end = (one or properties.get(f"{side}_datetime") for side in ("start", "end"))
        if not (isinstance(start, str) and isinstance(end, str)):
            raise ValueError("says no time (datetime)")
        return self.start <= _time(end) and _time(start) <= self.end


def box_of(words: str | Sequence[float]) -> Box:
    """Read a box in degrees: west, south, east, north; across the antimeridian west > east.

    Raises:
        InputError: It is no box.
    """
    parts = words.split(",") if isinstance(words, str) else words
    try:
        west, south, east, north = map(float, parts)
    except (TypeError, ValueError):
        west = south = east = north = np.nan
    if not (abs(west) <= 180 >= abs(east) and -90 <= south <= north <= 90):
        shown = words if isinstance(words, str) else ",".join(map(str, words))
        raise InputError(
            f"--bbox {shown}: expected west,south,east,north in degrees, such as 13,45,14,46"
        )
    return west, south, east, north


def boxes_meet(one: Box, other: Sequence[float]) -> bool:
    """Whether two boxes in degrees have a place in common.

    Args:
        one: As :func:`box_of` returns it.
        other: The box of an item: two or three numbers for each corner.

    Raises:
        ValueError: It is no box.
    """
    if len(other) not in (4, 6):
        raise ValueError("says no place (bbox)")
    corner = len(other) // 2
    west, south, east, north = (float(other[at]) for at in (0, 1, corner, corner + 1))
    if not (south <= one[3] and one[1] <= north):
        return False
    return any(
        left <= right and first <= last and left <= last and first <= right
        for left, right in _spans(one[0], one[2])
        for first, last in _spans(west, east)
    )


def _spans(west: float, east: float) -> list[tuple[float, float]]:
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def _span(text: str, unbounded: datetime) -> tuple[datetime, datetime]:
    """Return the first and the last moment that a text stands for."""
    if text in _OPEN:
        return unbounded, unbounded
    found = _DATE.fullmatch(text)
    if not found:
        return _time(text), _time(text)
    year, month, day = (int(part) if part else None for part in found.groups())
    start = datetime(year or 0, month or 1, day or 1, tzinfo=UTC)
    if day:
        after = start + timedelta(days=1)
    elif month and month < 12:
        after = start.replace(month=month + 1)
    else:
        after = start.replace(year=start.year + 1, month=1)
    return start, after - timedelta.resolution


def _time(text: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
