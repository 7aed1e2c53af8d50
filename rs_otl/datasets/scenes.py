"""Tiles read straight from a folder of georeferenced scenes, without chips on disk."""

import functools
import math
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.bands import ImageInfo, choose_bands, value_range
from rs_otl.datasets.base import ImageDataset, LeftOut, Root, Transforms
from rs_otl.datasets.files import find_images
from rs_otl.datasets.folder import Listing, list_folder
from rs_otl.datasets.products import products_of, zipped_products
from rs_otl.datasets.raster import UnreadableError
from rs_otl.datasets.remote import dataset_name, is_address, public
from rs_otl.datasets.scene import Scene
from rs_otl.datasets.sources import Source, is_stac, scenes_of, source_of
from rs_otl.datasets.statistics import refuse_mixed_units
from rs_otl.errors import InputError, note
from rs_otl.sensors import described
from rs_otl.spec import Band, Quantity, Values

# Smaller georeferenced images are chips, cut to be used whole.
SMALLEST = 256
_SUFFIXES = (".tif", ".tiff", ".jp2")
# Maximum number of tiles of all scenes together.
MOST_TILES = 20_000
# Tiles with a smaller share of data are skipped.
_VALID_SHARE = 0.95
# Number of tiles that decide the scale.
_SAMPLED = 64
# Numbers of scenes whose units are compared, and of tiles of each.
_COMPARED, _TILES_COMPARED = 256, 2
# Images in class folders are scenes if most of those looked at have so many pixels a side.
_LARGE = 1024
_LOOKED_AT = 16


_last = threading.local()


class _SceneHeader(NamedTuple):
    bands: tuple[str, ...]
    units: str
    quantity: Quantity
    known: tuple[Band, ...]
    is_16bit: bool
    resolution: str


class _Opening(NamedTuple):
    """What the user says about all scenes: what values stand for, and which bands to take."""

    values: Values | None = None
    bands: tuple[str, ...] | None = None
    # Scenes that are not files below the folder, by name.
    sources: Mapping[str, Source] = MappingProxyType({})

    def scene(self, path: str | Path) -> Scene:
        return Scene(self.sources.get(str(path), Path(path)), values=self.values)

    @contextmanager
    def last(self, path: str) -> Iterator[Scene]:
        """Open a scene; a product stays open in this thread, as it takes many files to open."""
        if getattr(_last, "key", None) != (path, self):
            if (before := _last.__dict__.pop("scene", None)) is not None:
                before.__exit__()
            _last.key = None
            scene = self.scene(path)
            if not scene.is_product:
                with scene:
                    yield scene
                return
            _last.key, _last.scene = (path, self), scene
        yield _last.scene

    def chosen(self, scene: Scene) -> tuple[list[int] | None, tuple[str, ...]]:
        """Return positions, ``None`` for all, and names of the bands wanted."""
        if self.bands is None:
            return None, scene.bands
        return choose_bands(self.bands, scene.known, scene.named, scene.name)


