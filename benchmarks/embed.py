"""Embedding a scene in tiles a second, compared with torchgeo's sampler and a DataLoader.

``python benchmarks/embed.py --encoder timm/tf_efficientnet_lite0 --image-size 64``
"""

import copy
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rasterio
import shapely
import torch
import typer
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.windows import Window
from table import run
from torch import Tensor
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset
from torchgeo.samplers import GridGeoSampler

from rs_otl.cli.options import Json, Precision, Stride, Tile, TileImageSize, print_json
from rs_otl.datasets.raster import gdal
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.geo.cells import SceneCells
from rs_otl.geo.embedding import embed
from rs_otl.geo.grid import TileGrid
from rs_otl.models import Encoder, load_encoder

_BLOCK = 512


@dataclass(frozen=True)
class Throughput:
    """What embedding a made-up scene cost.

    Attributes:
        pixels: Side of the scene.
        tiles: Tiles embedded.
        seconds: Wall time of ``embed``, from the opened encoder to the file.
        encoder_seconds: Part of ``seconds`` that the encoder took.
        peak_mib: Most memory that the process has held so far, in MiB.
        plain_rate: Tiles a second of the plain way; 0 if it was not run.
        beside_rate: Tiles a second of ``embed`` on the same part: the mean of a run before the
            plain way and one after it.
        similarity: Lowest cosine similarity between the two ways' embeddings of a tile.
    """

    pixels: int
    tiles: int
    seconds: float
    encoder_seconds: float
    peak_mib: float
    plain_rate: float = 0.0
    beside_rate: float = 0.0
    similarity: float = 0.0


def measure_embed(
    encoder: str | Path | Encoder,
    *,
    pixels: int = 2048,
    plain_pixels: int = 1024,
    tile: int | None = None,
    stride: int | None = None,
    image_size: int | None = None,
    precision: str = "auto",
    workers: int = 2,
    progress: bool = False,
) -> Throughput:
    """Embed a made-up scene, and a part of it in turn with the plain way.

    The plain way is what torchgeo's documentation shows: a ``RasterDataset``, a
    ``GridGeoSampler`` of the same tiles and stride, a ``DataLoader`` with workers, and the encoder
    in float32.

    Args:
        encoder: As for :func:`rs_otl.geo.embed`, of red, green and blue in 8 bits.
        pixels: Side of the scene.
        plain_pixels: Side of the part that both ways are run on; 0 leaves the plain way out.
        tile: Side of a tile; by default the encoder's image size.
        stride: Pixels from tile to tile; by default half a tile.
        image_size: Side that tiles are resized to; by default the encoder's own.
        precision: Precision of ``embed``.
        workers: Processes of the plain way's loader.
        progress: Whether to show a bar on stderr.
    """
    encoder = load_encoder(encoder, image_size=image_size, device="auto", precision=precision)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "scene.tif"
        draw_scene(whole, pixels, len(encoder.config.spec.bands))
        out = Path(folder) / "out.tif"
        (done,) = embed(whole, encoder, out, tile=tile, stride=stride, progress=progress)
        result = Throughput(pixels, done.tiles, done.seconds, done.encoder_seconds, _peak_mib())
        if not plain_pixels:
            return result
        part = Path(folder) / "part.tif"
        draw_scene(part, plain_pixels, len(encoder.config.spec.bands))
        with Scene(part) as scene:
            grid = SceneCells.over(scene, encoder, tile, stride).grid

        def beside() -> float:
            out = Path(folder) / "part-out.tif"
            out.unlink(missing_ok=True)
            (done,) = embed(part, encoder, out, tile=tile, stride=stride)
            return done.tiles / done.seconds

        before = beside()
        began = time.perf_counter()
        plain = _plain(part, encoder, grid, workers)
        plain_seconds = time.perf_counter() - began
        after = beside()
        with rasterio.open(Path(folder) / "part-out.tif") as file:
            embedded = file.read()
    return replace(
        result,
        plain_rate=len(plain) / plain_seconds,
        beside_rate=(before + after) / 2,
        similarity=min(_cosine(plain[place], embedded[:, *place]) for place in plain),
    )


def draw_scene(path: Path, pixels: int, bands: int, seed: int = 0) -> None:
    """Write a made-up scene, block by block: smooth shapes under noise, 8 bits, deflated.

    Args:
        path: The file.
        pixels: Side in pixels.
        bands: Number of bands; three are red, green and blue.
        seed: Seed of the noise and the shapes.
    """
    random = np.random.default_rng(seed)
    noise = random.integers(0, 40, (bands, _BLOCK, _BLOCK), dtype=np.int64)
    profile = {
        "driver": "GTiff",
        "width": pixels,
        "height": pixels,
        "count": bands,
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": from_origin(400_000, 5_000_000, 1, 1),
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "photometric": "rgb" if bands == 3 else "minisblack",
    }
    with gdal(), rasterio.open(path, "w", **profile) as file:
        for top in range(0, pixels, _BLOCK):
            for left in range(0, pixels, _BLOCK):
                height, width = min(_BLOCK, pixels - top), min(_BLOCK, pixels - left)
                y = np.arange(top, top + height)[:, None] / random.uniform(20, 200)
                x = np.arange(left, left + width)[None] / random.uniform(20, 200)
                shapes = 100 + 80 * np.sin(x) * np.cos(y)
                block = shapes[None] + np.roll(noise, top + left, axis=2)[:, :height, :width]
                file.write(block.astype(np.uint8), window=Window(left, top, width, height))


