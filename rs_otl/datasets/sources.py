"""The scenes that a user names: paths, addresses, mosaics, and what STAC describes.

``scenes_of`` turns a text into scenes; :class:`rs_otl.datasets.scene.Scene` opens them.
"""

import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import rasterio

from rs_otl.datasets.mosaic import (
    INDEXES,
    Mosaic,
    mosaic_of_folder,
    mosaic_of_index,
    open_mosaic,
)
from rs_otl.datasets.products import NoProductError, Product, open_product, product_at
from rs_otl.datasets.raster import (
    RASTER_ERRORS,
    UnreadableError,
    open_raster,
    open_remote,
    quiet_georeference,
    reason_of,
)
from rs_otl.datasets.remote import first_bytes, gdal_address, is_address, public
from rs_otl.datasets.wanted import Box, Interval
from rs_otl.errors import InputError

# Suffixes of addresses that are rasters; of other addresses the content is looked at.
_RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".png", ".jpg", ".jpeg", ".img", ".nc", ".h5", ".ntf")
_JSON = (".json", ".geojson")
_WITH_ASSETS = "#asset="
# A file of a product's metadata.
_METADATA = re.compile(r"(?i)_MTL\.json$")


@dataclass(frozen=True)
class Source:
    """A scene that can be opened, in any process.

    Attributes:
        name: Path or address, without what may be secret; used in errors and outputs.
        path: Path of a local file, or GDAL's name; empty where there are several.
        product: Its bands, if they are several files or are described in another file.
        mosaic: Its parts, if it is a mosaic.
        remote: Whether some of it lies on a server.
        id: Id of the STAC item; empty without an item.
        collection: Collection of the STAC item.
        datetime: When it was taken, as the STAC item says it.
        version: What changes with the files: checksums, or when the STAC item was updated; empty
            if the item does not say it.
        reason: Why it cannot be opened, if that is known already.
    """

    name: str
    path: str = ""
    product: Product | None = None
    mosaic: Mosaic | None = None
    remote: bool = False
    id: str = ""
    collection: str = ""
    datetime: str = ""
    version: str = ""
    reason: str = ""

    @property
    def short(self) -> str:
        """Its short name: the item's id, or the file's name."""
        return self.id or Path(urlsplit(self.name).path if self.remote else self.name).name

    @property
    def files(self) -> list[Path]:
        """The files on this disk that it is read from, besides ``path``."""
        if self.product is not None:
            return list(self.product.sources)
        if self.mosaic is not None:
            return [Path(name) for name in self.mosaic.files if not is_address(name)]
        return []

    def open(self, opened: ExitStack) -> rasterio.DatasetReader:
        """Open it as one raster.

        Args:
            opened: Closes the raster.

        Raises:
            InputError: It is no raster, or its files do not go together.
        """
        if self.reason:
            raise InputError(self.reason)
        if self.product is not None:
            return open_product(self.product, opened)
        if self.mosaic is not None:
            return open_mosaic(self.mosaic, opened)
        with quiet_georeference():
            if self.remote:
                return opened.enter_context(open_remote(self.path, self.name))
            path = Path(self.path)
            if not path.is_file():
                raise InputError(f"{path}: no such file, expected a raster such as a GeoTIFF")
            try:
                return opened.enter_context(open_raster(path))
            except (*RASTER_ERRORS, OSError) as error:
                reason = f"cannot be opened ({reason_of(error, path)}); get the file again"
                raise UnreadableError(path, reason) from None


