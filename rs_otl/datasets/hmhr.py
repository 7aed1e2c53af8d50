"""HMHR, the How to Make High Resolution Remote Sensing Image dataset."""

from rs_otl.datasets._partial import ManualCopy


class HMHR(ManualCopy):
    """HMHR: 533 scenes of 5 classes, from Google Maps.

    Files are ``HMHR/RS Image Dataset/<Class>/<Class>NN.jpg``. A sample is
    ``{"image": float32 (3, 256, 256) in 0..255, "label": int64 scalar}``. 37 groups of files are
    identical, and four pairs of them carry different labels: see
    :func:`rs_otl.datasets.divide`.
    """

    entry_name = "hmhr"
