"""Data sets: classes like torchgeo's, a cache for any of them, divisions and batches.

Names are imported when first used, so that the catalogue can be listed without torch.
"""

from typing import TYPE_CHECKING

from rs_otl.lazy import lazily

if TYPE_CHECKING:
    from rs_otl.datasets.aid import AID
    from rs_otl.datasets.base import LeftOut
    from rs_otl.datasets.cached import CachedDataset, load_dataset, read_image
    from rs_otl.datasets.catalogue import CATALOGUE, Entry, data_root
    from rs_otl.datasets.datamodule import IndexedDataset, OTLDataModule
    from rs_otl.datasets.divisions import Division, Duplicates, divide, find_duplicates
    from rs_otl.datasets.eurosat import EuroSAT, EuroSATRGB
    from rs_otl.datasets.folder import ImageFolder
    from rs_otl.datasets.hmhr import HMHR
    from rs_otl.datasets.patternnet import PatternNet
    from rs_otl.datasets.pictures import CIFAR10, CIFAR100, SVHN, ImageNet
    from rs_otl.datasets.resisc45 import RESISC45
    from rs_otl.datasets.scenes import SceneTiles
    from rs_otl.datasets.siri_whu import SIRIWHU
    from rs_otl.datasets.statistics import estimate_statistics
    from rs_otl.datasets.synthetic import Synthetic
    from rs_otl.datasets.ucmerced import UCMerced

_MODULES = {
    "AID": "aid",
    "CATALOGUE": "catalogue",
    "CIFAR10": "pictures",
    "CIFAR100": "pictures",
    "CachedDataset": "cached",
    "Division": "divisions",
    "Duplicates": "divisions",
    "Entry": "catalogue",
    "EuroSAT": "eurosat",
    "EuroSATRGB": "eurosat",
    "HMHR": "hmhr",
    "ImageFolder": "folder",
    "ImageNet": "pictures",
    "IndexedDataset": "datamodule",
    "LeftOut": "base",
    "OTLDataModule": "datamodule",
    "PatternNet": "patternnet",
    "RESISC45": "resisc45",
    "SIRIWHU": "siri_whu",
    "SVHN": "pictures",
    "SceneTiles": "scenes",
    "Synthetic": "synthetic",
    "UCMerced": "ucmerced",
    "data_root": "catalogue",
    "divide": "divisions",
    "estimate_statistics": "statistics",
    "find_duplicates": "divisions",
    "load_dataset": "cached",
    "read_image": "cached",
}

__all__ = [
    "AID",
    "CATALOGUE",
    "CIFAR10",
    "CIFAR100",
    "HMHR",
    "RESISC45",
    "SIRIWHU",
    "SVHN",
    "CachedDataset",
    "Division",
    "Duplicates",
    "Entry",
    "EuroSAT",
    "EuroSATRGB",
    "ImageFolder",
    "ImageNet",
    "IndexedDataset",
    "LeftOut",
    "OTLDataModule",
    "PatternNet",
    "SceneTiles",
    "Synthetic",
    "UCMerced",
    "data_root",
    "divide",
    "estimate_statistics",
    "find_duplicates",
    "load_dataset",
    "read_image",
]


__getattr__, __dir__ = lazily(__name__, _MODULES)
