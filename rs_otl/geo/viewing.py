"""One page to look at a scene, its embeddings and its map."""

import base64
import io
import itertools
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.errors import InputError
from rs_otl.files import atomic_write, refuse_output
from rs_otl.geo.cells import FileCells, is_embedding, open_file, refuse_another_scene
from rs_otl.geo.painting import Painter
from rs_otl.geo.projection import fit_projection
from rs_otl.geo.provenance import Provenance
from rs_otl.geo.similar import unit

_SIDE = 1024
_MOST_CELLS = 40_000
# What similarity is computed from on the page, a byte each.
_WIDTH = 32


def view(
    source: SceneLike,
    out: str | Path,
    *,
    embeddings: str | Path | None = None,
    class_map: str | Path | None = None,
) -> Path:
    """Write an HTML page that needs no network: scene, embedding as colour, map, similar places.

    The page holds at most 40,000 cells (of a larger grid every second, third ... row and
    column), each as 32 bytes: similarities there are near, not equal, to those of ``search``.

    Args:
        source: A scene (a path, a rasterio dataset, or a DataArray that rioxarray knows), with its
            ``embeddings``; or the GeoTIFF that :func:`rs_otl.geo.embed` wrote, alone.
        out: The page.
        embeddings: The GeoTIFF that :func:`rs_otl.geo.embed` made of the scene.
        class_map: The GeoTIFF that :func:`rs_otl.geo.map` made of it with the same encoder.

    Returns:
        The page.

    Raises:
        InputError: A file cannot be read, or belongs to another scene or encoder.
    """
    out = Path(out)
    refuse_output(out)
    if embeddings is None:
        if not is_embedding(source):
            raise InputError(
                f"{source}: a scene needs its embeddings to be viewed; name the GeoTIFF that "
                "`rs-otl embed` made of it with embeddings= (--embeddings)"
            )
        embeddings, source = str(source), None
    with open_file(embeddings) as file:
        cells = FileCells.of(file)
        made = cells.provenance
        step = 1
        while -(-cells.grid.rows // step) * -(-cells.grid.columns // step) > _MOST_CELLS:
            step += 1
        values = np.stack([row[::step] for row in itertools.islice(cells.rows(), 0, None, step)])
        with_data = np.asarray(np.isfinite(values).all(axis=-1))
        if not with_data.any():
            raise InputError(f"{embeddings}: holds no data, all is nodata")
        scale = min(1.0, _SIDE / max(made.scene_size))
        size = [max(1, round(side * scale)) for side in made.scene_size]
        data: dict[str, Any] = {
            "name": made.scene,
            "facts": f"{made.scene_size[0]:,} x {made.scene_size[1]:,} pixels, "
            f"{cells.crs or 'no CRS'}; {made.encoder}, tiles of {made.tile} pixels, cells of "
            f"{made.stride}",
            "size": size,
            "rows": with_data.shape[0],
            "columns": with_data.shape[1],
            "width": min(_WIDTH, values.shape[-1]),
            "cell": made.stride * step * scale,
            "apart": -(-made.tile // (made.stride * step)),
            "vectors": base64.b64encode(_quantised(values, with_data).tobytes()).decode(),
            "embedding": _address(_as_colour(values, with_data), "PNG"),
        }
        if source is not None:
            with Scene(source) as scene:
                refuse_another_scene(cells, scene)
                shown = scene.thumbnail(_SIDE)
                picture = Painter.of(scene, made.bands, *shown)(*shown).resize((size[0], size[1]))
            data["scene"] = _address(picture, "JPEG")
        if class_map is not None:
            data["map"], data["legend"] = _map_layer(class_map, cells)
    # "<" would end the element that holds the data.
    text = json.dumps(data).replace("<", "\\u003c")
    page = resources.files("rs_otl.geo").joinpath("view.html").read_text(encoding="utf-8")
    with atomic_write(out) as aside:
        aside.write_text(page.replace("__DATA__", text), encoding="utf-8")
    return out


def _map_layer(path: str | Path, cells: FileCells) -> tuple[str, list[tuple[str, str]]]:
    """Draw a class map in its colours, nodata transparent.

    Returns:
        The picture as an address, and class names with their colours.
    """
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
    legend = [
        (name, "#{:02x}{:02x}{:02x}".format(*colours[value][:3]))
        for value, name in enumerate(made.classes, start=1)
    ]
    return _address(Image.fromarray(table[values]), "PNG"), legend


def _words(value: Any) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def _quantised(values: NDArray[np.float32], with_data: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Turn embeddings to bytes whose cosines are near theirs; cells without data are 0."""
    rows = unit(values[with_data])
    if rows.shape[1] > _WIDTH:
        # Directions that keep the most of the dot products: not centred, unlike components.
        sample = rows[:: max(1, len(rows) // 4096)].astype(np.float64)
        rows = unit(rows @ np.linalg.eigh(sample.T @ sample)[1][:, -_WIDTH:].astype(np.float32))
    bytes_ = np.zeros((*with_data.shape, rows.shape[1]), np.int8)
    bytes_[with_data] = np.rint(127 * rows / np.abs(rows).max())
    return bytes_


def _as_colour(values: NDArray[np.float32], with_data: NDArray[np.bool_]) -> Image.Image:
    rows = values[with_data]
    count = min(3, rows.shape[1], len(rows))
    shades = fit_projection([rows], count)(rows)
    low, high = np.percentile(shades, [2, 98], axis=0)
    shades = np.clip((shades - low) / np.maximum(high - low, 1e-12), 0, 1)
    picture = np.zeros((*with_data.shape, 4), np.uint8)
    picture[with_data, :count] = np.rint(255 * shades)
    picture[with_data, 3] = 255
    return Image.fromarray(picture)


def _address(picture: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)
    text = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{text}"
