"""A run: the directory in which one command's work lies, and the work itself.

A pretraining run holds::

    recipe.yaml        the recipe, resolved: what --resume goes on with
    imagery.json       what was read, what was left out and why, identical images
    checkpoints/       last.ckpt, after every epoch
    metrics.csv        a row an epoch
    tensorboard/       the same, as events
    figures/           curves; after evaluation confusion matrices too
    encoder/           the encoder, once all epochs are done
    evaluation.json    after evaluation
"""

import hashlib
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from pydantic import ValidationError

from rs_otl.augment import operations_gallery
from rs_otl.datasets import Division, Imagery, ImageryDataModule, divide, load_imagery, read_image
from rs_otl.errors import InputError
from rs_otl.evaluation import (
    EvaluationReport,
    OnlineKNN,
    draw_confusion,
    draw_per_class,
    evaluate,
)
from rs_otl.export import CardScore, export_encoder
from rs_otl.files import written_aside
from rs_otl.models import TestView, create_encoder, load_encoder, read_config
from rs_otl.recipe import Recipe, make_recipe, read_recipe
from rs_otl.spec import RGB, EncoderConfig, load_size
from rs_otl.trainers import AtomicCheckpointIO, History, OTLTask, StderrProgressBar

RUNS = Path("runs")

# Files left out that are named on the terminal; all of them stand in imagery.json.
_NAMED = 20


