"""The Google data set of SIRI-WHU."""

from rs_otl.datasets.base import CatalogueDataset


class SIRIWHU(CatalogueDataset):
    """SIRI-WHU Google: 2,400 scenes of urban China, 12 classes of 200.

    Files are ``Google dataset of SIRI-WHU_earth_im_tiff/12class_tif/<class>/NNNN.tif``. A sample
    is ``{"image": float32 (3, 200, 200) in 0..255, "label": int64 scalar}``, except the
    official ``pond/0002.tif``, which is 190 by 200.
    """

    entry_name = "siri-whu"
