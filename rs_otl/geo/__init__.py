"""Turn scenes into embeddings, few-shot maps and similar places, as files that a GIS opens.

A name is imported when it is first used: the names need different libraries.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rs_otl.extras import require_extra

if TYPE_CHECKING:
    from rs_otl.geo.archive import embed_archive, plan_archive
    from rs_otl.geo.changing import change
    from rs_otl.geo.clusters import cluster
    from rs_otl.geo.drawing import demo, demo_catalog
    from rs_otl.geo.embedding import embed
    from rs_otl.geo.indexing import index
    from rs_otl.geo.mapping import map_scene as map
    from rs_otl.geo.searching import search
    from rs_otl.geo.suggesting import suggest
    from rs_otl.geo.tiling import tile
    from rs_otl.geo.viewing import explore, view

__all__ = [
    "change",
    "cluster",
    "demo",
    "demo_catalog",
    "embed",
    "embed_archive",
    "explore",
    "index",
    "map",
    "plan_archive",
    "search",
    "suggest",
    "tile",
    "view",
]

_PLACES = {
    "change": ("changing", "change"),
    "cluster": ("clusters", "cluster"),
    "demo": ("drawing", "demo"),
    "demo_catalog": ("drawing", "demo_catalog"),
    "embed": ("embedding", "embed"),
    "embed_archive": ("archive", "embed_archive"),
    "explore": ("viewing", "explore"),
    "index": ("indexing", "index"),
    "map": ("mapping", "map_scene"),
    "plan_archive": ("archive", "plan_archive"),
    "search": ("searching", "search"),
    "suggest": ("suggesting", "suggest"),
    "tile": ("tiling", "tile"),
    "view": ("viewing", "view"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name != "tile":
        require_extra("geo", name)
    module, attribute = _PLACES[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
