"""Map embeddings without labels: cells that look alike get one class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sklearn.cluster import KMeans

from rs_otl.clustering import balanced_labels
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.files import refuse_output
from rs_otl.geo.cells import Cells, refuse_another_scene
from rs_otl.geo.class_map import TIFF, write_class_map, written_aside
from rs_otl.geo.classifier import MOST_CLASSES
from rs_otl.geo.grid import apart
from rs_otl.geo.legend import colours_of, rgba
from rs_otl.geo.opening import open_embeddings
from rs_otl.geo.painting import Painter
from rs_otl.geo.similar import unit
from rs_otl.progress import tracked

# Cells that clusters are learnt from, drawn from all over the scene.
_SAMPLE = 20_000
# Starts of k-means; the best result is kept.
_BEGINNINGS = 5
# Rounds of balanced labels and new centres; more rounds change little.
_ROUNDS = 10
# The contact sheet: tiles of a cluster, and their side in pixels.
_TYPICAL = 8
_SHOWN = 112
_LEGEND = 150
# The most typical cells of a cluster, from which the tiles of the sheet are chosen.
_CANDIDATES = 2000


@dataclass(frozen=True)
class Clusters:
    """Directions that embeddings are compared with, after their mean is taken away.

    Attributes:
        mean: Mean of the embeddings of length 1, (D,).
        centres: Directions of length 1, (k, D).
        translation: Subtracted from the similarities, (k,): 0, or what makes the clusters even.
    """

    mean: NDArray[np.float32]
    centres: NDArray[np.float32]
    translation: NDArray[np.float32]

    def similarities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the cosine of embeddings (n, D) and centres, (n, k)."""
        return np.asarray(unit(unit(rows) - self.mean) @ self.centres.T)


@dataclass(frozen=True)
class Clustered:
    """A map without labels.

    Attributes:
        path: The map; ``PATH.aux.xml`` and a ``.qml`` beside it hold the legend.
        sheet: The most typical tiles of each cluster; ``None`` without a scene.
        colours: Colour of each cluster, as ``#rrggbb``.
        cells: Cells of each cluster, the largest first.
        hectares: Area of each cluster; ``None`` for a scene without a place on Earth.
    """

    path: Path
    sheet: Path | None
    colours: tuple[str, ...]
    cells: dict[str, int]
    hectares: dict[str, float] | None


def cluster(
    embeddings: str | Path,
    out: str | Path,
    *,
    clusters: int = 12,
    balanced: bool = False,
    scene: str | Path | None = None,
    progress: bool = False,
) -> Clustered:
    """Map a scene without labels: cells whose embeddings are alike are one cluster.

    The method is spherical k-means of the embeddings, scaled to length 1 and centred, on a sample
    of up to about 20,000 cells. With ``balanced``, a translation of the similarities makes all
    clusters equally large, as OTL labels its images (:func:`rs_otl.balanced_labels`), and the
    centres are computed again from these labels.

    Args:
        embeddings: The GeoTIFF that :func:`rs_otl.geo.embed` made of a scene, or a scene of an
            archive (``ARCHIVE/blocks/SCENE``).
        out: The map to write, a Cloud-Optimized GeoTIFF with one pixel per cell: the cluster, from
            1, the largest first; 0 for nodata. Colours and names are like those of a map of
            classes.
        clusters: Number k of clusters, 2 to 254.
        balanced: Whether to make the clusters equally large.
        scene: The scene; if given, ``NAME-tiles.png`` shows the most typical tiles of each cluster.
        progress: Whether to show bars on stderr.

    Returns:
        What was written.

    Raises:
        InputError: The embeddings, the scene or an output cannot be used, or there are fewer cells
            with data than clusters.
    """
    out = Path(out)
    if out.suffix.lower() not in TIFF:
        raise InputError(f"{out}: expected the name of a GeoTIFF, such as map.tif")
    if not 2 <= clusters <= MOST_CLASSES:
        raise InputError(f"{clusters} clusters: expected 2 to {MOST_CLASSES}")
    sheet = None if scene is None else out.with_name(f"{out.stem}-tiles.png")
    for path in (out, out.with_suffix(".qml"), *([sheet] if sheet else ())):
        refuse_output(path)
    with open_embeddings(embeddings) as cells:
        if scene is not None:
            with Scene(scene) as opened:
                refuse_another_scene(cells, opened)
        found = find_clusters(sample(cells, progress)[1], clusters, balanced, cells.name)
        chart, typical = _assigned(cells, found, progress)
        names = [f"cluster {number}" for number in range(1, clusters + 1)]
        colours = colours_of(names, {})
        with written_aside(out) as folder:
            counts, hectares = write_class_map(folder / out.name, cells, chart, names, colours)
            if sheet is not None:
                with Scene(scene) as opened:
                    picture = _contact_sheet(opened, cells, chart, typical, colours)
                picture.save(folder / sheet.name)
    return Clustered(out, sheet, tuple(colours), counts, hectares)


