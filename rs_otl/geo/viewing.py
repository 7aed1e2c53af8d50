"""Write one page to look at a scene, its embeddings and its map, and to label it."""

import base64
import html
import io
import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio.warp import transform as transform_coordinates

from rs_otl.datasets.raster import RASTER_ERRORS
from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.errors import InputError, note
from rs_otl.files import atomic_folder, atomic_write, refuse_output
from rs_otl.geo.cells import Cells, open_file, refuse_another_scene
from rs_otl.geo.classifier import MOST_CLASSES, STRENGTH
from rs_otl.geo.joined import is_archive
from rs_otl.geo.labels import read_labels
from rs_otl.geo.legend import confidence_of, palette
from rs_otl.geo.opening import is_embedding, open_embeddings
from rs_otl.geo.projection import fit_projection
from rs_otl.geo.provenance import Provenance
from rs_otl.geo.pyramid import SIDE, Keep, draw_pyramid
from rs_otl.geo.similar import unit

_LIBRARY = "openlayers-10.11.0"
# Limits of a page in one file: a browser opens tens of megabytes quickly.
_PIXELS_IN_PAGE = 4096 * 4096
_BYTES_IN_PAGE = 32 * 2**20
# Most bytes of embeddings that a browser holds in memory.
_MOST_BYTES = 256 * 2**20
# Limits in a notebook, whose file holds the page.
_PIXELS_IN_NOTEBOOK = 2048 * 2048
_BYTES_IN_NOTEBOOK = 16 * 2**20
# Bytes of embeddings that the page decodes at once.
_CHUNK = 6 * 2**20
# Points per side with known longitude and latitude; between them the page draws straight lines.
_KNOWN = 33
_EARTH = 6_371_008.8


@dataclass(frozen=True)
class Page:
    """A page in a notebook.

    Attributes:
        html: The whole page.
    """

    html: str

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="rs-otl" '
            'style="width: 100%; height: 640px; border: 0"></iframe>'
        )


def view(
    source: SceneLike,
    out: str | Path,
    *,
    embeddings: str | Path | None = None,
    class_map: str | Path | None = None,
    labels: str | Path | None = None,
    progress: bool = False,
) -> Path:
    """Write an HTML page that needs no network, to look at a scene and to label it.

    The page shows the scene, the embedding as colour, the map and its confidence. It finds similar
    places, and draws the map of labels that are clicked on it, as :func:`rs_otl.geo.map` does.

    Up to 4,096 x 4,096 pixels and 32 MiB of embeddings the page is one file. Pictures and
    embeddings of a larger scene lie beside it, in the folder ``NAME_files``. If embeddings take
    more than 256 MiB, only every second, third ... row and column of cells is used.

    Args:
        source: A scene (a path, a rasterio dataset, or a DataArray that rioxarray knows), with its
            ``embeddings``; or embeddings alone.
        out: The page to write.
        embeddings: The GeoTIFF that :func:`rs_otl.geo.embed` made of the scene, or a scene of an
            archive.
        class_map: The GeoTIFF that :func:`rs_otl.geo.map` made of the scene with the same encoder;
            its confidence is shown too if the file lies beside it.
        labels: Labels that the page has saved, or other points with a class, to go on with; a label
            stands for the middle of its cell.
        progress: Whether to show a bar on stderr.

    Returns:
        The page.

    Raises:
        InputError: A file cannot be read, or belongs to another scene or encoder.
    """
    out = Path(out)
    refuse_output(out)
    with _opened(source, embeddings) as (scene, cells):
        step = _step(cells, _MOST_BYTES)
        folder = out.with_name(f"{out.stem}_files")
        in_page = _size(cells, step) <= _BYTES_IN_PAGE and (
            scene is None or scene.width * scene.height <= _PIXELS_IN_PAGE
        )
        with ExitStack() as written:
            aside = written.enter_context(atomic_write(out, new=True))
            keep: Keep = _inline
            if not in_page:
                refuse_output(folder)
                keep = _beside(written.enter_context(atomic_folder(folder)), folder.name)
            page = _page(scene, cells, class_map, labels, step, 0, keep, in_page, progress)
            aside.write_text(page, encoding="utf-8")
    return out


