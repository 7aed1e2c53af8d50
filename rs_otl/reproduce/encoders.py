"""Train and evaluate the encoders of the tables; an encoder of several tables is trained once."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from rs_otl.datasets import CATALOGUE, CachedDataset, data_root, divide, load_dataset
from rs_otl.errors import InputError
from rs_otl.evaluation import Evaluation, evaluate
from rs_otl.files import atomic_write
from rs_otl.models import load_encoder, untrained_encoder
from rs_otl.models.encoder import resolve_device
from rs_otl.recipe import Recipe, recipe_for
from rs_otl.reproduce.published import EncoderTable, Trained
from rs_otl.runs import pretrain
from rs_otl.runs.pretraining import describe
from rs_otl.runs.records import own_recipe
from rs_otl.spec import load_size

SCALES = ("quick", "paper")
# The same code at a size for two cores: a network of a fifth of ResNet-18's cost, at 64 px.
_QUICK = ("encoder=regnetx_002", "batch_size=64", "lr=0.08", "epochs=15", "knn_every=15")
# The data sets of photographs have many columns: CIFAR's images stay at their 32 px, and
# _QUICK_IMAGES limits the training images of each class.
_QUICK_PHOTOGRAPHS = (*_QUICK, "image_size=32", "epochs=20", "knn_every=20")
_QUICK_IMAGES = {"cifar10": 200, "cifar100": 25, "svhn": 200, "imagenet": 10}


def check_scale(scale: str) -> None:
    """Raise an :class:`InputError` if there is no such scale, see :func:`recipe_of`."""
    if scale not in SCALES:
        raise InputError(f"scale = {scale!r}: expected one of {', '.join(SCALES)}")


def recipe_of(trained: Trained, scale: str, folder: Path) -> Recipe:
    """Return the recipe of an encoder.

    Args:
        trained: The encoder.
        scale: ``"paper"``: the recipe of the paper's section 4.3 or appendix D; ``"quick"``: the
            recipe ``otl`` with a small network for 15 epochs at 64 px; for photographs, a part of
            the images and 20 epochs at 32 px.
        folder: Where the encoders are, including the one that this encoder starts from.
    """
    start = trained.start
    if CATALOGUE[trained.dataset].splits is not None:
        name, overrides = trained.recipe or f"pretrain/{trained.dataset}", trained.overrides
        if scale == "quick":
            cosine = ("milestones=[]", "milestone_lrs=[]")
            turns = ("orientations=1" if trained.dataset == "svhn" else "orientations=2",)
            name, overrides = "otl", (*turns, *overrides, *cosine, *_QUICK_PHOTOGRAPHS)
    else:
        name = "otl" if scale == "quick" else f"pretrain/{trained.dataset}"
        if scale == "paper" and trained.dataset in ("hmhr", "siri-whu", "ucmerced") and not start:
            name = "pretrain/aid"  # the paper's schedule from random weights
        overrides = _QUICK if scale == "quick" else ()
    recipe, _ = recipe_for(images_of(trained, scale, trained.selection), name, overrides)
    return recipe.model_copy(
        update={
            "init": None if start is None else str(run_folder(start, folder) / "encoder"),
            "division": trained.division,
            "seed": trained.seed,
            "supervised": trained.supervised,
        }
    )


def images_of(trained: Trained, scale: str, selection: str = "") -> str:
    """Return the name of the data set at a scale: at ``quick``, a part of the photographs.

    Args:
        trained: The encoder.
        scale: See :func:`recipe_of`.
        selection: The paper's selection, such as ``"uneven-100"``, of 5,000 images a class; at
            ``quick`` it shrinks with the images.
    """
    parts = [selection] if selection else []
    if scale == "quick" and trained.dataset in _QUICK_IMAGES:
        images, entry = _QUICK_IMAGES[trained.dataset], CATALOGUE[trained.dataset]
        if selection:
            kind, step = selection.split("-")
            parts = [f"{kind}-{int(step) * images * len(entry.classes) // entry.training}"]
        parts.insert(0, str(images))
    return "@".join([trained.dataset, ",".join(parts)]) if parts else trained.dataset


def missing_data(trained: Trained, root: Path | None) -> list[str]:
    """Return the data sets that an encoder needs and that are not below ``root``."""
    needed = [trained.dataset] + ([trained.source] if trained.source else [])
    return [name for name in needed if not CATALOGUE[name].is_present(data_root(root))]


def runs_of(table: EncoderTable, seeds: int, root: Path | None) -> Iterator[Trained]:
    """Return a table's encoders whose data is at hand; an encoder to start from comes first.

    Args:
        table: The table.
        seeds: Seeds of each encoder.
        root: Where data sets lie.
    """
    for column in table.columns:
        for seed in range(seeds):
            trained = replace(column.trained, seed=seed)
            if missing_data(trained, root):
                continue
            if trained.start:
                yield trained.start
            yield trained


def run_folder(trained: Trained, folder: Path) -> Path:
    """Return the directory of an encoder's run."""
    return folder / "runs" / trained.name


