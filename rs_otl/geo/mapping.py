"""A handful of labels in, a class map out."""

import colorsys
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rs_otl.datasets.scene import SceneLike
from rs_otl.errors import InputError
from rs_otl.files import atomic_write, refuse_output
from rs_otl.geo.cells import Cells, load_encoder_for, open_cells
from rs_otl.geo.formats import write_cog
from rs_otl.geo.grid import scaled
from rs_otl.geo.labels import Label, Skipped, read_labels
from rs_otl.geo.similar import unit
from rs_otl.models import Encoder
from rs_otl.progress import tracked

with warnings.catch_warnings():
    # joblib's, where shared memory is full: nothing here runs in parallel.
    warnings.simplefilter("ignore")
    from sklearn.linear_model import LogisticRegression

# Inverse strength of the classifier's ridge on features of length 1: docs/scenes.md says why.
_STRENGTH = 300.0
_MOST_CLASSES = 254
# Fits of the classifier that the accuracy may take.
_MOST_FITS = 200
_OKABE_ITO = ("0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "f0e442", "999999")


@dataclass(frozen=True)
class MapResult:
    """A map that was written.

    Attributes:
        path: The map; ``PATH.aux.xml`` and a ``.qml`` beside it hold the legend.
        classes: Class names; the first has the value 1.
        cells: Cells of each class.
        labels: Labels used of each class.
        skipped: Labels that could not be used, and why.
        correct: Labels predicted correctly when they, with all their cells, were left out.
        tested: Labels that were left out: those of classes with two labels or more.
        low: Lower end of the accuracy's 95 % interval (Wilson); ``None`` if none was tested.
        high: Upper end.
    """

    path: Path
    classes: tuple[str, ...]
    cells: dict[str, int]
    labels: dict[str, int]
    skipped: tuple[Skipped, ...]
    correct: int
    tested: int
    low: float | None
    high: float | None


def map_scene(
    source: SceneLike,
    labels: str | Path,
    out: str | Path,
    *,
    encoder: str | Path | Encoder | None = None,
    field: str | None = None,
    layer: str | None = None,
    tile: int | None = None,
    stride: int | None = None,
    bands: Sequence[str] | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    progress: bool = False,
) -> MapResult:
    """Map a scene from a handful of labels.

    A logistic regression on the embeddings of the labelled cells, scaled to length 1. Every label
    has the same weight however many cells a polygon covers, and so has every class. A scene and
    the embeddings that were made of it give the same map.

    Args:
        source: A scene (a path, a rasterio dataset, or a DataArray that rioxarray knows), or the
            GeoTIFF that :func:`rs_otl.geo.embed` made of one, which needs no encoder.
        labels: Points or polygons, GeoJSON, GeoPackage, GeoParquet or CSV, in any CRS; see
            :func:`rs_otl.geo.labels.read_labels`.
        out: The map, a Cloud-Optimized GeoTIFF with one pixel per cell: band 1 the class, from 1,
            with its colours, 0 for nodata; band 2 the probability of that class in per cent.
        encoder: Any name that :func:`rs_otl.load_encoder` takes, or an encoder. Embeddings made
            with another one are refused.
        field: The attribute that holds the class; by default the only one, ``class`` or ``label``.
        layer: The layer of the labels, where their file has several.
        tile: Side of a tile in pixels; by default the side at which the encoder's images are
            loaded (:func:`rs_otl.spec.load_size`).
        stride: Side of a cell in pixels, at most ``tile``; by default half of it.
        bands: The scene's bands that are the encoder's, by name or number from 1.
        image_size: Side of the images that the encoder sees; by default its own.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 where the hardware multiplies it.
        progress: Whether to show bars on stderr.

    Returns:
        What was written, and how well the labels are predicted.

    Raises:
        InputError: The scene, the encoder or the output cannot be used, no label lies on the
            scene, or all are of one class.
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"{out}: expected the name of a GeoTIFF, such as map.tif")
    refuse_output(out)
    opened = load_encoder_for([source], encoder, image_size, precision)
    with open_cells(source, opened, tile, stride, bands) as cells:
        usable, skipped = read_labels(Path(labels), cells, field, layer)
        usable, features, dropped = _features(usable, cells)
        skipped = [*skipped, *dropped]
        if not usable:
            raise InputError(f"{labels}: none of its labels lies on data of {cells.name}")
        counts = Counter(label.klass for label in usable)
        classes = tuple(sorted(counts, key=_natural))
        if not 2 <= len(classes) <= _MOST_CLASSES:
            raise InputError(
                f"{labels}: {len(classes)} class on {cells.name} ({classes[0]}), expected 2 to "
                f"{_MOST_CLASSES}"
            )
        truth = np.array([classes.index(label.klass) for label in usable])
        tested, correct = _cross_validated(truth, features)
        predict = _fitted(truth, features)
        shape = (2, cells.grid.rows, cells.grid.columns)
        sizes = np.zeros(len(classes) + 1, np.int64)

        def rows() -> Iterator[NDArray[np.uint8]]:
            title = f"Mapping {Path(cells.name).name}"
            for row in tracked(cells.rows(), title, progress, shape[1]):
                drawn = np.zeros((2, shape[2]), np.uint8)
                with_data = np.isfinite(row[:, 0])
                if with_data.any():
                    chances = predict(row[with_data])
                    drawn[0, with_data] = chances.argmax(1) + 1
                    drawn[1, with_data] = np.rint(100 * chances.max(1))
                sizes[:] += np.bincount(drawn[0], minlength=len(sizes))
                yield drawn

        colours = palette(len(classes))
        write_cog(
            out,
            rows(),
            shape,
            "uint8",
            0,
            cells.crs,
            scaled(cells.transform, cells.grid.stride),
            ("class", "confidence in per cent"),
            cells.provenance.model_copy(update={"classes": classes}).tags(),
            {0: (0, 0, 0, 0), **colours},
            "NEAREST",
        )
        _write_legend(out, classes, colours)
    interval = stats.binomtest(correct, tested).proportion_ci(method="wilson") if tested else None
    return MapResult(
        path=out,
        classes=classes,
        cells={name: int(sizes[number + 1]) for number, name in enumerate(classes)},
        labels={name: counts[name] for name in classes},
        skipped=tuple(skipped),
        correct=correct,
        tested=tested,
        low=None if interval is None else float(interval.low),
        high=None if interval is None else float(interval.high),
    )


def _features(
    labels: Sequence[Label], cells: Cells
) -> tuple[list[Label], list[NDArray[np.float32]], list[Skipped]]:
    """Look up the embeddings of labels; a label whose cells are all nodata is skipped."""
    rows = cells.at(np.concatenate([label.cells for label in labels]))
    ends = np.cumsum([len(label.cells) for label in labels])[:-1]
    kept, features, skipped = [], [], []
    for label, part in zip(labels, np.split(rows, ends), strict=True):
        with_data = part[np.isfinite(part[:, 0])]
        if len(with_data):
            kept.append(label)
            features.append(with_data)
        else:
            skipped.append(Skipped(label.name, "lies on nodata"))
    return kept, features, skipped


def _fitted(
    truth: NDArray[np.int64], features: Sequence[NDArray[np.float32]]
) -> Callable[[NDArray[np.float32]], NDArray[np.float64]]:
    """Fit the classifier.

    Args:
        truth: Class of each label, (n,).
        features: Embeddings of the tiles of each, n arrays (tiles, D).

    Returns:
        From embeddings (m, D) to a probability for each class that occurs, ascending.
    """
    tiles = np.array([len(part) for part in features])
    weights = 1 / (tiles * np.bincount(truth)[truth])
    weights *= len(truth) / (weights * tiles).sum()
    classifier = LogisticRegression(C=_STRENGTH, max_iter=1000)
    classifier.fit(
        unit(np.concatenate(features)), np.repeat(truth, tiles), np.repeat(weights, tiles)
    )
    return lambda rows: classifier.predict_proba(unit(rows))


def _cross_validated(
    truth: NDArray[np.int64], features: Sequence[NDArray[np.float32]]
) -> tuple[int, int]:
    """Predict labels, with all their cells, from the others.

    Up to ``_MOST_FITS`` labels are left out one at a time; more are left out in as many folds,
    every class spread evenly over them. The only label of a class is not tested: the others
    cannot predict it.

    Returns:
        Labels tested, and how many of them were predicted correctly.
    """
    tested = np.flatnonzero(np.bincount(truth)[truth] > 1)
    # Class by class, so that the labels of a class fall into different folds.
    tested = tested[np.argsort(truth[tested], kind="stable")]
    correct = 0
    for fold in range(min(len(tested), _MOST_FITS)):
        left_out = tested[fold::_MOST_FITS]
        kept = np.setdiff1d(np.arange(len(truth)), left_out)
        predict = _fitted(truth[kept], [features[number] for number in kept])
        known = np.unique(truth[kept])
        for number in left_out.tolist():
            chances = predict(features[number]).mean(0)
            correct += int(known[chances.argmax()] == truth[number])
    return len(tested), correct


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sort 2 before 10."""
    return [
        (0, int(part)) if part.isdecimal() else (1, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def palette(classes: int) -> dict[int, tuple[int, int, int, int]]:
    """Return colours for classes, from value 1: red, green, blue and alpha, 0 to 255.

    Up to eight classes have the colours of Okabe and Ito, which colour-blind eyes can distinguish;
    further classes have other hues.
    """
    colours = [tuple(bytes.fromhex(colour)) for colour in _OKABE_ITO[:classes]]
    for number in range(classes - len(colours)):
        # The golden ratio keeps neighbouring numbers far apart on the colour wheel.
        hue = (number * 0.618034) % 1
        shade = colorsys.hsv_to_rgb(hue, (0.55, 0.9)[number % 2], (0.95, 0.6)[number // 2 % 2])
        colours.append(tuple(round(255 * part) for part in shade))
    return {number: (*colour, 255) for number, colour in enumerate(colours, start=1)}  # type: ignore[misc]


def _write_legend(
    out: Path, classes: Sequence[str], colours: Mapping[int, tuple[int, int, int, int]]
) -> None:
    """Write the legend beside a map.

    GeoTIFF has no place for class names: GDAL keeps them in ``.aux.xml``, and QGIS reads its own
    ``.qml`` first.
    """
    names = "".join(f"<Category>{escape(name)}</Category>" for name in ("", *classes))
    with atomic_write(out.with_name(f"{out.name}.aux.xml")) as aside:
        aside.write_text(
            f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames>'
            # Left to itself, GDAL takes the band after a palette for its opacity.
            '</PAMRasterBand><PAMRasterBand band="2"><ColorInterp>Gray</ColorInterp>'
            "</PAMRasterBand></PAMDataset>\n",
            encoding="utf-8",
        )
    entries = "".join(
        f'<paletteEntry value="{value}" color="#{red:02x}{green:02x}{blue:02x}" alpha="255" '
        f"label={quoteattr(classes[value - 1])}/>"
        for value, (red, green, blue, _) in colours.items()
    )
    with atomic_write(out.with_suffix(".qml")) as aside:
        aside.write_text(
            '<qgis><pipe><rasterrenderer type="paletted" band="1" opacity="1" alphaBand="-1">'
            f"<colorPalette>{entries}</colorPalette></rasterrenderer></pipe></qgis>\n",
            encoding="utf-8",
        )
