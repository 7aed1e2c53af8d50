"""What the paper printed: its tables of encoders, and the claims that they stand for."""

import re
from dataclasses import dataclass, replace
from typing import Literal

# A claim that shows a reader whether such a short training says anything.
LEARNS = "training teaches the encoder something"

SCORES = ("kNN, k = 10", "kNN, k = 50", "kNN, k = 100", "kNN, k = 200", "linear")

# Settings that encoders of several tables share. "alone": one view and one label set, which is
# training without label consistency. "fewer": the paper's "fewer epochs than in table 1"; it does
# not say how many (the authors' program has schedules of 400, 800 and 1,600).
_ALONE = ("views=1", "label_batch_sizes=[]")
PLANS = {
    "": (),
    "alone": _ALONE,
    "fewer": (*_ALONE, "epochs=400", "milestones=[240, 320]"),
}


@dataclass(frozen=True)
class Trained:
    """An encoder that a column is about.

    Attributes:
        dataset: Data set of the catalogue that it is trained and judged on.
        supervised: Whether it is trained with labels.
        untrained: Whether it keeps its random weights.
        source: Data set of the OTL encoder that it starts from; ``None`` for random weights.
        division: Number of the random division.
        seed: Seed of the training.
        recipe: Recipe at the paper's scale; by default that of the data set.
        plan: Key of :data:`PLANS`, settings that several tables share.
        settings: Further settings, as ``--set`` takes them.
        selection: Which training images, such as ``"uneven-100"``; by default all.
        layers: Stages that are probed, from 0; -1 for the last.
    """

    dataset: str
    supervised: bool = False
    source: str | None = None
    division: int = 1
    seed: int = 0
    recipe: str | None = None
    plan: str = ""
    settings: tuple[str, ...] = ()
    selection: str = ""
    layers: tuple[int, ...] = ()
    untrained: bool = False

    @property
    def start(self) -> "Trained | None":
        """The encoder that it starts from, of the same seed."""
        return Trained(self.source, seed=self.seed) if self.source else None

    @property
    def overrides(self) -> tuple[str, ...]:
        """The keys of the recipe that are set otherwise."""
        return (*PLANS[self.plan], *self.settings)

    @property
    def name(self) -> str:
        """What its files are called."""
        start = f"-from-{self.source}" if self.source else ""
        kind = "untrained" if self.untrained else "supervised" if self.supervised else "otl"
        special = "".join(
            f"-{word}" for word in (self.recipe, self.plan, *self.settings, self.selection) if word
        )
        if self.layers:
            special += "-layers"
        special = re.sub(r"[^a-z0-9.]+", "-", special)
        return f"{self.dataset}-{kind}{start}{special}-division{self.division}-seed{self.seed}"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its head.
        trained: The encoder.
        published: Accuracies in percent in the order of the table's rows, ``None`` where the paper
            has no such row; ``None`` for a column that the paper does not have.
    """

    title: str
    trained: Trained
    published: tuple[float | None, ...] | None = None


@dataclass(frozen=True)
class Claim:
    """What the paper says about two columns.

    Attributes:
        text: In words.
        one: Title of the first column.
        other: Title of the second.
        kind: ``"better"``: the first is better; ``"near"``: the first is not worse beyond noise;
            ``"within"``: the first is not worse by more than ``margin``.
        margin: In percent.
        scores: The scores that decide.
    """

    text: str
    one: str
    other: str
    kind: Literal["better", "near", "within"] = "better"
    margin: float = 0
    scores: tuple[Literal["knn", "linear_standardised"], ...] = ("knn", "linear_standardised")


@dataclass(frozen=True)
class EncoderTable:
    """A table of encoders and how well they separate classes.

    Attributes:
        title: What it shows.
        columns: Its columns.
        claims: What the paper says about them.
        rows: Its rows.
        note: What to know about the paper's figures or ours.
    """

    title: str
    columns: tuple[Column, ...]
    claims: tuple[Claim, ...] = ()
    rows: tuple[str, ...] = SCORES
    note: str = ""


def _from_scratch(
    title: str, dataset: str, supervised: tuple[float, ...], otl: tuple[float, ...]
) -> EncoderTable:
    """Make one of tables 7 and 10 to 12."""
    return EncoderTable(
        title,
        (
            Column("supervised", Trained(dataset, supervised=True), supervised),
            Column("OTL", Trained(dataset), otl),
            Column("untrained", Trained(dataset, untrained=True)),
        ),
        (
            Claim("without labels nearly as good as with them", "OTL", "supervised", "near"),
            Claim(LEARNS, "OTL", "untrained"),
        ),
    )


def _from_sources(title: str, dataset: str, **published: tuple[float, ...]) -> EncoderTable:
    """Make one of tables 6, 8 and 9, of small data sets, from the sources of the paper.

    Three columns are added to the paper's: AID as a source, for readers without a larger one;
    random weights to start from, which show what the source brings; and an untrained encoder.
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
        Column("untrained", replace(start, untrained=True)),
    ]
    helps = "pretraining on a larger data set helps a small one"
    near = "without labels nearly as good as with them"
    claims = (
        Claim(helps, "OTL, from PatternNet", "OTL, from random weights"),
        Claim(helps, "OTL, from AID", "OTL, from random weights"),
        Claim(near, "OTL, from PatternNet", "supervised, from PatternNet", "near"),
        Claim(near, "OTL, from AID", "supervised, from AID", "near"),
        Claim(LEARNS, "OTL, from random weights", "untrained"),
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


_PHOTOGRAPHS = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "svhn": "SVHN"}
_CLASSES = {"cifar10": 10, "cifar100": 100, "svhn": 10}
_CLUSTERS = {"cifar10": 128, "cifar100": 512}
_KNN = ("kNN, k = 10", "kNN, k = 50")
_VIEWS = "simple views here have no change of hue"


