"""One page to look at a scene, its embeddings and its map."""

import base64
import io
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import RasterioError

from rs_otl.datasets.scene import Scene, SceneLike, quiet_georeference
from rs_otl.errors import InputError
from rs_otl.files import atomic_write
from rs_otl.geo.embedding_file import refuse_existing
from rs_otl.geo.projection import fit_projection
from rs_otl.geo.similar import unit

_SIDE = 1024
_MOST_CELLS = 40_000
# What similarity is computed from on the page, a byte each.
_WIDTH = 32


def view(
    scene: SceneLike,
    embeddings: str | Path,
    out: str | Path,
    *,
    class_map: str | Path | None = None,
) -> Path:
    """Write an HTML page that needs no network: scene, embedding as colour, map, similar places.

    The page holds at most 40,000 cells (of a larger grid every second, third ... row and
    column), each as 32 bytes: similarities there are near, not equal, to those of ``search``.

    Args:
        scene: A path, a rasterio dataset, or a DataArray that rioxarray knows.
        embeddings: The GeoTIFF that :func:`rs_otl.geo.embed` made of it.
        out: The page.
        class_map: The GeoTIFF that :func:`rs_otl.geo.map` made of it.

    Returns:
        The page.

    Raises:
        InputError: A file cannot be read, or belongs to another scene.
    """
    out = Path(out)
    refuse_existing(out)
    with Scene(scene) as opened:
        cells = _Cells(Path(embeddings), opened)
        values = cells.read()
        held = np.asarray(np.isfinite(values).all(axis=-1))
        if not held.any():
            raise InputError(f"{embeddings}: holds no data, all is nodata")
        scale = min(1.0, _SIDE / max(opened.width, opened.height))
        size = (round(opened.width * scale), round(opened.height * scale))
        data: dict[str, Any] = {
            "name": Path(opened.name).name,
            "facts": f"{opened.width:,} x {opened.height:,} pixels, {opened.crs or 'no CRS'}; "
            f"{cells.encoder}, tiles of {cells.tile} pixels, cells of {cells.stride}",
            "size": size,
            "rows": held.shape[0],
            "columns": held.shape[1],
            "width": min(_WIDTH, values.shape[-1]),
            "cell": cells.stride * cells.step * scale,
            "apart": -(-cells.tile // (cells.stride * cells.step)),
            "vectors": base64.b64encode(_quantised(values, held).tobytes()).decode(),
            "scene": _address(_picture(opened, cells.bands).resize(size), "JPEG"),
            "embedding": _address(_as_colour(values, held), "PNG"),
        }
        if class_map is not None:
            chart = _Cells(Path(class_map), opened)
            data["map"] = _address(chart.classes(), "PNG")
            data["legend"] = chart.legend()
    # "<" would end the element that holds the data.
    text = json.dumps(data).replace("<", "\\u003c")
    page = resources.files("rs_otl.geo").joinpath("view.html").read_text(encoding="utf-8")
    with atomic_write(out) as aside:
        aside.write_text(page.replace("__DATA__", text), encoding="utf-8")
    return out


class _Cells:
    """A raster of a pixel a cell that ``embed`` or ``map`` made of a scene."""

    def __init__(self, path: Path, scene: Scene) -> None:
        if not path.is_file():
            raise InputError(f"{path}: no such file, expected a GeoTIFF of `rs-otl embed`")
        self._path = path
        try:
            with quiet_georeference(), rasterio.open(path, driver="GTiff") as file:
                tags, self._shape = file.tags(), (file.height, file.width)
                transform = file.transform
        except RasterioError as error:
            raise InputError(f"{path}: cannot be opened, expected a GeoTIFF ({error})") from None
        if "RS_OTL_STRIDE" not in tags:
            raise InputError(f"{path}: expected a GeoTIFF that `rs-otl embed` or `map` made")
        self.tile, self.stride = int(tags["RS_OTL_TILE"]), int(tags["RS_OTL_STRIDE"])
        self.encoder, self.bands = tags["RS_OTL_ENCODER"], tags["RS_OTL_BANDS"].split(",")
        self._names = tags.get("RS_OTL_CLASSES", "")
        expected = (-(-scene.height // self.stride), -(-scene.width // self.stride))
        corner = scene.coordinate(0, 0)
        if expected != self._shape or not np.allclose((transform.c, transform.f), corner):
            raise InputError(f"{path}: made of {tags['RS_OTL_SCENE']}, not of {scene.name}")
        self.step = 1
        while -(-expected[0] // self.step) * -(-expected[1] // self.step) > _MOST_CELLS:
            self.step += 1

    def read(self) -> NDArray[np.float32]:
        """Read embeddings, every ``step``-th: (rows, columns, D)."""
        with quiet_georeference(), rasterio.open(self._path, driver="GTiff") as file:
            if file.dtypes[0] != "float32":
                raise InputError(f"{self._path}: expected embeddings, not {file.dtypes[0]}")
            bands = [file.read(band)[:: self.step, :: self.step] for band in file.indexes]
        return np.stack(bands, axis=-1)

    def classes(self) -> Image.Image:
        """Draw the class map in its colours, nodata transparent."""
        with quiet_georeference(), rasterio.open(self._path, driver="GTiff") as file:
            values = file.read(1)
            self._colours = self._colourmap(file)
        table = np.zeros((256, 4), np.uint8)
        for value, colour in self._colours.items():
            table[value] = colour
        table[0] = 0
        return Image.fromarray(table[values])

    def legend(self) -> list[tuple[str, str]]:
        """Return class names and colours."""
        return [
            (name, "#{:02x}{:02x}{:02x}".format(*self._colours[value][:3]))
            for value, name in enumerate(json.loads(self._names), start=1)
        ]

    def _colourmap(self, file: rasterio.DatasetReader) -> dict[int, tuple[int, ...]]:
        try:
            return file.colormap(1)
        except ValueError:
            raise InputError(
                f"{self._path}: has no colours, expected a map of `rs-otl map`"
            ) from None


def _quantised(values: NDArray[np.float32], held: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Turn embeddings to bytes whose cosines are near theirs; cells without data are 0."""
    rows = unit(values[held])
    if rows.shape[1] > _WIDTH:
        # Directions that keep the most of the dot products: not centred, unlike components.
        sample = rows[:: max(1, len(rows) // 4096)].astype(np.float64)
        rows = unit(rows @ np.linalg.eigh(sample.T @ sample)[1][:, -_WIDTH:].astype(np.float32))
    bytes_ = np.zeros((*held.shape, rows.shape[1]), np.int8)
    bytes_[held] = np.rint(127 * rows / np.abs(rows).max())
    return bytes_


def _as_colour(values: NDArray[np.float32], held: NDArray[np.bool_]) -> Image.Image:
    rows = values[held]
    count = min(3, rows.shape[1], len(rows))
    shades = fit_projection([rows], count)(rows)
    low, high = np.percentile(shades, [2, 98], axis=0)
    shades = np.clip((shades - low) / np.maximum(high - low, 1e-12), 0, 1)
    picture = np.zeros((*held.shape, 4), np.uint8)
    picture[held, :count] = np.rint(255 * shades)
    picture[held, 3] = 255
    return Image.fromarray(picture)


def _picture(scene: Scene, bands: list[str]) -> Image.Image:
    """Draw a scene by the first three of the encoder's bands; white where it has no data."""
    pixels, valid = scene.thumbnail(_SIDE)
    chosen = [scene.bands.index(name) for name in bands[:3] if name in scene.bands]
    shown = pixels[chosen if len(chosen) == 3 else [0, 0, 0]].astype(np.float32)
    if scene.dtype.name != "uint8" and valid.any():
        for band in shown:
            low, high = np.percentile(band[valid], [2, 98])
            band[:] = 255 * (band - low) / max(high - low, 1e-12)
    shown = np.where(valid, np.nan_to_num(shown), 255)
    return Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8).transpose(1, 2, 0))


def _address(picture: Image.Image, kind: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, quality=85)
    text = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{text}"
