"""List runs: how far they are, and their scores."""

from dataclasses import dataclass
from pathlib import Path

from rs_otl.errors import InputError, note
from rs_otl.evaluation import EvaluationReport
from rs_otl.files import LOCK, RUNS, locked
from rs_otl.runs.provenance import read_provenance
from rs_otl.runs.records import own_recipe, read_json
from rs_otl.trainers import read_metrics


@dataclass(frozen=True)
class Run:
    """A run on this disk.

    Attributes:
        run: Its directory.
        dataset: What it is trained on.
        encoder: The architecture.
        labels: Whether it is trained with labels.
        state: ``finished``, ``running``, or ``stopped``, which ``--resume`` continues.
        epochs: Epochs trained so far.
        of: Epochs of its recipe.
        knn: Accuracy of the latest epoch that measured it, by nearest neighbours, in [0, 1].
        scores: Accuracy by nearest neighbours (k = 10) and by a linear classifier on standardised
            features, in [0, 1], by the data set that it was evaluated on.
        bytes: Size of all its files.
        changed: When the last epoch ended, in seconds since 1970.
        command: The words of its latest start, after the program's name.
    """

    run: str
    dataset: str
    encoder: str
    labels: bool
    state: str
    epochs: int
    of: int
    knn: float | None
    scores: dict[str, tuple[float, float]]
    bytes: int
    changed: float
    command: tuple[str, ...]


def list_runs(folder: str | Path = RUNS) -> list[Run]:
    """List the runs below a folder, the latest first.

    A run that cannot be read is left out and named on stderr.

    Args:
        folder: Where to look, at any depth.

    Raises:
        InputError: If there is no such folder.
    """
    top = Path(folder)
    if not top.is_dir():
        raise InputError(f"{top}: no such folder; `rs-otl pretrain` makes runs/")
    runs = []
    for path in sorted(top.rglob("recipe.yaml")):
        try:
            runs.append(describe_run(path.parent))
        except InputError as error:
            note(f"skipped a run: {error}")
    return sorted(runs, key=lambda run: -run.changed)


def describe_run(directory: Path) -> Run:
    """Return how far a run is, and its scores.

    Args:
        directory: The run's directory.

    Raises:
        InputError: If there is no run, or a file of it is damaged.
    """
    recipe = own_recipe(directory)
    epochs = read_metrics(directory)
    starts = read_provenance(directory).starts
    scores = {}
    for path in (directory, *directory.glob("evaluations/*")):
        if (path / "evaluation.json").exists():
            report = read_json(EvaluationReport, path / "evaluation.json", "evaluate again")
            first = report.encoders[0]
            scores[first.dataset] = (
                first.knn[min(first.knn)].accuracy,
                first.linear_standardised.accuracy,
            )
    files = [path for path in directory.rglob("*") if path.is_file()]
    dated = directory / "metrics.csv"
    return Run(
        run=str(directory),
        dataset=recipe.dataset,
        encoder=recipe.encoder,
        labels=recipe.supervised,
        state=_state(directory),
        epochs=len(epochs),
        of=recipe.epochs,
        knn=next((epoch["knn"] for epoch in reversed(epochs) if "knn" in epoch), None),
        scores=scores,
        bytes=sum(path.stat().st_size for path in files),
        changed=(dated if dated.exists() else directory / "recipe.yaml").stat().st_mtime,
        command=starts[-1].command[1:] if starts else (),
    )


def _state(directory: Path) -> str:
    if (directory / "encoder").is_dir():
        return "finished"
    if (directory / LOCK).exists():
        try:
            with locked(directory):
                pass
        except InputError:
            return "running"
    return "stopped"
