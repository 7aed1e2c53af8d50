"""One page that shows what runs were trained on, how training went and what came of it."""

import base64
import io
import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from rs_otl.clustering import balanced_labels, cluster_directions
from rs_otl.datasets import CachedDataset, divide, load_dataset
from rs_otl.errors import InputError, counted, note, printable
from rs_otl.evaluation import EvaluationReport, extract_features, picture_of
from rs_otl.export import loading_snippet
from rs_otl.extras import require_extra
from rs_otl.files import atomic_write, refuse_output
from rs_otl.models import Encoder, load_encoder, untrained_encoder
from rs_otl.recipe import Recipe
from rs_otl.runs.listing import describe_run
from rs_otl.runs.pretraining import describe
from rs_otl.runs.provenance import read_provenance
from rs_otl.runs.records import own_recipe, read_json
from rs_otl.runs.summary import Imagery, read_imagery, summarise_images
from rs_otl.spec import load_size
from rs_otl.trainers import read_metrics

# Images whose features are drawn and searched; more take too long.
_SAMPLE = 1000
_SHEET = 32
_QUERIES, _NEIGHBOURS = 6, 5
_CLUSTERS, _TYPICAL, _DOUBTFUL = 10, 6, 4
_CURVES = {
    "loss": "Loss; the dashed line is chance",
    "evenness": "Deviation of cluster sizes before and after translation",
    "labels": "Labels that change from epoch to epoch; views that agree",
    "knn": "Nearest neighbours on the test images",
    "rank": "Effective rank of the features: 1 is a collapse",
    "confusion": "Confusion, in test images",
    "per_class": "Accuracy by class",
    "few_shot": "Accuracy with few labels",
    "mistakes": "Test images that were predicted wrong",
}


@dataclass(frozen=True)
class _Picture:
    says: str
    data: str


@dataclass
class _Run:
    """What the page shows of a run."""

    name: str
    dataset: str
    recipe: str
    facts: dict[str, str]
    settings: dict[str, Any]
    time: str
    curves: list[_Picture]
    imagery: list[str]
    made: list[str]
    commands: list[str]
    scores: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    pictures: list[_Picture] = field(default_factory=list)
    snippet: str | None = None


def report(
    runs: str | Path | Sequence[str | Path],
    out: str | Path,
    root: str | Path | None = None,
    progress: bool = False,
) -> Path:
    """Write one HTML page about runs, side by side, that needs no network.

    It shows the images, curves, scores with their intervals, clusters, neighbours before and after
    training, the features in two dimensions (t-SNE), the recipe, versions, time and commands. If a
    run's images are missing, or it has no encoder yet, the page says so and shows the rest.

    Args:
        runs: Directories of runs.
        out: The page; must be new.
        root: Where data sets lie.
        progress: Whether to show bars on stderr.

    Returns:
        The page.

    Raises:
        InputError: If a directory holds no run, or the page exists.
    """
    require_extra("report", "report")
    from jinja2 import Environment, StrictUndefined

    page = Path(out)
    refuse_output(page)
    directories = [Path(run) for run in ([runs] if isinstance(runs, str | Path) else runs)]
    if not directories:
        raise InputError("no run to report on: expected at least one directory in runs")
    told = [_read(directory, root, progress) for directory in directories]
    template = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        resources.files("rs_otl.runs").joinpath("report.html").read_text(encoding="utf-8")
    )
    differences = {
        key: [run.settings[key] for run in told]
        for key in told[0].settings
        if len({str(run.settings[key]) for run in told}) > 1
    }
    with atomic_write(page, new=True) as aside:
        aside.write_text(template.render(runs=told, differences=differences), encoding="utf-8")
    return page


