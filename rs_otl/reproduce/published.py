"""What the paper printed: its tables of encoders, and the claims that they stand for."""

from dataclasses import dataclass, replace
from typing import Literal

SCORES = ("kNN, k = 10", "kNN, k = 50", "kNN, k = 100", "kNN, k = 200", "linear")


@dataclass(frozen=True)
class Trained:
    """An encoder that a column is about.

    Attributes:
        dataset: Data set of the catalogue that it is trained and judged on.
        supervised: Whether with labels.
        source: Data set of the OTL encoder that it starts from; ``None`` for random weights.
        division: Number of the random division.
        seed: Seed of the training.
    """

    dataset: str
    supervised: bool = False
    source: str | None = None
    division: int = 1
    seed: int = 0

    @property
    def start(self) -> "Trained | None":
        """The encoder that it starts from, of the same seed."""
        return Trained(self.source, seed=self.seed) if self.source else None

    @property
    def name(self) -> str:
        """What its files are called."""
        start = f"-from-{self.source}" if self.source else ""
        kind = "supervised" if self.supervised else "otl"
        return f"{self.dataset}-{kind}{start}-division{self.division}-seed{self.seed}"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its head.
        trained: The encoder.
        published: Accuracies in percent in the order of :data:`SCORES`; ``None`` for a column
            that the paper does not have.
    """

    title: str
    trained: Trained
    published: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Claim:
    """What the paper says of two columns.

    Attributes:
        text: In words.
        one: Title of the first column.
        other: Title of the second.
        kind: ``"better"``: the first is better; ``"near"``: it is not worse beyond noise.
    """

    text: str
    one: str
    other: str
    kind: Literal["better", "near"] = "better"


@dataclass(frozen=True)
class EncoderTable:
    """A table of encoders and how well they separate classes.

    Attributes:
        title: What it is of.
        columns: Its columns.
        claims: What the paper says of them.
    """

    title: str
    columns: tuple[Column, ...]
    claims: tuple[Claim, ...] = ()


def _from_scratch(
    title: str, dataset: str, supervised: tuple[float, ...], otl: tuple[float, ...]
) -> EncoderTable:
    """Make one of tables 7 and 10 to 12."""
    return EncoderTable(
        title,
        (
            Column("supervised", Trained(dataset, supervised=True), supervised),
            Column("OTL", Trained(dataset), otl),
        ),
        (Claim("without labels nearly as good as with them", "OTL", "supervised", "near"),),
    )


def _from_sources(title: str, dataset: str, **published: tuple[float, ...]) -> EncoderTable:
    """Make one of tables 6, 8 and 9, of small data sets, from the sources of the paper.

    Beside the paper's columns there are AID as a source, for those who have no larger one, and
    random weights, which say what the source brings.
    """
    start = Trained(dataset)
    names = {"patternnet": "PatternNet", "resisc45": "NWPU-RESISC45", "eurosat": "EuroSAT"}
    columns = [
        Column(
            "supervised, from PatternNet",
            replace(start, supervised=True, source="patternnet"),
            published["supervised"],
        )
    ]
    columns += [
        Column(f"OTL, from {names[source]}", replace(start, source=source), published[source])
        for source in names
    ]
    columns += [
        Column("supervised, from AID", replace(start, supervised=True, source="aid")),
        Column("OTL, from AID", replace(start, source="aid")),
        Column("OTL, from random weights", start),
    ]
    helps = "pretraining on a larger data set helps a small one"
    near = "without labels nearly as good as with them"
    claims = (
        Claim(helps, "OTL, from PatternNet", "OTL, from random weights"),
        Claim(helps, "OTL, from AID", "OTL, from random weights"),
        Claim(near, "OTL, from PatternNet", "supervised, from PatternNet", "near"),
        Claim(near, "OTL, from AID", "supervised, from AID", "near"),
    )
    return EncoderTable(title, tuple(columns), claims)


# Table 13, by division: supervised and OTL.
_DIVISIONS = {
    1: ((86.9, 83.8, 83.5, 81.3, 89.6), (85.4, 82.5, 80.4, 79.0, 88.6)),
    2: ((92.5, 91.0, 89.4, 88.3, 92.6), (89.6, 89.4, 87.9, 87.3, 92.1)),
    3: ((93.2, 90.6, 88.8, 88.5, 93.0), (88.8, 88.3, 87.3, 87.1, 92.7)),
    4: ((93.1, 90.6, 89.4, 88.5, 92.8), (89.8, 89.4, 87.9, 86.3, 92.5)),
    5: ((92.3, 90.4, 89.0, 87.9, 92.8), (90.4, 89.0, 88.1, 87.1, 92.3)),
}


def _divisions() -> EncoderTable:
    """Make table 13."""
    columns = []
    for division, (supervised, otl) in _DIVISIONS.items():
        for source, name, known in (("patternnet", "PatternNet", True), ("aid", "AID", False)):
            for labelled, published in ((True, supervised), (False, otl)):
                kind = "supervised" if labelled else "OTL"
                columns.append(
                    Column(
                        f"division {division}, {kind}, from {name}",
                        Trained("siri-whu", labelled, source, division),
                        published if known else None,
                    )
                )
    claims = tuple(
        Claim(
            "without labels nearly as good as with them",
            f"division {division}, OTL, from {name}",
            f"division {division}, supervised, from {name}",
            "near",
        )
        for division in _DIVISIONS
        for name in ("PatternNet", "AID")
    )
    return EncoderTable("SIRI-WHU Google, divided in five ways", tuple(columns), claims)


ENCODER_TABLES: dict[str, EncoderTable] = {
    "table-6": _from_sources(
        "HMHR",
        "hmhr",
        supervised=(82.9, 83.8, 84.8, 83.8, 88.5),
        patternnet=(79.0, 78.1, 78.1, 77.1, 85.7),
        resisc45=(75.2, 76.2, 78.1, 79.0, 83.8),
        eurosat=(72.4, 73.3, 76.2, 75.2, 81.9),
    ),
    "table-7": _from_scratch(
        "EuroSAT", "eurosat", (96.8, 96.6, 96.3, 95.9, 96.9), (94.4, 94.7, 94.6, 94.4, 95.9)
    ),
    "table-8": _from_sources(
        "SIRI-WHU Google",
        "siri-whu",
        supervised=(86.9, 83.8, 83.5, 81.3, 89.6),
        patternnet=(85.4, 82.5, 80.4, 79.0, 88.6),
        resisc45=(89.0, 85.6, 84.6, 83.3, 89.7),
        eurosat=(80.8, 77.9, 76.0, 73.8, 85.7),
    ),
    "table-9": _from_sources(
        "UC Merced Land Use",
        "ucmerced",
        supervised=(88.1, 87.4, 87.1, 86.2, 89.6),
        patternnet=(86.9, 87.9, 88.1, 88.6, 90.2),
        resisc45=(86.2, 86.4, 86.2, 86.2, 89.7),
        eurosat=(81.7, 82.4, 82.6, 82.6, 87.2),
    ),
    "table-10": _from_scratch(
        "AID", "aid", (87.8, 87.6, 86.9, 86.7, 89.5), (83.6, 83.5, 82.6, 81.9, 85.5)
    ),
    "table-11": _from_scratch(
        "PatternNet", "patternnet", (96.5, 96.2, 95.7, 95.5, 96.7), (96.4, 96.1, 95.7, 95.6, 97.4)
    ),
    "table-12": _from_scratch(
        "NWPU-RESISC45", "resisc45", (92.1, 90.6, 89.7, 89.1, 92.3), (89.3, 88.7, 88.3, 87.4, 89.8)
    ),
    "table-13": _divisions(),
}

# Tables 16 to 18: sizes of the clusters, and the pairs within and across clusters. The third rows
# of tables 16 and 17 are printed as 2, 2, 0, 2 and 2, 2, 2: six images where there are four.
CLUSTERINGS: dict[str, tuple[tuple[tuple[int, ...], int, int], ...]] = {
    "table-16": (
        ((4, 0, 0, 0), 6, 0),
        ((3, 1, 0, 0), 3, 3),
        ((2, 2, 0, 0), 2, 4),
        ((2, 1, 1, 0), 1, 5),
        ((1, 1, 1, 1), 0, 6),
    ),
    "table-17": (((4, 0, 0), 6, 0), ((3, 1, 0), 3, 3), ((2, 2, 0), 2, 4), ((2, 1, 1), 1, 5)),
    "table-18": (((4, 0), 6, 0), ((3, 1), 3, 3), ((2, 2), 2, 4)),
}
