"""Scenes in, embeddings, few-shot maps and similar places out, as files that a GIS opens.

Names are imported when first used: each brings libraries that the others do without.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rs_otl.extras import require_extra

if TYPE_CHECKING:
    from rs_otl.geo.archive import embed_archive, plan_archive
    from rs_otl.geo.drawing import demo
    from rs_otl.geo.embedding import embed
    from rs_otl.geo.mapping import map_scene as map
    from rs_otl.geo.searching import search
    from rs_otl.geo.tiling import tile
    from rs_otl.geo.viewing import view

__all__ = ["demo", "embed", "embed_archive", "map", "plan_archive", "search", "tile", "view"]

_PLACES = {
    "demo": ("drawing", "demo"),
    "embed": ("embedding", "embed"),
    "embed_archive": ("archive", "embed_archive"),
    "map": ("mapping", "map_scene"),
    "plan_archive": ("archive", "plan_archive"),
    "search": ("searching", "search"),
    "tile": ("tiling", "tile"),
    "view": ("viewing", "view"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in ("tile", "view"):
        require_extra("geo", name)
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
