"""Figures of an evaluation."""

import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rs_otl.datasets.bands import rgb_positions
from rs_otl.errors import printable
from rs_otl.evaluation.report import CLASSIFIERS, Evaluation, EvaluationReport
from rs_otl.files import atomic_write
from rs_otl.spec import RGB

if TYPE_CHECKING:  # nothing here reads images
    from rs_otl.datasets import CachedDataset

# With more classes, cells have no room for numbers.
_NUMBERED = 20
_LONGEST_NAME = 24
_MISTAKES = 24


def draw_confusion(evaluation: Evaluation, path: Path) -> None:
    """Draw a confusion matrix.

    A row is a true class, a column a predicted one; colour is the share of the row. Cells show
    numbers of images where there is room. The classifier is ``linear_standardised``.

    Args:
        evaluation: What to draw.
        path: PNG file; an existing one is replaced.
    """
    counts = np.array(evaluation.confusion)
    classes = len(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = max(5.5, 3.2 + max(0.22, min(0.42, 8 / classes)) * classes)
    # matplotlib's layout for axes of fixed aspect, such as those of an image.
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
    lines = (textwrap.fill(printable(line), int(12 * side)) for line in (title, evaluation.encoder))
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
    """Draw the accuracy of every encoder on each class, the first encoder's best class first.

    The classifier is ``linear_standardised``; classes without test images are left out.

    Args:
        report: What to draw.
        path: PNG file; an existing one is replaced.
    """
    first = report.encoders[0]
    rows = sorted((share, name) for name, share in first.per_class.items() if share is not None)
    middle = np.arange(len(rows))
    count = len(report.encoders)
    height = 0.8 / count
    inches = 1.6 + 0.22 * count + max(0.3, 0.12 * count) * len(rows)
    figure = Figure(figsize=(7, inches), layout="constrained")
    axes = figure.subplots()
    for place, evaluation in enumerate(report.encoders):
        shares = [100 * (evaluation.per_class[name] or 0.0) for _, name in rows]
        offset = ((count - 1) / 2 - place) * height
        colour = _colour(place, evaluation)
        axes.barh(middle + offset, shares, height, color=colour, label=_label(evaluation))
    axes.set_yticks(middle, _names(name for _, name in rows), parse_math=False)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("test images predicted correctly, %")
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.set_title(f"{printable(first.dataset)}, accuracy by class", parse_math=False)
    figure.legend(loc="outside lower center", frameon=False)
    _save(figure, path)


def draw_mistakes(evaluation: Evaluation, dataset: "CachedDataset", path: Path) -> None:
    """Draw test images that ``linear_standardised`` got wrong, spread over the classes.

    Args:
        evaluation: What to draw.
        dataset: The images that were evaluated.
        path: PNG file; an existing one is replaced.
    """
    wrong = np.flatnonzero(~evaluation.correct("linear_standardised"))
    # Take one of each class in turn, so that the worst class does not fill the picture.
    truth = np.array(evaluation.truth)[wrong]
    turns = [np.count_nonzero(truth[:place] == label) for place, label in enumerate(truth)]
    shown = wrong[np.lexsort((truth, turns))][:_MISTAKES]
    columns = 6
    rows = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(1.9 * columns, 0.6 + 2.25 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    places = {printable(name): place for place, name in enumerate(dataset.paths)}
    for axes in panels:
        axes.set_axis_off()
    for axes, index in zip(panels, shown, strict=False):
        pixels = picture_of(dataset, places[evaluation.images[index]])
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)
        true, predicted = _names(
            evaluation.classes[label]
            for label in (
                evaluation.truth[index],
                evaluation.predicted["linear_standardised"][index],
            )
        )
        axes.set_title(f"{true}\nas {predicted}", fontsize=8, parse_math=False)
    more = f", {len(shown)} of them below" if len(shown) < len(wrong) else ""
    figure.suptitle(
        f"{printable(evaluation.dataset)}: {len(wrong):,} of {evaluation.n_test:,} test images "
        f"wrong{more}\n"
        f"{textwrap.shorten(printable(evaluation.encoder), 100)}, linear, standardised",
        fontsize=10,
        parse_math=False,
    )
    _save(figure, path)


def picture_of(dataset: "CachedDataset", index: int) -> NDArray[np.float32]:
    """Return an image to look at.

    Args:
        dataset: The data set of the image.
        index: Position of the image.

    Returns:
        (height, width, 3) in [0, 1], or (height, width, 1) if there are fewer than three bands;
        stretched between its 2nd and 98th percentile unless the bands are red, green and blue.
    """
    bands = rgb_positions(dataset.spec.bands) or [0]
    pixels: NDArray[np.float32] = dataset[index]["image"].numpy()[bands]
    if dataset.spec.bands != RGB:  # reflectances fill little of [0, 1]
        low, high = np.percentile(pixels, [2, 98])
        pixels = (pixels - low) / max(high - low, 1e-9)
    return pixels.clip(0, 1).transpose(1, 2, 0)


def draw_few_shot(report: EvaluationReport, path: Path) -> None:
    """Draw accuracy against the number of labelled images per class, one panel per classifier.

    Bars are the 95 % intervals over the draws; the encoders' points are drawn a little apart.

    Args:
        report: What to draw; it has few-shot scores.
        path: PNG file; an existing one is replaced.
    """
    first = report.encoders[0]
    height = 3.6 + 0.2 * len(report.encoders)
    figure = Figure(figsize=(11, height), layout="constrained")
    panels = figure.subplots(1, len(CLASSIFIERS), sharey=True)
    shots = [few.shots for few in first.few_shot]
    for axes, (classifier, title) in zip(panels, CLASSIFIERS.items(), strict=True):
        for place, evaluation in enumerate(report.encoders):
            scores = [few.scores[classifier] for few in evaluation.few_shot]
            apart = 1.03 ** (place - (len(report.encoders) - 1) / 2)
            axes.errorbar(
                [count * apart for count in shots],
                [100 * score.accuracy for score in scores],
                [
                    [100 * (score.accuracy - score.low) for score in scores],
                    [100 * (score.high - score.accuracy) for score in scores],
                ],
                fmt=".-",
                capsize=2,
                linewidth=1.4,
                color=_colour(place, evaluation),
                label=_label(evaluation) if axes is panels[0] else None,
            )
        axes.set_xscale("log")
        axes.set_xticks(shots, [str(count) for count in shots])
        axes.minorticks_off()
        axes.set_title(title)
        axes.set_xlabel("labelled images per class, K")
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("accuracy, %")
    figure.suptitle(f"{printable(first.dataset)}, {first.n_test:,} test images", parse_math=False)
    figure.legend(loc="outside lower center", frameon=False, ncols=2)
    _save(figure, path)


def _label(evaluation: Evaluation) -> str:
    return textwrap.fill(printable(evaluation.encoder), 80).replace("$", r"\$")


def _colour(place: int, evaluation: Evaluation) -> str:
    """Give each encoder a colour; the untrained one is grey."""
    return "0.7" if evaluation.encoder == "untrained" else f"C{place}"


def _names(names: Iterable[str]) -> list[str]:
    """Shorten names so that the longest leaves room for the axes."""
    cut = _LONGEST_NAME - 1
    return [
        name if len(name) <= _LONGEST_NAME else f"{name[:cut]}\N{HORIZONTAL ELLIPSIS}"
        for name in map(printable, names)
    ]


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=120)
