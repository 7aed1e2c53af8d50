"""AID."""

from rs_otl.datasets.base import CatalogueDataset


class AID(CatalogueDataset):
    """AID: 10,000 aerial scenes of 30 classes, 220 to 420 in each, from Google Earth.

    Files are ``AID/<Class>/<class>_N.jpg``, N from 1, unpadded. A sample is
    ``{"image": float32 (3, 600, 600) in 0..255, "label": int64 scalar}``; copies that others have
    scaled down keep their size.
    """

    entry_name = "aid"
