"""The paper's tables and figures of labels alone: no image is needed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from rs_otl.bench import draw_labels, made_up_outputs
from rs_otl.clustering import balanced_labels, discriminativeness
from rs_otl.reproduce.published import CLUSTERINGS

# Rows and clusters of the matrices, as in the paper; for ImageNet a tenth at the quick scale.
_ROWS, _CLUSTERS = 50_000, 1_000
_IMAGENET = {"paper": (1_280_000, 3_000), "quick": (128_000, 300)}


@dataclass(frozen=True)
class Number:
    """A number beside the paper's.

    Attributes:
        row: The setting, such as N and k.
        column: What was measured.
        published: The paper's number; ``None`` if the paper has only a picture, or nothing.
        ours: Our number.
    """

    row: str
    column: str
    published: float | None
    ours: float


@dataclass(frozen=True)
class LabelEntry:
    """A table or figure of labels.

    Attributes:
        title: What it shows.
        make: Makes its numbers, given a scale and a folder for pictures.
        claim: What the paper says about it, in words.
        holds: Whether the numbers support the claim.
    """

    title: str
    make: Callable[[str, Path], list[Number]]
    claim: str
    holds: Callable[[list[Number]], bool]


def _pairs(name: str) -> Callable[[str, Path], list[Number]]:
    def make(scale: str, folder: Path) -> list[Number]:
        numbers = []
        for sizes, within, across in CLUSTERINGS[name]:
            labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
            pairs = discriminativeness(labels)
            row = "clusters of " + ", ".join(map(str, sizes))
            numbers += [
                Number(row, "pairs within a cluster", within, pairs.indistinguishable),
                Number(row, "pairs across clusters", across, pairs.distinguishable),
            ]
        return numbers

    return make


def _decays(scale: str, folder: Path) -> list[Number]:
    outputs = made_up_outputs("random", _ROWS, 128, "float32")
    draw_labels(outputs, folder)
    numbers = []
    for decay in (1.5, 2.0, 4.0, 6.0, 10.0, 50.0):
        made = balanced_labels(outputs, method="translation-paper", decay=decay)
        row = f"N = {_ROWS:,}, k = 128, beta = {decay:g}"
        numbers.append(Number(row, "std before", None, made.initial_std))
        numbers.append(Number(row, "std after Algorithm 1", None, made.std))
    return numbers


def _by_clusters() -> Iterator[tuple[str, torch.Tensor]]:
    outputs = made_up_outputs("random", _ROWS, _CLUSTERS, "float32")
    for k in (50, 100, 200, 500, _CLUSTERS):
        yield f"N = {_ROWS:,}, k = {k:,}", outputs[:, :k].contiguous()


def _iterations(scale: str, folder: Path) -> list[Number]:
    numbers = []
    for row, outputs in _by_clusters():
        made = balanced_labels(outputs, method="translation-paper")
        near = next(i for i, std in enumerate(made.stds) if std < 0.1 * made.stds[0])
        numbers.append(Number(row, "steps to a tenth of the std", 20, near))
        numbers.append(Number(row, "steps until it ends", None, made.iterations))
    return numbers


def _against_sinkhorn(scale: str, folder: Path) -> list[Number]:
    return [
        Number(row, f"std, {method}", None, balanced_labels(outputs, method=method).std)
        for row, outputs in _by_clusters()
        for method in ("sinkhorn", "translation-paper", "translation")
    ]


def _imagenet(scale: str, folder: Path) -> list[Number]:
    rows, clusters = _IMAGENET[scale]
    made = balanced_labels(made_up_outputs("random", rows, clusters, "bf16"))
    row = f"N = {rows:,}, k = {clusters:,}, random, bfloat16"
    return [
        Number(row, "std before", None, made.initial_std),
        Number(row, "std after", 1.07, made.std),
    ]


def _as_published(numbers: list[Number]) -> bool:
    return all(number.ours == number.published for number in numbers)


def _column(numbers: list[Number], column: str) -> list[float]:
    return [number.ours for number in numbers if number.column == column]


_EVENLY = "the more even the clusters, the more pairs are told apart"
LABEL_ENTRIES: dict[str, LabelEntry] = {
    "figure-4": LabelEntry(
        "Algorithm 1 for several decay rates, on random outputs",
        _decays,
        "the labels are even for every decay rate",
        lambda numbers: (
            max(_column(numbers, "std after Algorithm 1"))
            < 0.1 * min(_column(numbers, "std before"))
        ),
    ),
    "figure-5": LabelEntry(
        "Algorithm 1 for several numbers of clusters, on random outputs",
        _iterations,
        "around 20 steps or fewer for every number of clusters",
        lambda numbers: max(_column(numbers, "steps to a tenth of the std")) <= 20,
    ),
    "figure-6": LabelEntry(
        "Sinkhorn-Knopp beside translation, on random outputs",
        _against_sinkhorn,
        "translation comes nearer to even clusters than Sinkhorn-Knopp, for every k",
        lambda numbers: all(
            ours < theirs
            for ours, theirs in zip(
                _column(numbers, "std, translation-paper"),
                _column(numbers, "std, sinkhorn"),
                strict=True,
            )
        ),
    ),
    "figure-7": LabelEntry(
        "Labels of ImageNet's size",
        _imagenet,
        "so many images are labelled evenly (the paper's 1.28 million; a tenth at the quick scale)",
        lambda numbers: _column(numbers, "std after")[0] <= 1.07,
    ),
    **{
        name: LabelEntry(
            f"Pairs told apart by {len(CLUSTERINGS[name][0][0])} clusters of four images",
            _pairs(name),
            _EVENLY,
            _as_published,
        )
        for name in CLUSTERINGS
    },
}
