"""Data sets: what there is, their images in [0, 1], random divisions, batches to train on.

Names are imported when first used, so that the catalogue can be listed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rs_otl.datasets.catalogue import CATALOGUE, Entry, data_root
    from rs_otl.datasets.datamodule import ImageryDataModule
    from rs_otl.datasets.divisions import Division, Duplicates, divide, find_duplicates
    from rs_otl.datasets.imagery import Imagery, LeftOut, load_imagery, read_image
    from rs_otl.datasets.statistics import estimate_statistics

__all__ = [
    "CATALOGUE",
    "Division",
    "Duplicates",
    "Entry",
    "Imagery",
    "ImageryDataModule",
    "LeftOut",
    "data_root",
    "divide",
    "estimate_statistics",
    "find_duplicates",
    "load_imagery",
    "read_image",
]

_MODULES = {
    "CATALOGUE": "catalogue",
    "Division": "divisions",
    "Duplicates": "divisions",
    "Entry": "catalogue",
    "Imagery": "imagery",
    "ImageryDataModule": "datamodule",
    "LeftOut": "imagery",
    "data_root": "catalogue",
    "divide": "divisions",
    "estimate_statistics": "statistics",
    "find_duplicates": "divisions",
    "load_imagery": "imagery",
    "read_image": "imagery",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
