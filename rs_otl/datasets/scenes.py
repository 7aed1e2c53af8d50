"""A folder of georeferenced scenes: tiles read straight from them, no chips on disk."""

import functools
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.bands import ImageInfo, top_value
from rs_otl.datasets.base import ImageDataset, LeftOut, Root, Transforms
from rs_otl.datasets.folder import Listing, list_folder
from rs_otl.datasets.raster import UnreadableError
from rs_otl.datasets.scene import Scene
from rs_otl.datasets.statistics import refuse_mixed_units
from rs_otl.errors import InputError, note

# Smaller georeferenced images are chips, cut to be used whole.
SMALLEST = 256
_SUFFIXES = (".tif", ".tiff", ".jp2")
# Tiles of all scenes together.
MOST_TILES = 20_000
# Tiles of which a smaller share holds data are skipped.
_VALID_SHARE = 0.95
# Tiles that decide the scale.
_SAMPLED = 64
# Scenes whose units are compared, and tiles of each.
_COMPARED, _TILES_COMPARED = 256, 2
# Images in class folders are scenes all the same if those looked at have so many pixels a side.
_LARGE = 1024
_LOOKED_AT = 16


class _SceneHeader(NamedTuple):
    bands: tuple[str, ...]
    units: str
    is_16bit: bool
    resolution: str


class SceneTiles(ImageDataset):
    """Tiles of the georeferenced scenes of a folder, without labels.

    A sample is ``{"image": float32 (C, size, size), raw values}``. Paths are
    ``SCENE:rROW:cCOLUMN``, the tile's first row and column in pixels. Pixels without data have
    the mean of the others.

    Tiles lie half a tile apart, each moved by up to a quarter of a tile at random; those with
    nodata on more than a twentieth are skipped. Of more than 20,000, as many are drawn. The same
    files and size give the same tiles, since a run's labels are kept by a tile's position.

    torchgeo's raster data sets warp all files to one CRS and resolution and do not report nodata,
    and their samplers draw new places in each epoch. So windows are read with rasterio, each in
    the pixels of its own scene.
    """

    def __init__(
        self,
        root: Root = "data",
        split: str | None = None,
        transforms: Transforms | None = None,
        download: bool = False,
        checksum: bool = False,
        size: int = 256,
        most: int = MOST_TILES,
    ) -> None:
        """Open all scenes and choose the tiles.

        Args:
            root: The folder.
            split: ``"train"`` or ``"test"`` of the paper's first random division of the tiles;
                ``None`` for all of them. Neighbouring tiles overlap.
            transforms: Takes a sample and returns a changed one.
            download: Ignored, as is ``checksum``: a folder is what it is.
            checksum: Ignored.
            size: Side of a tile in pixels.
            most: Tiles of all scenes together.

        Raises:
            InputError: No scene can be used, or values lie below 0; or ``split`` is another word.
        """
        folder = Path(root)
        listing = list_folder(folder)
        paths = sorted([*listing.paths, *listing.outside])
        tiles, info, left_out = _choose_tiles(folder, paths, size, most)
        super().__init__(
            folder,
            folder.resolve().name,
            info,
            tiles,
            split=split,
            transforms=transforms,
            loader=functools.partial(_load, size=size),
            left_out=left_out + listing.others,
            note=listing.note,
        )
        self.size = size


def is_scene_folder(folder: Path, listing: Listing) -> bool:
    """Whether the images of a folder are scenes.

    Those in class folders are, if a few that are looked at have 1,024 pixels or more a side.
    """
    if listing.classes is None:
        return are_scenes(folder, listing.paths)
    few = np.linspace(0, len(listing.paths) - 1, min(len(listing.paths), _LOOKED_AT), dtype=int)
    return are_scenes(folder, [listing.paths[number] for number in few], _LARGE)


def are_scenes(folder: Path, paths: Sequence[str], smallest: int = SMALLEST) -> bool:
    """Whether images are scenes.

    They are if more than half of the files are georeferenced TIFFs or JPEG 2000 files of at least
    256 pixels on the shorter side.

    Args:
        folder: The folder.
        paths: Of its images, relative to it.
        smallest: Pixels on the shorter side.
    """
    large = 0
    for path in paths:
        if path.lower().endswith(_SUFFIXES):
            try:
                with Scene(folder / path) as scene:
                    large += scene.georeferenced and min(scene.width, scene.height) >= smallest
            except InputError:
                continue
    return large * 2 > len(paths)


