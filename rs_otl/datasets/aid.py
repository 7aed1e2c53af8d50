"""AID."""

from rs_otl.datasets._partial import ManualCopy


class AID(ManualCopy):
    """AID: 10,000 aerial scenes of 30 classes, 220 to 420 a class, from Google Earth.

    Files are ``AID/<Class>/<class>_N.jpg``, N from 1, unpadded. A sample is
    ``{"image": float32 (3, 600, 600) in 0..255, "label": int64 scalar}``; copies downscaled by
    others are read at the size they have.
    """

    entry_name = "aid"