def scenes_of(
    source: Any,
    asset: str | None = None,
    *,
    interval: Interval | None = None,
    bbox: Box | None = None,
    whole: bool = True,
) -> list[Any]:
    """Find the scenes that a user names.

    Args:
        source: A path or an address (``https://``, ``s3://``, ``gs://``, ``az://``, ``/vsi...``) of
            a raster, a product, a mosaic (a folder or a tile index), or of a STAC item, item
            collection, catalog, or search, with a scene for each item. It may end in
            ``#asset=NAME,...``. Anything else, such as an open dataset, stays as it is.
        asset: The assets of each STAC item to take, joined with commas; by default those that are
            its bands.
        interval: Take only STAC items of this time.
        bbox: Take only STAC items that meet this box in degrees.
        whole: Whether to refuse STAC if an item makes no scene; else opening that item says why.

    Returns:
        What :class:`rs_otl.datasets.scene.Scene` opens, at least one scene without ``interval``
        and ``bbox``. A plain path stays a path.

    Raises:
        InputError: Nothing is there, or an item has no assets that make a scene.
    """
    text, found, named = str(source).partition(_WITH_ASSETS)
    wanted = named if found and asset is None else asset
    assets = None if wanted is None else [name.strip() for name in wanted.split(",")]
    written = isinstance(source, str | Path)
    if written and is_stac(text):
        from rs_otl.datasets.stac import stac_scenes

        scenes = []
        for scene in stac_scenes(text, assets, interval, bbox):
            if scene.reason and whole:
                raise InputError(scene.reason)
            scenes.append(scene)
        return scenes
    if interval is not None or bbox is not None:
        option = "--bbox" if interval is None else "--datetime"
        raise InputError(
            f"{option}: is only for STAC items, and {public(text)} is not STAC; leave it out"
        )
    if not written:
        return [source]
    if assets is not None:
        raise InputError(
            f"--asset {wanted}: is only for STAC items, and {public(text)} is not STAC; leave it "
            "out"
        )
    if is_address(text):
        return [Source(public(text), path=gdal_address(text), remote=True)]
    path = Path(text)
    if path.suffix.lower() == ".vrt" and path.is_file() and b"/vsi" in path.read_bytes():
        return [Source(text, path=str(path.absolute()), remote=True)]
    return [source]


def is_stac(text: str) -> bool:
    """Whether a text names what STAC describes: JSON on this disk or on a server."""
    text = text.partition(_WITH_ASSETS)[0]
    if is_address(text):
        suffix = PurePosixPath(urlsplit(text).path).suffix.lower()
        if text.startswith("/vsi") or suffix in _RASTERS:
            return False
        if not text.lower().startswith("http"):
            return suffix in _JSON
        return suffix in _JSON or first_bytes(text).lstrip().startswith(b"{")
    path = Path(text)
    if path.suffix.lower() not in _JSON or _METADATA.search(text) or not path.is_file():
        return False
    return path.suffix.lower() == ".json" or b'"stac_version"' in path.read_bytes()


def source_of(path: Path) -> Source:
    """Describe what lies at a path on this disk: a raster, a product or a mosaic.

    Raises:
        InputError: It is a folder without a scene, or with several.
    """
    if path.suffix.lower() in INDEXES and path.is_file():
        return _mosaic(mosaic_of_index(path))
    try:
        product = product_at(path)
    except NoProductError:
        mosaic = mosaic_of_folder(path) if path.is_dir() else None
        if mosaic is None:
            raise
        return _mosaic(mosaic)
    return Source(str(path), path=str(path), product=product)


def _mosaic(mosaic: Mosaic) -> Source:
    return Source(mosaic.name, mosaic=mosaic, remote=mosaic.remote)


def one_source(source: Any) -> Any:
    """Find the only scene that a user names.

    Raises:
        InputError: The user names several scenes.
    """
    found = scenes_of(source)
    if len(found) > 1:
        names = ", ".join(getattr(one, "short", str(one)) for one in found[:3])
        raise InputError(f"{public(source)}: {len(found):,} scenes, {names} ...; expected one")
    (one,) = found
    return source_of(Path(one)) if isinstance(one, str | Path) else one


def all_scenes(sources: Any) -> list[Any]:
    """List the scenes of one or several sources; see :func:`scenes_of`."""
    several: Sequence[Any] = sources if isinstance(sources, list | tuple) else [sources]
    return [scene for source in several for scene in scenes_of(source)]
