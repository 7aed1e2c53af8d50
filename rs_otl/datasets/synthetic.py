"""Land cover from above, drawn procedurally: a data set that needs no files.

Ten classes in four bands. Illumination, haze, hue, season, scale and orientation are random, and
classes share their materials (orchards and forests share trees, roads and rivers share the land
around them), so that colour alone does not tell them apart.
"""

import numpy as np
from numpy.typing import NDArray

from rs_otl.datasets.base import ImageDataset, Root, Transforms
from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.datasets.landscape import draw_scene


class Synthetic(ImageDataset):
    """Drawn scenes; a scene is drawn when it is read.

    A sample is ``{"image": float32 (4, 64, 64) in 0..255, "label": int64 scalar}``; the bands
    are red, green, blue and near infrared. Paths are ``<class>/<number>``.
    """

    def __init__(
        self,
        root: Root = "",
        split: str | None = None,
        transforms: Transforms | None = None,
        download: bool = False,
        checksum: bool = False,
    ) -> None:
        """Prepare the scenes.

        Args:
            root: Ignored, as are ``download`` and ``checksum``: there are no files.
            split: ``"train"`` or ``"test"`` of the paper's first random division; ``None`` for
                all scenes.
            transforms: Takes a sample and returns a changed one.
            download: Ignored.
            checksum: Ignored.

        Raises:
            InputError: ``split`` has another value.
        """
        entry = CATALOGUE["synthetic"]
        listed = [
            (f"{name}/{number:04}", label)
            for label, (name, count) in enumerate(entry.counts.items())
            for number in range(count)
        ]
        super().__init__(
            "",
            entry.name,
            entry.info(),
            [path for path, _ in listed],
            [label for _, label in listed],
            entry.classes,
            split,
            transforms,
            _load,
        )


def _load(path: str) -> NDArray[np.uint8]:
    return draw_scene(path).transpose(1, 2, 0)
