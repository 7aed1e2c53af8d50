"""Find the places that look most like a place or an image."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
import shapely.geometry
import torch
from numpy.typing import NDArray
from pyproj.exceptions import CRSError, ProjError

from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.datasets.sources import all_scenes
from rs_otl.datasets.wanted import Interval
from rs_otl.errors import InputError, note
from rs_otl.files import atomic_write, refuse_output
from rs_otl.geo.cells import Cells, refuse_mixed, refuse_others
from rs_otl.geo.degrees import counter_clockwise, outline_in_degrees
from rs_otl.geo.embed_windows import as_tensor
from rs_otl.geo.embedding import tiles_of
from rs_otl.geo.extent import WGS84, crs_of, degrees_of, misplaced, pixels_of
from rs_otl.geo.indexing import TileIndex, blocks_of, is_index, on_earth
from rs_otl.geo.joined import scenes_in
from rs_otl.geo.legend import write_outline_style
from rs_otl.geo.opening import is_embedding, load_encoder_for, open_cells
from rs_otl.geo.similar import most_similar, unit
from rs_otl.models import Encoder
from rs_otl.progress import tracked
from rs_otl.spec import Values

# Most pixels of an image that is a query.
_MOST_PIXELS = 2**26
# Most tiles to take from an index, since FAISS keeps them in order.
_MOST_OF_INDEX = 2**14

# A place or an image.
Query = str | Path | tuple[float, ...]


@dataclass(frozen=True)
class Hit:
    """A tile that looks like the query.

    Attributes:
        scene: Name of its scene.
        score: Cosine similarity, at most 1.
        row: First row of the tile in pixels.
        column: First column of the tile in pixels.
        x: Centre of the tile in the scene's CRS.
        y: Centre of the tile in the scene's CRS.
    """

    scene: str
    score: float
    row: int
    column: int
    x: float
    y: float


@dataclass(frozen=True)
class _Place:
    """A query that is a place: number of the scene, and cells (n, 2) in it."""

    number: int
    cells: NDArray[np.int64]


def search(
    sources: SceneLike | Sequence[SceneLike],
    query: Query | Sequence[Query],
    out: str | Path,
    *,
    unlike: Query | Sequence[Query] | None = None,
    within: Query | None = None,
    datetime: str | None = None,
    encoder: str | Path | Encoder | None = None,
    count: int = 50,
    query_crs: str | None = None,
    tile: int | None = None,
    stride: int | None = None,
    bands: Sequence[str] | None = None,
    nodata: float | None = None,
    values: Values | None = None,
    image_size: int | None = None,
    pool: str | None = None,
    precision: str = "auto",
    progress: bool = False,
) -> list[Hit]:
    """Find the tiles of scenes that look most like places or images, and unlike others.

    Every tile is compared, by cosine similarity; in an index, the tiles that its search covers (see
    :mod:`rs_otl.geo.vector_index`). No hit overlaps another hit or a place of a query; of tiles
    that overlap, the most similar one is kept. A scene and the embeddings made from it give the
    same hits.

    Several queries count as their mean. With counter-examples, hits are nearest to twice the mean
    of the queries minus the mean of the counter-examples.

    Args:
        sources: One or several scenes (paths, rasterio datasets, or DataArrays that rioxarray
            knows) or embeddings: GeoTIFFs that :func:`rs_otl.geo.embed` made, archives, or scenes
            of archives. Or one index that :func:`rs_otl.geo.index` made.
        query: ``(x, y)``: the cell there; on an image without georeference column and row, where
            the row may be negative, as a GIS shows it. ``(left, bottom, right, top)``: the mean of
            the cells whose centres lie in this box, or the cell at its centre if there are none.
            The same as text, ``"x,y"``. Or an image file, which needs an encoder; its bands are
            found by name. Or a list of queries.
        out: GeoJSON to write, with a style for QGIS beside it (``.qml``): the outlines of the
            hits, in longitude and latitude (RFC 7946), cut where they cross the antimeridian. Hits
            of a scene that has no place on Earth are in the scene's own coordinates: its name is
            then in the member ``coordinate_system`` of the collection, and on stderr.
        unlike: Counter-examples, which hits must not look like; given like ``query``.
        within: ``(left, bottom, right, top)``, or the same as text: only hits with their centres
            in this box.
        datetime: Only hits on scenes taken at this time, written as in STAC searches:
            ``2024-05-01``, ``2024-05/2024-08``, ``2024-05-01/..``. Blocks of an archive and STAC
            items say when they were taken.
        encoder: Any name that :func:`rs_otl.load_encoder` takes, or an encoder; scenes need one.
            Embeddings made with another one are refused.
        count: Hits wanted.
        query_crs: CRS of the coordinates of queries and of ``within``; by default each scene's.
        tile: Side of a tile in pixels; by default the side at which the encoder's images are
            loaded (:func:`rs_otl.spec.load_size`).
        stride: Pixels from one tile to the next; by default half a tile.
        bands: The scenes' bands that the encoder sees, by name or number from 1.
        nodata: The stored value that means there is no data if all bands have it, in addition to
            what the scenes say.
        values: What stored values stand for, where files do not say it, or say it wrong: scale,
            offset and quantity.
        image_size: Side of the images that the encoder sees; by default its own.
        pool: What a vision transformer's features are made of, ``"cls"`` or ``"mean"``; by default
            the encoder's own rule.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 if the hardware computes in it. An
            encoder that is given as an object keeps its own.
        progress: Whether to show bars on stderr.

    Returns:
        The hits, best first.

    Raises:
        InputError: A scene, the encoder, the query or the output cannot be used.
    """
    out = Path(out)
    if out.suffix.lower() not in (".geojson", ".json"):
        raise InputError(f"{out}: expected the name of a GeoJSON file, such as hits.geojson")
    if count < 1:
        raise InputError(f"{count} hits: expected at least 1")
    refuse_output(out)
    likes, unlikes = _several(query), _several(unlike)
    if not likes:
        raise InputError("no query: expected a place or an image")
    images = any(_numbers(each) is None for each in (*likes, *unlikes))
    area = None if within is None else _Area.of(within, query_crs)
    interval = None if datetime is None else Interval.of(datetime)
    index = sources[0] if isinstance(sources, list | tuple) and len(sources) == 1 else sources
    vectors = TileIndex.open(Path(str(index))) if is_index(index) else None
    listed = [] if vectors else all_scenes(scenes_in(sources))
    made = vectors.scenes[0] if vectors else None
    opened = load_encoder_for(listed, encoder, image_size, pool, precision, made)
    with ExitStack() as stack:
        scenes: Sequence[Cells]
        if vectors is not None:
            scenes = vectors.scenes
            refuse_others(scenes[0], opened, tile, stride, bands, nodata)
        else:
            scenes = [
                stack.enter_context(
                    open_cells(
                        source,
                        opened,
                        tile,
                        stride,
                        bands,
                        nodata,
                        # With embeddings, ``values`` describe an image that is a query.
                        None if images and is_embedding(source) else values,
                    )
                )
                for source in listed
            ]
            refuse_mixed(scenes)
        transformers = [degrees_of(cells) for cells in scenes]
        timely = [interval is None or _meets(interval, cells) for cells in scenes]
        places: list[_Place] = []
        positive, negative = (
            [_example(each, scenes, opened, query_crs, values, places) for each in given]
            for given in (likes, unlikes)
        )
        wanted = np.mean(positive, axis=0)
        if negative:
            wanted = 2 * wanted - np.mean(negative, axis=0)
        # Tiles of different blocks of one scene may overlap too.
        wholes = [_whole(number, cells) for number, cells in enumerate(scenes)]
        # A hit excludes at most so many tiles around it: keep enough of them to fill the list.
        keeps = [
            (
                count
                + sum(len(each.cells) for each in places if wholes[each.number] == wholes[number])
            )
            * (2 * -(-cells.grid.tile // cells.grid.stride) + 1) ** 2
            for number, cells in enumerate(scenes)
        ]
        candidates: list[tuple[float, int, int, int]] = []
        if vectors is not None:
            allowed = None
            if area is not None or interval is not None:
                allowed = vectors.allowed(timely, None if area is None else area.holds)
            candidates = vectors.nearest(wanted, min(max(keeps), _MOST_OF_INDEX), allowed)
        else:
            for number, (cells, keep) in enumerate(zip(scenes, keeps, strict=True)):
                if not timely[number]:
                    continue
                best = _best(cells, transformers[number], wanted, keep, area, progress)
                candidates += [(score, number, row, column) for score, row, column in best]
        if not candidates:
            asked = [f"within {within}"] if within is not None else []
            asked += [f"--datetime {datetime}"] if datetime is not None else []
            if not asked:
                names = ", ".join(cells.name for cells in scenes)
                raise InputError(f"{names}: no tile holds data, all is nodata")
            others = " or of the other scenes" if len(scenes) > 1 else ""
            raise InputError(f"{', '.join(asked)}: no tile of {scenes[0].name}{others} lies there")
        kept = _apart(candidates, scenes, wholes, places, count)
        hits = [_hit(scenes[number], score, row, column) for score, number, row, column in kept]
        features = [
            _feature(scenes[number], transformers[number], hit, rank, corner)
            for rank, (hit, (_, number, *corner)) in enumerate(
                zip(hits, kept, strict=True), start=1
            )
        ]
        systems = {
            cells.provenance.scene: _coordinate_system(cells)
            for cells, transformer in zip(scenes, transformers, strict=True)
            if transformer is None
        }
    for name, system in systems.items():
        note(f"{name}: hits are in {system}, not in longitude and latitude")
    collection: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if systems:
        # A member of our own: RFC 7946, section 7.1, does not allow "coordinates" here.
        collection["coordinate_system"] = systems
    with atomic_write(out) as aside:
        aside.write_text(json.dumps(collection), encoding="utf-8")
    write_outline_style(out)
    return hits


def _meets(interval: Interval, cells: Cells) -> bool:
    try:
        return interval.meets({"datetime": cells.taken or None})
    except ValueError:
        raise InputError(
            f"--datetime: {cells.name} does not say when it was taken; expected an archive, or "
            "STAC items"
        ) from None


def _coordinate_system(cells: Cells) -> str:
    if cells.crs is not None:
        name = crs_of(cells.crs).name
        return f"the scene's local CRS ({name})"
    if cells.in_pixels:
        return "pixels of the scene (y counts down from 0)"
    return "the coordinates of the scene's transform"


def _several(queries: Any) -> list[Query]:
    """Return one query, several or none as a list; a tuple is one place."""
    if queries is None:
        return []
    return queries if isinstance(queries, list) else [queries]


def _example(
    query: Query,
    scenes: Sequence[Cells],
    encoder: Encoder | None,
    query_crs: str | None,
    values: Values | None,
    places: list[_Place],
) -> NDArray[np.float32]:
    """Return the direction of a query, (D,); add the query to ``places`` if it is a place."""
    numbers = _numbers(query)
    if numbers is None:
        return unit(_of_image(Path(str(query)), encoder, scenes, values)[None])[0]
    place = _find(scenes, numbers, query_crs)
    rows = scenes[place.number].at(place.cells)
    rows = rows[np.isfinite(rows[:, 0])]
    if not len(rows):
        raise InputError(f"query {query}: lies on nodata of {scenes[place.number].name}")
    places.append(place)
    return unit(unit(rows).mean(0)[None])[0]


@dataclass(frozen=True)
class _Area:
    """A box that hits must lie in, and the CRS of its sides; ``None`` for each scene's CRS."""

    sides: tuple[float, ...]
    crs: str | None

    @classmethod
    def of(cls, within: Any, crs: str | None) -> "_Area":
        parts = within if isinstance(within, tuple) else str(within).split(",")
        try:
            sides = tuple(float(part) for part in parts)
        except ValueError:
            sides = ()
        if len(sides) != 4 or not np.isfinite(sides).all() or sides[0] > sides[2]:
            raise InputError(f"within {within}: expected left,bottom,right,top")
        return cls(sides, crs)

    def holds(self, cells: Cells, corners: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tell which tiles have centres in the box, (n,), by their corners in pixels, (n, 2)."""
        half = cells.grid.tile / 2
        x, y = cells.coordinate(corners[:, 1] + half, corners[:, 0] + half)
        if self.crs is not None:
            if cells.crs is None:
                raise _no_crs(cells, self.crs)
            try:
                x, y = pyproj.Transformer.from_crs(
                    crs_of(cells.crs), crs_of(self.crs), always_xy=True
                ).transform(x, y)
            except (CRSError, ProjError) as error:
                raise InputError(f"--query-crs {self.crs}: cannot be used ({error})") from None
        left, bottom, right, top = self.sides
        if cells.in_pixels:  # y counts down from 0, as a GIS shows such an image
            bottom, top = -abs(bottom), -abs(top)
        low, high = sorted((bottom, top))
        return np.asarray((left <= x) & (x <= right) & (low <= y) & (y <= high))


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


def _of_image(
    path: Path, encoder: Encoder | None, scenes: Sequence[Cells], values: Values | None
) -> NDArray[np.float32]:
    """Embed an image as a tile of a scene: with the encoder's scale, and bands by name."""
    if encoder is None:
        raise InputError(
            f"query {path}: an image needs the encoder; name the one that "
            f"{scenes[0].name} was made with, {scenes[0].provenance.encoder}, with encoder= "
            "(--encoder)"
        )
    if scenes[0].features != encoder.num_features:
        raise InputError(
            f"{scenes[0].name}: holds principal components, which an image cannot be compared "
            "with; query by a place, or embed without --pca"
        )
    with Scene(path, values=values) as chip:
        if chip.width * chip.height > _MOST_PIXELS:
            raise InputError(
                f"query {path}: {chip.width:,} x {chip.height:,} pixels; expected an image of a "
                "place, not a scene: cut it out, or query by x,y"
            )
        chosen = _bands_of_image(chip, encoder, scenes[0].provenance.bands)
        chip.refuse_other_values(encoder.config, encoder.source, chosen)
        pixels, valid = chip.read(0, 0, chip.width, chip.height, chosen)
    if not valid.any():
        raise InputError(f"query {path}: holds no data, all is nodata")
    image = encoder.scale(as_tensor(pixels))[None]
    return encoder.embed(image, torch.from_numpy(valid)[None])[0].numpy()


def _bands_of_image(chip: Scene, encoder: Encoder, made: Sequence[str]) -> list[int]:
    """Find the bands of an image that the encoder sees.

    Args:
        chip: The image.
        encoder: The encoder.
        made: The scenes' names of these bands: a chip that was cut from a scene has them too.
    """
    config, source = encoder.config, encoder.source
    wanted = config.spec.bands
    for known in (made, wanted):
        if chip.named and set(known) <= set(chip.bands):
            return chip.match_bands(config, source, known)
    # A scene and a chip that name no bands are given the same names.
    names = made if set(made) <= set(chip.bands) else None
    if not chip.named and len(chip.bands) == len(wanted):
        if len(wanted) > 1:
            order = ", ".join(chip.bands if names else made)
            note(f"{chip.name}: names no bands; taken as {order}, in this order")
        names = names or [str(number) for number in range(1, len(wanted) + 1)]
    return chip.match_bands(config, source, names)


def _find(scenes: Sequence[Cells], numbers: tuple[float, ...], crs: str | None) -> _Place:
    """Find the scene that holds the centre of a query, and the query's cells in it."""
    xy = np.array(numbers).reshape(-1, 2)
    for number, cells in enumerate(scenes):
        grid = cells.grid
        # A GIS counts y down from 0 in an image without georeference.
        down = -1 if cells.in_pixels and crs is None and xy[:, 1].max() <= 0 else 1
        columns, rows = _in_pixels_of(cells, xy * [1, down], crs).T
        column, row = float(np.mean(columns)), float(np.mean(rows))
        if not (0 <= column < grid.width and 0 <= row < grid.height):
            continue
        chosen = np.empty((0, 2), np.int64)
        if len(numbers) == 4:
            chosen = grid.inside((min(rows), max(rows)), (min(columns), max(columns)))
        if not len(chosen):
            chosen = grid.cells_at(np.array([column]), np.array([row]))
        # Along the edges several cells have the same tile.
        _, first = np.unique(grid.corners(chosen), axis=0, return_index=True)
        return _Place(number, chosen[first])
    names = ", ".join(cells.name for cells in scenes)
    # Of several scenes, prefer one that the query would hit if it were read in another way.
    how = f"--query-crs {WGS84} says so" if crs is None else "check --query-crs"
    advice = max((misplaced(cells, xy, how, crs) for cells in scenes), key=lambda text: ";" in text)
    raise InputError(
        f"query {','.join(map(str, numbers))}: lies outside {names}; {advice}"
        f"{'' if crs or '--query-crs' in advice else ' (--query-crs names another)'}"
    )


def _in_pixels_of(scene: Cells, xy: NDArray[np.float64], crs: str | None) -> NDArray[np.float64]:
    if crs is None:
        return pixels_of(scene, xy)
    if scene.crs is None:
        raise _no_crs(scene, crs)
    try:
        source_crs = crs_of(crs)
    except CRSError as error:
        raise InputError(
            f"--query-crs {crs}: not a CRS ({error}); expected one such as {WGS84}"
        ) from None
    try:
        return pixels_of(scene, xy, source_crs)
    except (CRSError, ProjError):
        raise InputError(
            f"--query-crs {crs}: cannot be transformed to {_coordinate_system(scene)} of "
            f"{scene.name}; give the query in the scene's CRS"
        ) from None


def _no_crs(scene: Cells, crs: str) -> InputError:
    return InputError(
        f"{scene.name}: has no CRS, so --query-crs {crs} cannot be used; leave it out, or give the "
        f"scene one with gdal_edit.py -a_srs EPSG:CODE {scene.name}"
    )


def _best(
    cells: Cells,
    transformer: pyproj.Transformer | None,
    query: NDArray[np.float32],
    keep: int,
    area: _Area | None,
    progress: bool,
) -> list[tuple[float, int, int]]:
    """Return similarity, row and column of the most similar tiles of a scene.

    Tiles that reach off the Earth, as at the rim of a geostationary image, are left out.
    """
    name = f"Searching {Path(cells.name).name}"
    rows = iter(tracked(cells.rows(), name, progress, cells.grid.rows))
    scores, corners = np.zeros(0, np.float32), np.zeros((0, 2), np.int64)
    off_earth = 0
    for places, values in blocks_of(tiles_of(cells.grid, rows)):
        if area is not None:
            inside = area.holds(cells, places)
            places, values = places[inside], values[inside]
        reached = on_earth(cells, transformer, places)
        off_earth += int((~reached).sum())
        places, values = places[reached], values[reached]
        nearest, positions = most_similar(values, query, keep)
        scores = np.concatenate([scores, nearest])
        corners = np.concatenate([corners, places[positions]])
        order = np.argsort(-scores, kind="stable")[:keep]
        scores, corners = scores[order], corners[order]
    if off_earth:
        note(f"{cells.name}: {off_earth:,} tiles reach off the Earth and are left out")
    return [
        (float(score), int(row), int(column))
        for score, (row, column) in zip(scores, corners, strict=True)
    ]


def _apart(
    candidates: Sequence[tuple[float, int, int, int]],
    scenes: Sequence[Cells],
    wholes: Sequence[Any],
    places: Sequence[_Place],
    count: int,
) -> list[tuple[float, int, int, int]]:
    """Keep the best of tiles that overlap, and no tile that overlaps a query."""
    taken: dict[Any, list[NDArray[np.int64]]] = {whole: [] for whole in wholes}
    for place in places:
        grid = scenes[place.number].grid
        taken[wholes[place.number]] += list(grid.corners(place.cells) + grid.before)
    kept: list[tuple[float, int, int, int]] = []
    for candidate in sorted(candidates, key=lambda place: (-place[0], *place[1:])):
        _, number, row, column = candidate
        corner = np.array([row, column], np.int64) + np.array(scenes[number].grid.before)
        others = np.array(taken[wholes[number]]).reshape(-1, 2)
        apart = np.abs(others - corner).max(1) >= scenes[number].grid.tile
        if apart.all():
            kept.append(candidate)
            taken[wholes[number]].append(corner)
            if len(kept) == count:
                break
    return kept


def _whole(number: int, cells: Cells) -> Any:
    """Return a key that is the same for blocks of one scene; for a whole scene, its number."""
    grid = cells.grid
    if not any((*grid.before, *grid.after)):
        return number
    height, width = np.add(np.add(grid.before, grid.after), (grid.height, grid.width)).tolist()
    return Path(cells.name).parent, cells.provenance.scene, height, width


def _hit(cells: Cells, score: float, row: int, column: int) -> Hit:
    half = cells.grid.tile / 2
    x, y = cells.coordinate(column + half, row + half)
    above, left = cells.grid.before
    return Hit(cells.provenance.scene, score, above + row, left + column, float(x), float(y))


def _feature(
    cells: Cells,
    transformer: pyproj.Transformer | None,
    hit: Hit,
    rank: int,
    corner: Sequence[int],
) -> dict[str, Any]:
    corners = cells.outlines(np.array([corner]))[0]
    if transformer is None:
        outline = counter_clockwise(shapely.Polygon(corners))
    else:
        outline = outline_in_degrees(cells, corners, transformer)
    return {
        "type": "Feature",
        "properties": {
            "rank": rank,
            "score": round(hit.score, 6),
            "scene": hit.scene,
            "row": hit.row,
            "column": hit.column,
        },
        "geometry": shapely.geometry.mapping(outline),
    }
