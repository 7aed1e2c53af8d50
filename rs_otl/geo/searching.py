"""One place in, the places that look most like it out."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as reproject

from rs_otl.datasets import read_image
from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.errors import InputError
from rs_otl.files import atomic_write
from rs_otl.geo.embed_windows import embed_rows, embed_tiles
from rs_otl.geo.embedding import Pass, outlines, plan, tiles_of
from rs_otl.geo.embedding_file import refuse_existing
from rs_otl.geo.similar import most_similar, unit
from rs_otl.models import Encoder, load_encoder
from rs_otl.progress import tracked
from rs_otl.spec import load_size

# Longitude and latitude, as GeoJSON has it (RFC 7946).
_WGS84 = CRS.from_epsg(4326)
# Tiles that similarities are computed of at once.
_BLOCK = 16_384


@dataclass(frozen=True)
class Hit:
    """A place that looks like the query.

    Attributes:
        scene: Name of its scene.
        score: Cosine similarity, at most 1.
        row: First row of its tile in pixels.
        column: First column.
        x: Centre of the tile in the scene's CRS.
        y: Likewise.
    """

    scene: str
    score: float
    row: int
    column: int
    x: float
    y: float


@dataclass(frozen=True)
class _Place:
    """A query among the scenes: which, and the corners (n, 2) of its tiles."""

    number: int
    corners: NDArray[np.int64]


def search(
    scenes: SceneLike | Sequence[SceneLike],
    encoder: str | Path | Encoder,
    query: str | Path | tuple[float, ...],
    out: str | Path,
    *,
    count: int = 50,
    query_crs: str | None = None,
    tile: int | None = None,
    stride: int | None = None,
    bands: Sequence[str] | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    progress: bool = False,
) -> list[Hit]:
    """Find the tiles of scenes that look most like a place or an image.

    Every tile is compared, by cosine similarity. No two hits overlap, nor does a hit overlap the
    place asked for: of tiles that do, the most similar one stands.

    Args:
        scenes: Paths, rasterio datasets, or DataArrays that rioxarray knows: one or several.
        encoder: A run, an exported directory, a checkpoint file, ``timm/NAME``, the name of
            torchgeo weights, or an opened encoder.
        query: ``(x, y)``: the tile centred there. ``(left, bottom, right, top)``: the mean of the
            tiles whose centres lie within; the one tile at its centre if there are none. The same
            as text, ``"x,y"``. Or an image file, which is resized to a tile.
        out: GeoJSON to write: the hits' outlines, in longitude and latitude where their scene has
            a CRS.
        count: Hits wanted.
        query_crs: CRS of the query's coordinates; by default that of each scene.
        tile: Side of a tile in pixels; by default the encoder's image size.
        stride: Pixels from one tile to the next; by default half a tile.
        bands: The scenes' bands that are the encoder's, by name or number from 1.
        image_size: Side that tiles are resized to; by default the encoder's own.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 where the processor has it.
        progress: Whether to show bars on stderr.

    Returns:
        The hits, best first.

    Raises:
        InputError: A scene, the encoder, the query or the output cannot be used.
    """
    sources = list(scenes) if isinstance(scenes, list | tuple) else [scenes]
    out = Path(out)
    if out.suffix.lower() not in (".geojson", ".json"):
        raise InputError(f"{out}: expected the name of a GeoJSON file, such as hits.geojson")
    if count < 1:
        raise InputError(f"{count} hits: expected at least 1")
    refuse_existing(out)
    numbers = _numbers(query)
    encoder = load_encoder(encoder, image_size=image_size, device="auto", precision=precision)
    with ExitStack() as stack:
        passes = [
            plan(stack.enter_context(Scene(source)), encoder, tile, stride, bands)
            for source in sources
        ]
        if numbers is None:
            place, wanted = None, _of_image(Path(str(query)), encoder)
        else:
            place = _find(passes, numbers, query_crs)
            each = passes[place.number]
            rows = embed_tiles(each.scene, place.corners, each.grid.tile, encoder, each.bands)
            rows = rows[np.isfinite(rows[:, 0])]
            if not len(rows):
                raise InputError(f"query {query}: lies on nodata of {each.scene.name}")
            wanted = unit(rows).mean(0)
        candidates: list[tuple[float, int, int, int]] = []
        for number, each in enumerate(passes):
            # Each hit takes at most so many tiles with it: enough are kept that none is missed.
            around = (2 * -(-each.grid.tile // each.grid.stride) + 1) ** 2
            asked = len(place.corners) if place is not None and place.number == number else 0
            keep = (count + asked) * around
            best = _best(each, encoder, wanted, keep, progress)
            candidates += [(score, number, row, column) for score, row, column in best]
        kept = _apart(candidates, [each.grid.tile for each in passes], place, count)
        hits = [_hit(passes[number], score, row, column) for score, number, row, column in kept]
        features = [
            _feature(passes[number], hit, rank)
            for rank, (hit, (_, number, _, _)) in enumerate(zip(hits, kept, strict=True), start=1)
        ]
    with atomic_write(out) as aside:
        aside.write_text(
            json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8"
        )
    return hits


def _numbers(query: Any) -> tuple[float, ...] | None:
    """Return the coordinates of a query; ``None`` if it is an image."""
    if isinstance(query, tuple):
        parts: Sequence[Any] = query
    else:
        parts = str(query).split(",")
        if Path(str(query)).is_file():
            return None
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) not in (2, 4) or not np.isfinite(numbers).all():
        raise InputError(
            f"query {query}: expected x,y or left,bottom,right,top or the name of an image file"
        )
    return numbers


def _of_image(path: Path, encoder: Encoder) -> NDArray[np.float32]:
    spec = encoder.config.spec
    image = read_image(path, load_size(encoder.config.image_size))
    if len(image) != len(spec.bands):
        raise InputError(
            f"{path}: {len(image)} bands, {encoder.source} was trained on "
            f"{', '.join(spec.bands)}: expected the same"
        )
    return encoder.embed(image[None])[0].numpy()


def _find(passes: Sequence[Pass], numbers: tuple[float, ...], crs: str | None) -> _Place:
    """Find the scene that holds the centre of a query, and the query's tiles in it."""
    xs, ys = np.array(numbers[::2]), np.array(numbers[1::2])
    for number, each in enumerate(passes):
        x, y = _in_crs_of(each.scene, xs, ys, crs)
        columns, rows = each.scene.position(x, y)
        column, row = float(np.mean(columns)), float(np.mean(rows))
        if not (0 <= column < each.scene.width and 0 <= row < each.scene.height):
            continue
        grid = each.grid
        corners = np.empty((0, 2), np.int64)
        if len(numbers) == 4:
            middle_rows = (np.arange(grid.rows) + 0.5) * grid.stride
            middle_columns = (np.arange(grid.columns) + 0.5) * grid.stride
            held_rows = (min(rows) <= middle_rows) & (middle_rows <= max(rows))
            held_columns = (min(columns) <= middle_columns) & (middle_columns <= max(columns))
            tops, lefts = np.unique(grid.tops()[held_rows]), np.unique(grid.lefts()[held_columns])
            corners = np.stack(np.meshgrid(tops, lefts, indexing="ij"), axis=-1).reshape(-1, 2)
        if not len(corners):
            corner = np.array([int(row), int(column)]) - grid.tile // 2
            corners = np.clip(corner, 0, [grid.height - grid.tile, grid.width - grid.tile])[None]
        return _Place(number, corners)
    names = ", ".join(each.scene.name for each in passes)
    raise InputError(
        f"query {','.join(map(str, numbers))}: lies outside {names}; expected coordinates in "
        f"{crs or 'the CRS of the scene'}{'' if crs else ', or --query-crs to name another'}"
    )


