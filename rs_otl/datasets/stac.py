"""STAC items as scenes: from a file, a server, a static catalog, or a search."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

from rs_otl.datasets.products import NOT_OF_LANDSAT, File, Product, StacBand, bands_said
from rs_otl.datasets.raster import gdal_name
from rs_otl.datasets.remote import (
    ON_SERVERS,
    failure_in_words,
    gdal_address,
    is_address,
    public,
    retries,
    timeouts,
)
from rs_otl.datasets.sources import Source
from rs_otl.datasets.wanted import Box, Interval, boxes_meet
from rs_otl.errors import InputError
from rs_otl.extras import require_extra
from rs_otl.sensors import described, sensor_of
from rs_otl.spec import Band, Quantity

_SUFFIXES = (".tif", ".tiff", ".jp2")
_MEDIA = re.compile(r"image/(tiff|vnd\.stac\.geotiff|jp2|jpx)")
_PICTURES = {"thumbnail", "overview", "metadata"}
_MEASURED = {"data", "reflectance", "backscatter", "amplitude"}
_RADAR = ("vv", "vh", "hh", "hv")
_SHOWN = 12
# Errors of reading damaged STAC, or what is not STAC.
_BROKEN = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _Asset(NamedTuple):
    key: str
    path: str
    bands: list[StacBand]
    roles: set[str]
    resolution: float
    jp2: bool


class _Found(NamedTuple):
    """An item, where it was read, and whether it is alone there; or why there is no item."""

    item: dict[str, Any]
    base: str
    own: bool
    reason: str = ""


def stac_scenes(
    address: str,
    assets: Sequence[str] | None = None,
    interval: Interval | None = None,
    bbox: Box | None = None,
) -> Iterator[Source]:
    """Find the scenes that STAC describes.

    Args:
        address: Path or address of an item, an item collection, a static catalog or collection, a
            collection of a server (all its items), or a search: ``.../search?collections=...``.
        assets: Names of the assets that make a scene; by default the bands, see
            :func:`item_scene`.
        interval: When scenes were taken; servers are asked for no others.
        bbox: Box in degrees that items meet; servers are asked for no others.

    Yields:
        A source for each item. If an item makes no scene, opening its source says why.

    Raises:
        InputError: It cannot be read, is no STAC, or holds no items.
    """
    require_extra("stac", f"{public(address)}: STAC")
    asked = {} if interval is None else {"datetime": str(interval)}
    if bbox is not None:
        asked["bbox"] = ",".join(map(str, bbox))
    number = 0
    for number, found in enumerate(_items(address, asked), start=1):  # noqa: B007
        item, base, own, reason = found
        name = _name(item, base, own)[0]
        try:
            if reason:
                raise InputError(f"{name}: {reason}")
            if interval is not None and not interval.meets(item.get("properties") or {}):
                continue
            if bbox is not None and not boxes_meet(bbox, item.get("bbox") or ()):
                continue
            yield item_scene(item, base, own, assets)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = str(error) if isinstance(error, InputError) else f"{name}: {_why(error)}"
            known = str(item.get("id") or PurePosixPath(urlsplit(base).path).stem)
            yield Source(name, id=known, reason=why)
    if not number and not asked:
        raise InputError(f"{public(address)}: holds no STAC items; expected some")


def _items(address: str, asked: Mapping[str, str]) -> Iterator[_Found]:
    """Yield the items, and why an item cannot be read."""
    import pystac
    from pystac_client.exceptions import APIError
    from pystac_client.stac_api_io import StacApiIO

    reader = StacApiIO(max_retries=retries(), timeout=timeouts())
    try:
        with warnings.catch_warnings():
            # Warnings about older versions of STAC, and about extensions.
            warnings.simplefilter("ignore")
            if address.partition("://")[0].lower() not in ("http", "https") and is_address(address):
                raise InputError(f"{public(address)}: STAC is read from files and https://")
            first = json.loads(reader.read_text(_asking(address, asked)))
            kind = first.get("type") if isinstance(first, dict) else None
            if kind == "Feature" and "assets" in first:
                yield _Found(first, address, True)
            elif kind == "FeatureCollection":
                yield from _of_pages(first, address, reader)
            elif kind in ("Catalog", "Collection") or (kind is None and "links" in first):
                links = {link.get("rel"): link.get("href") for link in first.get("links", ())}
                if "conformsTo" in first and "search" in links:
                    raise InputError(
                        f"{public(address)}: a server of STAC; expected a search, such as "
                        f"{public(links['search'])}?collections=NAME&bbox=W,S,E,N&datetime=..."
                    )
                if kind == "Collection" and "items" in links:
                    pages = _asking(urljoin(address, links["items"]), asked)
                    yield from _of_pages(json.loads(reader.read_text(pages)), pages, reader)
                    return
                top = reader.read_stac_object(address)
                if not isinstance(top, pystac.Catalog):
                    raise InputError(f"{public(address)}: no STAC catalog")
                yield from _below(top, reader, {address})
            else:
                raise InputError(
                    f"{public(address)}: JSON that is no STAC; expected an item, an item "
                    "collection, a catalog or a search"
                )
    except (*_BROKEN, APIError, pystac.STACError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{public(address)}: {_why(error)}") from None


def _asking(address: str, asked: Mapping[str, str]) -> str:
    """Add parameters that it lacks to the address of a search, or of a server's items."""
    parts = urlsplit(address)
    if not is_address(address) or not parts.path.rstrip("/").endswith(("/search", "/items")):
        return address
    said = parse_qs(parts.query)
    more = urlencode({key: value for key, value in asked.items() if key not in said}, safe=",:/")
    return parts._replace(query="&".join(filter(None, (parts.query, more)))).geturl()


