"""Data sets: what there is, their images in [0, 1], random divisions, batches to train on.

Names are imported when first used, so that the catalogue can be listed without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rs_otl.datasets.cached import CachedDataset, LeftOut, load_dataset, read_image
    from rs_otl.datasets.catalogue import CATALOGUE, Entry, data_root
    from rs_otl.datasets.datamodule import OTLDataModule
    from rs_otl.datasets.divisions import Division, Duplicates, divide, find_duplicates
    from rs_otl.datasets.statistics import estimate_statistics

__all__ = [
    "CATALOGUE",
    "CachedDataset",
    "Division",
    "Duplicates",
    "Entry",
    "LeftOut",
    "OTLDataModule",
    "data_root",
    "divide",
    "estimate_statistics",
    "find_duplicates",
    "load_dataset",
    "read_image",
]

_MODULES = {
    "CATALOGUE": "catalogue",
    "Division": "divisions",
    "Duplicates": "divisions",
    "Entry": "catalogue",
    "CachedDataset": "cached",
    "OTLDataModule": "datamodule",
    "LeftOut": "cached",
    "data_root": "catalogue",
    "divide": "divisions",
    "estimate_statistics": "statistics",
    "find_duplicates": "divisions",
    "load_dataset": "cached",
    "read_image": "cached",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