def sample(
    cells: Cells, progress: bool = False, most: int = _SAMPLE
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draw cells from all over a scene, the same every time.

    Args:
        cells: The cells.
        progress: Whether to show a bar on stderr.
        most: About how many cells to draw, nodata included; all if there are no more.

    Returns:
        Row and column, (n, 2), and embeddings, (n, D), of the drawn cells that have data.
    """
    random = np.random.default_rng(0)
    share = most / (cells.grid.rows * cells.grid.columns)
    places, kept = [], []
    rows = tracked(cells.rows(), f"Reading {Path(cells.name).name}", progress, cells.grid.rows)
    for number, row in enumerate(rows):
        drawn = np.isfinite(row[:, 0]) & (random.random(len(row)) < share)
        columns = np.flatnonzero(drawn)
        places.append(np.stack([np.full(len(columns), number), columns], axis=1))
        kept.append(row[columns])
    return np.concatenate(places), np.concatenate(kept)


def find_clusters(rows: NDArray[np.float32], clusters: int, balanced: bool, name: str) -> Clusters:
    """Find the directions around which embeddings cluster.

    Args:
        rows: Embeddings (n, D).
        clusters: Number k of clusters.
        balanced: Whether to make the clusters equally large.
        name: Name of the embeddings, for errors.

    Returns:
        The clusters, the largest first.

    Raises:
        InputError: There are fewer distinct embeddings than clusters.
    """
    distinct = len(np.unique(rows, axis=0)) if len(rows) < 10 * clusters else clusters
    if distinct < clusters:
        raise InputError(
            f"{name}: only {distinct:,} distinct cells for {clusters} clusters: expected no more "
            f"clusters than cells, -k {distinct} or less"
        )
    lengthened = unit(rows)
    mean = lengthened.mean(0)
    directions = unit(lengthened - mean)
    model = KMeans(clusters, n_init=_BEGINNINGS, random_state=0).fit(directions)
    centres, translation = unit(model.cluster_centers_.astype(np.float32)), np.zeros(clusters)
    labels = (directions @ centres.T).argmax(1)
    for _ in range(_ROUNDS if balanced else 0):
        even = balanced_labels(torch.from_numpy(directions @ centres.T))
        assert even.translation is not None
        labels, translation = even.labels.numpy(), even.translation.numpy()
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, directions)
        before, centres = centres, unit(sums)
    if balanced:  # the translation belongs to the centres that it was found with
        centres = before
    order = np.argsort(-np.bincount(labels, minlength=clusters), kind="stable")
    return Clusters(mean, centres[order], translation[order].astype(np.float32))


def _assigned(
    cells: Cells, found: Clusters, progress: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the cluster of each cell, from 1, and its similarity to the centre, -1 for nodata."""
    shape = (cells.grid.rows, cells.grid.columns)
    chart, typical = np.zeros(shape, np.uint8), np.full(shape, -1, np.float32)
    title = f"Mapping {Path(cells.name).name}"
    for number, row in enumerate(tracked(cells.rows(), title, progress, shape[0])):
        with_data = np.isfinite(row[:, 0])
        if with_data.any():
            alike = found.similarities(row[with_data])
            labels = (alike - found.translation).argmax(1)
            chart[number, with_data] = labels + 1
            typical[number, with_data] = alike[np.arange(len(labels)), labels]
    return chart, typical


def _contact_sheet(
    scene: Scene,
    cells: Cells,
    chart: NDArray[np.uint8],
    typical: NDArray[np.float32],
    colours: list[str],
) -> Image.Image:
    """Draw the most typical tiles of each cluster in a row; no two overlap."""
    painter = Painter.of(scene, cells.provenance.bands)
    gap, tile = 6, cells.grid.tile
    step = _SHOWN + gap
    sheet = Image.new("RGB", (_LEGEND + _TYPICAL * step, len(colours) * step + gap), "white")
    draw: Any = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(16)
    with_data = max(1, int((chart > 0).sum()))
    for number, colour in enumerate(colours, start=1):
        top = gap + (number - 1) * step
        inside = np.argwhere(chart == number)
        draw.rectangle((gap, top, gap + 24, top + _SHOWN - 1), fill=rgba(colour)[:3])
        share = 100 * len(inside) / with_data
        draw.text((gap + 34, top + 30), f"cluster {number}\n{share:.1f} %", "black", font)
        order = np.argsort(-typical[inside[:, 0], inside[:, 1]], kind="stable")[:_CANDIDATES]
        corners = cells.grid.corners(inside[order])
        for place, position in enumerate(apart(corners, tile, _TYPICAL)):
            row, column = (int(corner) for corner in corners[position])
            picture = Image.fromarray(painter.draw(column, row, tile, tile))
            chip = picture.resize((_SHOWN, _SHOWN))
            sheet.paste(chip, (_LEGEND + place * step, top), chip)
    return sheet