def _below(catalog: Any, reader: Any, seen: set[str]) -> Iterator[_Found]:
    """Yield the items of a catalog, then those of the catalogs in it."""
    import pystac
    from pystac_client.exceptions import APIError

    links = [(rel, link) for rel in ("item", "child") for link in catalog.get_links(rel)]
    for rel, link in links:
        where = str(link.get_absolute_href())
        if where in seen:
            continue
        seen.add(where)
        try:
            below = reader.read_stac_object(where)
            if isinstance(below, pystac.Catalog) == (rel == "item"):
                raise ValueError(f"expected what its link calls {rel}")
        except (*_BROKEN, APIError, pystac.STACError) as error:
            yield _Found({}, where, True, _why(error))
            continue
        if rel == "child":
            yield from _below(below, reader, seen)
            continue
        item = below.to_dict(include_self_link=True, transform_hrefs=False)
        yield _Found(item, where, True)


def _of_pages(page: dict[str, Any], address: str, reader: Any) -> Iterator[_Found]:
    """Yield the items of an item collection, and of its next pages."""
    from pystac import Link

    while True:
        items = [isinstance(item, dict) and "assets" in item for item in page["features"]]
        if items and not any(items):
            raise InputError(
                f"{public(address)}: features that are no STAC items; expected an item "
                "collection, or a tile index with a column location as .gpkg"
            )
        for item, plain in zip(page["features"], items, strict=True):
            said = item if isinstance(item, dict) else {}
            yield _Found(said, address, False, "" if plain else "no STAC item, it has no assets")
        following = [link for link in page.get("links", ()) if link.get("rel") == "next"]
        if not following or not page["features"]:
            return
        following[0]["href"] = urljoin(address, following[0]["href"])
        page = json.loads(reader.read_text(Link.from_dict(following[0])))


def _why(error: Exception) -> str:
    """Say in a few words why STAC cannot be read."""
    from pystac_client.exceptions import APIError

    if isinstance(error, APIError):
        status = getattr(error, "status_code", None)
        return f"cannot be read ({f'HTTP {status}' if status else failure_in_words(error)})"
    said = " ".join(public(str(error)).split())[:200] or type(error).__name__
    return f"no STAC that can be read ({said})"