class SceneTiles(ImageDataset):
    """Tiles of the georeferenced scenes of a folder, without labels.

    A sample is ``{"image": float32 (C, size, size), raw values}``. Paths are
    ``SCENE:rROW:cCOLUMN``, the tile's first row and column in pixels. Pixels without data get the
    mean of the tile's other pixels.

    Tiles lie half a tile apart, moved at random by up to a quarter of a tile. Tiles with no data
    on more than a twentieth are skipped. If there are more than 20,000, 20,000 are drawn. The same
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
        values: Values | None = None,
        bands: Sequence[str] | None = None,
    ) -> None:
        """Open all scenes and choose the tiles.

        Args:
            root: The folder; or one scene, such as a GeoTIFF or the zip of a product; or what
                STAC describes, with a scene for each item, see
                :func:`rs_otl.datasets.sources.scenes_of`.
            split: ``"train"`` or ``"test"`` of the paper's first random division of the tiles;
                ``None`` for all of them. Neighbouring tiles overlap.
            transforms: Takes a sample and returns a changed one.
            download: Ignored: scenes cannot be downloaded.
            checksum: Ignored.
            size: Side of a tile in pixels.
            most: Maximum number of tiles of all scenes together.
            values: What stored values stand for, where files do not say it, or say it wrong.
            bands: The bands wanted, in this order, by name or number from 1; or names for all
                bands where files have none.

        Raises:
            InputError: No scene can be used, or values lie below 0; or ``split`` has another value.
        """
        opening = _Opening(values, None if bands is None else tuple(bands))
        others: list[LeftOut] = []
        note = None
        if is_address(str(root)) or is_stac(str(root)):
            opening = opening._replace(sources={one.name: one for one in scenes_of(str(root))})
            folder, paths = "", sorted(opening.sources)
        elif is_scene(Path(root)):
            opening = opening._replace(sources={str(root): source_of(Path(root))})
            folder, paths = "", [str(root)]
        else:
            folder = str(root)
            paths, listing = _listed(Path(root))
            if listing is not None:
                others = listing.others
                # Folders within products are not classes.
                if not products_of(Path(root), sorted(listing.paths)):
                    note = listing.note
        shown = public(str(root))
        tiles, info, left_out = _choose_tiles(shown, folder, paths, size, most, opening)
        super().__init__(
            folder,
            dataset_name(str(root)),
            info,
            tiles,
            split=split,
            transforms=transforms,
            loader=functools.partial(_load, size=size, opening=opening),
            left_out=left_out + others,
            note=note,
        )
        self.size = size


def scene_paths(folder: Path) -> list[str]:
    """List the scenes of a folder: its images or its products, and zipped products."""
    return _listed(folder)[0]


def _listed(folder: Path) -> tuple[list[str], Listing | None]:
    """List the scenes of a folder, and its images; ``None`` if it has only zipped products."""
    zips = zipped_products(folder)
    if zips and not find_images(folder).paths:
        return zips, None
    listing = list_folder(folder)
    paths = sorted([*listing.paths, *listing.outside])
    return [*(products_of(folder, paths) or paths), *zips], listing


def is_scene(path: Path) -> bool:
    """Whether a path is that of one scene: a file, or a name with ``*`` for the band."""
    return path.is_file() or ("*" in path.name and not path.exists() and path.parent.is_dir())


def is_scene_folder(folder: Path) -> bool:
    """Whether the images of a folder are scenes.

    Images in class folders are scenes if most of a few that are looked at have 1,024 pixels or
    more a side. Products with a file for each band are scenes of any size, and so are zips of
    products.
    """
    _, listing = _listed(folder)
    if listing is None or products_of(folder, sorted([*listing.paths, *listing.outside])):
        return True
    if listing.classes is None:
        return are_scenes(folder, listing.paths)
    few = np.linspace(0, len(listing.paths) - 1, min(len(listing.paths), _LOOKED_AT), dtype=int)
    return are_scenes(folder, [listing.paths[number] for number in few], _LARGE)


def are_scenes(folder: Path, paths: Sequence[str], smallest: int = SMALLEST) -> bool:
    """Whether images are scenes.

    They are if more than half of the files are georeferenced TIFFs or JPEG 2000 files of at least
    ``smallest`` pixels on the shorter side, or a satellite's products of any size.

    Args:
        folder: The folder.
        paths: Paths of its images, relative to it.
        smallest: Pixels on the shorter side, by default 256.
    """
    large = 0
    for path in paths:
        if path.lower().endswith(_SUFFIXES):
            try:
                with Scene(folder / path) as scene:
                    sized = min(scene.width, scene.height) >= smallest
                    large += scene.is_product or (scene.georeferenced and sized)
            except InputError:
                continue
    return large * 2 > len(paths)


def _choose_tiles(
    shown: str, folder: str, paths: Sequence[str], size: int, most: int, opening: _Opening
) -> tuple[list[str], ImageInfo, list[LeftOut]]:
    """Choose tiles of the scenes with the most common bands; ``shown`` is for errors."""
    headers: dict[str, _SceneHeader] = {}
    left_out: list[LeftOut] = []
    collars: list[str] = []
    for path in paths:
        try:
            with opening.scene(os.path.join(folder, path)) as scene:
                positions, names = opening.chosen(scene)
                known = described(names, scene.name) if scene.named else ()
                if set(names) <= set(scene.bands) and scene.named:
                    known = tuple(scene.known[scene.bands.index(name)] for name in names)
                elif positions is not None:  # the user names them
                    known = described(names, scene.name)
                headers[path] = _SceneHeader(
                    names,
                    scene.units,
                    scene.quantity or Quantity.COUNTS,
                    known,
                    scene.dtype.name != "uint8",
                    _resolution(scene),
                )
                with suppress(InputError):  # of a damaged part, which its tiles report
                    collars += [path] if scene.collar() else []
        except UnreadableError as error:
            left_out.append(LeftOut(path, error.reason))
        except InputError as error:
            left_out.append(LeftOut(path, str(error)))
    if not headers:
        first = left_out[0]
        raise InputError(f"{shown}: no scene can be opened; {first.path}: {first.reason}")
    if collars:
        note(
            f"{shown}: {len(collars):,} of {len(headers):,} scenes, {collars[0]} first, are one "
            "value from the edge inwards, which counts as data; if these pixels have no data, say "
            "so with gdal_edit.py -a_nodata VALUE"
        )
    tally = Counter(header.bands for header in headers.values())
    bands = max(tally, key=lambda names: (tally[names], names))
    left_out += [
        LeftOut(path, f"has the bands {', '.join(header.bands)}, most scenes {', '.join(bands)}")
        for path, header in headers.items()
        if header.bands != bands
    ]
    alike = {path: header for path, header in headers.items() if header.bands == bands}
    quantities = Counter(header.quantity for header in alike.values())
    quantity = max(quantities, key=lambda kind: (quantities[kind], kind))
    left_out += [
        LeftOut(
            path,
            f"is in {header.units}, most scenes in "
            f"{next(other.units for other in alike.values() if other.quantity == quantity)}; "
            f"--units {quantity} takes all as such",
        )
        for path, header in alike.items()
        if header.quantity != quantity
    ]
    alike = {path: header for path, header in alike.items() if header.quantity == quantity}
    random = np.random.default_rng(0)
    tiles: list[str] = []
    # A tile must be read to know whether it holds data: do not read far more than can be chosen.
    most_of_one = min(most, max(1, 4 * most // len(alike)))
    for path in sorted(alike):
        try:
            places = _places(os.path.join(folder, path), size, random, most_of_one, opening)
        except InputError as error:
            left_out.append(LeftOut(path, str(error)))
            continue
        if not places:
            left_out.append(LeftOut(path, _without_tiles(path, folder, size, opening)))
        tiles += [f"{path}:r{top}:c{left}" for top, left in places]
    if len(tiles) > most:
        chosen = np.sort(random.permutation(len(tiles))[:most])
        tiles = [tiles[number] for number in chosen]
    if not tiles:
        first = left_out[0]
        raise InputError(
            f"{shown}: no tile of {size} pixels in its scenes; {first.path}: {first.reason}"
        )
    deep = {path for path, header in alike.items() if header.is_16bit}
    is_16bit = len(deep) * 2 > len(alike)
    units = Counter(header.units for header in alike.values() if header.is_16bit).most_common(1)
    resolutions = {header.resolution for header in alike.values() if header.resolution}
    low, high = _range(shown, folder, tiles, deep, size, quantity, opening)
    knowns = Counter(header.known for header in alike.values())
    info = ImageInfo(
        bands=bands,
        units=units[0][0] if is_16bit else "8-bit counts",
        is_16bit=is_16bit,
        scale=high - low,
        resolution=", ".join(sorted(resolutions)) or None,
        offset=low,
        quantity=quantity,
        known=max(knowns, key=lambda known: (knowns[known], str(known))),
    )
    return tiles, info, left_out


def _without_tiles(path: str, folder: str, size: int, opening: _Opening) -> str:
    """Say why there is no tile in a scene."""
    with opening.scene(os.path.join(folder, path)) as scene:
        side = min(scene.width, scene.height)
        if side >= size:
            return f"has no tile of {size} pixels that holds data"
        largest = max(1, math.floor(side / 1.5 * 224 / 256))  # two tiles, half a tile apart
        return (
            f"has {scene.width:,} x {scene.height:,} pixels, smaller than a tile of {size} x "
            f"{size}; --set image_size={largest} or less makes smaller tiles"
        )


def _load(path: str, size: int, opening: _Opening) -> NDArray[Any]:
    """Read a tile by its path: (size, size, C), uint8, uint16 or float32."""
    file, row, column = path.rsplit(":", 2)
    try:
        with opening.last(file) as scene:
            positions, _ = opening.chosen(scene)
            which = () if positions is None else (positions,)
            pixels, valid = scene.read(int(column[1:]), int(row[1:]), size, size, *which)
    except InputError as error:
        raise UnreadableError(file, str(error)) from error
    if not valid.all():
        for band in pixels:
            band[~valid] = band[valid].mean() if valid.any() else 0
    if pixels.dtype not in (np.uint8, np.uint16):
        pixels = pixels.astype(np.float32)
    return pixels.transpose(1, 2, 0)


def _places(
    path: str, size: int, random: np.random.Generator, most: int, opening: _Opening
) -> list[tuple[int, int]]:
    """Choose the first row and column of each tile of a scene."""
    with opening.scene(path) as scene:
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


def _range(
    shown: str,
    folder: str,
    tiles: Sequence[str],
    deep: set[str],
    size: int,
    quantity: Quantity,
    opening: _Opening,
) -> tuple[float, float]:
    """Return the raw values that become 0 and 1, from some tiles of more than 8 bits."""
    names = [name for name in tiles if name.rsplit(":", 2)[0] in deep]
    _refuse_mixed_units(shown, folder, names, size, opening)
    samples = []
    for position in np.linspace(0, len(names) - 1, min(len(names), _SAMPLED), dtype=int):
        try:
            samples.append(_load(os.path.join(folder, names[position]), size, opening))
        except UnreadableError:
            continue
    if not samples:
        return 0.0, 65535.0
    low, high = value_range(samples, shown, quantity)
    if high == low:
        raise InputError(
            f"{shown}: nearly all values are {low:g}, expected imagery that counts up from 0"
        )
    return low, high


def _refuse_mixed_units(
    shown: str, folder: str, tiles: Sequence[str], size: int, opening: _Opening
) -> None:
    """Compare the values of some tiles of the scenes; see :func:`refuse_mixed_units`."""
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
                    _load(os.path.join(folder, name), size, opening).ravel()
                    for name in own[:: max(1, len(own) // _TILES_COMPARED)][:_TILES_COMPARED]
                ]
            )
    refuse_mixed_units(samples, shown)