def pretrain(
    recipe: Recipe,
    root: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train an encoder without labels and write the run.

    Args:
        recipe: What to do. With ``resume`` the run's own recipe stands.
        root: Where data sets lie; see :func:`rs_otl.datasets.data_root`.
        out: The run's directory; by default ``runs/pretrain/DATASET``.
        resume: Go on with the run in that directory from its last epoch.
        progress: Whether to show bars on stderr.

    Returns:
        The run's directory, its ``encoder/`` written.

    Raises:
        InputError: If the directory holds another run, the data cannot be used, or training
            diverges.
    """
    directory = out or run_directory("pretrain", recipe.dataset)
    checkpoint = directory / "checkpoints" / "last.ckpt"
    if resume:
        recipe = _resumable(directory)
        if (directory / "encoder").is_dir():
            print(f"{directory} is finished: nothing to resume", file=sys.stderr)
            return directory
    elif directory.exists() and any(path.name[0] != "." for path in directory.iterdir()):
        raise InputError(
            f"{directory} holds a run already: --resume goes on with it, --out DIR starts another"
        )
    recipe = recipe.model_copy(update={"precision": resolve_precision(recipe.precision)})
    init = None if recipe.init is None else find_encoder(recipe.init)

    imagery = load_imagery(recipe.dataset, load_size(recipe.image_size), root, progress=progress)
    division = divide(imagery, recipe.division, recipe.keep_duplicates_together)
    _tell(imagery, division)
    account = _account(imagery, division)
    resume = resume and checkpoint.exists()
    if resume and json.loads((directory / "imagery.json").read_text()) != account:
        raise InputError(
            f"{recipe.dataset}: not the images that {directory} was begun with (its imagery.json "
            "lists them): put them back, or start another run with --out DIR"
        )
    config = _describe(recipe, imagery, init)
    batch_size = min(recipe.batch_size, len(division.train))
    task = OTLTask(
        model=recipe.encoder,
        in_channels=len(config.spec.bands),
        clusters=recipe.clusters,
        heads=recipe.heads,
        hidden=recipe.hidden,
        views=recipe.views,
        augment=recipe.augment,
        size=recipe.image_size,
        mean=config.spec.mean,
        std=config.spec.std,
        rgb=config.spec.bands == RGB,
        lr=recipe.lr,
        milestones=recipe.milestones,
        milestone_lrs=recipe.milestone_lrs,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        relabel_every=recipe.relabel_every,
        decay=recipe.decay,
        seed=recipe.seed,
    )
    if init is not None:
        encoder, _ = load_encoder(init, bands=config.spec.bands, units=config.spec.units)
        task.encoder.load_state_dict(encoder.state_dict())

    directory.mkdir(parents=True, exist_ok=True)
    with written_aside(directory / "recipe.yaml") as aside:
        aside.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
    _write_json(directory / "imagery.json", account)

    callbacks: list[Callback] = [
        History(directory),
        ModelCheckpoint(checkpoint.parent, filename=checkpoint.stem, enable_version_counter=False),
    ]
    if imagery.labels is not None and len(division.test):
        view = TestView(recipe.image_size, config.spec.mean, config.spec.std)
        online = OnlineKNN(imagery, division.train, division.test, view, every=recipe.knn_every)
        callbacks.insert(0, online)
    if progress:
        callbacks.append(StderrProgressBar())
    _quiet_lightning()
    trainer = Trainer(
        max_epochs=recipe.epochs,
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        devices=1,
        logger=TensorBoardLogger(directory, name="tensorboard", version=""),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        enable_model_summary=False,
        enable_progress_bar=progress,
        num_sanity_val_steps=0,
    )
    data = ImageryDataModule(imagery, division.train, batch_size, recipe.seed, recipe.workers)
    try:
        trainer.fit(
            task,
            datamodule=data,
            ckpt_path=checkpoint if resume else None,
            weights_only=True,
        )
    except SystemExit:  # what Lightning makes of control-C
        raise KeyboardInterrupt from None
    export_encoder(task.encoder, config, directory / "encoder")
    if imagery.left_out:
        print(
            f"trained without {len(imagery.left_out):,} files that could not be used; "
            f"{directory / 'imagery.json'} names them",
            file=sys.stderr,
        )
    return directory


def evaluate_run(
    source: str,
    dataset: str,
    root: Path | None = None,
    out: Path | None = None,
    division: int | None = None,
    keep_duplicates_together: bool | None = None,
    seed: int = 0,
    progress: bool = False,
) -> tuple[EvaluationReport, Path]:
    """Judge an encoder, beside the same one untrained, by the labels of a data set.

    Args:
        source: A run, an encoder directory, or a data set pretrained on before.
        dataset: Name in the catalogue, or a folder of class sub-folders.
        root: Where data sets lie.
        out: Where ``evaluation.json`` and ``figures/`` go; by default beside the encoder, in
            ``evaluations/DATASET`` if it was trained on another data set.
        division: Number of the random 80/20 division; by default the run's own, else 1.
        keep_duplicates_together: Keep identical images on one side of it; by default as the run
            did, else true.
        seed: Of the untrained weights, the linear classifiers and the intervals.
        progress: Whether to show bars on stderr.

    Returns:
        The report, and the directory that it was written to.

    Raises:
        InputError: If the encoder cannot be loaded, the data set has no labels or other
            bands, or there is an evaluation already.
    """
    directory = find_encoder(source)
    config = read_config(directory)
    imagery = load_imagery(dataset, load_size(config.image_size), root, progress=progress)
    beside = directory.parent if directory.name == "encoder" else directory
    other = imagery.name != config.dataset
    out = out or (beside / "evaluations" / imagery.name if other else beside)
    if (out / "evaluation.json").exists():
        raise InputError(
            f"{out / 'evaluation.json'} exists already: --out DIR writes elsewhere, or remove it"
        )
    encoder, view = load_encoder(directory, imagery.spec.bands, imagery.spec.units)
    path = beside / "recipe.yaml"
    own = make_recipe(read_recipe(path), str(path)) if path.exists() else Recipe(dataset=dataset)
    together = keep_duplicates_together
    divided = divide(
        imagery,
        own.division if division is None else division,
        own.keep_duplicates_together if together is None else together,
    )
    _tell(imagery, divided)
    untrained = create_encoder(config.encoder, len(config.spec.bands), seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    judged, beginning = (
        evaluate(
            model, view, imagery, divided, name=name, device=device, seed=seed, progress=progress
        )
        for model, name in ((encoder, _title(config)), (untrained, "untrained"))
    )
    report = EvaluationReport(encoder=judged, untrained=beginning)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    draw_confusion(judged, out / "figures" / "confusion.png")
    draw_per_class(report, out / "figures" / "per_class.png")
    report.write(out / "evaluation.json")
    return report, out


def _title(config: EncoderConfig) -> str:
    return f"{config.encoder}, {config.dataset}, {config.epochs} epochs"


def draw_views(path: Path, output: Path, image_size: int) -> None:
    """Draw what every augmentation does to an image.

    Args:
        path: An image file.
        output: PNG to write.
        image_size: Side of a view in pixels.

    Raises:
        InputError: If the image cannot be read or ``output`` exists.
    """
    if output.exists():
        raise InputError(f"{output} exists already: choose another file")
    image = read_image(path, load_size(image_size))
    torch.manual_seed(0)
    figure = operations_gallery(image, image_size, rgb=len(image) == 3)
    with written_aside(output) as aside:
        figure.savefig(aside, format="png", dpi=100)


def run_directory(command: str, dataset: str) -> Path:
    """Return ``runs/COMMAND/DATASET``; a folder's name stands for a folder of images."""
    return RUNS / command / Path(dataset).resolve().name


def find_encoder(source: str) -> Path:
    """Find an encoder directory.

    Args:
        source: An encoder directory, a run, or the name of a data set that has a finished
            run at its default place.

    Returns:
        The encoder directory.

    Raises:
        InputError: If there is none, saying where it was looked for.
    """
    candidates = [Path(source), Path(source) / "encoder"]
    if "/" not in source:
        candidates.append(run_directory("pretrain", source) / "encoder")
    for candidate in candidates:
        if (candidate / "model.safetensors").is_file():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise InputError(
        f"encoder {source!r}: nothing at {looked}; expected a run, an encoder directory or a "
        "data set pretrained on before (`rs-otl pretrain NAME`); --init none starts from "
        "random weights"
    )


def resolve_precision(wanted: str) -> str:
    """Return ``float32`` or ``bf16``; ``auto`` is bf16 where the processor multiplies it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # PyTorch has no public question for this.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "float32"


def _resumable(directory: Path) -> Recipe:
    path = directory / "recipe.yaml"
    if not path.is_file():
        raise InputError(f"{directory}: no run to resume there (it has no recipe.yaml)")
    return make_recipe(read_recipe(path), str(path))


def _describe(recipe: Recipe, imagery: Imagery, init: Path | None) -> EncoderConfig:
    """Return what will travel with the encoder.

    Images are normalised as the weights it starts from expect, else as the data set says.
    """
    spec = imagery.spec
    if init is not None:
        started = read_config(init)
        if started.encoder != recipe.encoder:
            raise InputError(
                f"{init} is a {started.encoder}, the recipe wants {recipe.encoder}: expected "
                f"the same; --set encoder={started.encoder}"
            )
        spec = spec.model_copy(update={"mean": started.spec.mean, "std": started.spec.std})
    return EncoderConfig(
        encoder=recipe.encoder,
        image_size=recipe.image_size,
        spec=spec,
        dataset=imagery.name,
        epochs=recipe.epochs,
    )


def _account(imagery: Imagery, division: Division) -> dict[str, Any]:
    """Return what was read, what was not, and which images are identical."""
    return {
        "dataset": imagery.name,
        "images": len(imagery),
        "pixels": hashlib.blake2b(imagery.hashes.tobytes(), digest_size=16).hexdigest(),
        "train": len(division.train),
        "test": len(division.test),
        "left_out": {item.path: item.reason for item in imagery.left_out},
        "missing": imagery.missing,
        "identical": [list(group) for group in division.duplicates.groups],
        "conflicting_labels": [list(pair) for pair in division.duplicates.conflicts],
        "test_images_also_in_training": division.duplicates.leaks,
    }


def _tell(imagery: Imagery, division: Division) -> None:
    """Say on stderr what the images are and what is odd about them."""
    lines = [
        f"{imagery.name}: {len(imagery):,} images, {len(division.train):,} to train on, "
        f"{len(division.test):,} to test on"
    ]
    if imagery.missing:
        lines.append(f"a partial copy: {imagery.missing}")
    if imagery.left_out:
        lines.append(f"left out {len(imagery.left_out):,}:")
        lines += [f"  {item.path}: {item.reason}" for item in imagery.left_out[:_NAMED]]
        if len(imagery.left_out) > _NAMED:
            lines.append(f"  and {len(imagery.left_out) - _NAMED:,} more, see imagery.json")
    duplicates = division.duplicates
    if duplicates.groups:
        lines.append(
            f"{len(duplicates.groups):,} groups of identical images; {duplicates.leaks:,} test "
            "images have an identical one in training"
        )
    lines += [f"  identical but labelled apart: {a} and {b}" for a, b in duplicates.conflicts]
    print("\n".join(lines), file=sys.stderr)


def _write_json(path: Path, value: Any) -> None:
    with written_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=2) + "\n")


def _quiet_lightning() -> None:
    """Silence what Lightning says of choices made here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # images in memory need none
        ".*The number of training batches.*",  # the log is an epoch's, not a step's
        ".*Checkpoint directory .* exists and is not empty.*",  # when resuming
        ".*tensorboardX.*",
        ".*LeafSpec.* is deprecated.*",  # of Lightning's own making
    ):
        warnings.filterwarnings("ignore", message)


