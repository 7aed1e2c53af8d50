"""EuroSAT, as RGB pictures and with all 13 bands of Sentinel-2."""

import os

import torch
from torchgeo.datasets import DatasetNotFoundError, EuroSAT
from torchgeo.datasets.utils import (
    download_and_extract_archive,
    extract_archive,
    rasterio_loader,
)

from rs_otl.datasets._partial import DownloadableCopy, ManualCopy


class EuroSATRGB(ManualCopy):
    """EuroSAT in the RGB JPEGs of its paper, ``2750/<Class>/<Class>_N.jpg``.

    torchgeo reads the 13-band TIFFs alone. A sample is ``{"image": float32 (3, 64, 64) in
    0..255, "label": int64 scalar}``.
    """

    entry_name = "eurosat"


class EuroSATMS(DownloadableCopy, EuroSAT):
    """EuroSAT's 13 bands: all images of torchgeo's class, without its split files.

    A sample is ``{"image": float32 (13, 64, 64), reflectance x 10,000, "label": int64 scalar}``.
    """

    entry_name = "eurosat-ms"
    bands = EuroSAT.all_band_names
    band_indices = torch.arange(len(bands))
    read = staticmethod(rasterio_loader)

    def _verify(self) -> None:
        """Find the images, or else unpack or fetch the archive."""
        archive = os.path.join(self.root, self.filename)
        if os.path.isdir(os.path.join(self.root, self.base_dir)):
            return
        if os.path.isfile(archive):
            extract_archive(archive)
        elif self.download:
            md5 = self.md5 if self.checksum else None
            download_and_extract_archive(self.url + self.filename, self.root, md5=md5)
        else:
            raise DatasetNotFoundError(self)
