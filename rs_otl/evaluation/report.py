"""The result of an evaluation: as JSON for machines, as tables for people."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rs_otl.evaluation.intervals import paired_interval, t_interval
from rs_otl.files import atomic_write

if TYPE_CHECKING:  # importing it takes a second
    from pandas import DataFrame

# The scores for which predictions are kept, so that encoders can be paired.
Paired = Literal["knn", "linear", "linear_standardised"]
PAIRED: tuple[Paired, ...] = ("knn", "linear", "linear_standardised")
Classifier = Literal["knn", "class_mean", "linear"]
CLASSIFIERS: dict[Classifier, str] = {
    "knn": "kNN, k = 10",
    "class_mean": "nearest class mean",
    "linear": "linear, standardised",
}


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Value):
    """An accuracy and its confidence interval.

    Attributes:
        accuracy: Share of the test images predicted correctly, in [0, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    accuracy: float
    low: float
    high: float

    def __str__(self) -> str:
        """Format it in percent."""
        low, high = 100 * self.low, 100 * self.high
        return f"{100 * self.accuracy:.1f} % ({low:.1f} to {high:.1f})"


class Difference(_Value):
    """How much more accurate one encoder is than another on the same images.

    Attributes:
        difference: Difference of the accuracies, in [-1, 1].
        low: Lower end of its paired 95 % interval.
        high: Upper end.
    """

    difference: float
    low: float
    high: float

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval excludes 0; an interval without width says nothing about noise."""
        return self.low < self.high and (self.low > 0 or self.high < 0)


class FewShot(_Value):
    """Accuracy with few labelled images per class.

    Attributes:
        shots: Labelled images K of each class.
        scores: Mean over the draws and its 95 % t interval, by classifier.
        draws: Accuracy of each draw, by classifier; every encoder has the same draws.
        short: Classes with fewer than K training images, all of which are used.
    """

    shots: int
    scores: dict[Classifier, Score]
    draws: dict[Classifier, tuple[float, ...]]
    short: tuple[str, ...]


class Layer(_Value):
    """Scores of a stage of an encoder.

    Attributes:
        name: timm's name of the stage.
        numbers: Size of its pooled map.
        linear: Linear classifier on these numbers, standardised.
        knn: Weighted nearest neighbours, k = 50, on these numbers; for the last stage alone.
    """

    name: str
    numbers: int
    linear: Score
    knn: Score | None = None


class Evaluation(_Value):
    """How well the features of a frozen encoder separate the classes of a data set.

    Attributes:
        encoder: What the encoder is, in words.
        dataset: Name of the data set.
        division: Number of its random 80/20 division.
        image_size: Side of the images that the encoder saw, in pixels.
        seed: Seed of the draws, the linear classifiers and the intervals.
        n_train: Number of labelled training images.
        n_test: Number of test images.
        classes: Class names in the order of the labels.
        knn: Weighted nearest neighbours, by k.
        linear: The paper's linear classifier, on features as they come.
        linear_standardised: The same on standardised features, which is fair to encoders whose
            features have a small scale.
        images: Path of each test image in the data set, in the division's order.
        truth: Label of each test image.
        predicted: Label predicted for each test image, by kNN (k = 10) and both linear classifiers.
        few_shot: Scores with few labelled images per class, ascending by their number.
        per_class: Share of each class's test images that ``linear_standardised`` got right;
            ``None`` for a class without test images.
        confusion: Test images by true class (row) and class predicted by
            ``linear_standardised`` (column).
        notes: What a reader of the scores must know.
        layers: Stages that were probed, from the first on.
    """

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
    images: tuple[str, ...]
    truth: tuple[int, ...]
    predicted: dict[Paired, tuple[int, ...]]
    few_shot: tuple[FewShot, ...] = ()
    per_class: dict[str, float | None]
    confusion: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...]
    layers: tuple[Layer, ...] = ()

    def correct(self, score: Paired) -> NDArray[np.bool_]:
        """Return which test images were predicted correctly, ``(n_test,)``."""
        return np.array(self.predicted[score]) == np.array(self.truth)


class EvaluationReport(_Value):
    """Several encoders on the same images, division and draws.

    Attributes:
        encoders: The encoder in question first, then those that it is compared with.
        skipped: Encoders that could not be evaluated, and why.
    """

    encoders: tuple[Evaluation, ...]
    skipped: dict[str, str] = {}

    @model_validator(mode="after")
    def _same_images(self) -> "EvaluationReport":
        settings = {
            (one.dataset, one.division, one.seed, one.n_train, one.n_test, _shots(one))
            for one in self.encoders
        }
        if len(settings) != 1:
            raise ValueError(
                f"encoders evaluated on different images: {sorted(settings)}; expected one data "
                "set, division, seed and set of shots, and at least one encoder"
            )
        return self

    def difference(self, other: int, score: Paired) -> Difference:
        """Compare the first encoder with another on the same test images.

        Args:
            other: Position in ``encoders``.
            score: Which score.

        Returns:
            First minus other, with a paired bootstrap interval over test images.
        """
        one, two = (self.encoders[place].correct(score) for place in (0, other))
        low, high = paired_interval(one, two, self.encoders[0].seed)
        difference = (one.sum() - two.sum()) / one.size
        return Difference(difference=float(difference), low=low, high=high)

    def few_shot_difference(self, other: int, shots: int, classifier: Classifier) -> Difference:
        """Compare the first encoder with another on the same few-shot draws.

        Args:
            other: Position in ``encoders``.
            shots: Labelled images K per class, one of those evaluated.
            classifier: Which classifier.

        Returns:
            First minus other, with a t interval over the draws.
        """
        one, two = (
            np.array(few.draws[classifier])
            for place in (0, other)
            for few in self.encoders[place].few_shot
            if few.shots == shots
        )
        low, high = t_interval(one - two)
        return Difference(difference=float(np.mean(one - two)), low=low, high=high)

    def to_frame(self) -> "DataFrame":
        """Return all scores as a table.

        Returns:
            A row for each encoder and score: ``encoder``, ``dataset``, ``division``, ``score``
            (such as ``"knn, k = 10"`` or ``"class_mean, K = 5"``), ``accuracy``, ``low`` and
            ``high``, as fractions.
        """
        from pandas import DataFrame

        return DataFrame(
            [
                {"encoder": one.encoder, "dataset": one.dataset, "division": one.division}
                | {"score": name}
                | score.model_dump()
                for one in self.encoders
                for name, score in _all_scores(one)
            ]
        )

    def rows(self) -> list[tuple[str, dict[str, str]]]:
        """Return each encoder's name and its scores with intervals, as text by the score's name."""
        return [
            (one.encoder, {name: str(score) for name, score in _all_scores(one)})
            for one in self.encoders
        ]

    def _repr_html_(self) -> str:
        """Show the table of scores in a notebook."""
        from pandas import DataFrame

        rows = [{"encoder": name} | scores for name, scores in self.rows()]
        return str(DataFrame(rows).to_html(index=False))

    def write(self, path: Path) -> None:
        """Write the report as JSON, which ``EvaluationReport.model_validate_json`` reads.

        Args:
            path: File to write; an existing one is replaced.
        """
        with atomic_write(path) as aside:
            aside.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def table(self, console: Console) -> None:
        """Print scores, few-shot scores and differences in percent, and notes.

        Args:
            console: Where to print.
        """
        console.print(self._scores())
        if self.encoders[0].few_shot:
            console.print(self._few_shots())
        if any(one.layers for one in self.encoders):
            console.print(self._layers())
        if len(self.encoders) > 1:
            console.print(self._differences())
        for name, reason in self.skipped.items():
            console.print(f"- not evaluated: {name}: {reason}", markup=False, highlight=False)
        for note in dict.fromkeys(note for one in self.encoders for note in one.notes):
            console.print(f"- {note}", markup=False, highlight=False)

    def _scores(self) -> Table:
        one = self.encoders[0]
        sizes = {row.image_size for row in self.encoders}
        seen = f", {one.image_size} px" if len(sizes) == 1 else ""
        table = _table(
            f"{escape(one.dataset)}, division {one.division}: {one.n_test:,} test images, "
            f"{one.n_train:,} labelled training images{seen}",
            "accuracy in %, and half its 95 % interval over test images",
            [f"kNN\nk = {k}" for k in one.knn] + ["linear\n", "linear\nstand."],
        )
        for row in self.encoders:
            scores = [*row.knn.values(), row.linear, row.linear_standardised]
            name = escape(row.encoder) + ("" if seen else f" [dim]({row.image_size} px)[/dim]")
            table.add_row(name, *(_cell(score.accuracy, score) for score in scores))
        return table

    def _few_shots(self) -> Table:
        few = self.encoders[0].few_shot
        table = _table(
            "K labelled images per class",
            f"accuracy in %, mean and half its 95 % interval of {len(few[0].draws['knn'])} draws",
            [f"K = {one.shots}" for one in few],
        )
        for row in self.encoders:
            table.add_row(f"[bold]{escape(row.encoder)}[/bold]")
            for classifier, title in CLASSIFIERS.items():
                scores = (one.scores[classifier] for one in row.few_shot)
                cells = (_cell(score.accuracy, score, " ") for score in scores)
                table.add_row(f"  {title}", *cells)
        return table

    def _layers(self) -> Table:
        table = _table(
            "Stage by stage",
            "accuracy in %, and half its 95 % interval over test images",
            ["numbers", "linear, stand.", "kNN, k = 50"],
        )
        for row in self.encoders:
            table.add_row(f"[bold]{escape(row.encoder)}[/bold]")
            for layer in row.layers:
                knn = "" if layer.knn is None else _cell(layer.knn.accuracy, layer.knn, " ")
                linear = _cell(layer.linear.accuracy, layer.linear, " ")
                table.add_row(f"  {escape(layer.name)}", f"{layer.numbers:,}", linear, knn)
        return table

    def _differences(self) -> Table:
        few = self.encoders[0].few_shot
        means = ", class mean of K images" if few else ""
        table = _table(
            f"{escape(self.encoders[0].encoder)} minus each of the others, on the same images",
            f"points of accuracy{means}; half the paired 95 % interval; "
            "* beyond noise: the interval excludes 0",
            ["kNN\nk = 10", "linear\n", "linear\nstand."]
            + [f"mean\nK = {one.shots}" for one in few],
        )
        for place, row in enumerate(self.encoders[1:], start=1):
            differences = [self.difference(place, score) for score in PAIRED]
            differences += [self.few_shot_difference(place, one.shots, "class_mean") for one in few]
            cells = (
                _cell(one.difference, one, form="+.1f", mark="*" if one.beyond_noise else " ")
                for one in differences
            )
            table.add_row(escape(row.encoder), *cells)
        return table


def _all_scores(evaluation: Evaluation) -> Iterator[tuple[str, Score]]:
    yield from ((f"knn, k = {k}", score) for k, score in evaluation.knn.items())
    yield "linear", evaluation.linear
    yield "linear_standardised", evaluation.linear_standardised
    yield from ((f"linear_standardised, {one.name}", one.linear) for one in evaluation.layers)
    for few in evaluation.few_shot:
        yield from ((f"{name}, K = {few.shots}", score) for name, score in few.scores.items())


def _shots(evaluation: Evaluation) -> Sequence[int]:
    return tuple(few.shots for few in evaluation.few_shot)


def _table(title: str, caption: str, columns: Sequence[str]) -> Table:
    """Make a table of numbers, with a first column for names of encoders."""
    table = Table(title=title, caption=caption)
    table.add_column("", overflow="fold", min_width=13)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _cell(
    value: float,
    interval: Score | Difference,
    between: str = "\n",
    form: str = ".1f",
    mark: str = "",
) -> str:
    half = 50 * (interval.high - interval.low)
    return f"{100 * value:{form}}{mark}{between}[dim]±{half:.1f}[/dim]"
