"""What is wrong with a run, an encoder or a checkpoint, and what can be saved."""

from pathlib import Path

from rs_otl.datasets import divide, load_dataset
from rs_otl.errors import InputError, counted
from rs_otl.evaluation import EvaluationReport
from rs_otl.models import Encoder, load_encoder, read_tensors
from rs_otl.recipe import Recipe
from rs_otl.runs.provenance import read_provenance, this_start
from rs_otl.runs.records import own_recipe, read_json
from rs_otl.runs.state import Checkpoint, read_run_checkpoint, refuse_other_recipe
from rs_otl.runs.summary import Imagery, read_imagery, summarise_images
from rs_otl.spec import load_size
from rs_otl.trainers import read_metrics


def check_run(
    directory: Path, problems: list[str], root: str | Path | None = None, progress: bool = False
) -> dict[str, str]:
    """Read every file of a run, and its images, and say what they are.

    Args:
        directory: The run's directory.
        problems: What is wrong is added here, a line each, with what can be done or saved.
        root: Where data sets lie.
        progress: Whether to show a bar on stderr.

    Returns:
        A line for each file.
    """
    found: dict[str, str] = {}
    wrong: list[str] = []
    recipe = imagery = None
    try:
        recipe = own_recipe(directory)
        length = counted(recipe.epochs, "epoch")
        found["recipe.yaml"] = f"{recipe.encoder} on {recipe.dataset}, {length}"
    except InputError as error:
        found["recipe.yaml"] = "not readable"
        wrong.append(str(error))
    try:
        imagery = read_imagery(directory)
        left_out = f", {len(imagery.left_out):,} left out" if imagery.left_out else ""
        found["imagery.json"] = f"{imagery.images:,} images{left_out}"
    except InputError as error:
        found["imagery.json"] = "not readable"
        wrong.append(str(error))
    checkpoint = _checked_checkpoint(directory, recipe, found, wrong)
    encoder = _checked_encoder_of_run(directory, checkpoint, recipe, found, wrong)
    if recipe and imagery:
        _compare_images(recipe, imagery, encoder is not None, root, progress, found, wrong)
    found["metrics.csv"] = counted(len(read_metrics(directory)), "epoch")
    report = directory / "evaluation.json"
    if report.exists():
        try:
            evaluation = read_json(EvaluationReport, report, "evaluate the run again")
            found[report.name] = f"{len(evaluation.encoders)} encoders"
        except InputError as error:
            found[report.name] = "not readable"
            wrong.append(str(error))
    try:
        provenance = read_provenance(directory)
        for start in provenance.starts:
            commit = f" ({start.commit})" if start.commit else ""
            machine = ", ".join((start.machine, *start.gpus))
            found[start.time] = f"rs-otl {start.rs_otl}{commit} on {machine}"
        if provenance.starts:
            others = provenance.differences(this_start())
            found["versions"] = "; ".join(others) or "as installed"
    except InputError as error:
        wrong.append(str(error))
    if wrong:
        problems += [f"{each}{_saved(directory, each, encoder, checkpoint)}" for each in wrong]
    if (directory / "supervised" / "recipe.yaml").exists():
        beside = check_run(directory / "supervised", problems, root, progress)
        found |= {f"supervised/{name}": line for name, line in beside.items()}
    return found


def _checked_checkpoint(
    directory: Path, recipe: Recipe | None, found: dict[str, str], wrong: list[str]
) -> Checkpoint | None:
    path = directory / "checkpoints" / "last.ckpt"
    name = str(path.relative_to(directory))
    if not path.exists():
        found[name] = "none yet"
        return None
    try:
        checkpoint = read_run_checkpoint(path)
    except InputError as error:
        found[name] = "not readable"
        wrong.append(str(error))
        return None
    found[name] = f"epoch {checkpoint.epoch + 1:,}"
    if tensor := checkpoint.not_finite():
        wrong.append(f"{path}: {tensor} holds values that are not finite: training has diverged")
    if recipe:
        try:
            refuse_other_recipe(checkpoint, path, recipe)
        except InputError as error:
            wrong.append(str(error))
    return checkpoint