def refuse_other_settings(trained: Trained, scale: str, folder: Path) -> None:
    """Raise an :class:`InputError` if an encoder's run has other settings, as of older versions."""
    run = run_folder(trained, folder)
    if not (run / "recipe.yaml").is_file():
        return
    # The folder may have been renamed; the run's name says what the encoder starts from.
    apart = {"init", "precision"}
    wanted = recipe_of(trained, scale, folder).model_dump(exclude=apart)
    if own_recipe(run).model_dump(exclude=apart) != wanted:
        raise InputError(
            f"{run}: trained with other settings than this version uses: remove {folder}, or name "
            "another folder with --out"
        )


def read_evaluation(trained: Trained, folder: Path) -> Evaluation | None:
    """Return the evaluation of an encoder, if it has been made."""
    path = folder / "scores" / f"{trained.name}.json"
    if not path.exists():
        return None
    try:
        return Evaluation.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(f"{path}: damaged; remove it, and it will be made again") from None


def make_evaluation(
    trained: Trained, scale: str, folder: Path, root: Path | None, devices: str, progress: bool
) -> Evaluation:
    """Train an encoder, or finish its training, and evaluate it; leave untrained ones untrained.

    Args:
        trained: The encoder; the encoder that it starts from has been trained.
        scale: See :func:`recipe_of`.
        folder: Where the runs and scores are kept.
        root: Where data sets lie.
        devices: Processes that train, see :func:`rs_otl.runs.pretrain`.
        progress: Whether to show bars on stderr.

    Returns:
        The evaluation, on the division of the encoder's recipe.

    Raises:
        InputError: If what is there is damaged.
    """
    recipe, run = recipe_of(trained, scale, folder), run_folder(trained, folder)
    if not trained.untrained:
        resume = (run / "recipe.yaml").is_file()
        pretrain(recipe, root, run, resume=resume, devices=devices, progress=progress)
    name = images_of(trained, scale)
    images = _images(name, load_size(recipe.image_size), root, progress)
    if trained.untrained:
        config, _ = describe(recipe, images, None)
        encoder = untrained_encoder(config, recipe.seed).to(resolve_device("auto"))
    else:
        encoder = load_encoder(run, device="auto")
    made = evaluate(
        encoder,
        images,
        divide(images, recipe.division, recipe.keep_duplicates_together),
        name=trained.name,
        layers=trained.layers,
        progress=progress,
    )
    (folder / "scores").mkdir(exist_ok=True)
    with atomic_write(folder / "scores" / f"{trained.name}.json") as aside:
        aside.write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return made


@lru_cache(maxsize=1)
def _images(name: str, size: int, root: Path | None, progress: bool) -> CachedDataset:
    """Load images once for the encoders that are judged on them, one after the other."""
    return load_dataset(name, size, root, progress=progress)
