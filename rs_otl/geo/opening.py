"""Open what a user names as cells: a scene, or embeddings in a file or an archive."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rs_otl.datasets.raster import RASTER_ERRORS, quiet_georeference
from rs_otl.datasets.scene import Scene, SceneLike
from rs_otl.errors import InputError, without_notes
from rs_otl.geo.cells import (
    Cells,
    FileCells,
    SceneCells,
    geotiff,
    open_file,
    refuse_other,
    refuse_others,
)
from rs_otl.geo.joined import JoinedCells, is_archive, is_scene_of_archive, scenes_in
from rs_otl.spec import Values

if TYPE_CHECKING:  # importing PyTorch takes seconds; embedding files do not need it
    from rs_otl.models import Encoder

_SHOWN = 3


def is_embedding(source: SceneLike) -> bool:
    """Whether a path is a GeoTIFF that ``embed`` or ``map`` wrote, or a scene of an archive."""
    if is_scene_of_archive(source):
        return True
    if not isinstance(source, str | Path) or not Path(source).is_file():
        return False
    try:
        with quiet_georeference(), geotiff(Path(source)) as file:
            return any(tag.startswith("RS_OTL_") for tag in file.tags())
    except RASTER_ERRORS:
        return False


@contextmanager
def open_embeddings(source: str | Path) -> Iterator[Cells]:
    """Open the embeddings of one scene.

    Args:
        source: A GeoTIFF that :func:`rs_otl.geo.embed` wrote, the folder of a scene's blocks in an
            archive, or an archive of one scene.

    Yields:
        The cells.

    Raises:
        InputError: It cannot be opened, or is an archive of several scenes.
    """
    _refuse_parquet(source)
    if is_archive(source):
        found = scenes_in(source)
        if len(found) > 1:
            named = ", ".join(map(str, found[:_SHOWN])) + (" ..." if len(found) > _SHOWN else "")
            raise InputError(
                f"{source}: an archive of {len(found):,} scenes; expected one of them: {named}"
            )
        source = found[0]
    if is_scene_of_archive(source):
        yield JoinedCells.of(Path(source))
        return
    with open_file(source) as file:
        yield FileCells.of(file)


def _refuse_parquet(source: SceneLike) -> None:
    if str(source).lower().endswith((".parquet", ".geoparquet")):
        raise InputError(
            f"{source}: expected a scene or a GeoTIFF of embeddings; a GeoParquet file has tiles "
            "but no grid: write embeddings with -o NAME.tif"
        )


@contextmanager
def open_cells(
    source: SceneLike,
    encoder: "Encoder | None" = None,
    tile: int | None = None,
    stride: int | None = None,
    bands: Sequence[str] | None = None,
    nodata: float | None = None,
    values: Values | None = None,
) -> Iterator[Cells]:
    """Open a scene, or the embeddings of one.

    Embeddings need none of the options, and are refused if an option differs from how they were
    made.

    Args:
        source: A scene that :class:`rs_otl.datasets.scene.Scene` opens, or embeddings that
            :func:`open_embeddings` opens.
        encoder: The encoder; a scene needs one.
        tile: Side of a tile in pixels.
        stride: Side of a cell in pixels.
        bands: Bands of the scene.
        nodata: Stored value of the scene that means there is no data.
        values: What stored values of the scene stand for, where the user knows better than the
            file; refused with embeddings.

    Yields:
        The cells.

    Raises:
        InputError: ``source`` cannot be opened, a scene has no encoder, or embeddings were made
            with another encoder, tile, stride, bands or nodata.
    """
    if is_embedding(source):
        with open_embeddings(source) as cells:
            refuse_others(cells, encoder, tile, stride, bands, nodata)
            if values is not None:
                raise InputError(
                    f"{source}: embeddings, whose scene has been read; leave --scale, --offset and "
                    "--units out, or embed the scene again"
                )
            yield cells
        return
    _refuse_parquet(source)
    with Scene(source, nodata, values) as scene:
        if encoder is None:
            raise InputError(
                f"{scene.name}: a scene needs an encoder to be embedded; say which with encoder= "
                "(--encoder), or give the GeoTIFF that `rs-otl embed` made of it"
            )
        yield SceneCells.over(scene, encoder, tile, stride, bands)


def load_encoder_for(
    sources: Sequence[SceneLike],
    encoder: "str | Path | Encoder | None",
    image_size: int | None,
    pool: str | None,
    precision: str,
    made: Cells | None = None,
) -> "Encoder | None":
    """Load the encoder for scenes or embeddings, if one is given.

    Args:
        sources: Scenes or embeddings.
        encoder: Any name that :func:`rs_otl.load_encoder` takes, or an encoder.
        image_size: Side of the images that it sees, in pixels; by default as embeddings say.
        pool: What a vision transformer's features are made of, ``"cls"`` or ``"mean"``; by default
            as embeddings say.
        precision: ``float32``, ``bf16`` or ``auto``.
        made: The embeddings that say it; by default the first of the sources that is embeddings.

    Raises:
        InputError: The encoder cannot be loaded; or none is given, and the embeddings were made
            with another image size or pooling.
    """
    if encoder is None and image_size is None and pool is None:
        return None
    made = made or _first_embeddings(sources)
    if encoder is None:
        if made is not None:
            refuse_other(made, "image-size", image_size, made.provenance.image_size)
            refuse_other(made, "pool", pool, made.provenance.pool)
        return None
    from rs_otl.models import Encoder, load_encoder

    if made is not None and not isinstance(encoder, Encoder):
        image_size = image_size or made.provenance.image_size
        pool = pool or made.provenance.pool
    return load_encoder(
        encoder, image_size=image_size, pool=pool, device="auto", precision=precision
    )


def _first_embeddings(sources: Sequence[SceneLike]) -> Cells | None:
    for source in filter(is_embedding, sources):
        # The notes are printed when it is opened to be read.
        with without_notes(), open_embeddings(source) as cells:
            return cells
    return None