def _alexnet() -> EncoderTable:
    """Make table 1: kNN, then linear, by data set."""
    printed = {
        "supervised": ((91.9, 69.7, 96.5), (91.8, 71.0, 96.1)),
        "OTL": ((83.1, 53.7, 93.8), (84.3, 59.2, 95.0)),
        "OTL, strong and label-consistent": ((87.3, 59.2, 95.2), (87.1, 63.6, 96.0)),
        "OTL, k = number of classes": ((89.9, 60.7, 95.4), (90.8, 65.6, 96.1)),
    }
    columns, claims = [], []
    for place, (dataset, name) in enumerate(_PHOTOGRAPHS.items()):
        strong = ("augment=strong",)
        kinds = {
            "supervised": Trained(dataset, supervised=True),
            "OTL": Trained(dataset, plan="alone"),
            "OTL, strong and label-consistent": Trained(dataset, settings=strong),
            "OTL, k = number of classes": Trained(
                dataset, settings=(*strong, f"clusters={_CLASSES[dataset]}")
            ),
        }
        columns += [
            Column(
                f"{name}, {kind}",
                replace(trained, layers=(-1,)),
                tuple(figures[place] for figures in printed[kind]),
            )
            for kind, trained in kinds.items()
        ]
        untrained = Trained(dataset, untrained=True, layers=(-1,))
        columns.append(Column(f"{name}, untrained", untrained))
        claims += [
            Claim(LEARNS, f"{name}, OTL", f"{name}, untrained"),
            Claim(
                "strong views and label-consistent training help",
                f"{name}, OTL, strong and label-consistent",
                f"{name}, OTL",
            ),
            Claim(
                "k = number of classes helps",
                f"{name}, OTL, k = number of classes",
                f"{name}, OTL, strong and label-consistent",
            ),
        ]
    return EncoderTable(
        "AlexNet on CIFAR-10, CIFAR-100 and SVHN",
        tuple(columns),
        tuple(claims),
        ("kNN, k = 50", "linear, conv5"),
        f"{_VIEWS}; k = number of classes is assumed to use strong views and label-consistent "
        "training",
    )


def _resnet50() -> EncoderTable:
    """Make table 2."""
    printed = {"cifar10": (90.0, 92.0), "cifar100": (66.4, 70.7), "svhn": (95.2, 95.5)}
    columns, claims = [], []
    for dataset, name in _PHOTOGRAPHS.items():
        upright = ("orientations=1",) if dataset == "svhn" else ()
        trained = Trained(dataset, recipe="resnet50", settings=("augment=strong", *upright))
        columns.append(Column(name, trained, printed[dataset]))
        columns.append(Column(f"{name}, untrained", replace(trained, untrained=True)))
        claims.append(Claim(LEARNS, name, f"{name}, untrained"))
    return EncoderTable(
        "ResNet-50 on CIFAR-10, CIFAR-100 and SVHN",
        tuple(columns),
        tuple(claims),
        ("kNN, k = 50", "linear"),
    )


def _imagenet() -> EncoderTable:
    """Make table 3."""
    layers = tuple(range(5))
    return EncoderTable(
        "AlexNet on ImageNet, layer by layer",
        (
            Column(
                "supervised",
                Trained("imagenet", supervised=True, layers=layers),
                (19.3, 36.3, 44.2, 48.3, 50.5, None),
            ),
            Column(
                "OTL",
                Trained("imagenet", plan="alone", layers=layers),
                (20.6, 34.0, 41.2, 44.6, 43.8, 36.7),
            ),
            Column("untrained", Trained("imagenet", untrained=True, layers=layers)),
        ),
        (Claim(LEARNS, "OTL", "untrained"),),
        rows=(*(f"linear, conv{number + 1}" for number in layers), "kNN, k = 50"),
        note=f"{_VIEWS}; the paper's supervised figures are those of a smaller AlexNet",
    )


