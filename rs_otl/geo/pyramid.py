"""Draw a scene for a browser: as tiles, at full size, half, a quarter ... of it."""

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rs_otl.datasets.scene import Scene
from rs_otl.geo.painting import Painter
from rs_otl.progress import tracked

# Side of a tile in pixels.
SIDE = 512

Keep = Callable[[str, bytes], str]


def draw_pyramid(
    scene: Scene, bands: Sequence[str], finest: int, keep: Keep, progress: bool = False
) -> tuple[list[int], dict[str, str]]:
    """Draw a scene as tiles, from top to bottom, strip by strip.

    Args:
        scene: The scene; its red, green and blue are shown, else the first three of ``bands``.
        bands: Names of the encoder's bands.
        finest: Level of the finest tiles to keep: a pixel of level n is 2**n scene pixels wide.
        keep: Takes the name and the content of a picture (WebP, transparent where there is no
            data), and returns its address.
        progress: Whether to show a bar on stderr.

    Returns:
        Side of a pixel at each level kept, coarsest last; and the address of each tile that holds
        data, by ``level/column-row``. In addresses level 0 is the finest level kept.

    Raises:
        InputError: The scene is damaged.
    """
    tiles: dict[str, str] = {}

    def kept(strips: Iterator[NDArray[np.uint8]], level: int) -> Iterator[NDArray[np.uint8]]:
        for row, strip in enumerate(strips):
            for column, left in enumerate(range(0, strip.shape[1], SIDE)):
                tile = strip[:, left : left + SIDE]
                if tile[..., 3].any():
                    name = f"{level}/{column}-{row}"
                    tiles[name] = keep(f"{name}.webp", _encoded(tile))
            yield strip

    levels: list[int] = []
    strips, level = _strips(scene, bands, progress), 0
    while not levels or max(scene.width, scene.height) > SIDE * levels[-1]:
        if level >= finest:
            strips = kept(strips, level - finest)
            levels.append(2**level)
        strips, level = _halved(strips), level + 1
    for _ in strips:
        pass
    return levels, tiles


def _strips(scene: Scene, bands: Sequence[str], progress: bool) -> Iterator[NDArray[np.uint8]]:
    """Give a scene as red, green, blue and opacity, (rows, width, 4), from the top."""
    painter = Painter.of(scene, bands)
    for top in tracked(range(0, scene.height, SIDE), f"Drawing {scene.name}", progress):
        yield painter.draw(0, top, scene.width, min(SIDE, scene.height - top))


def _halved(strips: Iterator[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Halve the size of strips, and join each two to one."""
    for strip in strips:
        halves = [_half(strip)]
        if (lower := next(strips, None)) is not None:
            halves.append(_half(lower))
        yield np.concatenate(halves)


def _half(strip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean of two by two pixels, without pixels that hold no data."""
    rows, columns = strip.shape[:2]
    strip = np.pad(strip, ((0, rows % 2), (0, columns % 2), (0, 0)))
    quarters = [strip[i::2, j::2] for i in (0, 1) for j in (0, 1)]
    half = np.zeros_like(quarters[0])
    count = np.zeros((*half.shape[:2], 1), np.uint16)
    total = np.zeros((*half.shape[:2], 3), np.uint16)
    for part in quarters:
        with_data = part[..., 3:] > 0
        count += with_data
        total += part[..., :3] * with_data
    half[..., :3] = total // np.maximum(count, 1)
    half[..., 3:] = 255 * (count > 0)
    return half


def _encoded(tile: NDArray[np.uint8]) -> bytes:
    # Tiles at the right and the bottom are padded to the full side.
    rows, columns = tile.shape[:2]
    tile = np.pad(tile, ((0, SIDE - rows), (0, SIDE - columns), (0, 0)))
    shown = tile if (tile[..., 3] == 0).any() else tile[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(buffer, "WEBP", quality=80, method=1)
    return buffer.getvalue()
