"""Methods of labelling compared on one matrix of outputs."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.clustering import balanced_labels
from rs_otl.datasets import load_dataset
from rs_otl.errors import InputError
from rs_otl.evaluation import extract_features
from rs_otl.files import atomic_write
from rs_otl.memory import GIB, available_bytes
from rs_otl.models import Encoder, OutputHeads
from rs_otl.runs.paths import run_of
from rs_otl.runs.records import recipe_of
from rs_otl.spec import load_size
from rs_otl.trainers import read_metrics

COMPARED = ("translation", "translation-paper", "sinkhorn", "kmeans")
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Result = TypeVar("Result")
# Rows drawn at once, so that a half-precision matrix never exists in float32 as a whole.
_DRAWN = 1 << 14


def now() -> float:
    """Return the time in seconds, once the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class LabelRow(NamedTuple):
    """What a method did.

    Attributes:
        method: See :func:`rs_otl.clustering.balanced_labels`; ``argmax`` is not a method, but the
            plain pass over the outputs that the methods are compared with.
        std: Standard deviation of the cluster sizes, in rows.
        least: Rows in the smallest cluster.
        most: Rows in the largest cluster.
        score: Mean of the chosen outputs: of equally even methods, the one with more is better.
        iterations: Phases, steps or scalings.
        seconds: Seconds of the call, including checks and the counts before translation.
        passes: ``seconds`` divided by the time of a plain pass.
        memory: Most memory that the call takes in addition to the outputs, in MiB; ``None`` where
            it cannot be measured.
    """

    method: str
    std: float
    least: int
    most: int
    score: float
    iterations: int
    seconds: float
    passes: float
    memory: float | None


def made_up_outputs(kind: str, rows: int, clusters: int, dtype: str, seed: int = 0) -> Tensor:
    """Draw outputs.

    Args:
        kind: ``random``: independent normal numbers; or ``correlated``: of rank 16, with a
            different offset for each cluster, like outputs of a network that has begun to learn.
        rows: N.
        clusters: k.
        dtype: ``float32``, ``bf16`` or ``fp16``.
        seed: Seed of the numbers.

    Returns:
        ``(N, k)``.

    Raises:
        InputError: If memory does not hold them.
    """
    needed = rows * clusters * DTYPES[dtype].itemsize
    if needed > available_bytes():
        raise InputError(
            f"{rows:,} rows x {clusters:,} clusters take {needed / GIB:,.1f} GiB, "
            f"{available_bytes() / GIB:,.1f} GiB of memory are free: expected fewer"
        )
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.empty(rows, clusters, dtype=DTYPES[dtype])
    mixing = torch.randn(16, clusters, generator=generator)
    offsets = 3 * torch.randn(clusters, generator=generator)
    for chunk in outputs.split(_DRAWN):
        if kind == "random":
            chunk.copy_(torch.randn(len(chunk), clusters, generator=generator))
        else:
            factors = torch.randn(len(chunk), 16, generator=generator)
            chunk.copy_(factors @ mixing + offsets)
    return outputs


def encoder_outputs(
    encoder: Encoder, dataset: str, clusters: int, root: Path | None = None
) -> Tensor:
    """Return an encoder's outputs on real images, from a linear head as at the start of training.

    Args:
        encoder: The encoder.
        dataset: Name in the catalogue, or a folder.
        clusters: k.
        root: Where data sets lie.

    Returns:
        ``(N, k)`` float32.

    Raises:
        InputError: If the images cannot be loaded, or have other bands or units than the encoder
            was trained on.
    """
    recipe = recipe_of(run_of(encoder.path), dataset)
    imagery = load_dataset(
        dataset,
        load_size(encoder.config.image_size),
        root,
        values=recipe.values,
        bands=recipe.bands,
        like=encoder.config.spec,
    )
    encoder.check(imagery.spec.bands, imagery.spec.units)
    features = extract_features(encoder, imagery, range(len(imagery)))
    torch.manual_seed(0)
    with torch.no_grad():
        return OutputHeads(features.shape[1], clusters)(features)[0]


def bench_labels(
    outputs: Tensor, methods: Sequence[str] = COMPARED, rounds: int = 3
) -> list[LabelRow]:
    """Label outputs by each method, in turn with plain passes over them.

    Args:
        outputs: ``(N, k)``.
        methods: Methods to compare.
        rounds: Times that each method is measured; the median is reported.

    Returns:
        A row for the plain pass, and a row for every method.
    """
    plain = [_timed(lambda: outputs.argmax(1))[0]]
    counts = outputs.argmax(1).bincount(minlength=outputs.shape[1])
    rows = []
    for method in methods:
        balanced_labels(outputs[: max(2000, 2 * outputs.shape[1])], method=method)  # compiles
        seconds = []
        for _ in range(rounds):
            plain.append(_timed(lambda: outputs.argmax(1))[0])
            memory = _PeakMemory()
            taken, result = _timed(partial(balanced_labels, outputs, method=method))
            seconds.append(taken)
        rows.append((method, result, statistics.median(seconds), memory.taken()))
    a_pass = statistics.median(plain)
    std = float((counts - len(outputs) / len(counts)).square().mean().sqrt())
    table = [_row("argmax", outputs, outputs.argmax(1), std, 0, a_pass, a_pass, None)]
    for method, result, taken, extra in rows:
        table.append(
            _row(
                method, outputs, result.labels, result.std, result.iterations, taken, a_pass, extra
            )
        )
    return table


