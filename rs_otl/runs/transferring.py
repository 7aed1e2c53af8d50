"""Transferring an encoder to a small data set."""

from collections.abc import Sequence
from pathlib import Path

from rs_otl.errors import InputError
from rs_otl.evaluation import EvaluationReport
from rs_otl.files import locked
from rs_otl.models import Encoder, load_encoder
from rs_otl.models.encoder import accelerator_device
from rs_otl.recipe import Recipe
from rs_otl.runs.comparing import compare
from rs_otl.runs.paths import run_directory
from rs_otl.runs.planning import list_images
from rs_otl.runs.pretraining import pretrain, refuse_another_run, refuse_secrets
from rs_otl.runs.records import own_recipe


def transfer(
    recipe: Recipe,
    *,
    root: str | Path | None = None,
    out: str | Path | None = None,
    shots: Sequence[int] = (),
    resume: bool = False,
    progress: bool = False,
    accelerator: str = "auto",
) -> tuple[EvaluationReport, Path]:
    """Train an encoder further on another data set, and evaluate the gain (section 4.3).

    First OTL trains without labels, in ``out``. Then the paper's baseline trains in
    ``out/supervised``: the same schedule from the same weights, with labels. The report compares
    transferred, source frozen, supervised, ImageNet weights frozen, and untrained.

    Args:
        recipe: Recipe of the target; ``init`` is the source, whose architecture replaces the
            recipe's. With ``supervised`` the run is trained with labels only. With ``resume`` the
            recipe of the run is used.
        root: Where data sets lie.
        out: The run's directory; by default ``runs/transfer/DATASET``.
        shots: Numbers of labelled images per class for few-shot scores.
        resume: Continue a transfer that was stopped, or evaluate a finished one again, for
            example with other shots.
        progress: Whether to show bars on stderr.
        accelerator: Where to train, see :func:`rs_otl.runs.pretrain`.

    Returns:
        The report, and the run's directory that it was written to.

    Raises:
        InputError: If the directory holds another run, or the source, the data or the recipe
            cannot be used.
    """
    refuse_secrets(recipe.dataset)
    directory = Path(out) if out else run_directory("transfer", recipe.dataset)
    if resume:
        recipe = own_recipe(directory)
    else:
        refuse_another_run(directory)
    if recipe.init is None:
        raise InputError("nothing to transfer from: expected an encoder as the init of the recipe")
    source = load_encoder(
        recipe.init,
        image_size=recipe.image_size,
        pool=recipe.pool,
        device=accelerator_device(accelerator),
    )
    # Keep its path: a later run on the same data set must not replace the source.
    init = str(source.path or recipe.init)
    recipe = recipe.model_copy(update={"init": init, "encoder": source.config.encoder})
    list_images(recipe, root, source, labelled=True)  # refuses before anything is trained
    finetune = recipe.supervised
    both = 1 if finetune else 2
    pretrain(
        recipe,
        root,
        directory,
        _begun(directory, resume),
        progress,
        accelerator=accelerator,
        runs=both,
    )
    rows: dict[str, Path | Encoder] = {
        "fine-tuned" if finetune else "transferred": directory / "encoder",
        "source, frozen": source,
    }
    if not finetune:
        labelled = recipe.model_copy(update={"supervised": True})
        beside = directory / "supervised"
        pretrain(
            labelled,
            root,
            beside,
            _begun(beside, resume),
            progress,
            accelerator=accelerator,
            runs=0,
        )
        rows["supervised"] = beside / "encoder"
    with locked(directory):
        return compare(
            rows,
            recipe.dataset,
            directory,
            root=root,
            division=recipe.division,
            keep_duplicates_together=recipe.keep_duplicates_together,
            shots=shots,
            image_size=recipe.image_size,
            pool=None,
            seed=recipe.seed,
            overwrite=resume,
            progress=progress,
            values=recipe.values,
            bands=recipe.bands,
        )


def _begun(directory: Path, resume: bool) -> bool:
    """Whether there is a run to resume; a transfer may have been stopped before its second run."""
    return resume and (directory / "recipe.yaml").is_file()
