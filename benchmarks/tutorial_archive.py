"""How good the maps and changes of docs/tutorial-archive.md are, and the page's pictures.

    python benchmarks/tutorial_archive.py FOLDER [--figures docs/figures]

FOLDER is where the commands of the page were run. A cell counts as of a class, or as changed, if
all of its pixels are. It counts as unchanged if its tile has no changed pixel.
"""

import argparse
import tempfile
from pathlib import Path

import geopandas
import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from rs_otl import geo
from rs_otl.datasets.scene import Scene
from rs_otl.geo.painting import Painter

PLACES, YEARS = ("west", "east"), (2019, 2024)
STRIDE, TILE = 16, 64
GAP = 8
ORANGE, WHITE = (213, 94, 0), 255


def read(path: Path) -> NDArray[np.float64]:
    """Read the first band."""
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def truth(folder: Path, name: str, place: str) -> NDArray[np.float64]:
    """Read the drawn truth of one of the two places."""
    whole = read(folder / "places" / "truth" / f"{name}.tif")
    half = whole.shape[1] // 2
    return whole[:, :half] if place == "west" else whole[:, half:]


def cells(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the pixels of each cell, (rows, columns, STRIDE^2)."""
    rows, columns = (side // STRIDE for side in pixels.shape)
    parts = pixels.reshape(rows, STRIDE, columns, STRIDE).swapaxes(1, 2)
    return parts.reshape(rows, columns, -1)


def touched(changed: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell for each cell whether its tile has a changed pixel."""
    before = (TILE - STRIDE + 1) // 2
    tops, lefts = (
        np.clip(np.arange(0, side, STRIDE) - before, 0, side - TILE) for side in changed.shape
    )
    return np.array([[changed[y : y + TILE, x : x + TILE].any() for x in lefts] for y in tops])


def measure(folder: Path) -> None:
    """Print the accuracy of the maps, and the shares of found changes and false alarms."""
    for place in PLACES:
        for year in YEARS:
            path = folder / "maps" / f"{place}-{year}.tif"
            if not path.is_file():
                continue
            drawn = cells(truth(folder, f"cover-{year}", place))
            pure = (drawn == drawn[..., :1]).all(-1)
            right = read(path) == drawn[..., 0]
            print(
                f"map of {path.stem}: {100 * right[pure].mean():.1f} % right of {pure.sum()} cells "
                "of one class"
            )
    for place in PLACES:
        scenes = [folder / "archive" / "blocks" / f"{place}-{year}" for year in YEARS]
        with tempfile.TemporaryDirectory() as aside:
            done = geo.change(*scenes, Path(aside) / "change.tif")
            found = read(done.mask) == 2
        changed = truth(folder, "changed", place)
        wholly, unchanged = cells(changed).all(-1), ~touched(changed)
        print(
            f"change in the {place}: {100 * found[wholly].mean():.1f} % found of {wholly.sum()} "
            f"cells, {100 * found[unchanged].mean():.2f} % false alarms of {unchanged.sum()}"
        )


def picture(path: Path) -> NDArray[np.uint8]:
    """Draw a scene."""
    with Scene(path) as scene:
        return Painter.of(scene, scene.bands).draw(0, 0, scene.width, scene.height)[..., :3]


def enlarged(pixels: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Enlarge a picture by repeating pixels."""
    factor = height // len(pixels)
    return pixels.repeat(factor, 0).repeat(factor, 1)


def outlined(pixels: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw the outline of a mask."""
    large = enlarged(mask, len(pixels))
    drawn = pixels.copy()
    drawn[large & ~binary_erosion(large, iterations=3)] = ORANGE
    return drawn


def coloured(path: Path, height: int) -> NDArray[np.uint8]:
    """Draw a map of classes in its colours."""
    with rasterio.open(path) as file:
        table = file.colormap(1)
        colours = np.array([table[number][:3] for number in range(256)], np.uint8)
        return enlarged(colours[file.read(1)], height)


def grey(path: Path, height: int) -> NDArray[np.uint8]:
    """Draw distances, black for 0 and white for the largest."""
    values = read(path)
    shades = np.nan_to_num(255 * values / np.nanmax(values)).astype(np.uint8)
    return enlarged(np.stack([shades] * 3, -1), height)


def save(path: Path, panels: list[NDArray[np.uint8]]) -> None:
    """Save panels of one height side by side."""
    gap = np.full((len(panels[0]), GAP, 3), WHITE, np.uint8)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    Image.fromarray(np.concatenate(row, axis=1)).save(path, quality=82)


def draw(folder: Path, figures: Path) -> None:
    """Draw the page's pictures."""

    def scene(name: str) -> NDArray[np.uint8]:
        return picture(folder / "places" / name / f"{name}.tif")

    before, after = (scene(f"east-{year}") for year in YEARS)
    height = len(after)
    changed = truth(folder, "changed", "east").astype(np.uint8)
    save(
        figures / "archive-change.jpg",
        [
            before,
            outlined(after, read(folder / "change-mask.tif") == 2),
            grey(folder / "change.tif", height),
            np.stack([255 * changed] * 3, -1),
        ],
    )
    maps = [coloured(folder / "maps" / f"{place}-2024.tif", height) for place in PLACES]
    save(figures / "archive-map.jpg", [scene("west-2024"), maps[0], after, maps[1]])
    hits = geopandas.read_file(folder / "houses.geojson").sort_values("rank")
    chips = []
    for row, column, name in zip(hits["row"], hits["column"], hits["scene"], strict=True):
        chip = scene(name)[row : row + TILE, column : column + TILE]
        chips.append(enlarged(chip, 3 * TILE))
    save(figures / "archive-hits.jpg", chips)
    sheet = Image.open(folder / "clusters-tiles.png").convert("RGB")
    sheet.save(figures / "archive-clusters.jpg", quality=82)


def main() -> None:
    """Measure, and draw if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figures", type=Path)
    chosen = parser.parse_args()
    measure(chosen.folder)
    if chosen.figures:
        draw(chosen.folder, chosen.figures)


if __name__ == "__main__":
    main()
