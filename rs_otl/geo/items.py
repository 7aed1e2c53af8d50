"""Embeddings as STAC items and a collection of them (version 1.1).

The fields ``emb:...`` are from an extension that the geo-embeddings community has proposed. It has
no published schema yet.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import shapely

from rs_otl.geo.cells import Cells
from rs_otl.geo.degrees import outline_in_degrees
from rs_otl.geo.extent import degrees_of

_PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
# The link relation from embeddings to their scene.
SOURCE = "emb:source-data"
_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
# Points along each side of an outline: a side that is straight in one CRS is curved in another.
_STEPS = 5


def block_item(name: str, cells: Cells, dtype: str, file: str | None) -> dict[str, Any]:
    """Describe the file of a block.

    Args:
        name: Name of the block.
        cells: Cells of the block.
        dtype: Number type of the file.
        file: Name of the file beside the item; ``None`` if no cell holds data.

    Returns:
        A STAC item without its date.
    """
    grid, made = cells.grid, cells.provenance
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "geometry": None,
        "properties": {
            "created": datetime.now(UTC).isoformat(),
            "emb:type": "chip",
            "emb:dimensions": cells.features,
            "emb:chip_layout": {
                "layout_type": "regular_grid",
                "chip_size": [grid.tile, grid.tile],
                "stride": [grid.stride, grid.stride],
            },
            "emb:runtime_parameters": made.model_dump(
                mode="json", include={"bands", "image_size", "precision", "weights", "nodata"}
            ),
        },
        "links": [],
        "assets": {},
    }
    transformer = degrees_of(cells)
    if transformer is not None:
        side = np.linspace(0, 1, _STEPS)[:-1]
        ones = np.ones(_STEPS - 1)
        across = np.concatenate([side, ones, 1 - side, 0 * ones])
        down = np.roll(across, _STEPS - 1)
        xy = np.stack(cells.coordinate(across * grid.width, down * grid.height), axis=1)
        outline = outline_in_degrees(cells, xy, transformer)
        if np.isfinite(outline.bounds).all():
            outline = shapely.transform(outline, lambda degrees: degrees.round(7))  # a centimetre
            item["geometry"] = shapely.geometry.mapping(outline)
            item["bbox"] = list(outline.bounds)
    code = cells.crs.to_string() if cells.crs is not None else ""
    if code.startswith("EPSG:"):
        item["stac_extensions"].append(_PROJECTION)
        item["properties"]["proj:code"] = code
    if file is not None:
        item["assets"]["embedding"] = {
            "href": f"./{file}",
            "type": _COG,
            "roles": ["data"],
            "title": f"Embeddings of {cells.features} features",
            "data_type": dtype,
        }
    return item


def collection_of(
    name: str, items: Iterable[dict[str, Any]], features: int, dtype: str
) -> dict[str, Any]:
    """Describe an archive.

    Args:
        name: Name of the archive.
        items: Items of the blocks, in ``blocks/SCENE/ID.json``; only links stay in memory.
        features: Length of an embedding.
        dtype: Number type of the embeddings.

    Returns:
        A STAC collection without the link to the encoder.
    """
    box = np.array([np.inf, np.inf, -np.inf, -np.inf])
    times: list[str] = []
    layout: dict[str, Any] = {"layout_type": "regular_grid"}
    sources: dict[str, dict[str, Any]] = {}
    places: list[dict[str, Any]] = []
    for item in items:
        said = item["properties"]
        if "bbox" in item:
            box[:2] = np.minimum(box[:2], item["bbox"][:2])
            box[2:] = np.maximum(box[2:], item["bbox"][2:])
        times = [min([*times[:1], said["datetime"]]), max([*times[1:], said["datetime"]])]
        layout = said["emb:chip_layout"]
        sources |= {link["href"]: link for link in item["links"] if link["rel"] == SOURCE}
        href = f"./blocks/{said['rs_otl:scene']}/{item['id']}.json"
        places.append({"rel": "item", "href": href, "type": "application/geo+json"})
    world = [-180.0, -90.0, 180.0, 90.0]
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": name,
        "description": f"Embeddings of {len(sources):,} scenes in {len(places):,} blocks",
        "license": "other",
        "emb:type": "chip",
        "emb:dimensions": features,
        "emb:chip_layout": layout,
        "data_type": dtype,
        "extent": {
            "spatial": {"bbox": [box.tolist() if np.isfinite(box).all() else world]},
            "temporal": {"interval": [times or [None, None]]},
        },
        "links": [
            {"rel": "root", "href": "./collection.json", "type": "application/json"},
            *sources.values(),
            *places,
        ],
    }