def _name(item: dict[str, Any], base: str, own: bool) -> tuple[str, str]:
    """Return the name of an item, and the address that its links are relative to."""
    if own:
        return public(base), base
    links = item.get("links")
    for link in links if isinstance(links, list) else ():
        if link.get("rel") == "self" and is_address(str(link.get("href"))):
            return public(str(link["href"])), str(link["href"])
    return f"{public(base)}#{item.get('id')}", base


def item_scene(
    item: dict[str, Any], base: str, own: bool, wanted: Sequence[str] | None = None
) -> Source:
    """Describe the scene that an item's assets make.

    By default the scene is the only raster of data; or else the assets with one band, as the item,
    the sensor or their names say. If there is a band in several resolutions or formats, the finest
    is taken, as GeoTIFF. Quality bands and pictures are left out, and Landsat's thermal and
    panchromatic bands, as in a product on this disk.

    Args:
        item: The item, as JSON.
        base: Path or address that it was read from.
        own: Whether ``base`` is the place of this item, not of a list of items.
        wanted: Assets by name, in this order.

    Raises:
        InputError: There is no such asset, or it is not clear which assets make the scene.
    """
    name, base = _name(item, base, own)
    found = _assets(item, base, name)
    properties = item.get("properties") or {}
    hint = " ".join(
        str(value)
        for value in (
            properties.get("platform"),
            properties.get("constellation"),
            item.get("collection"),
            item.get("id"),
        )
        if value
    )
    chosen = _chosen(found, name, wanted, hint)
    remote = any(is_address(asset.path) for asset in chosen)
    said: dict[str, Any] = {
        "remote": remote,
        "id": str(item.get("id")),
        "collection": str(item.get("collection") or ""),
        "datetime": str(properties.get("datetime") or properties.get("start_datetime") or ""),
        "version": _version(item, chosen),
    }
    if len(chosen) == 1 and not chosen[0].bands:
        return Source(name, path=chosen[0].path, **said)
    files, bands = [], []
    applied = any(
        key.endswith(":boa_offset_applied") and value is True for key, value in properties.items()
    )
    for asset in chosen:
        several = len(asset.bands) > 1
        for number, band in enumerate(asset.bands or [StacBand.model_validate({})], start=1):
            called = band.name or (f"{asset.key}-{number}" if several else asset.key)
            # Earth Search gives an offset also for values that it is already applied to.
            offset = 0.0 if applied else band.offset
            scale = band.scale if band.scale is not None else (1.0 if offset else None)
            files.append(File(called.lower(), asset.path, number, scale, offset))
            bands.append(band)
    names = [file.band for file in files]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice:
        raise InputError(f"{name}: two bands are called {twice}; --asset says which to take")
    product = Product(
        name,
        hint,
        tuple(files),
        _quantity(item, hint, files),
        next((b.nodata for b in bands if isinstance(b.nodata, float)), None),
        tuple(Path(a.path) for a in chosen if not is_address(a.path)),
        _known(names, bands, hint),
        remote,
        whole=True,
    )
    return Source(name, product=product, **said)


def _assets(item: dict[str, Any], base: str, name: str) -> dict[str, _Asset]:
    """List the assets that are rasters."""
    found = {}
    for key, asset in (item.get("assets") or {}).items():
        href = str(asset.get("href") or "")
        suffix = PurePosixPath(urlsplit(href).path).suffix.lower()
        if not href or not (suffix in _SUFFIXES or _MEDIA.match(str(asset.get("type") or ""))):
            continue
        bands = bands_said(asset, name, key)
        sides = [asset.get("gsd"), *(band.resolution for band in bands)]
        found[key] = _Asset(
            key,
            _path(href, base, name),
            bands,
            set(asset.get("roles") or ()),
            float(next((side for side in sides if side), 0)),
            suffix == ".jp2",
        )
    return found