def explore(
    source: SceneLike,
    *,
    embeddings: str | Path | None = None,
    class_map: str | Path | None = None,
    labels: str | Path | None = None,
) -> Page:
    """Show the page of :func:`view` in a notebook, as the last value of a cell.

    A scene of more than 2,048 x 2,048 pixels is shown at half, a quarter ... of its resolution. If
    embeddings take more than 16 MiB, only every second, third ... row and column of cells is used.

    Args:
        source: A scene with its ``embeddings``, or embeddings alone; see :func:`view`.
        embeddings: The GeoTIFF that :func:`rs_otl.geo.embed` made of the scene, or a scene of an
            archive.
        class_map: The GeoTIFF that :func:`rs_otl.geo.map` made of the scene with the same encoder.
        labels: Labels to go on with.

    Returns:
        The page.

    Raises:
        InputError: A file cannot be read, or belongs to another scene or encoder.
    """
    with _opened(source, embeddings) as (scene, cells):
        finest = 0
        while scene and scene.width * scene.height > _PIXELS_IN_NOTEBOOK * 4**finest:
            finest += 1
        step = _step(cells, _BYTES_IN_NOTEBOOK)
        return Page(_page(scene, cells, class_map, labels, step, finest, _inline, True, False))


@contextmanager
def _opened(
    source: SceneLike, embeddings: str | Path | None
) -> Iterator[tuple[Scene | None, Cells]]:
    """Open a scene, if there is one, and its embeddings."""
    if embeddings is None:
        if not is_embedding(source) and not is_archive(source):
            with Scene(source):  # an error if it is no scene either
                pass
            raise InputError(
                f"{source}: a scene needs its embeddings to be viewed; make them with `rs-otl "
                f"embed {source} --encoder ENCODER -o NAME.tif`, and name them with embeddings= "
                "(--embeddings NAME.tif)"
            )
        embeddings, source = str(source), None
    with ExitStack() as stack:
        cells = stack.enter_context(open_embeddings(embeddings))
        scene = None
        if source is not None:
            scene = stack.enter_context(Scene(source))
            refuse_another_scene(cells, scene)
        yield scene, cells