def export_run(source: str, to: Path, onnx: bool = False) -> Path:
    """Export an encoder with what its run says of it: the recipe and the scores.

    Args:
        source: A run, an encoder directory, or a data set pretrained on before.
        to: Directory to write; must be new.
        onnx: Write an ONNX model too.

    Returns:
        The encoder directory that was exported.

    Raises:
        InputError: If there is no such encoder or ``to`` cannot be written.
    """
    found = find_encoder(source)
    encoder, _ = load_encoder(found)
    beside = found.parent if found.name == "encoder" else found
    path = beside / "recipe.yaml"
    recipe = read_recipe(path) if path.exists() else None
    scores = []
    for path in (beside / "evaluation.json", *sorted(beside.glob("evaluations/*/evaluation.json"))):
        if path.exists():
            scores += _card_scores(path)
    export_encoder(encoder, read_config(found), to, recipe, scores, onnx)
    return found


def _card_scores(path: Path) -> list[CardScore]:
    """Return the first encoder's scores; none, with a word on stderr, if they are not readable."""
    try:
        judged = EvaluationReport.model_validate_json(path.read_text(encoding="utf-8")).encoder
    except ValidationError:
        print(f"{path} is of another version: its scores are left out", file=sys.stderr)
        return []
    measures = {f"kNN, k = {k}": score for k, score in judged.knn.items()}
    measures |= {"linear": judged.linear, "linear, standardised": judged.linear_standardised}
    return [
        CardScore(judged.dataset, measure, score.accuracy, score.low, score.high)
        for measure, score in measures.items()
    ]
