"""Choose the places of a scene whose labels would say most."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError, note
from rs_otl.files import refuse_output
from rs_otl.geo.cells import Cells
from rs_otl.geo.class_map import write_features
from rs_otl.geo.clusters import find_clusters, sample
from rs_otl.geo.extent import WGS84, degrees_of
from rs_otl.geo.grid import apart
from rs_otl.geo.labels import read_labels
from rs_otl.geo.mapping import train
from rs_otl.geo.opening import open_embeddings

# Share of a cluster's cells, nearest to its centre, to choose from: the other cells are borders and
# oddities, and their labels say little about the rest.
_TYPICAL = 0.5


@dataclass(frozen=True)
class Suggestion:
    """A place to label.

    Attributes:
        rank: From 1, the first to label.
        x: x of the middle of its cell, in the scene's CRS.
        y: y of the middle of its cell, in the scene's CRS.
        share: How much of the scene looks like it: the share of its cluster in all cells.
        confidence: Probability of ``looks_like``; ``None`` without labels.
        looks_like: The class that the labels so far predict here; ``None`` without labels.
    """

    rank: int
    x: float
    y: float
    share: float
    confidence: float | None
    looks_like: str | None


def suggest(
    embeddings: str | Path,
    out: str | Path,
    *,
    count: int = 20,
    labels: str | Path | None = None,
    field: str | None = None,
    layer: str | None = None,
    progress: bool = False,
) -> list[Suggestion]:
    """Choose the places of a scene to label next.

    The scene is divided into as many clusters as places are wanted, so that places are spread over
    what it shows (TypiClust, Hacohen et al. 2022, https://arxiv.org/abs/2202.02794). Without
    labels, the place of a cluster is its most typical cell; places of large clusters come first.
    With labels, it is the cell, among the typical half, that the map is least certain of; the least
    certain place comes first. No place's tile overlaps the tile of another place or of a label.

    Args:
        embeddings: The GeoTIFF that :func:`rs_otl.geo.embed` made of a scene, or a scene of an
            archive (``ARCHIVE/blocks/SCENE``).
        out: GeoJSON, GeoPackage or GeoParquet to write: points in longitude and latitude (or in the
            scene's coordinates, if it has no place on Earth), with an empty ``class`` to fill in.
            The filled file is one of ``labels``; places that were left empty are skipped.
        count: Places wanted, 2 at least; there may be fewer, on a small scene.
        labels: The labels so far, as :func:`rs_otl.geo.map` takes them.
        field: The attribute that holds the class of the labels.
        layer: The layer of the labels, if their file has several.
        progress: Whether to show bars on stderr.

    Returns:
        The places.

    Raises:
        InputError: The embeddings, the labels or the output cannot be used, or the labels leave no
            place.
    """
    out = Path(out)
    if out.suffix.lower() not in (".geojson", ".gpkg", ".parquet"):
        raise InputError(f"{out}: expected a name that ends in .geojson, .gpkg or .parquet")
    if count < 2:
        raise InputError(f"{count} places: expected at least 2")
    if labels is None and (field or layer):
        raise InputError("--field and --layer need --labels")
    refuse_output(out)
    with open_embeddings(embeddings) as cells:
        places, rows = sample(cells, progress)
        found = find_clusters(rows, count, False, cells.name)
        alike = found.similarities(rows)
        of, typical = alike.argmax(1), alike.max(1)
        shares = np.bincount(of, minlength=count) / len(of)
        taken = np.zeros((0, 2), np.int64)
        chances: NDArray[np.float32] | None = None
        classes: Sequence[str] = ()
        if labels is not None:
            read = read_labels(Path(labels), [cells], field, layer)
            trained = train(Path(labels), read, [cells], {}, progress, test=False)
            chances, classes = trained.linear(rows), trained.classes
            taken = cells.grid.corners(
                np.concatenate([there for label in read.used for _, there in label.places])
            )
        chosen: list[int] = []
        for number in np.argsort(-shares, kind="stable").tolist():
            members = np.flatnonzero(of == number)
            members = members[np.argsort(-typical[members], kind="stable")]
            if chances is not None:
                members = members[: max(1, int(len(members) * _TYPICAL))]
                members = members[np.argsort(chances[members].max(1), kind="stable")]
            corners = cells.grid.corners(places[members])
            for first in apart(corners, cells.grid.tile, 1, taken):
                chosen.append(int(members[first]))
                taken = np.concatenate([taken, corners[[first]]])
        if chances is not None:
            chosen.sort(key=lambda place: float(chances[place].max()))
        if not chosen:
            raise InputError(
                f"{cells.name}: no place is left, the typical tiles of all {count} clusters "
                "overlap tiles of labels; ask for more places (-n), or map with these labels"
            )
        if len(chosen) < count:
            note(
                f"{cells.name}: only {len(chosen)} of {count} places, since tiles must not overlap"
            )
        middles = (places[chosen] + 0.5) * cells.grid.stride
        x, y = cells.coordinate(middles[:, 1], middles[:, 0])
        suggestions = [
            Suggestion(
                rank,
                float(x[rank - 1]),
                float(y[rank - 1]),
                round(float(shares[of[place]]), 4),
                None if chances is None else round(float(chances[place].max()), 4),
                None if chances is None else classes[int(chances[place].argmax())],
            )
            for rank, place in enumerate(chosen, start=1)
        ]
        _write(out, cells, suggestions)
    return suggestions


def _write(out: Path, cells: Cells, suggestions: Sequence[Suggestion]) -> None:
    table = [asdict(each) for each in suggestions]
    columns: dict[str, list[Any]] = {"class": [None] * len(table)}
    for name in ("rank", "share", "confidence", "looks_like"):
        values = [row[name] for row in table]
        if values[0] is not None:
            columns[name] = values
    x, y = [row["x"] for row in table], [row["y"] for row in table]
    crs = None if cells.crs is None else cells.crs.to_wkt()
    frame = geopandas.GeoDataFrame(columns, geometry=geopandas.points_from_xy(x, y), crs=crs)
    if degrees_of(cells) is not None:
        frame = frame.to_crs(WGS84)
    else:
        note(f"{cells.name}: places are in the scene's coordinates, not in longitude and latitude")
    write_features(out, frame)