def _path(href: str, base: str, name: str) -> str:
    """Return GDAL's name for an asset, which must lie on a server if the item does."""
    if href.startswith("/vsi") and href.startswith(ON_SERVERS):
        return href
    if is_address(base):
        address = urljoin(base, href)
        if not is_address(address) or address.startswith("/"):
            raise InputError(f"{name}: an item on a server names {public(href)}, a file elsewhere")
        return gdal_address(address)
    if is_address(href) and not href.startswith("/"):
        return gdal_address(href)
    if href.startswith("/vsi") or "://" in href:
        raise InputError(f"{name}: names {public(href)}; expected files, or https:// or s3://")
    return gdal_name(Path(base).parent / href)


def _chosen(
    found: dict[str, _Asset], name: str, wanted: Sequence[str] | None, hint: str
) -> list[_Asset]:
    listed = ", ".join(list(found)[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
    if wanted is not None:
        lacking = [key for key in wanted if key not in found]
        if lacking:
            raise InputError(
                f"{name}: --asset {lacking[0]}: no raster asset of this name; there are {listed}"
            )
        return [found[key] for key in wanted]
    rasters = [asset for asset in found.values() if not asset.roles & _PICTURES]
    measured = [asset for asset in rasters if asset.roles & _MEASURED] or rasters
    if len(measured) == 1:
        return measured
    best: dict[str, _Asset] = {}
    for asset in measured:
        if len(asset.bands) > 1:
            continue
        band = asset.bands[0] if asset.bands else StacBand.model_validate({})
        title = (band.name or asset.key).lower()
        common = band.common_name or described([title], hint)[0].common_name
        if common in NOT_OF_LANDSAT and (sensor_of(hint) or "").startswith("landsat"):
            continue
        if not (common or band.wavelength or title in _RADAR):
            continue
        other = best.get(title)
        if other is None or (asset.resolution, asset.jp2) < (other.resolution, other.jp2):
            best[title] = asset
    several = [asset for asset in measured if len(asset.bands) > 1]
    if best and not several:
        return list(best.values())
    if len(several) == 1 and not best:
        return several
    raise InputError(
        f"{name}: {'no raster asset' if not found else 'assets ' + listed}; "
        + ("expected GeoTIFF or JPEG 2000" if not found else "--asset says which make the scene")
    )


def _known(names: Sequence[str], bands: Sequence[StacBand], hint: str) -> tuple[Band, ...]:
    """Put together what the sensor's table and the item say; if they differ, the item is right."""
    known = []
    for table, band in zip(described(names, hint), bands, strict=True):
        plain, common = table, band.common_name
        listed, said = table.common_name or "", common or ""
        if not (listed.startswith(said) or said.startswith(listed)):
            plain = Band(name=table.name)
        more = {
            "common_name": plain.common_name or common,
            "wavelength": plain.wavelength or band.wavelength,
        }
        known.append(plain.model_copy(update=more))
    return tuple(known)


def _quantity(item: dict[str, Any], hint: str, files: Sequence[File]) -> Quantity | None:
    """Tell surface reflectance from top-of-atmosphere, if the item scales the values."""
    sensor = sensor_of(hint) or ""
    if not sensor.startswith(("sentinel-2", "landsat")) or any(f.scale is None for f in files):
        return None
    properties = item.get("properties") or {}
    texts = (hint, properties.get("processing:level"), properties.get("landsat:correction"))
    level = re.search(r"(?i)(?:^|[^a-z])(?:msi)?l([12])", " ".join(str(text) for text in texts))
    return {"1": Quantity.TOA, "2": Quantity.SURFACE}[level[1]] if level else None


def _version(item: dict[str, Any], chosen: Sequence[_Asset]) -> str:
    """Return what changes with the files: their checksums, or else when the item was updated."""
    assets = item.get("assets") or {}
    sums = [str((assets[one.key] or {}).get("file:checksum") or "") for one in chosen]
    if all(sums):
        return " ".join(sums)
    properties = item.get("properties") or {}
    return str(properties.get("updated") or properties.get("created") or "")