def _read(directory: Path, root: str | Path | None, progress: bool) -> _Run:
    recipe = own_recipe(directory)
    listed = describe_run(directory)
    imagery = read_imagery(directory)
    epochs = read_metrics(directory)
    starts = read_provenance(directory).starts
    seconds = {
        word: sum(epoch.get(f"{word}_seconds", 0) for epoch in epochs)
        for word in ("label", "train")
    }
    run = _Run(
        name=printable(str(directory)),
        dataset=printable(imagery.dataset),
        recipe=yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False),
        facts={
            "trained on": f"{printable(imagery.dataset)}, {imagery.train:,} images"
            + (", with labels" if recipe.supervised else ", without labels"),
            "encoder": f"{recipe.encoder}, {recipe.image_size} px",
            "state": f"{listed.state}, {listed.epochs:,} of {listed.of:,} epochs",
            "size": f"{listed.bytes / 1e6:,.0f} MB",
        },
        settings=recipe.model_dump(mode="json"),
        time=f"{counted(len(epochs), 'epoch')} in {sum(seconds.values()) / 60:.1f} minutes: "
        f"{seconds['label'] / 60:.1f} for labels, {seconds['train'] / 60:.1f} for training",
        curves=[
            _Picture(says, _as_data(path.read_bytes()))
            for name, says in _CURVES.items()
            if (path := directory / "figures" / f"{name}.png").is_file()
        ],
        imagery=_words(imagery),
        made=[
            f"{start.time}: rs-otl {start.rs_otl}, "
            + ", ".join(f"{name} {version}" for name, version in start.packages.items())
            + f"; {start.machine}"
            for start in starts
        ],
        commands=[
            shlex.join([Path(start.command[0]).name, *start.command[1:]])
            for start in starts
            if start.command[1:]
        ],
    )
    if (directory / "evaluation.json").exists():
        evaluation = read_json(EvaluationReport, directory / "evaluation.json", "evaluate again")
        run.scores = [(printable(name), scores) for name, scores in evaluation.rows()]
        run.notes = evaluation.encoders[0].notes
    if listed.state == "finished":
        run.snippet = loading_snippet(directory / "encoder")
        try:
            run.pictures = list(_pictures(directory, recipe, imagery, root, progress))
        except InputError as error:
            run.imagery.append(f"Pictures are left out: {printable(str(error))}")
    return run


def _words(imagery: Imagery) -> list[str]:
    lines = [
        f"{imagery.images:,} images, {imagery.train:,} to train on, {imagery.test:,} to test on"
        + (f", {len(imagery.classes)} classes" if imagery.classes else ", no classes")
    ]
    if imagery.missing:
        lines.append(f"A partial copy: {imagery.missing}")
    if imagery.left_out:
        named = "; ".join(
            f"{path}: {reason}" for path, reason in list(imagery.left_out.items())[:9]
        )
        lines.append(f"{counted(len(imagery.left_out), 'file')} left out: {named}")
    if imagery.identical:
        lines.append(
            f"{counted(len(imagery.identical), 'group')} of identical images; "
            f"{imagery.test_images_also_in_training:,} test images are in training too"
        )
    return [printable(line) for line in lines]


