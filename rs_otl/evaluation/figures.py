"""Pictures of an evaluation."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from rs_otl.evaluation.report import Evaluation, EvaluationReport
from rs_otl.files import written_aside

# Up to so many classes a cell has room for its number.
_NUMBERED = 20
_LONGEST_NAME = 24


def draw_confusion(evaluation: Evaluation, path: Path) -> None:
    """Draw which classes are taken for which.

    A row is a true class, a column a predicted one; colour is the share of the row. Numbers of
    images stand in the cells where there is room. The classifier is ``linear_standardised``.

    Args:
        evaluation: What to draw.
        path: PNG file; an existing one is replaced.
    """
    counts = np.array(evaluation.confusion)
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(5.5, 3.2 + max(0.22, min(0.42, 8 / classes)) * classes)
    # matplotlib's layout for axes of fixed shape, such as a picture's.
    figure = Figure(figsize=(side + 0.8, side), layout="compressed")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, label="share of the true class", fraction=0.04, pad=0.02)
    names = _names(evaluation.classes)
    axes.set_xticks(range(classes), names, rotation=90, parse_math=False)
    axes.set_yticks(range(classes), names, parse_math=False)
    axes.tick_params(labelsize=9 if classes <= _NUMBERED else 7.5, length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    title = f"{evaluation.dataset}, linear, standardised: {evaluation.linear_standardised}"
    lines = (textwrap.fill(line, int(12 * side)) for line in (title, evaluation.encoder))
    figure.suptitle("\n".join(lines), fontsize=10, parse_math=False)
    if classes <= _NUMBERED:
        for row, column in np.argwhere(counts):
            dark = shares[row, column] > 0.55
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
    _save(figure, path)


def draw_per_class(report: EvaluationReport, path: Path) -> None:
    """Draw each class's accuracy, of the encoder beside the untrained one, best class first.

    The classifier is ``linear_standardised``; classes without test images are left out.

    Args:
        report: What to draw.
        path: PNG file; an existing one is replaced.
    """
    trained, untrained = report.encoder, report.untrained
    rows = sorted(
        (share, untrained.per_class[name] or 0.0, name)
        for name, share in trained.per_class.items()
        if share is not None
    )
    middle = np.arange(len(rows))
    figure = Figure(figsize=(7, 1.9 + 0.3 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for offset, column, evaluation, colour in (
        (0.2, 0, trained, "tab:blue"),
        (-0.2, 1, untrained, "0.75"),
    ):
        shares = [100 * row[column] for row in rows]
        label = textwrap.fill(evaluation.encoder, 80).replace("$", r"\$")
        axes.barh(middle + offset, shares, 0.4, color=colour, label=label)
    axes.set_yticks(middle, _names(name for *_, name in rows), parse_math=False)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("test images predicted correctly, %")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.set_title(f"{trained.dataset}, class by class", parse_math=False)
    figure.legend(loc="outside lower center", frameon=False)
    _save(figure, path)


def _names(names: Iterable[str]) -> list[str]:
    """Cut names so that the longest leaves room for the picture."""
    cut = _LONGEST_NAME - 1
    return [
        name if len(name) <= _LONGEST_NAME else f"{name[:cut]}\N{HORIZONTAL ELLIPSIS}"
        for name in names
    ]


def _save(figure: Figure, path: Path) -> None:
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=120)
