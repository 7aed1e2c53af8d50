"""What an evaluation found: for machines as JSON, for people as a table."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rs_otl.files import written_aside


class Score(BaseModel):
    """An accuracy and how sure it is.

    Attributes:
        accuracy: Share of the test images predicted correctly, in [0, 1].
        low: Lower end of its bootstrap 95 % interval.
        high: Upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it in percent."""
        low, high = 100 * self.low, 100 * self.high
        return f"{100 * self.accuracy:.1f} % ({low:.1f} to {high:.1f})"


class Evaluation(BaseModel):
    """How well one frozen encoder's features tell the classes of a data set apart.

    Attributes:
        encoder: What the encoder is, in words.
        dataset: Name of the data set.
        division: Number of its random 80/20 division.
        image_size: Side of the test views in pixels.
        seed: Seed of the linear classifiers and the intervals.
        n_train: Images whose labels the classifiers had.
        n_test: Images that they were tested on.
        classes: Class names in the order of the labels.
        knn: Weighted nearest neighbours, by the k asked for.
        linear: The paper's linear classifier, on features as they come.
        linear_standardised: The same on standardised features, which is fair to encoders whose
            features are of small scale.
        per_class: Share of each class's test images that ``linear_standardised`` got right;
            ``None`` for a class without test images.
        confusion: Test images by true class (row) and class predicted by
            ``linear_standardised`` (column).
        notes: What a reader of the figures must know.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    dataset: str
    division: int
    image_size: int
    seed: int
    n_train: int
    n_test: int
    classes: tuple[str, ...]
    knn: dict[int, Score]
    linear: Score
    linear_standardised: Score
    per_class: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]


class EvaluationReport(BaseModel):
    """An encoder beside the same architecture untrained, on the same images.

    Attributes:
        encoder: Of the encoder in question.
        untrained: Of its architecture at random weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: Evaluation
    untrained: Evaluation

    def write(self, path: Path) -> None:
        """Write the report as JSON, read back by ``EvaluationReport.model_validate_json``.

        Args:
            path: Where; an existing file is replaced, all at once.
        """
        with written_aside(path) as aside:
            aside.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def table(self, console: Console) -> None:
        """Print the scores side by side, in percent, and the notes below them.

        Args:
            console: Where to print.
        """
        one, other = self.encoder, self.untrained
        table = Table(
            title=f"{escape(one.dataset)}, division {one.division}: {one.n_test:,} test images, "
            f"{one.n_train:,} labelled training images, {one.image_size} px",
            caption="accuracy and its 95 % interval over test images",
        )
        table.add_column("")
        table.add_column(escape(one.encoder), justify="right")
        table.add_column(escape(other.encoder), justify="right")
        for k, score in one.knn.items():
            table.add_row(f"kNN, k = {k}", str(score), str(other.knn[k]))
        table.add_row("linear", str(one.linear), str(other.linear))
        table.add_row(
            "linear, standardised", str(one.linear_standardised), str(other.linear_standardised)
        )
        console.print(table)
        for note in dict.fromkeys(one.notes + other.notes):
            console.print(f"- {note}", markup=False, highlight=False)