def _in_crs_of(
    scene: Scene, xs: NDArray[np.float64], ys: NDArray[np.float64], crs: str | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if crs is None:
        return xs, ys
    if scene.crs is None:
        raise InputError(f"--query-crs {crs}: {scene.name} has no CRS to go to")
    try:
        x, y = reproject(CRS.from_user_input(crs), scene.crs, xs, ys)
    except Exception as error:  # of several libraries below
        raise InputError(f"--query-crs {crs}: not a CRS ({error})") from None
    return np.array(x), np.array(y)


def _best(
    each: Pass, encoder: Encoder, query: NDArray[np.float32], keep: int, progress: bool
) -> list[tuple[float, int, int]]:
    """Return similarity, row and column of the most similar tiles of a scene."""
    computed = embed_rows(each.scene, each.grid, encoder, each.bands)
    name = f"Searching {Path(each.scene.name).name}"
    rows = iter(tracked(computed, name, progress, each.grid.rows))
    scores, corners = np.zeros(0, np.float32), np.zeros((0, 2), np.int64)
    for places, values in _blocks(tiles_of(each.grid, rows)):
        found, positions = most_similar(values, query, keep)
        scores = np.concatenate([scores, found])
        corners = np.concatenate([corners, places[positions]])
        order = np.argsort(-scores, kind="stable")[:keep]
        scores, corners = scores[order], corners[order]
    return [
        (float(score), int(row), int(column))
        for score, (row, column) in zip(scores, corners, strict=True)
    ]


def _blocks(
    tiles: Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Join rows of tiles to blocks."""
    waiting: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    for part in tiles:
        waiting.append(part)
        if sum(len(corners) for corners, _ in waiting) >= _BLOCK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _apart(
    candidates: Sequence[tuple[float, int, int, int]],
    sides: Sequence[int],
    place: _Place | None,
    count: int,
) -> list[tuple[float, int, int, int]]:
    """Keep the best of the tiles that overlap, and none that overlaps the query."""
    taken: list[list[tuple[int, int]]] = [[] for _ in sides]
    if place is not None:
        taken[place.number] = [(int(row), int(column)) for row, column in place.corners]
    kept: list[tuple[float, int, int, int]] = []
    for candidate in sorted(candidates, key=lambda each: (-each[0], *each[1:])):
        _, number, row, column = candidate
        held = np.array(taken[number]).reshape(-1, 2)
        apart = np.abs(held - [row, column]).max(1) >= sides[number]
        if apart.all():
            kept.append(candidate)
            taken[number].append((row, column))
            if len(kept) == count:
                break
    return kept


def _hit(each: Pass, score: float, row: int, column: int) -> Hit:
    half = each.grid.tile / 2
    x, y = each.scene.coordinate(column + half, row + half)
    return Hit(Path(each.scene.name).name, score, row, column, float(x), float(y))


def _feature(each: Pass, hit: Hit, rank: int) -> dict[str, Any]:
    corners = outlines(each.scene, np.array([[hit.row, hit.column]]), each.grid.tile)[0]
    if each.scene.crs is not None:
        x, y = reproject(each.scene.crs, _WGS84, corners[:, 0], corners[:, 1])
        corners = np.stack([x, y], axis=1)
    ring = [*corners.tolist(), corners[0].tolist()]
    return {
        "type": "Feature",
        "properties": {
            "rank": rank,
            "score": round(hit.score, 6),
            "scene": hit.scene,
            "row": hit.row,
            "column": hit.column,
        },
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
