"""Scenes cut to chips, in files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from rasterio import Affine

from rs_otl.datasets.scene import Scene, SceneLike, quiet_georeference
from rs_otl.errors import InputError
from rs_otl.files import refuse_output
from rs_otl.geo.embed_windows import VALID_SHARE
from rs_otl.geo.grid import TileGrid
from rs_otl.progress import tracked


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
    progress: bool = False,
) -> list[Tiled]:
    """Cut scenes into GeoTIFF chips ``SCENE_rROW_cCOLUMN.tif``, with their bands and georeference.

    Tiles lie side by side from the upper left; the last row and column are moved in, so that every
    chip is whole.

    Args:
        scenes: Paths, rasterio datasets, or DataArrays that rioxarray knows: one or several.
        out: Folder to write; must be new.
        size: Side of a chip in pixels.
        stride: Pixels from one chip to the next, at most ``size``; by default ``size``.
        progress: Whether to show bars on stderr.

    Returns:
        What was written, for each scene.

    Raises:
        InputError: A scene or the output cannot be used, or no chip holds data.
    """
    sources = list(scenes) if isinstance(scenes, list | tuple) else [scenes]
    out = Path(out)
    refuse_output(out)
    done = []
    with TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        made = Path(aside) / "chips"
        made.mkdir()
        for source in sources:
            with Scene(source) as scene:
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
    stem = Path(scene.name).stem
    for top in tracked(tops.tolist(), f"Cutting {stem}", progress):
        for left in lefts.tolist():
            pixels, valid = scene.read(left, top, size, size)
            if valid.mean() < VALID_SHARE:
                nodata += 1
                continue
            chip = made / f"{stem}_r{top}_c{left}.tif"
            if chip.exists():
                raise InputError(f"two scenes are called {stem}: cut them to folders of their own")
            t = scene.transform
            x, y = scene.coordinate(left, top)
            profile = {
                "driver": "GTiff",
                "width": size,
                "height": size,
                "count": len(pixels),
                "dtype": pixels.dtype,
                "crs": scene.crs,
                "transform": Affine(t.a, t.b, x, t.d, t.e, y),
                "nodata": scene.nodata,
                "compress": "deflate",
            }
            with quiet_georeference(), rasterio.open(chip, "w", **profile) as file:
                file.descriptions = scene.bands
                file.write(pixels)
            chips += 1
    return Tiled(out, scene.name, chips, nodata)
