"""HMHR, the How to Make High Resolution Remote Sensing Image dataset."""

from rs_otl.datasets.base import CatalogueDataset


class HMHR(CatalogueDataset):
    """HMHR: 533 scenes of 5 classes, from Google Maps.

    Files are ``HMHR/RS Image Dataset/<Class>/<Class>NN.jpg``. A sample is
    ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``. There are 37 groups of
    identical files; four pairs in these groups have different labels: see
    :func:`rs_otl.datasets.divide`.
    """

    entry_name = "hmhr"
