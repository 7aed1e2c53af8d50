"""EuroSAT with all 13 bands of Sentinel-2, and as RGB pictures."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torchgeo import datasets

from rs_otl.datasets._decode import load, match_bands
from rs_otl.datasets.base import CatalogueDataset, Root, Transforms

_BANDS = datasets.EuroSAT.all_band_names


class EuroSAT(CatalogueDataset, datasets.EuroSAT):
    """torchgeo's ``EuroSAT`` with all its images, partial copies and the paper's division.

    A sample is ``{"image": float32 (13, 64, 64), reflectance x 10,000, "label": int64 scalar}``.
    """

    entry_name = "eurosat-ms"
    other_archives = ("EuroSAT_MS.zip",)

    def __init__(
        self,
        root: Root = "data",
        split: str | None = None,
        bands: Sequence[str] = _BANDS,
        transforms: Transforms | None = None,
        download: bool = False,
        checksum: bool = True,
    ) -> None:
        """Open the images on disk.

        Args:
            root: Folder that holds the data sets.
            split: See :class:`rs_otl.datasets.base.CatalogueDataset`.
            bands: Names of the bands to read, in the order wanted.
            transforms: Takes a sample and returns a changed one.
            download: Download the archive if neither it nor the images are below ``root``.
            checksum: Verify the downloaded archive.

        Raises:
            DatasetNotFoundError: The data set is not below ``root`` and ``download`` is false.
            ValueError: There is no band of that name.
        """
        self._validate_bands(bands)
        self.bands = tuple(bands)
        positions = [_BANDS.index(name) for name in bands]
        self.band_indices = torch.tensor(positions)
        loader = functools.partial(_load_bands, positions=positions)
        self._open(root, split, transforms, download, checksum, loader, self.bands)


class EuroSATRGB(CatalogueDataset):
    """EuroSAT in the RGB JPEGs of its paper, ``2750/<Class>/<Class>_N.jpg``.

    torchgeo's class reads only the 13-band TIFFs. A sample is
    ``{"image": float32 (3, 64, 64) in 0..255, "label": int64 scalar}``.
    """

    entry_name = "eurosat"
    # The archive that torchvision's class of these JPEGs downloads.
    url = (
        "https://huggingface.co/datasets/torchgeo/eurosat/resolve/"
        "c877bcd43f099cd0196738f714544e355477f3fd/"
    )
    filename = "EuroSAT.zip"
    other_archives = ("EuroSAT_RGB.zip", "2750.zip")
    md5 = "c8fa014336c82ac7804f0398fcb19387"


def _load_bands(path: str, positions: Sequence[int]) -> NDArray[Any]:
    pixels = load(path)
    match_bands(pixels.transpose(2, 0, 1), len(_BANDS), path)
    return pixels[:, :, positions]
