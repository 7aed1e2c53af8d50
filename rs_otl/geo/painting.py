"""A scene's values as colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.scene import Scene
from rs_otl.spec import RGB

# Longest side, in pixels, of the thumbnail that the range of values is found from.
_GLANCE = 1024


@dataclass(frozen=True)
class Painter:
    """Draws parts of a scene from three of its bands, all with the same range.

    Attributes:
        scene: The scene.
        bands: Positions of the three bands.
        low: The value of each band that is black, (3, 1, 1).
        scale: Factor from a value above ``low`` to a colour, (3, 1, 1); 255 is white.
    """

    scene: Scene
    bands: list[int]
    low: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, scene: Scene, bands: Sequence[str]) -> "Painter":
        """Choose red, green and blue, else the first three of ``bands``; and their range.

        Values of 8 bits are shown as they are, others from their 2nd to their 98th percentile.

        Args:
            scene: The scene.
            bands: Names of the encoder's bands.
        """
        colours = {band.common_name or band.name: place for place, band in enumerate(scene.known)}
        if set(RGB) <= set(colours):
            chosen = [colours[name] for name in RGB]
        else:
            chosen = [scene.bands.index(name) for name in bands[:3] if name in scene.bands]
        chosen = chosen if len(chosen) == 3 else [0, 0, 0]
        low, scale = np.zeros((3, 1, 1), np.float32), np.ones((3, 1, 1), np.float32)
        if scene.dtype.name != "uint8":
            pixels, valid = scene.thumbnail(_GLANCE)
            if valid.any():
                ends = np.percentile(pixels[chosen][:, valid], [2, 98], axis=1)
                low = ends[0, :, None, None].astype(np.float32)
                width = np.maximum(np.ptp(ends, axis=0), 1e-12)
                scale = (255 / width)[:, None, None].astype(np.float32)
        return cls(scene, chosen, low, scale)

    def draw(self, left: int, top: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return red, green, blue and opacity (0 without data) of a part, (height, width, 4)."""
        read = sorted(set(self.bands))
        pixels, valid = self.scene.read(left, top, width, height, read)
        pixels = pixels[[read.index(band) for band in self.bands]]
        if pixels.dtype != np.uint8:
            pixels = np.clip((np.nan_to_num(pixels) - self.low) * self.scale, 0, 255)
        picture = np.zeros((height, width, 4), np.uint8)
        picture[..., :3] = np.moveaxis(pixels, 0, -1)
        picture[..., 3] = 255 * valid
        return picture
