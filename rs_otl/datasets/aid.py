"""AID."""

from rs_otl.datasets.base import CatalogueDataset


class AID(CatalogueDataset):
    """AID: 10,000 aerial scenes of 30 classes, 220 to 420 in each, from Google Earth.

    Files are ``AID/<Class>/<class>_N.jpg``, N from 1, unpadded. A sample is
    ``{"image": float32 (3, 600, 600) in 0..255, "label": int64 scalar}``; scaled-down copies keep
    their size.
    """

    entry_name = "aid"
    # The archive that torchgeo-bench downloads, at a fixed revision.
    url = (
        "https://huggingface.co/datasets/isaaccorley/aid/resolve/"
        "e6767964e40f567a18eac6e6ca5fce397e4ce411/"
    )
    filename = "AID.zip"
    sha256 = "79345ef1766e85f7b92cf556c809c4f32ff24228ae71aadf96780f74f48c26a4"
