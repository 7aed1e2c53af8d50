"""A handful of labels in, a class map out."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import matplotlib
import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.errors import InputError
from rs_otl.files import atomic_write
from rs_otl.geo.embed_windows import embed_rows, embed_tiles
from rs_otl.geo.embedding import description, plan
from rs_otl.geo.embedding_file import refuse_existing
from rs_otl.geo.formats import write_cog
from rs_otl.geo.labels import Label, Skipped, read_labels
from rs_otl.models import Encoder, load_encoder
from rs_otl.progress import tracked

# Inverse strength of the classifier's ridge on features of length 1: docs/scenes.md says why.
_STRENGTH = 300.0
_MOST_CLASSES = 254


@dataclass(frozen=True)
class MapResult:
    """What a map came to.

    Attributes:
        path: The map; ``PATH.aux.xml`` and a ``.qml`` beside it hold the legend.
        classes: Class names; the first has the value 1.
        cells: Cells of each class.
        labels: Labels used of each class.
        skipped: Labels that could not be used, and why.
        correct: Labels told right when they, with all their tiles, were left out.
        tested: Labels left out in turn: those of classes with two labels or more.
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
    scene: SceneLike,
    encoder: str | Path | Encoder,
    labels: str | Path,
    out: str | Path,
    *,
    field: str | None = None,
    tile: int | None = None,
    stride: int | None = None,
    bands: Sequence[str] | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    progress: bool = False,
) -> MapResult:
    """Map a scene by a handful of labels.

    A logistic regression on the embeddings of the labelled tiles, scaled to length 1; each label
    weighs the same however many tiles a polygon gives, and so does each class.

    Args:
        scene: A path, a rasterio dataset, or a DataArray that rioxarray knows.
        encoder: A run, an exported directory, a checkpoint file, ``timm/NAME``, the name of
            torchgeo weights, or an opened encoder.
        labels: Points or polygons, GeoJSON or GeoPackage, in any CRS; see
            :func:`rs_otl.geo.labels.read_labels`.
        out: The map, a Cloud-Optimized GeoTIFF of a pixel a cell: band 1 the class, from 1, with
            its colours, 0 for nodata; band 2 the probability of that class in per cent.
        field: The attribute that holds the class; by default the only one, ``class`` or ``label``.
        tile: Side of a tile in pixels; by default the encoder's image size.
        stride: Side of a cell in pixels, at most ``tile``; by default half of it.
        bands: The scene's bands that are the encoder's, by name or number from 1.
        image_size: Side that tiles are resized to; by default the encoder's own.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 where the processor has it.
        progress: Whether to show bars on stderr.

    Returns:
        What the map came to.

    Raises:
        InputError: The scene, the encoder or the output cannot be used, no label lies on the
            scene, or all are of one class.
    """
    out = Path(out)
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"{out}: expected the name of a GeoTIFF, such as map.tif")
    refuse_existing(out)
    encoder = load_encoder(encoder, image_size=image_size, device="auto", precision=precision)
    with Scene(scene) as opened:
        each = plan(opened, encoder, tile, stride, bands)
        found, skipped = read_labels(Path(labels), opened, each.grid, field)
        found, features, dropped = _features(found, opened, each.grid.tile, encoder, each.bands)
        skipped = [*skipped, *dropped]
        if not found:
            raise InputError(f"{labels}: none of its labels lies on data of {opened.name}")
        counts = Counter(label.klass for label in found)
        classes = tuple(sorted(counts, key=_natural))
        if not 2 <= len(classes) <= _MOST_CLASSES:
            raise InputError(
                f"{labels}: {len(classes)} class on {opened.name} ({classes[0]}), expected 2 to "
                f"{_MOST_CLASSES}"
            )
        truth = np.array([classes.index(label.klass) for label in found])
        tested, correct = _left_out(truth, features)
        predict = _fitted(truth, features)
        shape = (2, each.grid.rows, each.grid.columns)
        cells = np.zeros(len(classes) + 1, np.int64)

        def rows() -> Iterator[NDArray[np.uint8]]:
            computed = embed_rows(opened, each.grid, encoder, each.bands)
            for row in tracked(computed, f"Mapping {Path(opened.name).name}", progress, shape[1]):
                drawn = np.zeros((2, shape[2]), np.uint8)
                held = np.isfinite(row[:, 0])
                if held.any():
                    chances = predict(row[held])
                    drawn[0, held] = chances.argmax(1) + 1
                    drawn[1, held] = np.rint(100 * chances.max(1))
                cells[:] += np.bincount(drawn[0], minlength=len(cells))
                yield drawn

        colours = palette(len(classes))
        write_cog(
            out,
            rows(),
            shape,
            "uint8",
            0,
            opened.crs,
            each.grid.transform(opened.transform),
            ("class", "confidence in per cent"),
            description(each, encoder) | {"RS_OTL_CLASSES": json.dumps(classes)},
            {0: (0, 0, 0, 0), **colours},
            "NEAREST",
        )
        _write_legend(out, classes, colours)
    interval = stats.binomtest(correct, tested).proportion_ci(method="wilson") if tested else None
    return MapResult(
        path=out,
        classes=classes,
        cells={name: int(cells[number + 1]) for number, name in enumerate(classes)},
        labels={name: counts[name] for name in classes},
        skipped=tuple(skipped),
        correct=correct,
        tested=tested,
        low=None if interval is None else float(interval.low),
        high=None if interval is None else float(interval.high),
    )


def _features(
    labels: Sequence[Label], scene: Scene, tile: int, encoder: Encoder, bands: Sequence[int]
) -> tuple[list[Label], list[NDArray[np.float32]], list[Skipped]]:
    """Embed the tiles of labels; a label whose tiles are all nodata is skipped."""
    corners = np.concatenate([label.corners for label in labels])
    rows = embed_tiles(scene, corners, tile, encoder, bands)
    ends = np.cumsum([len(label.corners) for label in labels])[:-1]
    kept, features, skipped = [], [], []
    for label, part in zip(labels, np.split(rows, ends), strict=True):
        held = part[np.isfinite(part[:, 0])]
        if len(held):
            kept.append(label)
            features.append(held)
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
        _unit(np.concatenate(features)), np.repeat(truth, tiles), np.repeat(weights, tiles)
    )
    return lambda rows: classifier.predict_proba(_unit(rows))


def _left_out(truth: NDArray[np.int64], features: Sequence[NDArray[np.float32]]) -> tuple[int, int]:
    """Leave out each label, with all its tiles, in turn.

    The only label of a class is not tried: the others cannot tell it.

    Returns:
        Labels tried, and how many of them were told right.
    """
    counts = np.bincount(truth)
    tested = correct = 0
    for number in np.flatnonzero(counts[truth] > 1).tolist():
        others = np.delete(truth, number)
        predict = _fitted(others, [*features[:number], *features[number + 1 :]])
        chances = predict(features[number]).mean(0)
        tested += 1
        correct += int(np.unique(others)[chances.argmax()] == truth[number])
    return tested, correct


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sort 2 before 10."""
    return [
        (0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part
    ]


def palette(classes: int) -> dict[int, tuple[int, int, int, int]]:
    """Return colours, 0 to 255 with alpha, that are told apart, for the values from 1."""
    name = "tab10" if classes <= 10 else "tab20" if classes <= 20 else "hsv"
    table = matplotlib.colormaps[name].resampled(classes) if classes > 20 else None
    colours = table or matplotlib.colormaps[name]
    return {
        number + 1: tuple(round(255 * part) for part in colours(number))  # type: ignore[misc]
        for number in range(classes)
    }


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
