"""Exporting the encoder of a run."""

from pathlib import Path
from tempfile import TemporaryDirectory

from rs_otl.errors import note
from rs_otl.evaluation import EvaluationReport
from rs_otl.export import CardScore, check_hub_name, export_encoder, push_to_hub
from rs_otl.files import refuse_unwritable
from rs_otl.models import load_encoder
from rs_otl.recipe import read_recipe
from rs_otl.runs.paths import run_of


def export_run(
    source: str,
    to: Path,
    onnx: bool = False,
    image_size: int | None = None,
    pool: str | None = None,
) -> str | Path:
    """Export an encoder with the recipe and the scores of its run.

    Args:
        source: An encoder, as :func:`rs_otl.models.load_encoder` takes it.
        to: Directory to write; must be new.
        onnx: Write an ONNX model too.
        image_size: Side of the images that the encoder sees; by default its own.
        pool: What a vision transformer's features are made of, ``"cls"`` or ``"mean"``; by default
            its own rule.

    Returns:
        What was exported: the encoder directory or file, or the name of pretrained weights.

    Raises:
        InputError: If there is no such encoder or ``to`` cannot be written.
    """
    refuse_unwritable(to)
    encoder = load_encoder(source, image_size=image_size, pool=pool)
    run = run_of(encoder.path)
    if run is None:
        export_encoder(encoder, to, onnx=onnx)
        return encoder.path or source
    path = run / "recipe.yaml"
    recipe = read_recipe(path) if path.exists() else None
    reports = (run / "evaluation.json", *sorted(run.glob("evaluations/*/evaluation.json")))
    scores = [score for path in reports if path.exists() for score in _card_scores(path)]
    export_encoder(encoder, to, recipe, scores, onnx)
    return encoder.path or source


def publish(source: str, name: str, onnx: bool, image_size: int | None, pool: str | None) -> str:
    """Publish an encoder on the hub, with its card.

    Args:
        source: As for :func:`export_run`. An exported directory is published as it is, unless one
            of the options below changes it.
        name: Repository, see :func:`rs_otl.export.push_to_hub`.
        onnx: As for :func:`export_run`.
        image_size: As for :func:`export_run`.
        pool: As for :func:`export_run`.

    Returns:
        The address of the repository.

    Raises:
        InputError: As for :func:`export_run` and :func:`rs_otl.export.push_to_hub`.
    """
    check_hub_name(name)
    path = load_encoder(source).path
    exported = path is not None and path.is_dir() and run_of(path) == path
    if path is not None and exported and not (onnx or image_size or pool):
        return push_to_hub(path, name)
    with TemporaryDirectory() as folder:
        directory = Path(folder) / name.rpartition("/")[2]  # the card uses this name
        export_run(source, directory, onnx, image_size, pool)
        return push_to_hub(directory, name)


def _card_scores(path: Path) -> list[CardScore]:
    """Read the first encoder's scores; if that fails, print a note and return none."""
    try:
        judged = EvaluationReport.model_validate_json(path.read_text(encoding="utf-8")).encoders[0]
    except (OSError, ValueError):  # ValidationError is a ValueError
        note(f"{path} cannot be read as an evaluation: its scores are left out")
        return []
    measures = {f"kNN, k = {k}": score for k, score in judged.knn.items()}
    measures |= {"linear": judged.linear, "linear, standardised": judged.linear_standardised}
    measures |= {
        f"nearest class mean, {few.shots} labelled images per class": few.scores["class_mean"]
        for few in judged.few_shot
    }
    return [
        CardScore(judged.dataset, measure, score.accuracy, score.low, score.high)
        for measure, score in measures.items()
    ]
