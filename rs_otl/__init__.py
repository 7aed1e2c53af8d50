"""rs-otl: representation learning without labels for remote-sensing imagery.

Pretrain an encoder, evaluate it, export it, and map scenes with it::

    import rs_otl

    run = rs_otl.pretrain(rs_otl.Recipe(dataset="my_images", epochs=30, image_size=64))
    report, _ = rs_otl.evaluate([run], "my_images")
    encoder = rs_otl.load_encoder(run)
    rs_otl.export_encoder(encoder, "my_encoder")
    rs_otl.embed("scene.tif", encoder, "embedding.tif")
    rs_otl.map("embedding.tif", "labels.geojson", "map.tif")

Names are imported when they are first used, since importing PyTorch takes seconds.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rs_otl import geo as geo
    from rs_otl.clustering import balanced_labels
    from rs_otl.export import export_encoder
    from rs_otl.geo import embed, map, search
    from rs_otl.models import load_encoder
    from rs_otl.recipe import Recipe
    from rs_otl.runs import evaluate_encoders as evaluate
    from rs_otl.runs import pretrain, transfer
    from rs_otl.trainers import OTLTask

__version__ = "0.2.0"

__all__ = [
    "OTLTask",
    "Recipe",
    "__version__",
    "balanced_labels",
    "embed",
    "evaluate",
    "export_encoder",
    "load_encoder",
    "map",
    "pretrain",
    "search",
    "transfer",
]

# For each public name: its module, and its name in that module.
_SOURCES = {
    "OTLTask": ("trainers", "OTLTask"),
    "Recipe": ("recipe", "Recipe"),
    "balanced_labels": ("clustering", "balanced_labels"),
    "embed": ("geo", "embed"),
    "evaluate": ("runs", "evaluate_encoders"),
    "export_encoder": ("export", "export_encoder"),
    "load_encoder": ("models", "load_encoder"),
    "map": ("geo", "map"),
    "pretrain": ("runs", "pretrain"),
    "search": ("geo", "search"),
    "transfer": ("runs", "transfer"),
}


def __getattr__(name: str) -> Any:
    if name == "geo":
        return importlib.import_module("rs_otl.geo")
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _SOURCES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "geo"})
