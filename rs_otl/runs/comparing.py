"""Evaluating encoders beside each other, on the same images."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from rs_otl.datasets import CachedDataset, Division, divide, load_dataset
from rs_otl.datasets.remote import dataset_name
from rs_otl.errors import InputError
from rs_otl.evaluation import (
    Evaluation,
    EvaluationReport,
    draw_confusion,
    draw_few_shot,
    draw_mistakes,
    draw_per_class,
    evaluate,
    stages,
)
from rs_otl.files import RUNS, locked, refuse_existing
from rs_otl.models import (
    Encoder,
    WeightsUnavailableError,
    is_weights_name,
    load_encoder,
    untrained_encoder,
)
from rs_otl.runs.paths import run_directory, run_of
from rs_otl.runs.records import recipe_of
from rs_otl.runs.summary import print_images
from rs_otl.spec import ImageSpec, Values, load_size

# Everybody with RGB images can use it without training: every table has a row for it.
BASELINE = "timm/tf_efficientnet_lite0"

Source = str | Path | Encoder


def evaluate_encoders(
    sources: Source | Sequence[Source],
    dataset: str | Path,
    root: str | Path | None = None,
    out: str | Path | None = None,
    division: int | None = None,
    keep_duplicates_together: bool | None = None,
    shots: Sequence[int] = (),
    layers: bool = False,
    image_size: int | None = None,
    pool: str | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = False,
    values: Values | None = None,
    bands: Sequence[str] | None = None,
) -> tuple[EvaluationReport, Path]:
    """Evaluate encoders by the labels of a data set, on identical divisions and draws.

    The first encoder is the one in question. The table compares it with the others, with the same
    architecture untrained and with frozen ImageNet weights (:data:`BASELINE`).

    Args:
        sources: One encoder or several, as :func:`rs_otl.models.load_encoder` takes them.
        dataset: Name in the catalogue, or a folder of class sub-folders.
        root: Where data sets lie.
        out: Where ``evaluation.json`` and ``figures/`` go. By default in the run of a single
            encoder (in its ``evaluations/DATASET`` if it was trained on another data set), and in
            ``runs/evaluate/DATASET`` for several or for weights by name.
        division: Number of the random 80/20 division; by default that of the first encoder's
            run, or 1 if it has none.
        keep_duplicates_together: Keep identical images on one side of the division; by default as
            in that run, or true.
        shots: Numbers of labelled images per class for few-shot scores; none by default.
        layers: Whether to probe every stage of the encoders.
        image_size: Side of the images that encoders see; by default each encoder's own, and the
            first one's for weights by name.
        pool: What features of vision transformers are made of, ``"cls"`` or ``"mean"``; by default
            each one's own rule.
        seed: Seed of the untrained weights, the draws, the linear classifiers and the intervals.
        overwrite: Replace an evaluation that exists.
        progress: Whether to show bars on stderr.
        values: What stored values of a folder stand for, if files do not say it or are wrong; by
            default as in the first encoder's run, if it was trained on the folder.
        bands: Bands of a folder's images to use; the same default as for ``values``.

    Returns:
        The report, and the directory that it was written to.

    Raises:
        InputError: If the first encoder or that of a run cannot be loaded, if the first encoder has
            no stages to probe, if the data set has no labels or lacks bands of the first encoder,
            or if there is an evaluation already.
    """
    dataset = str(dataset)
    sources = [sources] if isinstance(sources, Source) else list(sources)
    if not sources:
        raise InputError("no encoder to evaluate: expected at least one in sources")
    encoders = {
        source.source if isinstance(source, Encoder) else str(source): source for source in sources
    }
    name, first_source = next(iter(encoders.items()))
    first = load_encoder(first_source, image_size=image_size, pool=pool, device="auto")
    run = run_of(first.path)
    recipe = recipe_of(run, dataset)
    if out is None:
        out = run_directory("evaluate", dataset)
        if len(encoders) == 1 and run is not None:
            folder = dataset_name(dataset)
            out = run if first.config.dataset == folder else run / "evaluations" / folder
    together = keep_duplicates_together
    if together is None:
        together = recipe.keep_duplicates_together
    with locked(Path(out)):
        return compare(
            encoders | {name: first},
            dataset,
            Path(out),
            root=root,
            division=recipe.division if division is None else division,
            keep_duplicates_together=together,
            shots=shots,
            layers=layers,
            image_size=image_size,
            pool=pool,
            seed=seed,
            overwrite=overwrite,
            progress=progress,
            values=values or recipe.values,
            bands=bands or recipe.bands,
        )


def compare(
    encoders: Mapping[str, str | Path | Encoder],
    dataset: str,
    out: Path,
    *,
    root: str | Path | None,
    division: int,
    keep_duplicates_together: bool,
    shots: Sequence[int],
    image_size: int | None,
    pool: str | None,
    seed: int,
    overwrite: bool,
    progress: bool,
    values: Values | None = None,
    bands: Sequence[str] | None = None,
    layers: bool = False,
) -> tuple[EvaluationReport, Path]:
    """Evaluate encoders under the given names, as :func:`evaluate_encoders` does.

    The baseline and the untrained encoder are added. The caller must have locked ``out``.
    """
    if not overwrite:
        refuse_existing(
            out / "evaluation.json",
            "exists already: rs-otl evaluate --overwrite replaces it, --out DIR writes elsewhere",
        )
    sources = [one.source if isinstance(one, Encoder) else one for one in encoders.values()]
    if BASELINE not in sources:
        encoders = {**encoders, BASELINE: BASELINE}
    skipped: dict[str, str] = {}
    loaded = _load(encoders, image_size, pool, skipped)
    first = next(iter(loaded.values()))
    loaded["untrained"] = untrained_encoder(first.config, seed).to(first.device)

    @cache
    def images(size: int, like: ImageSpec) -> tuple[CachedDataset, Division]:
        loaded_images = load_dataset(
            dataset,
            load_size(size),
            root,
            progress=progress,
            values=values,
            bands=bands,
            like=like,
        )
        return loaded_images, divide(loaded_images, division, keep_duplicates_together)

    def images_for(encoder: Encoder) -> tuple[CachedDataset, Division]:
        """Load images once for all encoders that take the same values."""
        spec = first.config.spec
        if encoder.config.spec.bounds != (0, 255):
            spec = encoder.config.spec
        alike = (spec.bounds, spec.quantity, spec.units)
        like = likes.setdefault(alike, spec)
        return images(encoder.config.image_size, like)

    likes: dict[object, ImageSpec] = {}
    print_images(*images_for(first))
    evaluations: list[Evaluation] = []
    for name, encoder in loaded.items():
        loaded_images, divided = images_for(encoder)
        try:
            positions = encoder.bands_among(loaded_images.spec)
            probed = range(len(stages(encoder))) if layers else ()
        except InputError as error:
            if not evaluations:  # the encoder in question
                raise
            skipped[name] = str(error)
            continue
        loaded_images = loaded_images.of_bands(positions, encoder.config.spec)
        evaluations.append(
            evaluate(
                encoder,
                loaded_images,
                divided,
                name=name,
                shots=shots,
                layers=probed,
                seed=seed,
                progress=progress,
                features_folder=RUNS / "features",
            )
        )
    report = EvaluationReport(encoders=tuple(evaluations), skipped=skipped)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    draw_confusion(evaluations[0], out / "figures" / "confusion.png")
    draw_per_class(report, out / "figures" / "per_class.png")
    draw_mistakes(evaluations[0], images_for(first)[0], out / "figures" / "mistakes.png")
    if shots:
        draw_few_shot(report, out / "figures" / "few_shot.png")
    report.write(out / "evaluation.json")
    return report, out


def _load(
    encoders: Mapping[str, str | Path | Encoder],
    image_size: int | None,
    pool: str | None,
    skipped: dict[str, str],
) -> dict[str, Encoder]:
    """Load encoders by name; put those whose weights cannot be fetched into ``skipped``.

    The first encoder must load. By default weights by name see images of the first encoder's size.
    """
    loaded: dict[str, Encoder] = {}
    for name, source in encoders.items():
        size = image_size
        if loaded and is_weights_name(source):
            size = size or next(iter(loaded.values())).config.image_size
        try:
            loaded[name] = load_encoder(
                source,
                image_size=size,
                pool=None if source == BASELINE else pool,  # the user may not have chosen it
                device="auto",
            )
        except WeightsUnavailableError as error:
            if not loaded:
                raise
            skipped[name] = str(error)
    return loaded