def _plain(
    path: Path, encoder: Encoder, grid: TileGrid, workers: int
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Embed the tiles of a scene that are centred on their cells, as torchgeo's pages show.

    Returns:
        Row and column of each cell to its embedding (D,).
    """

    def preprocess(sample: dict[str, Any]) -> dict[str, Any]:
        sample["image"] = encoder.transforms(sample["image"] / encoder.config.spec.scale)
        return sample

    tops, lefts = (_centred(starts, grid.stride) for starts in (grid.tops(), grid.lefts()))
    if not len(tops):
        raise InputError(
            f"plain_pixels = {grid.width}: too small for a tile of {grid.tile} pixels that is "
            f"centred on its cell; expected {grid.tile + 3 * grid.stride} or more, or 0"
        )
    with Scene(path) as scene:
        left, top = scene.coordinate(int(lefts[0]), int(tops[0]))
        right, bottom = scene.coordinate(int(lefts[-1]) + grid.tile, int(tops[-1]) + grid.tile)
        position = scene.position
    dataset = RasterDataset(str(path), transforms=preprocess)
    region = shapely.box(left, bottom, right, top)
    loader = DataLoader(
        dataset,
        sampler=GridGeoSampler(dataset, size=grid.tile, stride=grid.stride, roi=region),
        batch_size=64,
        num_workers=workers,
        collate_fn=_stacked,
    )
    module = copy.deepcopy(encoder.module).to(memory_format=torch.contiguous_format)
    embeddings = {}
    with torch.inference_mode():
        for images, corners in loader:
            features = module(images.to(encoder.device)).cpu().numpy()
            for corner, feature in zip(corners, features, strict=True):
                column, row = (round(value) + grid.tile // 2 for value in position(*corner))
                embeddings[row // grid.stride, column // grid.stride] = feature
    return embeddings


def _centred(starts: NDArray[np.int64], stride: int) -> NDArray[np.int64]:
    """Leave out the tiles that were moved in along an edge."""
    apart = np.diff(starts) == stride
    return starts[np.append(False, apart) & np.append(apart, False)]


def _stacked(samples: list[dict[str, Any]]) -> tuple[Tensor, list[tuple[float, float]]]:
    """Stack images; keep the upper left corner of each."""
    corners = [(sample["bounds"][0].start, sample["bounds"][1].stop) for sample in samples]
    return torch.stack([sample["image"] for sample in samples]), corners


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def _peak_mib() -> float:
    """Return the most memory that the process has held, in MiB."""
    # Linux counts in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def main(
    encoder: Annotated[
        str, typer.Option(help="As for `rs-otl embed`; of red, green and blue in 8 bits.")
    ] = "timm/tf_efficientnet_lite0",
    pixels: Annotated[int, typer.Option(min=64, help="Side of the made-up scene.")] = 2048,
    plain_pixels: Annotated[
        int,
        typer.Option(min=0, help="Side of the part that the plain way is run on; 0 for none."),
    ] = 1024,
    tile: Tile = None,
    stride: Stride = None,
    image_size: TileImageSize = 64,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Embed a made-up scene, and a part of it with torchgeo's GridGeoSampler and a DataLoader."""
    result = measure_embed(
        encoder,
        pixels=pixels,
        plain_pixels=plain_pixels,
        tile=tile,
        stride=stride,
        image_size=image_size,
        precision=precision,
        progress=sys.stderr.isatty(),
    )
    if as_json:
        print_json(result)
        return
    typer.echo(
        f"{result.pixels:,} x {result.pixels:,} pixels, {result.tiles:,} tiles: "
        f"{result.seconds:.1f} s, {result.tiles / result.seconds:.0f} tiles a second, "
        f"{100 * result.encoder_seconds / result.seconds:.0f} % of the time in the encoder, "
        f"at most {result.peak_mib:,.0f} MiB"
    )
    if result.plain_rate:
        typer.echo(
            f"in turn on {plain_pixels:,} x {plain_pixels:,} pixels: "
            f"rs-otl {result.beside_rate:.0f} tiles a second, torchgeo's sampler and a loader "
            f"{result.plain_rate:.0f}: {result.beside_rate / result.plain_rate:.1f} times; "
            f"embeddings alike to a cosine of {result.similarity:.4f}"
        )


if __name__ == "__main__":
    run(main)
