"""Read the metrics that a run has written, without importing the libraries that train."""

import csv
from contextlib import suppress
from pathlib import Path


def read_metrics(run: Path) -> list[dict[str, float]]:
    """Read the epochs of a run's ``metrics.csv``.

    Args:
        run: The run's directory.

    Returns:
        Each epoch's metrics by name, up to a row that is cut or damaged; ``[]`` without the file.
    """
    try:
        text = (run / "metrics.csv").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    whole = text[: text.rfind("\n") + 1].splitlines()
    epochs = []
    with suppress(csv.Error, TypeError, ValueError):
        for row in csv.DictReader(whole, strict=True):
            epochs.append({name: float(value) for name, value in row.items() if value != ""})
    return [epoch for epoch in epochs if "epoch" in epoch]
