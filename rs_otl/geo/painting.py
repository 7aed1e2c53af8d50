"""A scene's values as colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rs_otl.datasets.scene import Scene


@dataclass(frozen=True)
class Painter:
    """Draws parts of a scene by the first three of the encoder's bands, all in the same way.

    Attributes:
        bands: Positions of the three in the scene.
        low: The value of each that is black, (3,).
        high: That is white.
    """

    bands: list[int]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    @classmethod
    def of(
        cls, scene: Scene, bands: Sequence[str], pixels: NDArray[Any], valid: NDArray[np.bool_]
    ) -> "Painter":
        """Choose bands and the range of their values.

        Args:
            scene: The scene.
            bands: The scene's bands that the encoder sees.
            pixels: All bands of a part that shows what values there are, (C, h, w).
            valid: Which pixels of it hold data, (h, w).
        """
        found = [scene.bands.index(name) for name in bands[:3] if name in scene.bands]
        chosen = found if len(found) == 3 else [0, 0, 0]
        low, high = np.zeros(3, np.float32), np.full(3, 255, np.float32)
        if scene.dtype.name != "uint8" and valid.any():
            low, high = np.percentile(pixels[chosen][:, valid].astype(np.float32), [2, 98], axis=1)
        return cls(chosen, low, high)

    def __call__(self, pixels: NDArray[Any], valid: NDArray[np.bool_]) -> Image.Image:
        """Draw pixels of all bands, (C, h, w); white where there is no data, (h, w)."""
        low, high = self.low[:, None, None], self.high[:, None, None]
        shown = 255 * (pixels[self.bands].astype(np.float32) - low) / np.maximum(high - low, 1e-12)
        shown = np.where(valid, np.nan_to_num(shown), 255)
        return Image.fromarray(np.clip(shown, 0, 255).astype(np.uint8).transpose(1, 2, 0))
