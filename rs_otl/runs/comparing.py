"""Judging encoders beside each other, on the same images."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import torch
from torch import nn

from rs_otl.datasets import CachedDataset, Division, divide, load_dataset
from rs_otl.errors import InputError
from rs_otl.evaluation import (
    Evaluation,
    EvaluationReport,
    draw_confusion,
    draw_few_shot,
    draw_per_class,
    evaluate,
)
from rs_otl.models import (
    TestView,
    WeightsUnavailableError,
    check_imagery,
    create_encoder,
    open_encoder,
    read_config,
)
from rs_otl.recipe import Recipe, make_recipe, read_recipe
from rs_otl.runs.paths import RUNS, find_source, run_directory, run_of
from rs_otl.runs.summary import tell
from rs_otl.spec import EncoderConfig, load_size

# What anybody with RGB imagery can have without training: its row stands in every table.
BASELINE = "timm/tf_efficientnet_lite0"


def evaluate_encoders(
    sources: Sequence[str],
    dataset: str,
    root: Path | None = None,
    out: Path | None = None,
    division: int | None = None,
    keep_duplicates_together: bool | None = None,
    shots: Sequence[int] = (),
    image_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[EvaluationReport, Path]:
    """Judge encoders by the labels of a data set, on identical divisions and draws.

    The first is the encoder in question; the table sets it beside the others, beside the same
    architecture untrained and beside frozen ImageNet weights (:data:`BASELINE`).

    Args:
        sources: Encoders, as :func:`find_source` takes them.
        dataset: Name in the catalogue, or a folder of class sub-folders.
        root: Where data sets lie.
        out: Where ``evaluation.json`` and ``figures/`` go. By default beside a single encoder
            (in ``evaluations/DATASET`` if it was trained on another data set), and in
            ``runs/evaluate/DATASET`` for several or for weights of others.
        division: Number of the random 80/20 division; by default that of the first encoder's
            own run, else 1.
        keep_duplicates_together: Keep identical images on one side of it; by default as that
            run did, else true.
        shots: Numbers of labelled images a class for few-shot scores; none without.
        image_size: Side of the test views; by default each encoder's own, and for weights of
            others that of the first.
        seed: Of the untrained weights, the draws, the linear classifiers and the intervals.
        progress: Whether to show bars on stderr.

    Returns:
        The report, and the directory that it was written to.

    Raises:
        InputError: If the first encoder or any run's cannot be loaded, the data set has no
            labels or other bands than the first encoder, or there is an evaluation already.
    """
    found = {source: find_source(source) for source in sources}
    first = found[sources[0]]
    beside = run_of(first)
    own = _recipe_of(beside, dataset)
    if out is None:
        out = run_directory("evaluate", dataset)
        if len(sources) == 1 and beside is not None:
            name = Path(dataset).resolve().name
            same = read_config(Path(first)).dataset == name
            out = beside if same else beside / "evaluations" / name
    together = keep_duplicates_together
    return compare(
        found,
        dataset,
        out,
        root=root,
        division=own.division if division is None else division,
        keep_duplicates_together=own.keep_duplicates_together if together is None else together,
        shots=shots,
        image_size=image_size,
        seed=seed,
        progress=progress,
    )


def compare(
    encoders: Mapping[str, str | Path],
    dataset: str,
    out: Path,
    *,
    root: Path | None,
    division: int,
    keep_duplicates_together: bool,
    shots: Sequence[int],
    image_size: int | None,
    seed: int,
    progress: bool,
) -> tuple[EvaluationReport, Path]:
    """Judge encoders under the names given, as :func:`evaluate_encoders` does.

    The baseline and the untrained encoder are added to them.
    """
    if (out / "evaluation.json").exists():
        raise InputError(
            f"{out / 'evaluation.json'} exists already: --out DIR writes elsewhere, or remove it"
        )
    if BASELINE not in encoders.values():
        encoders = {**encoders, BASELINE: BASELINE}
    refused: dict[str, str] = {}
    opened = _open(encoders, image_size, refused)
    _, first = next(iter(opened.values()))
    opened["untrained"] = (create_encoder(first.encoder, len(first.spec.bands), seed), first)

    @cache
    def images(size: int) -> tuple[CachedDataset, Division]:
        imagery = load_dataset(dataset, load_size(size), root, progress=progress)
        return imagery, divide(imagery, division, keep_duplicates_together)

    tell(*images(first.image_size))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    judged: list[Evaluation] = []
    for name, (encoder, config) in opened.items():
        imagery, divided = images(config.image_size)
        try:
            check_imagery(config, imagery.spec.bands, imagery.spec.units, name)
        except InputError as error:
            if not judged:  # the encoder in question
                raise
            refused[name] = str(error)
            continue
        view = TestView(config.image_size, config.spec.mean, config.spec.std)
        judged.append(
            evaluate(
                encoder,
                view,
                imagery,
                divided,
                name=name,
                shots=shots,
                device=device,
                seed=seed,
                progress=progress,
                features_folder=RUNS / "features",
            )
        )
    report = EvaluationReport(encoders=tuple(judged), skipped=refused)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    draw_confusion(judged[0], out / "figures" / "confusion.png")
    draw_per_class(report, out / "figures" / "per_class.png")
    if shots:
        draw_few_shot(report, out / "figures" / "few_shot.png")
    report.write(out / "evaluation.json")
    return report, out


def _open(
    encoders: Mapping[str, str | Path], image_size: int | None, refused: dict[str, str]
) -> dict[str, tuple[nn.Module, EncoderConfig]]:
    """Open encoders by name; those whose weights cannot be had go to ``refused``.

    The first must open. Weights of others have no size of their own here: they are shown what
    the first is shown.
    """
    opened: dict[str, tuple[nn.Module, EncoderConfig]] = {}
    for name, source in encoders.items():
        size = image_size
        if opened and isinstance(source, str):
            _, first = next(iter(opened.values()))
            size = size or first.image_size
        try:
            opened[name] = open_encoder(source, size)
        except WeightsUnavailableError as error:
            if not opened:
                raise
            refused[name] = str(error)
    return opened


def _recipe_of(run: Path | None, dataset: str) -> Recipe:
    """Return a run's recipe, or the default one."""
    path = run and run / "recipe.yaml"
    if path and path.exists():
        return make_recipe(read_recipe(path), str(path))
    return Recipe(dataset=dataset)