def _checked_encoder_of_run(
    directory: Path,
    checkpoint: Checkpoint | None,
    recipe: Recipe | None,
    found: dict[str, str],
    wrong: list[str],
) -> Encoder | None:
    path = directory / "encoder"
    if not path.exists():
        found["encoder"] = "none yet"
        if checkpoint and recipe:
            found["encoder"] += f": --resume goes on to epoch {recipe.epochs:,}"
        return None
    try:
        encoder = _sound_encoder(path)
    except InputError as error:
        found["encoder"] = "not readable"
        again = f"; delete {path}, and --resume writes it again" if checkpoint and recipe else ""
        wrong.append(f"{error}{again}")
        return None
    found["encoder"] = _described(encoder)
    return encoder


def _compare_images(
    recipe: Recipe,
    imagery: Imagery,
    finished: bool,
    root: str | Path | None,
    progress: bool,
    found: dict[str, str],
    wrong: list[str],
) -> None:
    try:
        images = load_dataset(
            recipe.dataset,
            load_size(recipe.image_size),
            root,
            cache="none",
            progress=progress,
            values=recipe.values,
            bands=recipe.bands,
        )
        division = divide(images, recipe.division, recipe.keep_duplicates_together)
    except InputError as error:
        found["images"] = f"not compared: {error}"
        if not finished:
            wrong.append(str(error))
        return
    now = summarise_images(images, division)
    if imagery.same_as(now):
        found["images"] = "unchanged since training"
        return
    found["images"] = "changed since training"
    then = imagery.model_dump()
    changed = [name for name, value in now.model_dump().items() if then[name] != value]
    wrong.append(
        f"{recipe.dataset}: not the images that the run was begun with (other "
        f"{', '.join(changed)}); put them back to resume or evaluate it"
    )


def _saved(
    directory: Path, problem: str, encoder: Encoder | None, checkpoint: Checkpoint | None
) -> str:
    """Say what can still be used despite a problem."""
    if encoder:
        return "; the encoder of the run can be used"
    if checkpoint:
        path = directory / "checkpoints" / "last.ckpt"
        return (
            f"; rs-otl export {path} --to DIR saves its weights" if str(path) not in problem else ""
        )
    return ""


def check_encoder(path: Path, problems: list[str]) -> dict[str, str]:
    """Load an exported encoder or a checkpoint file, and say what it is.

    Args:
        path: The encoder's directory, or the checkpoint file.
        problems: What is wrong is added here, a line each.

    Returns:
        Facts about it, by name.
    """
    try:
        if path.suffix == ".ckpt" and "digest" in read_tensors(path):
            read_run_checkpoint(path)
        encoder = _sound_encoder(path)
    except InputError as error:
        problems.append(str(error))
        return {"encoder": "not usable"}
    config = encoder.config
    how_long = "elsewhere" if config.epochs is None else counted(config.epochs, "epoch")
    return {
        "encoder": _described(encoder),
        "trained on": f"{config.dataset}, {how_long}",
        "images": f"{config.image_size} pixels, {', '.join(config.spec.bands)}, "
        f"{config.spec.units}",
        "fingerprint": encoder.fingerprint(),
    }


def _sound_encoder(path: Path) -> Encoder:
    """Load an encoder; raise an :class:`InputError` if it or its copy cannot be used."""
    encoder = load_encoder(path)
    copy = path / "encoder.pth"
    if copy.is_file() and load_encoder(copy).fingerprint() != encoder.fingerprint():
        raise InputError(f"{copy}: other weights than {path / 'model.safetensors'}; export again")
    return encoder


def _described(encoder: Encoder) -> str:
    numbers = sum(parameter.numel() for parameter in encoder.module.parameters())
    return f"{encoder.config.encoder}, {numbers:,} weights, all finite"
