"""Tiny images in the real on-disk layouts."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

Write = Callable[..., NDArray[Any]]


@pytest.fixture
def write_image() -> Write:
    """A function that writes random pixels, or those given, and returns them as (C, H, W)."""

    def write(
        path: Path,
        seed: int = 0,
        bands: int = 3,
        side: int = 12,
        dtype: str = "uint8",
        high: float = 255,
        pixels: NDArray[Any] | None = None,
        **profile: Any,
    ) -> NDArray[Any]:
        if pixels is None:
            rng = np.random.default_rng(seed)
            pixels = rng.uniform(0, high, (bands, side, side)).astype(dtype)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".tif", ".tiff") or pixels.dtype != np.uint8:
            driver = "GTiff" if path.suffix in (".tif", ".tiff") else "PNG"
            count, height, width = pixels.shape
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                with rasterio.open(
                    path,
                    "w",
                    driver=driver,
                    count=count,
                    height=height,
                    width=width,
                    dtype=pixels.dtype,
                    **profile,
                ) as file:
                    file.write(pixels)
            return pixels
        array = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        Image.fromarray(array).save(path)
        return pixels

    return write
