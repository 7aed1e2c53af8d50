"""Find what embedding scenes would read, write and take, without embedding them."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rs_otl.geo.embedding import open_grids
from rs_otl.spec import Values


@dataclass(frozen=True)
class EmbedPlan:
    """What an embedding would do.

    Attributes:
        scenes: Scenes to read.
        out: Output to write.
        tiles: Tiles that the encoder sees.
        cells: Cells of the result.
        features: Numbers of each cell.
        bytes: Size of the result, uncompressed.
        temporary_bytes: Most space on disk that writing takes besides: all features as float32,
            and an uncompressed copy of the result.
        seconds: About how long the encoder takes, estimated from one batch.
    """

    scenes: tuple[str, ...]
    out: str
    tiles: int
    cells: int
    features: int
    bytes: int
    temporary_bytes: int
    seconds: float


def plan_embedding(
    scenes: Sequence[str],
    encoder: str,
    out: Path,
    tile: int | None = None,
    stride: int | None = None,
    pca: int | None = None,
    bands: Sequence[str] | None = None,
    nodata: float | None = None,
    values: Values | None = None,
    image_size: int | None = None,
    pool: str | None = None,
    precision: str = "auto",
    dtype: str = "float32",
) -> EmbedPlan:
    """Say what :func:`rs_otl.geo.embed` would do with these arguments; nothing is written.

    Raises:
        InputError: A scene, the encoder or the output cannot be used.
    """
    tiles = cells = 0
    with ExitStack() as stack:
        loaded, opened = open_grids(
            stack, scenes, encoder, out, tile, stride, bands, nodata, values, image_size, pool,
            precision, dtype,
        )  # fmt: skip
        for grid in (one.grid for one in opened):
            tiles += len(np.unique(grid.tops())) * len(np.unique(grid.lefts()))
            cells += grid.rows * grid.columns
    spec, side = loaded.config.spec, loaded.config.image_size
    images = torch.full((min(tiles, loaded.batch_size), len(spec.bands), side, side), 0.5)
    loaded.embed(images[:1])  # the first call chooses kernels, so it is not timed
    began = time.perf_counter()
    loaded.embed(images)
    seconds = (time.perf_counter() - began) * tiles / len(images)
    features = pca or loaded.num_features
    size = np.dtype(dtype).itemsize * cells * features
    return EmbedPlan(
        scenes=tuple(map(str, scenes)),
        out=str(out),
        tiles=tiles,
        cells=cells,
        features=features,
        bytes=size,
        temporary_bytes=4 * cells * loaded.num_features + size,
        seconds=seconds,
    )