def _pictures(
    directory: Path, recipe: Recipe, imagery: Imagery, root: str | Path | None, progress: bool
) -> Iterator[_Picture]:
    encoder = load_encoder(directory, device="auto")
    images = load_dataset(
        recipe.dataset,
        load_size(recipe.image_size),
        root,
        progress=progress,
        values=recipe.values,
        bands=recipe.bands,
        like=encoder.config.spec,
    )
    division = divide(images, recipe.division, recipe.keep_duplicates_together)
    if summarise_images(images, division).pixels != imagery.pixels:
        raise InputError(f"{images.name}: the images are no longer those that it was trained on")
    shown = {"after": encoder}
    try:
        shown = {"before": _before(recipe, images, encoder), "after": encoder}
    except InputError as error:  # the weights are no longer where they were
        note(f"{directory}: not shown before training: {error}")
    images = images.of_bands(encoder.bands_among(images.spec), encoder.config.spec)
    train = np.sort(np.random.default_rng(0).permutation(division.train)[:_SAMPLE])
    labels = None if images.labels is None else images.labels[train]
    some = train[np.linspace(0, len(train) - 1, min(_SHEET, len(train))).astype(int)]
    yield _Picture(
        "Training images", _sheet(images, [some[at : at + 8] for at in range(0, len(some), 8)])
    )
    rows = {
        name: normalize(extract_features(one, images, train, progress).double())
        for name, one in shown.items()
    }
    queries = np.linspace(0, len(train) - 1, min(_QUERIES, len(train))).astype(int)
    count = min(_NEIGHBOURS, len(train) - 1)
    for name, features in rows.items():
        near = _neighbours(features, queries, count)
        yield _Picture(
            f"Images (left) and their nearest neighbours {name} training",
            _sheet(
                images, [train[[query, *ones]] for query, ones in zip(queries, near, strict=True)]
            ),
        )
    clusters = min(_CLUSTERS, len(train) // 2)
    if clusters >= 2:
        yield _Picture(
            f"{clusters} even clusters of the features, a row each: the {_TYPICAL} most typical "
            f"images, then the {_DOUBTFUL} most doubtful",
            _sheet(images, _cluster_rows(rows["after"].float(), train, clusters)),
        )
    if len(train) > 4:
        yield _Picture("Features in two dimensions (t-SNE)", _scatter(rows, labels, images.classes))


def _before(recipe: Recipe, images: CachedDataset, encoder: Encoder) -> Encoder:
    """Return the encoder before training: with random weights, or with those it started from."""
    before = untrained_encoder(encoder.config, recipe.seed)
    if recipe.init is not None:
        started = load_encoder(recipe.init, image_size=recipe.image_size, pool=recipe.pool)
        _, weights = describe(recipe, images, started)
        assert weights is not None
        before.module.load_state_dict(weights)
    return before.to(encoder.device)


def _neighbours(rows: Tensor, queries: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return the rows that are most similar to each query, except the query itself."""
    similar = rows[queries] @ rows.T
    similar[torch.arange(len(queries)), torch.from_numpy(queries)] = -math.inf
    return similar.topk(count).indices.numpy()


def _cluster_rows(
    rows: Tensor, images: NDArray[np.int64], clusters: int
) -> list[NDArray[np.int64]]:
    """Return the most typical, then the most doubtful images of each cluster."""
    outputs = rows @ cluster_directions(rows, clusters).T
    made = balanced_labels(outputs)
    assert made.translation is not None  # the method translates
    shifted = outputs - made.translation
    best = shifted.topk(2).values
    margin = (best[:, 0] - best[:, 1]).numpy()
    shown = []
    for cluster in range(clusters):
        members = np.flatnonzero(made.labels.numpy() == cluster)
        members = members[np.argsort(-margin[members], kind="stable")]
        doubtful = members[_TYPICAL:][-_DOUBTFUL:]
        shown.append(images[np.concatenate([members[:_TYPICAL], doubtful])])
    return shown


def _sheet(images: CachedDataset, rows: Sequence[NDArray[np.int64]]) -> str:
    """Draw rows of images."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(columns, len(rows)), dpi=96)
    figure.subplots_adjust(0, 0, 1, 1, 0.03, 0.03)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for axes in panels.flat:
        axes.set_axis_off()
    for row, indices in zip(panels, rows, strict=True):
        for axes, index in zip(row, indices, strict=False):
            axes.imshow(picture_of(images, int(index)), cmap="gray", vmin=0, vmax=1)
    return _drawn(figure)


def _scatter(
    rows: dict[str, Tensor], labels: NDArray[np.int64] | None, classes: Sequence[str] | None
) -> str:
    """Draw features before and after training, coloured by class where there are classes."""
    from sklearn.manifold import TSNE

    figure = Figure(figsize=(10, 5.2), layout="constrained")
    for axes, (name, features) in zip(
        figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True
    ):
        values = features.numpy()
        # If all images have the same features, there are no two dimensions to show.
        if values.std(0).max() < 1e-6:
            axes.set_title(f"{name} training: all features are equal")
            continue
        places = TSNE(
            init="pca", perplexity=min(30, (len(values) - 1) / 3), random_state=0
        ).fit_transform(values)
        axes.set(xticks=[], yticks=[], title=f"{name} training")
        for label in range(len(classes or ())) if labels is not None else ():
            of_class = places[labels == label]
            axes.scatter(*of_class.T, s=7, label=printable((classes or ())[label]))
        if labels is None:
            axes.scatter(*places.T, s=7)
    if classes and len(classes) <= 20:
        handles, names = figure.axes[-1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=8)
    return _drawn(figure)


def _drawn(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return _as_data(stream.getvalue())


def _as_data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