def _size(cells: Cells, step: int) -> int:
    """Return the bytes of every step-th row and column of embeddings."""
    return 4 * cells.features * -(-cells.grid.rows // step) * -(-cells.grid.columns // step)


def _step(cells: Cells, most: int) -> int:
    return next(step for step in range(1, 2**31) if _size(cells, step) <= most)


def _inline(name: str, content: bytes) -> str:
    kind = Path(name).suffix[1:]
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _beside(folder: Path, name: str) -> Keep:
    """Return a function that keeps files in a folder, which is later renamed to ``name``."""

    def keep(path: str, content: bytes) -> str:
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return quote(f"{name}/{path}")

    return keep


def _page(
    scene: Scene | None,
    cells: Cells,
    class_map: str | Path | None,
    labels: str | Path | None,
    step: int,
    finest: int,
    keep: Keep,
    in_page: bool,
    progress: bool,
) -> str:
    made, grid = cells.provenance, cells.grid
    # The middle one of ``step`` rows or columns stands for all of them.
    down, across = (
        np.minimum(np.arange(0, count, step) + step // 2, count - 1)
        for count in (grid.rows, grid.columns)
    )
    places = {number: place for place, number in enumerate(down.tolist())}
    values = np.empty((len(down), len(across), cells.features), np.float32)
    for number, row in enumerate(cells.rows()):
        if number in places:
            values[places[number]] = row[across]
    with_data = np.asarray(np.isfinite(values).all(axis=-1))
    if not with_data.any():
        raise InputError(f"{cells.name}: holds no data, all is nodata")
    facts = f"{grid.width:,} x {grid.height:,} pixels, {cells.crs or 'no CRS'}; {made.encoder}, "
    facts += f"tiles of {made.tile} pixels, cells of {made.stride}"
    if step > 1:
        facts += f", one cell of each {step} x {step} shown"
    degrees = _degrees(cells)
    data: dict[str, Any] = {
        "name": made.scene,
        "stem": Path(made.scene).stem,
        "facts": facts,
        "size": [grid.width, grid.height],
        "rows": len(down),
        "columns": len(across),
        "features": cells.features,
        "step": step,
        "stride": grid.stride,
        "down": down.tolist(),
        "across": across.tolist(),
        "tile": grid.tile,
        "tops": grid.tops()[down].tolist(),
        "lefts": grid.lefts()[across].tolist(),
        "transform": list(cells.shown_transform[:6]),
        "crs": None if cells.crs is None else cells.crs.to_string()[:40],
        "degrees": degrees,
        "metres": degrees and _metres(degrees, grid.width, grid.height),
        "side": SIDE,
        "strength": STRENGTH,
        "most": MOST_CLASSES,
        "palette": palette(MOST_CLASSES),
        "embedding": _png(_as_colour(values, with_data), "embedding", keep),
    }
    if class_map is not None:
        data["map"] = _map_layer(Path(class_map), cells, keep)
    if labels is not None:
        data["labels"] = _labels(Path(labels), cells)
    if scene is not None:
        levels, data["tiles"] = draw_pyramid(scene, made.bands, finest, keep, progress)
        data["levels"] = levels[::-1]
    for row in values:
        row[:] = unit(row)
    flat = values.astype("<f4", copy=False).reshape(-1).view(np.uint8)
    scripts = []
    for number, begin in enumerate(range(0, len(flat), _CHUNK)):
        text = f'addCells("{base64.b64encode(flat[begin : begin + _CHUNK].tobytes()).decode()}");'
        if in_page:
            scripts.append(f"<script>{text}</script>")
        else:
            address = keep(f"cells/{number}.js", text.encode())
            scripts.append(f'<script src="{address}"></script>')
    files = resources.files("rs_otl.geo").joinpath("page")

    def read(name: str) -> str:
        return files.joinpath(name).read_text(encoding="utf-8")

    parts = {
        "STYLE": read(f"{_LIBRARY}/ol.css") + read("page.css"),
        # "<" would end the element that holds the data.
        "DATA": json.dumps(data).replace("<", "\\u003c"),
        "LICENCE": read(f"{_LIBRARY}/LICENSE.md"),
        "LIBRARY": read(f"{_LIBRARY}/ol.js"),
        "SCRIPT": read("classify.js") + read("view.js"),
        "CELLS": "\n".join(scripts),
    }
    return re.sub(f"__({'|'.join(parts)})__", lambda found: parts[found[1]], read("page.html"))


def _degrees(cells: Cells) -> dict[str, Any] | None:
    """Find longitude and latitude at points all over a scene; ``None`` if it has none."""
    if cells.crs is None:
        return None
    column, row = np.meshgrid(
        np.linspace(0, cells.grid.width, _KNOWN), np.linspace(0, cells.grid.height, _KNOWN)
    )
    x, y = cells.coordinate(column.ravel(), row.ravel())
    try:
        lon, lat = map(np.array, transform_coordinates(cells.crs, "EPSG:4326", x, y)[:2])
    except RASTER_ERRORS:
        return None
    if not np.isfinite([lon, lat]).all():
        return None
    # Remove the jump at the antimeridian.
    lon = np.unwrap(np.unwrap(lon.reshape(column.shape), period=360), axis=0, period=360)
    return {"side": _KNOWN, "lon": lon.ravel().round(11).tolist(), "lat": lat.round(11).tolist()}


def _metres(degrees: dict[str, Any], width: int, height: int) -> float | None:
    """Return the side of a pixel on the ground in the middle of a scene."""
    lon, lat = (np.radians(np.reshape(degrees[key], (_KNOWN, _KNOWN))) for key in ("lon", "lat"))
    middle = slice(_KNOWN // 2, _KNOWN // 2 + 2)
    lon, lat = lon[middle, middle], lat[middle, middle]
    east, north = lon * np.cos(lat[0, 0]), lat
    area = np.abs(np.linalg.det([[p[0, 1] - p[0, 0], p[1, 0] - p[0, 0]] for p in (east, north)]))
    side = _EARTH * float(np.sqrt(area / (width * height))) * (_KNOWN - 1)
    return side or None


def _map_layer(path: Path, cells: Cells, keep: Keep) -> dict[str, Any]:
    """Draw a class map in its colours, and its confidence; nodata transparent."""
    with open_file(path) as file:
        made = Provenance.from_tags(file.tags(), path)
        if not made.classes:
            raise InputError(f"{path}: has no classes, expected a map of `rs-otl map`")
        if (made.scene, made.scene_size) != (cells.provenance.scene, cells.provenance.scene_size):
            raise InputError(f"{path}: made of {made.scene}, not of {cells.provenance.scene}")
        for name in ("weights", "image_size", "bands", "tile", "stride"):
            of_map, of_cells = getattr(made, name), getattr(cells.provenance, name)
            if of_map != of_cells:
                raise InputError(
                    f"{path}: made with the encoder {made.encoder}, {name} {_words(of_map)}; "
                    f"{cells.name} with {cells.provenance.encoder}, {name} {_words(of_cells)}: "
                    "make the map from the embeddings"
                )
        values, colours = file.read(1), file.colormap(1)
    table = np.zeros((256, 4), np.uint8)
    for value in range(1, len(made.classes) + 1):
        table[value] = colours[value]
    beside = confidence_of(path)
    confidence = None
    if beside.is_file():
        with open_file(beside) as file:
            share = file.read(1) / 100
        if share.shape == values.shape:
            # The colours that the page draws confidence in.
            parts = 255 * share, 255 * share**1.5, 120 * (1 - share), 255 * (values > 0)
            confidence = _png(np.stack(parts, axis=-1).astype(np.uint8), "confidence", keep)
    rows, columns = values.shape
    return {
        "classes": [
            (name, "#{:02x}{:02x}{:02x}".format(*colours[value][:3]))
            for value, name in enumerate(made.classes, start=1)
        ],
        "picture": _png(table[values], "map", keep),
        "confidence": confidence,
        "extent": [columns * made.stride, rows * made.stride],
    }


def _labels(path: Path, cells: Cells) -> list[tuple[str, int, int]]:
    """Read labels: the class of each, with row and column of its cell."""
    found = []
    read = read_labels(path, [cells])
    for label in read.used:
        ((_, places),) = label.places
        if len(places) > 1:
            raise InputError(
                f"{path}: {label.name} covers {len(places)} cells; expected points, as the page "
                "saves them"
            )
        if np.isfinite(cells.at(places)).all():
            found.append((label.klass, *places[0].tolist()))
        else:
            note(f"{path}: {label.name} lies on nodata")
    for skipped in read.skipped:
        note(f"{path}: {skipped.name} {skipped.reason}")
    return found


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _as_colour(values: NDArray[np.float32], with_data: NDArray[np.bool_]) -> NDArray[np.uint8]:
    count = min(3, values.shape[-1], int(with_data.sum()))
    project = fit_projection(values, count)
    shades = np.stack([project(row) for row in values])
    low, high = np.percentile(shades[with_data], [2, 98], axis=0)
    shades = np.clip((shades - low) / np.maximum(high - low, 1e-12), 0, 1)
    picture = np.zeros((*with_data.shape, 4), np.uint8)
    picture[with_data, :count] = np.rint(255 * shades[with_data])
    picture[with_data, 3] = 255
    return picture


def _png(picture: NDArray[np.uint8], name: str, keep: Keep) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return keep(f"{name}.png", buffer.getvalue())