def _uneven_labels() -> EncoderTable:
    """Make table 4."""
    printed = {
        "cifar10": (79.4, 78.2, 77.7, 77.3, 76.1, 75.4),
        "cifar100": (48.9, 48.0, 46.5, 44.72, 45.4, 44.9),
    }
    columns, claims = [], []
    for dataset, figures in printed.items():
        name = _PHOTOGRAPHS[dataset]
        even = f"{name}, even labels"
        for x, figure in zip((0, 2, 4, 6, 8, 10), figures, strict=True):
            title = f"{name}, x = {x}" if x else even
            targets = (f"targets=power-law {x} from 0",) if x else ()
            settings = (f"clusters={_CLUSTERS[dataset]}", *targets)
            trained = Trained(dataset, plan="fewer", settings=settings)
            columns.append(Column(title, trained, (None, figure)))
            if x:
                text = "even labels are better than uneven ones"
                claims.append(Claim(text, even, title, scores=("knn",)))
        untrained = f"{name}, untrained"
        columns.append(Column(untrained, Trained(dataset, untrained=True)))
        claims.append(Claim(LEARNS, even, untrained, scores=("knn",)))
    return EncoderTable(
        "Labels whose sizes grow as i to the power of x",
        tuple(columns),
        tuple(claims),
        _KNN,
        f"{_VIEWS}; for x = 8 on CIFAR-10 the paper repeats the std of x = 6",
    )


def _uneven_data() -> EncoderTable:
    """Make table 5."""
    printed = {
        "uneven": (77.0, 76.8, 76.0, 75.4, 73.6),
        "even": (77.4, 77.0, 76.8, 75.8, 74.5),
    }
    columns = [
        Column(
            f"D {step}, {kind}",
            Trained("cifar10", plan="fewer", selection=f"{kind}-{step}"),
            (None, printed[kind][place]),
        )
        for place, step in enumerate((100, 200, 300, 400, 500))
        for kind in ("uneven", "even")
    ]
    columns.append(Column("untrained", Trained("cifar10", untrained=True)))
    claims = [
        Claim(
            "uneven data costs a point at most",
            f"D {step}, uneven",
            f"D {step}, even",
            "within",
            1,
            ("knn",),
        )
        for step in (100, 200, 300, 400, 500)
    ]
    claims.append(Claim(LEARNS, "D 500, even", "untrained", scores=("knn",)))
    return EncoderTable(
        "CIFAR-10 with uneven and even classes",
        tuple(columns),
        tuple(claims),
        _KNN,
        f"{_VIEWS}; for both, neighbours are searched among even classes",
    )


def _by_clusters(
    dataset: str, published: dict[int, float], best: int, margin: float
) -> EncoderTable:
    """Make table 14 or 15."""
    columns = [
        Column(
            f"k = {k}", Trained(dataset, plan="fewer", settings=(f"clusters={k}",)), (None, figure)
        )
        for k, figure in published.items()
    ]
    columns.append(Column("untrained", Trained(dataset, untrained=True)))
    claims = [
        Claim(
            f"no k is more than {margin:g} points worse than the paper's best",
            f"k = {k}",
            f"k = {best}",
            "within",
            margin,
            ("knn",),
        )
        for k in published
        if k != best
    ]
    claims.append(Claim(LEARNS, f"k = {best}", "untrained", scores=("knn",)))
    return EncoderTable(
        f"{_PHOTOGRAPHS[dataset]} with several numbers of clusters",
        tuple(columns),
        tuple(claims),
        _KNN,
        _VIEWS,
    )


ENCODER_TABLES: dict[str, EncoderTable] = {
    "table-1": _alexnet(),
    "table-2": _resnet50(),
    "table-3": _imagenet(),
    "table-4": _uneven_labels(),
    "table-5": _uneven_data(),
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
    "table-14": _by_clusters(
        "cifar10", {32: 77.1, 64: 78.6, 128: 79.4, 256: 79.0, 512: 78.9, 1024: 77.8}, 128, 3
    ),
    "table-15": _by_clusters(
        "cifar100", {64: 43.8, 128: 46.1, 256: 47.8, 512: 48.9, 1024: 49.5, 2048: 48.9}, 1024, 6
    ),
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
