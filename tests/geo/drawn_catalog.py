"""A static STAC catalog of drawn scenes, a file for each band."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pystac
import rasterio
from geo_scenes import draw
from rasterio import Affine

BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}
CORNER = (400_000.0, 5_000_000.0)


def draw_scene(number, side=120):
    """Reflectance x 10,000 with 1,000 added, (4, side, side)."""
    return (1000 + draw(side, side, len(BANDS), number, 5000)).clip(1, 8000).astype(np.uint16)


def save_band(path, pixels, number, **profile):
    """Write one band or several of scene ``number``; scenes lie side by side."""
    pixels = np.atleast_3d(pixels.T).T
    side = pixels.shape[-1]
    transform = Affine(10, 0, CORNER[0] + 10 * side * number, 0, -10, CORNER[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"nodata": 0, "tiled": True, "blockxsize": 64, "blockysize": 64} | profile
    with rasterio.open(
        path, "w", driver="GTiff", count=len(pixels), height=side, width=side, dtype=pixels.dtype,
        crs="EPSG:32633", transform=transform, **options,
    ) as file:  # fmt: skip
        file.write(pixels)
    return path


def draw_item(folder, number, old=False, side=120):
    """Draw a scene below a folder; return its item with relative links.

    Args:
        folder: Of the item.
        number: Of the scene.
        old: Whether to say bands as before STAC 1.1.
        side: In pixels.
    """
    name = f"S2A_33TVM_{20230701 + number}_0_L2A"
    item = pystac.Item(
        name,
        {"type": "Point", "coordinates": [13.7 + number / 100, 45.1]},
        [13.7 + number / 100, 45.1, 13.71 + number / 100, 45.11],
        datetime(2023, 7, 1, 10, tzinfo=UTC) + timedelta(days=number),
        {"platform": "sentinel-2a", "gsd": 10},
    )
    pixels = draw_scene(number, side)
    for (common, band), values in zip(BANDS.items(), pixels, strict=True):
        save_band(folder / f"{band}.tif", values, number)
        eo, raster = {"name": band, "eo:common_name": common}, {"scale": 0.0001, "offset": -0.1}
        fields = {"bands": [eo | {f"raster:{key}": value for key, value in raster.items()}]}
        if old:
            fields = {"eo:bands": [{"name": band, "common_name": common}], "raster:bands": [raster]}
        item.add_asset(
            common,
            pystac.Asset(f"./{band}.tif", media_type=pystac.MediaType.COG, roles=["data"],
                         extra_fields=fields),
        )  # fmt: skip
    save_band(folder / "visual.tif", (pixels[2::-1] / 32).astype(np.uint8), number, nodata=None)
    for key, href, roles in (("visual", "visual.tif", ["visual"]), ("scl", "scl.tif", ["data"])):
        item.add_asset(key, pystac.Asset(f"./{href}", media_type=pystac.MediaType.COG, roles=roles))
    item.add_asset("thumbnail", pystac.Asset("./x.png", media_type="image/png"))
    return item


def draw_catalog(folder, count=4, side=120):
    """Draw a catalog with a collection of items; return the path of the catalog."""
    catalog = pystac.Catalog("drawn", "Drawn scenes")
    collection = pystac.Collection(
        "scenes", "Drawn scenes",
        pystac.Extent(pystac.SpatialExtent([[13, 45, 14, 46]]),
                      pystac.TemporalExtent([[datetime(2023, 7, 1, tzinfo=UTC), None]])),
    )  # fmt: skip
    catalog.add_child(collection)
    for number in range(count):
        name = f"S2A_33TVM_{20230701 + number}_0_L2A"
        collection.add_item(draw_item(folder / "scenes" / name, number, side=side))
    catalog.normalize_and_save(str(folder), pystac.CatalogType.SELF_CONTAINED)
    return folder / "catalog.json"


def items_of(path):
    """Read the items of a drawn catalog as JSON, each with its file."""
    return [(file, json.loads(file.read_text())) for file in sorted(path.parent.rglob("S2A*.json"))]
