"""Random views of overhead images, drawn separately for each, on any device and any bands."""

from rs_otl.augment.gallery import operations_gallery
from rs_otl.augment.views import (
    SimpleDraw,
    SimpleViews,
    StrongDraw,
    StrongViews,
    as_unit,
    augmentation,
)

__all__ = [
    "SimpleDraw",
    "SimpleViews",
    "StrongDraw",
    "StrongViews",
    "as_unit",
    "augmentation",
    "operations_gallery",
]