def _choose_tiles(
    folder: Path, paths: Sequence[str], size: int, most: int
) -> tuple[list[str], ImageInfo, list[LeftOut]]:
    """Choose the tiles of a folder of scenes, of the bands that most scenes have."""
    headers: dict[str, _SceneHeader] = {}
    left_out: list[LeftOut] = []
    collars: list[str] = []
    for path in paths:
        try:
            with Scene(folder / path) as scene:
                is_16bit = scene.dtype.name != "uint8"
                headers[path] = _SceneHeader(scene.bands, scene.units, is_16bit, _resolution(scene))
                with suppress(InputError):  # of a damaged part, which its tiles report
                    collars += [path] if scene.collar() else []
        except UnreadableError as error:
            left_out.append(LeftOut(path, error.reason))
        except InputError as error:
            left_out.append(LeftOut(path, str(error)))
    if not headers:
        first = left_out[0]
        raise InputError(f"{folder}: no scene can be opened; {first.path}: {first.reason}")
    if collars:
        note(
            f"{folder}: {len(collars):,} of {len(headers):,} scenes, {collars[0]} first, are one "
            "value from the edge inwards, which counts as data; if there is none, say so with "
            "gdal_edit.py -a_nodata VALUE"
        )
    tally = Counter(header.bands for header in headers.values())
    bands = max(tally, key=lambda names: (tally[names], names))
    left_out += [
        LeftOut(path, f"has the bands {', '.join(header.bands)}, most scenes {', '.join(bands)}")
        for path, header in headers.items()
        if header.bands != bands
    ]
    alike = {path: header for path, header in headers.items() if header.bands == bands}
    random = np.random.default_rng(0)
    tiles: list[str] = []
    # Whether a tile holds data is known once it is read: not far more are than can be chosen.
    most_of_one = min(most, max(1, 4 * most // len(alike)))
    for path in sorted(alike):
        try:
            places = _places(folder / path, size, random, most_of_one)
        except InputError as error:
            left_out.append(LeftOut(path, str(error)))
            continue
        if not places:
            left_out.append(LeftOut(path, f"has no tile of {size} pixels that holds data"))
        tiles += [f"{path}:r{top}:c{left}" for top, left in places]
    if len(tiles) > most:
        chosen = np.sort(random.permutation(len(tiles))[:most])
        tiles = [tiles[number] for number in chosen]
    if not tiles:
        first = left_out[0]
        raise InputError(
            f"{folder}: no tile of {size} pixels in its scenes; {first.path}: {first.reason}"
        )
    deep = {path for path, header in alike.items() if header.is_16bit}
    is_16bit = len(deep) * 2 > len(alike)
    units = Counter(header.units for header in alike.values() if header.is_16bit).most_common(1)
    resolutions = {header.resolution for header in alike.values() if header.resolution}
    info = ImageInfo(
        bands=bands,
        units=units[0][0] if is_16bit else "8-bit counts",
        is_16bit=is_16bit,
        scale=_scale(folder, tiles, deep, size),
        resolution=", ".join(sorted(resolutions)) or None,
    )
    return tiles, info, left_out


def _load(path: str, size: int) -> NDArray[Any]:
    """Read a tile by its path: (size, size, C), uint8, uint16 or float32."""
    file, row, column = path.rsplit(":", 2)
    try:
        with Scene(file) as scene:
            pixels, valid = scene.read(int(column[1:]), int(row[1:]), size, size)
    except InputError as error:
        raise UnreadableError(Path(file), str(error)) from error
    if not valid.all():
        for band in pixels:
            band[~valid] = band[valid].mean() if valid.any() else 0
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.float32)
    return pixels.transpose(1, 2, 0)


def _places(path: Path, size: int, random: np.random.Generator, most: int) -> list[tuple[int, int]]:
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
        if len(grid) > most:
            grid = grid[np.sort(random.permutation(len(grid))[:most])]
        places = [(int(top), int(left)) for top, left in np.unique(grid, axis=0)]
        if not scene.may_lack_data:
            return places
        return [
            (top, left)
            for top, left in places
            if scene.read(left, top, size, size)[1].mean() >= _VALID_SHARE
        ]


def _resolution(scene: Scene) -> str:
    """Side of a pixel in metres; empty without a projected CRS."""
    if scene.crs is None or not scene.crs.is_projected:
        return ""
    unit = scene.crs.linear_units_factor[1]
    return f"{abs(scene.transform.a) * unit:.3g}"


def _scale(folder: Path, tiles: Sequence[str], deep: set[str], size: int) -> float:
    """Raw value that becomes 1.0, from a sample of tiles of the scenes of more than 8 bits."""
    names = [name for name in tiles if name.rsplit(":", 2)[0] in deep]
    _refuse_mixed_units(folder, names, size)
    samples = []
    for position in np.linspace(0, len(names) - 1, min(len(names), _SAMPLED), dtype=int):
        try:
            samples.append(_load(str(folder / names[position]), size))
        except UnreadableError:
            continue
    if not samples:
        return 65535.0
    scale = top_value(samples, folder)
    if scale == 0:
        raise InputError(
            f"{folder}: nearly all values are 0, expected imagery that counts up from 0"
        )
    return scale


def _refuse_mixed_units(folder: Path, tiles: Sequence[str], size: int) -> None:
    """Compare what tiles of the scenes hold; see :func:`refuse_mixed_units`."""
    by_scene: defaultdict[str, list[str]] = defaultdict(list)
    for name in tiles:
        by_scene[name.rsplit(":", 2)[0]].append(name)
    scenes = list(by_scene)
    samples: dict[str, NDArray[Any]] = {}
    for number in np.linspace(0, len(scenes) - 1, min(len(scenes), _COMPARED), dtype=int):
        own = by_scene[scenes[number]]
        with suppress(UnreadableError):
            samples[scenes[number]] = np.concatenate(
                [
                    _load(str(folder / name), size).ravel()
                    for name in own[:: max(1, len(own) // _TILES_COMPARED)][:_TILES_COMPARED]
                ]
            )
    refuse_mixed_units(samples, folder)
