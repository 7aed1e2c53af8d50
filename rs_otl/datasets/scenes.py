"""A folder of georeferenced scenes: tiles read from where they lie, no chips on disk."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets._decode import UnreadableError
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError

# Smaller georeferenced images are chips, cut to be used whole.
SMALLEST = 256
_SUFFIXES = (".tif", ".tiff", ".jp2")
# Tiles of all scenes together.
_TILES = 20_000
# A tile of which less holds data is not trained on.
_VALID_SHARE = 0.95
# Tiles that the robust maximum is taken over.
_SAMPLED = 64


@dataclass(frozen=True)
class ScenesFound:
    """What a folder of scenes holds.

    Attributes:
        tiles: Names of the tiles, ``SCENE:rROW:cCOLUMN``, the first row and column in pixels.
        bands: Band names that most scenes have.
        deep: Whether most of those are deeper than 8 bits.
        units: What a raw value counts.
        deep_scale: Raw value that becomes 1.0 in scenes deeper than 8 bits: the 99.9th
            percentile of a sample of tiles.
        resolution: Ground sizes of a pixel, as text; ``None`` where unknown.
        left_out: Scenes that cannot be used, and why.
    """

    tiles: list[str]
    bands: tuple[str, ...]
    deep: bool
    units: str
    deep_scale: float
    resolution: str | None
    left_out: list[tuple[str, str]]


def are_scenes(folder: Path, paths: Sequence[str]) -> bool:
    """Whether the images of a folder without classes are scenes.

    They are if more than half of the files are georeferenced TIFFs or JPEG 2000 files of at least
    256 pixels on the shorter side.

    Args:
        folder: The folder.
        paths: Of all its images, relative to it.
    """
    large = 0
    for path in paths:
        if path.lower().endswith(_SUFFIXES):
            try:
                with Scene(folder / path) as scene:
                    large += scene.georeferenced and min(scene.width, scene.height) >= SMALLEST
            except InputError:
                continue
    return large * 2 > len(paths)


def find_tiles(folder: Path, paths: Sequence[str], size: int, seed: int = 0) -> ScenesFound:
    """Choose the tiles that a folder of scenes is trained on.

    Candidates lie half a tile apart, each moved by up to a quarter of a tile at random; those
    with nodata on more than a twentieth are passed over. Of more than 20,000, as many are drawn.
    The same files and seed give the same tiles, since labels are kept by a tile's position.

    torchgeo's raster datasets warp all files to one CRS and resolution, tell no nodata, and
    their samplers draw places anew each epoch; so windows are read with rasterio, each in its
    scene's own pixels.

    Args:
        folder: The folder.
        paths: Of its scenes, relative to it.
        size: Side of a tile in pixels.
        seed: Of the places.

    Raises:
        InputError: No scene can be used.
    """
    opened: dict[str, tuple[tuple[str, ...], str, bool, str]] = {}
    left_out: list[tuple[str, str]] = []
    for path in paths:
        try:
            with Scene(folder / path) as scene:
                deep = scene.dtype.name != "uint8"
                opened[path] = (scene.bands, scene.units, deep, _resolution(scene))
        except UnreadableError as error:
            left_out.append((path, error.reason))
        except InputError as error:
            left_out.append((path, str(error)))
    if not opened:
        raise InputError(f"{folder}: no scene can be opened; {left_out[0][0]}: {left_out[0][1]}")
    tally = Counter(bands for bands, *_ in opened.values())
    bands = max(tally, key=lambda names: (tally[names], names))
    alike = {}
    for path, facts in opened.items():
        if facts[0] == bands:
            alike[path] = facts
        else:
            left_out.append(
                (path, f"has the bands {', '.join(facts[0])}, most scenes {', '.join(bands)}")
            )
    random = np.random.default_rng(seed)
    tiles: list[str] = []
    for path in sorted(alike):
        try:
            found = _places(folder / path, size, random)
        except InputError as error:
            left_out.append((path, str(error)))
            continue
        if not found:
            left_out.append((path, f"has no tile of {size} pixels that holds data"))
        tiles += [f"{path}:r{top}:c{left}" for top, left in found]
    if len(tiles) > _TILES:
        chosen = np.sort(random.permutation(len(tiles))[:_TILES])
        tiles = [tiles[number] for number in chosen]
    if not tiles:
        raise InputError(
            f"{folder}: no tile of {size} pixels in its scenes; {left_out[0][0]}: {left_out[0][1]}"
        )
    deep_paths = {path for path, facts in alike.items() if facts[2]}
    deep = len(deep_paths) * 2 > len(alike)
    units = Counter(facts[1] for facts in alike.values() if facts[2]).most_common(1)
    sizes = {facts[3] for facts in alike.values() if facts[3]}
    return ScenesFound(
        tiles=tiles,
        bands=bands,
        deep=deep,
        units=units[0][0] if deep else "8-bit counts",
        deep_scale=_scale(folder, tiles, deep_paths, size),
        resolution=", ".join(sorted(sizes)) or None,
        left_out=left_out,
    )


def read_tile(folder: Path, size: int, name: str) -> NDArray[Any]:
    """Read a tile.

    Args:
        folder: The folder of scenes.
        size: Side in pixels.
        name: As :func:`find_tiles` gives it.

    Returns:
        (C, size, size), uint8, uint16 or float32; pixels without data have the mean of the others.

    Raises:
        UnreadableError: The scene is damaged or gone.
    """
    path, row, column = name.rsplit(":", 2)
    try:
        with Scene(folder / path) as scene:
            pixels, valid = scene.read(int(column[1:]), int(row[1:]), size, size)
    except InputError as error:
        raise UnreadableError(folder / path, str(error)) from error
    if not valid.all():
        for band in pixels:
            band[~valid] = band[valid].mean() if valid.any() else 0
    return pixels if pixels.dtype in (np.uint8, np.uint16) else pixels.astype(np.float32)


def _places(path: Path, size: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """Choose first rows and columns of the tiles of a scene."""
    with Scene(path) as scene:
        if min(scene.width, scene.height) < size:
            return []
        step = max(1, size // 2)
        rows, columns = (
            np.arange((length - size) // step + 1) * step for length in (scene.height, scene.width)
        )
        grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
        grid = grid + random.integers(-(step // 2), step // 2 + 1, grid.shape)
        grid = np.clip(grid, 0, [scene.height - size, scene.width - size])
        if len(grid) > _TILES:
            grid = grid[np.sort(random.permutation(len(grid))[:_TILES])]
        places = [(int(top), int(left)) for top, left in np.unique(grid, axis=0)]
        if not scene.may_lack_data:
            return places
        return [
            (top, left)
            for top, left in places
            if scene.read(left, top, size, size)[1].mean() >= _VALID_SHARE
        ]


def _resolution(scene: Scene) -> str:
    """Side of a pixel in metres; nothing where the CRS does not count in metres."""
    if scene.crs is None or not scene.crs.is_projected:
        return ""
    unit = scene.crs.linear_units_factor[1]
    return f"{abs(scene.transform.a) * unit:.3g}"


def _scale(folder: Path, tiles: Sequence[str], deep: set[str], size: int) -> float:
    """Robust maximum of the tiles of scenes deeper than 8 bits."""
    names = [name for name in tiles if name.rsplit(":", 2)[0] in deep]
    samples = []
    for position in np.linspace(0, len(names) - 1, min(len(names), _SAMPLED), dtype=int):
        try:
            samples.append(read_tile(folder, size, names[position]).ravel())
        except UnreadableError:
            continue
    if not samples:
        return 65535.0
    scale = float(np.percentile(np.concatenate(samples), 99.9))
    if scale <= 0:
        raise InputError(
            f"{folder}: nearly all values are 0 or less, expected imagery that counts up from 0"
        )
    return scale
