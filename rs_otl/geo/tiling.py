"""Cut scenes into chips, as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.dtypes import in_dtype_range
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.windows import Window

from rs_otl.datasets.raster import gdal, gdal_name, quiet_georeference
from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.datasets.sources import all_scenes
from rs_otl.errors import InputError
from rs_otl.files import refuse_output
from rs_otl.geo.cells import say_of
from rs_otl.geo.formats import keep_beside, quiet_libtiff, writing
from rs_otl.geo.grid import VALID_SHARE, TileGrid
from rs_otl.progress import tracked

_RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@dataclass(frozen=True)
class Tiled:
    """The result of cutting a scene.

    Attributes:
        folder: The folder of chips.
        scene: Name of the scene.
        chips: Number of chips written.
        nodata: Number of tiles left out because less than half of them holds data.
    """

    folder: Path
    scene: str
    chips: int
    nodata: int


def tile(
    scenes: SceneLike | Sequence[SceneLike],
    out: str | Path,
    *,
    size: int = 256,
    stride: int | None = None,
    nodata: float | None = None,
    progress: bool = False,
) -> list[Tiled]:
    """Cut scenes into GeoTIFF chips ``SCENE_rROW_cCOLUMN.tif``, with all that the scene says.

    Chips have the scene's stored values and bands, alpha too, its CRS, nodata, masks, colours,
    scales, offsets, units and descriptions. Tiles lie side by side from the upper left; the last
    row and column are moved in, so that every chip is whole.

    Args:
        scenes: Paths or addresses, what STAC describes
            (:func:`rs_otl.datasets.sources.scenes_of`), rasterio datasets, or DataArrays that
            rioxarray knows: one or several.
        out: Folder to write; must be new.
        size: Side of a chip in pixels.
        stride: Pixels from one chip to the next, at most ``size``; by default ``size``.
        nodata: The stored value that means there is no data if all bands have it, in addition to
            what the scenes say; chips say it too.
        progress: Whether to show bars on stderr.

    Returns:
        What was written, for each scene.

    Raises:
        InputError: A scene or the output cannot be used, or no chip holds data.
    """
    out = Path(out)
    refuse_output(out)
    sources = all_scenes(scenes)
    done = []
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        made = Path(aside) / "chips"
        made.mkdir()
        for source in sources:
            with Scene(source, nodata) as scene:
                say_of(scene)
                done.append(_cut(scene, made, out, size, stride or size, progress))
        if not any(result.chips for result in done):
            names = ", ".join(result.scene for result in done)
            raise InputError(f"{names}: no tile holds data, all is nodata")
        made.rename(out)
    return done


def _cut(scene: Scene, made: Path, out: Path, size: int, stride: int, progress: bool) -> Tiled:
    grid = TileGrid.over(scene, size, stride)
    # Side by side from the corner, not centred on cells.
    tops, lefts = (
        np.unique(np.minimum(np.arange(0, length - size + stride, stride), length - size))
        for length in (grid.height, grid.width)
    )
    chips = nodata = 0
    stem = scene.stem
    profile, sidecar = _profile(scene, size)
    # Whether chips need a file beside them; the first chip shows it.
    beside = True
    for top in tracked(tops.tolist(), f"Cutting {stem}", progress):
        for left in lefts.tolist():
            pixels, valid = scene.read_stored(left, top, size, size)
            if valid.mean() < VALID_SHARE:
                nodata += 1
                continue
            chip = made / f"{stem}_r{top}_c{left}.tif"
            if chip.exists():
                raise InputError(f"two scenes are called {stem}: cut them to folders of their own")
            with writing(out / chip.name):
                _write_chip(scene, chip, left, top, pixels, profile)
                if beside:
                    name = None if chips else scene.name
                    beside = keep_beside(chip, scene.crs, name, sidecar) is not None
            chips += 1
    return Tiled(out, scene.name, chips, nodata)


def _profile(scene: Scene, size: int) -> tuple[dict[str, Any], dict[int, str]]:
    """Return the profile of chips, and the XML to keep beside them for each band."""
    dataset = scene.dataset
    dtype = np.result_type(*dataset.dtypes)
    nodata = list(dataset.nodatavals)
    if scene.given_nodata is not None and not _has_mask(scene):
        nodata = [scene.given_nodata if value is None else value for value in nodata]
    # Leave out values that the type cannot hold.
    nodata = [
        value if value is not None and in_dtype_range(value, dtype) else None for value in nodata
    ]
    alike = len({repr(value) for value in nodata}) == 1
    colours = _colours(scene)
    photometric = "rgb" if colours[:3] == _RGB else "minisblack"
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": dataset.count,
        "dtype": dtype,
        "crs": scene.crs,
        "nodata": nodata[0] if alike else None,
        "compress": "deflate",
        "photometric": "palette" if colours[0] == ColorInterp.palette else photometric,
    }
    # GeoTIFF has one nodata value for all bands.
    sidecar = {
        number: f"<NoDataValue>{value!r}</NoDataValue>"
        for number, value in enumerate(nodata, start=1)
        if value is not None and not alike
    }
    return profile, sidecar


def _colours(scene: Scene) -> tuple[ColorInterp, ...]:
    """Return the colour interpretation of all bands; a band marked as alpha may be imagery."""
    return tuple(
        ColorInterp.undefined if colour == ColorInterp.alpha and scene.alpha_is_imagery else colour
        for colour in scene.dataset.colorinterp
    )


def _has_mask(scene: Scene) -> bool:
    """Whether a mask or alpha, not a nodata value, says where the scene has data."""
    flags = scene.dataset.mask_flag_enums[0]
    return MaskFlags.per_dataset in flags and not scene.alpha_is_imagery


def _write_chip(
    scene: Scene,
    path: Path,
    left: int,
    top: int,
    pixels: NDArray[Any],
    profile: dict[str, Any],
) -> None:
    dataset = scene.dataset
    t = scene.transform
    corner = t * Affine.translation(left, top)
    if not scene.georeferenced:
        # y counts down from 0, as a GIS shows an image without georeference.
        corner = Affine(1, 0, left, 0, -1, -top)
    colours = _colours(scene)
    shape = pixels.shape[1:]
    window = Window(left, top, shape[1], shape[0])
    mask = None
    with (
        quiet_georeference(),
        gdal(scene.remote),
        quiet_libtiff(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(gdal_name(path), "w", transform=corner, **profile) as file,
    ):
        if _has_mask(scene) and ColorInterp.alpha not in colours:
            mask = dataset.read_masks(1, window=window)
        if scene.given_nodata is not None:
            void = (pixels[scene.imagery] == scene.given_nodata).all(axis=0)
            if mask is not None:
                mask[void] = 0
            elif ColorInterp.alpha in colours:
                pixels[colours.index(ColorInterp.alpha), void] = 0
            elif profile["nodata"] is not None:
                pixels[:, void] = profile["nodata"]
        file.colorinterp = colours
        for number, name in enumerate(dataset.descriptions, start=1):
            if name:
                file.set_band_description(number, name)
            file.update_tags(number, **_lasting(dataset.tags(number)))
            if colours[number - 1] == ColorInterp.palette:
                file.write_colormap(number, dataset.colormap(number))
        file.update_tags(**_lasting(dataset.tags()))
        file.scales, file.offsets, file.units = dataset.scales, dataset.offsets, dataset.units
        file.write(pixels)
        if mask is not None:
            file.write_mask(mask)
    # GDAL reports no error if the disk is full at the last bytes.
    with quiet_georeference(), gdal(), rasterio.open(gdal_name(path), driver="GTiff") as file:
        whole = np.array_equal(file.read(), pixels, equal_nan=True)
        if not whole or (mask is not None and not np.array_equal(file.read_masks(1), mask)):
            raise OSError("the chip does not read back as written; is the disk full?")


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags that are true for a part of a scene too."""
    return {
        name: value
        for name, value in tags.items()
        if not name.startswith(("STATISTICS_", "RS_OTL_"))
    }