def labels_text(rows: Sequence[LabelRow]) -> str:
    """Return rows as a Markdown table."""
    lines = [
        "| | std | sizes | mean output | iterations | seconds | passes | extra MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        memory = "" if row.memory is None else f"{row.memory:,.0f}"
        lines.append(
            f"| {row.method} | {row.std:.2f} | {row.least} to {row.most} | {row.score:.4f} "
            f"| {row.iterations or ''} | {row.seconds:.3f} | {row.passes:.1f} | {memory} |"
        )
    return "\n".join(lines)


def draw_labels(outputs: Tensor, folder: Path, run: Path | None = None) -> list[Path]:
    """Draw the paper's figures 4 to 7 from given outputs.

    ``decay.png``: std of the cluster sizes against the steps of the authors' loop, for several
    decay rates beta, and the std of the exact solver. ``clusters.png``: std against steps for
    several k. ``sinkhorn.png``: std against k, of translation and Sinkhorn-Knopp. ``epochs.png``,
    for a run: std and the time that labels took in each of its epochs.

    Args:
        outputs: ``(N, k)``.
        folder: Where the pictures go; created if needed.
        run: A run's directory, with its ``metrics.csv``.

    Returns:
        The pictures.

    Raises:
        InputError: If a picture is there already, or the run has no metrics.
    """
    names = ["decay.png", "clusters.png", "sinkhorn.png"] + (["epochs.png"] if run else [])
    paths = [folder / name for name in names]
    for path in paths:
        if path.exists():
            raise InputError(f"{path} exists already: choose another folder, or remove it")
    history = _history(run) if run else None
    folder.mkdir(parents=True, exist_ok=True)
    k = outputs.shape[1]
    exact = balanced_labels(outputs)
    curves = {
        f"beta = {decay:g}": balanced_labels(outputs, method="translation-paper", decay=decay).stds
        for decay in (1.5, 2, 4, 6, 10, 50)
    }
    _draw_stds(paths[0], curves, f"N = {len(outputs):,}, k = {k}", ("exact", exact.std))
    numbers = sorted({max(2, k // part) for part in (16, 8, 4, 2, 1)})
    curves = {
        f"k = {number}": balanced_labels(outputs[:, :number], method="translation-paper").stds
        for number in numbers
    }
    _draw_stds(paths[1], curves, f"N = {len(outputs):,}, beta = 1.5", None)
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    numbers = sorted({max(2, k * part // 8) for part in range(1, 9)})
    for method in ("sinkhorn", "translation-paper", "translation"):
        stds = [balanced_labels(outputs[:, :n].contiguous(), method=method).std for n in numbers]
        axes.plot(numbers, stds, ".-", label=method)
    axes.set_yscale("symlog", linthresh=0.5)
    axes.set_ylim(bottom=0)
    _finish(figure, paths[2], "clusters k", "std of cluster sizes (rows)")
    if history:
        figure = Figure(figsize=(7, 5), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        upper.plot(history["epoch"], history["initial_std"], ".-", label="before translation")
        upper.plot(history["epoch"], history["std"], ".-", label="after")
        upper.set_yscale("symlog", linthresh=1)
        upper.set_ylim(bottom=0)
        upper.set_ylabel("std of cluster sizes (images)")
        lower.plot(history["epoch"], history["label_seconds"], ".-", label="pass and labels")
        lower.set_ylim(bottom=0)
        _finish(figure, paths[3], "epoch", "seconds")
    return paths


def _timed(call: Callable[[], Result]) -> tuple[float, Result]:
    began = now()
    result = call()
    return now() - began, result


def _row(
    method: str,
    outputs: Tensor,
    labels: Tensor,
    std: float,
    iterations: int,
    seconds: float,
    a_pass: float,
    memory: float | None,
) -> LabelRow:
    counts = labels.bincount(minlength=outputs.shape[1])
    chosen = outputs.gather(1, labels[:, None])
    return LabelRow(
        method,
        std,
        int(counts.min()),
        int(counts.max()),
        float(chosen.double().mean()),
        iterations,
        seconds,
        seconds / a_pass,
        memory,
    )


class _PeakMemory:
    """The most memory that this process takes from now on, in addition to what it has now."""

    def __init__(self) -> None:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets the peak
            self._had: int | None = _status("VmRSS")
        except OSError:
            self._had = None  # not Linux

    def taken(self) -> float | None:
        """Return MiB."""
        return None if self._had is None else (_status("VmHWM") - self._had) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def _history(run: Path) -> dict[str, list[float]]:
    names = ("epoch", "initial_std", "std", "label_seconds")
    epochs = [epoch for epoch in read_metrics(run) if set(names) <= epoch.keys()]
    if not epochs:
        raise InputError(
            f"{run}: expected a run whose metrics.csv has initial_std, std and label_seconds"
        )
    return {name: [epoch[name] for epoch in epochs] for name in names}


def _draw_stds(
    path: Path,
    curves: Mapping[str, NDArray[np.float64]],
    title: str,
    level: tuple[str, float] | None,
) -> None:
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, stds in curves.items():
        axes.plot(range(len(stds)), stds, label=name)
    if level:
        axes.axhline(level[1], color="black", linestyle="--", label=level[0])
    axes.set_yscale("symlog", linthresh=0.5)
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    _finish(figure, path, "step", "std of cluster sizes (rows)")


def _finish(figure: Figure, path: Path, x: str, y: str) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(edgecolor="none", framealpha=0.9)
    figure.axes[-1].set_xlabel(x)
    figure.axes[-1].set_ylabel(y)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=120)
