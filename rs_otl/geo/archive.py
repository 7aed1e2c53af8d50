"""Embed many scenes, block by block, in any number of processes.

A plan is a manifest with a row for each block of each scene. A worker writes a row's file and then
its STAC item. The item marks the row as done, so a stopped run continues where it was.
"""

import functools
import hashlib
import json
import os
import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, TypeAdapter

from rs_otl.datasets.raster import RASTER_ERRORS, gdal
from rs_otl.datasets.remote import is_address, public
from rs_otl.datasets.scene import Scene
from rs_otl.datasets.sources import Source, scenes_of
from rs_otl.datasets.wanted import Box, Interval, box_of
from rs_otl.errors import InputError, without_notes
from rs_otl.files import atomic_write, refuse_existing, refuse_unwritable, unwritten
from rs_otl.geo.cells import SceneCells
from rs_otl.geo.embedding import write_tiff
from rs_otl.geo.embedding_file import Store, fill_store
from rs_otl.geo.items import SOURCE, block_item, collection_of
from rs_otl.geo.joined import MANIFEST, SETTINGS, block_name, is_archive, key_of, read_json
from rs_otl.geo.storage import check_dtype, fit_storage
from rs_otl.geo.workers import take_gpu, work_off
from rs_otl.progress import tracked
from rs_otl.spec import Pool, Values, load_size, validated

if TYPE_CHECKING:  # importing PyTorch takes seconds; handing out blocks does not need it
    from rs_otl.models import Encoder

FAILED, COLLECTION = "failed.parquet", "collection.json"
# Suffix of the file that says why a block failed, and how folders of incomplete files begin.
_FAILED, _ASIDE = ".failed.json", ".aside"
# Seconds after which nobody writes to a folder of incomplete files any more.
_ABANDONED = 24 * 3600
# Side of a block in pixels of the scene: small, so that little work is lost with a worker.
BLOCK = 4096
# Seconds to wait before a scene is read again after an error of input or output.
_PAUSES = (0.5, 2.0)
_OPENED_AT_ONCE = 8
_ROWS_READ = 10_000
_SOURCE = TypeAdapter(Source)
# Settings on which no embedding depends.
_DESCRIBE = {"version", "encoder", "encoder_item"}
# A worker embeds one block at a time, even if several threads call it.
_one_at_a_time = threading.Lock()


class Settings(BaseModel):
    """What all blocks of an archive have in common.

    Attributes:
        version: Version of rs-otl.
        encoder: The name that the encoder is loaded by.
        encoder_item: Path of the encoder's STAC item, if it has one.
        weights: Fingerprint of the encoder.
        features: Length of an embedding.
        image_size: Side of the images that the encoder sees, in pixels.
        pool: How the encoder pools features; ``None`` for its own rule.
        precision: Precision of the encoder's forward pass.
        tile: Side of a tile in pixels.
        stride: Side of a cell in pixels.
        bands: The scenes' bands that the encoder sees; ``None`` to match them by name.
        nodata: Stored value that means there is no data, in addition to what the scenes say.
        values: What stored values stand for, where scenes do not say it.
        dtype: Number type that embeddings are written as.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    encoder: str
    encoder_item: str | None
    weights: str
    features: int
    image_size: int
    pool: Pool | None
    precision: str
    tile: int
    stride: int
    bands: tuple[str, ...] | None
    nodata: float | None
    values: Values | None
    dtype: str


@dataclass(frozen=True)
class Row:
    """A row of the manifest: a block of a scene, or a scene that cannot be planned.

    Attributes:
        key: Hash of all that the block's embeddings depend on.
        scene: Name of the scene in the archive.
        source: Path or address of the scene or its STAC item, without passwords or signatures.
        opened: The :class:`rs_otl.datasets.sources.Source` that opens it, as JSON; empty for a
            plain path.
        fingerprint: Fingerprint of the scene when it was planned.
        datetime: When the scene was taken, in ISO 8601; if unknown, when its file was written or
            the scene was planned.
        top: First row of cells of the block.
        left: First column of cells.
        rows: Rows of cells.
        columns: Columns of cells.
        reason: Why the scene cannot be embedded; empty if it can.
    """

    key: str
    scene: str
    source: str
    opened: str
    fingerprint: str
    datetime: str
    top: int
    left: int
    rows: int
    columns: int
    reason: str

    @property
    def name(self) -> str:
        """Name of the block in the archive."""
        return block_name(self.scene, self.top, self.left)

    def path(self, archive: Path, suffix: str) -> Path:
        """Return the path of the block's file that has this suffix."""
        return archive / "blocks" / self.scene / f"{self.name}{suffix}"


@dataclass(frozen=True)
class Planned:
    """The result of planning an archive.

    Attributes:
        path: The archive.
        scenes: Scenes in the manifest.
        blocks: Blocks of these scenes.
        new: Scenes that were not in the manifest before.
        changed: Scenes that were in the manifest and have changed since.
        failed: Scenes that cannot be embedded, and why.
    """

    path: Path
    scenes: int
    blocks: int
    new: int
    changed: int
    failed: dict[str, str]


@dataclass(frozen=True)
class Worked:
    """The result of embedding an archive, or a shard of it.

    Attributes:
        path: The archive.
        blocks: Blocks in the manifest, or in the shard.
        made: Blocks embedded.
        there: Blocks that were already embedded.
        failed: Blocks of the whole archive that failed, and why.
        tiles: Tiles embedded.
        seconds: Total seconds.
    """

    path: Path
    blocks: int
    made: int
    there: int
    failed: dict[str, str]
    tiles: int
    seconds: float


@dataclass(frozen=True)
class _Outcome:
    made: bool
    tiles: int = 0


def plan_archive(
    scenes: Sequence[str | Path | Source],
    encoder: "str | Path | Encoder",
    out: str | Path,
    *,
    tile: int | None = None,
    stride: int | None = None,
    bands: Sequence[str] | None = None,
    nodata: float | None = None,
    values: Values | None = None,
    image_size: int | None = None,
    pool: str | None = None,
    precision: str = "auto",
    dtype: str = "float32",
    datetime: str | None = None,
    bbox: str | Sequence[float] | None = None,
    progress: bool = False,
) -> Planned:
    """Plan the embedding of many scenes: write a manifest with a row for each block of them.

    Only a few pixels of each scene are read. To add scenes, plan an archive again, with the same
    settings; scenes that have changed are then embedded again. Embeddings of a scene that can no
    longer be opened are kept.

    Args:
        scenes: Paths or addresses, or what STAC describes
            (:func:`rs_otl.datasets.sources.scenes_of`); workers must be able to read them.
        encoder: Any name that :func:`rs_otl.load_encoder` takes; workers must be able to load it.
        out: Folder of the archive.
        tile: Side of a tile in pixels; for the options up to ``dtype`` see
            :func:`rs_otl.geo.embed`.
        stride: Side of a cell in pixels.
        bands: The scenes' bands that the encoder sees.
        nodata: Stored value that means there is no data.
        values: What stored values stand for.
        image_size: Side that tiles are resized to.
        pool: What a vision transformer's features are made of.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 if this hardware computes in it.
        dtype: Number type to write; with ``int8`` each block has its own scales.
        datetime: Take only STAC items of this time, written as in STAC searches:
            ``2024-05-01``, ``2024-05/2024-08``, ``2024-05-01/..``.
        bbox: Take only STAC items that meet this box: west, south, east, north in degrees.
        progress: Whether to show a bar on stderr.

    Returns:
        What was planned.

    Raises:
        InputError: The encoder or the folder cannot be used, the archive has other settings, or
            not one scene of a new archive can be embedded.
    """
    from rs_otl.models import load_encoder

    interval = None if datetime is None else Interval.of(datetime)
    box = None if bbox is None else box_of(bbox)
    out = Path(out)
    if not is_archive(out):
        refuse_existing(out, "exists already and is no archive: name another", may_be_empty=True)
    refuse_unwritable(out / SETTINGS)
    encoder = load_encoder(
        encoder, image_size=image_size, pool=pool, device="auto", precision=precision
    )
    settings = _settings(encoder, tile, stride, bands, nodata, values, dtype)
    before: dict[str, list[Row]] = {}
    if is_archive(out):
        _refuse_other_settings(out, settings)
        for row in _rows(out):
            before.setdefault(row.source, []).append(row)
    given = {_place(scene): scene for each in scenes for scene in _sources(each, interval, box)}
    if not given:
        raise InputError(
            f"{', '.join(public(str(each)) for each in scenes)}: no scene matches --datetime and "
            "--bbox; expected at least one"
        )
    names = _names(given, {place: rows[0].scene for place, rows in before.items()})
    planned = functools.partial(_planned, encoder, settings)
    with ThreadPoolExecutor(_OPENED_AT_ONCE) as threads:
        coming = threads.map(planned, given.values(), [names[place] for place in given])
        found = dict(zip(given, tracked(coming, "Planning", progress, len(given)), strict=True))
    new = found.keys() - before.keys()
    failed = {place: each[0].reason for place, each in found.items() if each[0].reason}
    if len(failed) == len(found) and not before:
        several = f"none of {len(failed):,} scenes can be embedded; the first: "
        raise InputError((several if len(failed) > 1 else "") + next(iter(failed.values())))
    changed = [
        place
        for place in found
        if place not in new
        and _differ(before[place], found[place])
        # A scene that cannot be opened today may be unchanged: its rows and blocks stay.
        and not (place in failed and before[place][0].key)
    ]
    rows = before | {place: found[place] for place in found if place in new or place in changed}
    try:
        out.mkdir(exist_ok=True)
        with atomic_write(out / SETTINGS) as aside:
            aside.write_text(settings.model_dump_json(indent=2), encoding="utf-8")
        _write_rows(out / MANIFEST, [row for each in rows.values() for row in each])
        for place in changed:
            _remove_stale(out, found[place])
    except OSError as error:
        raise unwritten(out, error) from error
    if failed or (out / FAILED).exists():
        _gather(out, settings, worked=False)
    return Planned(
        path=out,
        scenes=len(rows),
        blocks=sum(not row.reason for each in rows.values() for row in each),
        new=len(new),
        changed=len(changed),
        failed=failed,
    )


def embed_archive(
    archive: str | Path,
    *,
    shard: tuple[int, int] | None = None,
    workers: int = 1,
    dask: str | None = None,
    progress: bool = False,
) -> Worked:
    """Embed the blocks in the manifest of an archive that are not embedded yet.

    Any number of processes may do this at once. The result does not depend on which process embeds
    a block.

    Args:
        archive: Folder that :func:`plan_archive` made.
        shard: (number from 0, count): embed only every count-th row, from this number on.
        workers: Processes to start on this machine.
        dask: Address of a Dask scheduler whose workers see the archive, the scenes and the encoder
            under the same paths.
        progress: Whether to show a bar on stderr.

    Returns:
        What was done.

    Raises:
        InputError: There is no such archive, the encoder has changed since it was planned, or a
            disk is full.
    """
    archive, began = Path(archive).absolute(), time.perf_counter()
    settings = _read_settings(archive)
    number, count = shard or (0, 1)
    if not 0 <= number < count:
        raise InputError(
            f"shard {number}/{count} (--shard): expected a number from 0 to {max(0, count - 1)}, "
            "such as 0/2 and 1/2"
        )
    mine = [row for at, row in enumerate(_rows(archive)) if at % count == number and not row.reason]
    todo = [row for row in mine if not _stands(archive, row)]
    results = work_off(
        functools.partial(_embed_block, archive, settings),
        todo,
        functools.partial(_lost, archive),
        workers=min(workers, max(1, len(todo))),
        dask=dask if todo else None,
    )
    outcomes: Counter[bool] = Counter()
    tiles = 0
    for outcome in tracked(results, "Embedding blocks", progress, len(todo)):
        outcomes[outcome.made] += 1
        tiles += outcome.tiles
    failed = _gather(archive, settings, bool(todo))
    return Worked(
        path=archive,
        blocks=len(mine),
        made=outcomes[True],
        there=len(mine) - len(todo),
        failed=failed,
        tiles=tiles,
        seconds=time.perf_counter() - began,
    )


def _settings(
    encoder: "Encoder",
    tile: int | None,
    stride: int | None,
    bands: Sequence[str] | None,
    nodata: float | None,
    values: Values | None,
    dtype: str,
) -> Settings:
    check_dtype(dtype)
    tile = tile or load_size(encoder.config.image_size)
    item = encoder.path and encoder.path.absolute() / "item.json"
    return Settings(
        version=metadata.version("rs-otl"),
        encoder=str(encoder.path.absolute()) if encoder.path else encoder.source,
        encoder_item=str(item) if item and item.is_file() else None,
        weights=encoder.fingerprint(),
        features=encoder.num_features,
        image_size=encoder.config.image_size,
        pool=encoder.config.pool,
        precision=encoder.precision,
        tile=tile,
        stride=stride or max(1, tile // 2),
        bands=None if bands is None else tuple(bands),
        nodata=nodata,
        values=values,
        dtype=dtype,
    )


def _read_settings(archive: Path) -> Settings:
    path = archive / SETTINGS
    try:
        return validated(Settings, json.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError:
        raise InputError(
            f"{archive}: no {SETTINGS} in it, expected an archive; `rs-otl embed --plan SCENES "
            f"--encoder E -o {archive}` makes one"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: damaged, expected JSON; plan the archive again") from None


def _refuse_other_settings(archive: Path, settings: Settings) -> None:
    begun = _read_settings(archive)
    names = [name for name in Settings.model_fields if name not in _DESCRIBE]
    # The hash of the weights also covers the image size: compare it last, it says less.
    for name in sorted(names, key=lambda name: name == "weights"):
        if getattr(begun, name) != getattr(settings, name):
            raise InputError(
                f"{archive}: planned with {name} {getattr(begun, name)}, now "
                f"{getattr(settings, name)}: repeat its settings, or name another folder"
            )


def _sources(scene: str | Path | Source, interval: Interval | None, bbox: Box | None) -> list[Any]:
    """Find the scenes that a name stands for; a local path becomes absolute."""
    path, *assets = str(scene).split("#asset=") if isinstance(scene, str | Path) else ("",)
    if path and not is_address(path):
        scene = "#asset=".join([str(Path(path).absolute()), *assets])
    return scenes_of(scene, interval=interval, bbox=bbox, whole=False)


def _place(scene: Any) -> str:
    return scene.name if isinstance(scene, Source) else str(scene)


def _names(scenes: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Name scenes in the archive after their files or items, with a hash if a name is taken."""
    names, taken = dict(known), set(known.values())
    for place, scene in scenes.items():
        if place in names:
            continue
        own = isinstance(scene, Source)
        called = scene.id or Path(scene.short).stem if own else Path(place).stem
        name = "".join(char if char.isalnum() or char in "._-" else "_" for char in called)
        if name in taken:
            name += f"-{hashlib.blake2b(place.encode(), digest_size=4).hexdigest()}"
        names[place] = name
        taken.add(name)
    return names


def _differ(before: Sequence[Row], now: Sequence[Row]) -> bool:
    return [(row.key, row.reason) for row in before] != [(row.key, row.reason) for row in now]


def _planned(encoder: "Encoder", settings: Settings, source: Any, name: str) -> list[Row]:
    """Make the rows of a scene, at least one."""
    opened = _SOURCE.dump_json(source).decode() if isinstance(source, Source) else ""
    row = Row("", name, _place(source), opened, "", "", 0, 0, 0, 0, "")
    if public(opened) != opened:
        reason = (
            f"{row.source}: its address holds a password or a signature, which the manifest would "
            "keep; expected a plain address, and credentials in GDAL's environment variables"
        )
        return [replace(row, opened="", reason=reason)]
    try:
        with _scene(row, settings) as scene:
            cells = SceneCells.over(scene, encoder, settings.tile, settings.stride, settings.bands)
            taken = source.datetime if isinstance(source, Source) else ""
            row = replace(
                row,
                fingerprint=scene.fingerprint(),
                datetime=taken or _datetime(scene).isoformat(),
            )
            blocks = [
                replace(row, top=top, left=left, rows=rows, columns=columns)
                for top, left, rows, columns in cells.grid.blocks(BLOCK)
            ]
            facts = [settings.model_dump_json(exclude=_DESCRIBE)]
            facts.append(json.dumps(cells.bands))
    except InputError as error:
        return [replace(row, reason=str(error))]
    return [replace(block, key=_key(block, facts)) for block in blocks]


def _scene(row: Row, settings: Settings) -> Scene:
    """Open the scene of a row."""
    source = _SOURCE.validate_json(row.opened) if row.opened else Path(row.source)
    return Scene(source, settings.nodata, settings.values)


def _key(row: Row, facts: Iterable[str]) -> str:
    own = json.dumps(asdict(replace(row, key="", source="", opened="", datetime="")))
    return hashlib.blake2b("\n".join([own, *facts]).encode(), digest_size=8).hexdigest()


def _datetime(scene: Scene) -> datetime:
    """Return when a scene was taken, else when its file was written."""
    with gdal(scene.remote):
        said = scene.dataset.tags().get("TIFFTAG_DATETIME", "")
    with suppress(ValueError):
        return datetime.strptime(said.strip(), "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
    with suppress(OSError):
        return datetime.fromtimestamp(Path(scene.name).stat().st_mtime, UTC)
    return datetime.now(UTC)


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    schema = pa.schema(
        [(field.name, pa.string() if field.type is str else pa.int32()) for field in fields(Row)]
    )
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema)
    with atomic_write(path) as aside:
        pq.write_table(table, aside, compression="zstd", row_group_size=_ROWS_READ)


def _rows(archive: Path) -> Iterator[Row]:
    path = archive / MANIFEST
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_READ):
                yield from (Row(**values) for values in batch.to_pylist())
    except (OSError, pa.ArrowException, TypeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read ({reason:.200}); plan the archive again"
        ) from None


def _remove_stale(archive: Path, rows: Sequence[Row]) -> None:
    """Remove files of a scene's earlier version, except files that will be replaced."""
    suffixes = (".tif", ".tif.aux.xml", ".json", _FAILED)
    kept = {f"{row.name}{suffix}" for row in rows for suffix in suffixes}
    for path in (archive / "blocks" / rows[0].scene).glob("*"):
        if path.name not in kept:
            path.unlink()


def _stands(archive: Path, row: Row) -> bool:
    return key_of(read_json(row.path(archive, ".json"))) == row.key


@functools.lru_cache(maxsize=1)
def _encoder(settings: Settings) -> "Encoder":
    """Load the encoder, once per process."""
    from rs_otl.models import load_encoder

    take_gpu()
    encoder = load_encoder(
        settings.encoder,
        image_size=settings.image_size,
        pool=settings.pool,
        device="auto",
        precision=settings.precision,
    )
    if encoder.fingerprint() != settings.weights:
        raise InputError(
            f"{settings.encoder}: the weights have changed since the archive was planned; plan it "
            "again, into another folder"
        )
    return encoder


def _embed_block(archive: Path, settings: Settings, row: Row) -> _Outcome:
    """Turn a row of the manifest into a file and its item; all kinds of workers call this.

    Returns:
        The outcome; a scene that cannot be embedded raises no error.

    Raises:
        InputError: Nothing can be written, or the encoder cannot be loaded.
    """
    with _one_at_a_time, without_notes():
        if _stands(archive, row):
            return _Outcome(made=False)
        encoder = _encoder(settings)
        for pause in (*_PAUSES, None):
            try:
                return _made(archive, settings, row, encoder)
            except _SceneError as error:
                if pause is None or not error.passing:
                    return _failed(archive, row, str(error))
                time.sleep(pause)
        raise AssertionError


class _SceneError(Exception):
    """A scene cannot be embedded; if it is ``passing``, a later try may succeed."""

    def __init__(self, error: Exception) -> None:
        fault = "" if isinstance(error, InputError) else f"fault: {type(error).__name__}: "
        super().__init__(" ".join(f"{fault}{error}".split()))
        causes = (error.__cause__, error.__context__)
        self.passing = any(isinstance(cause, (*RASTER_ERRORS, OSError)) for cause in causes)


def _made(archive: Path, settings: Settings, row: Row, encoder: "Encoder") -> _Outcome:
    out, mark = row.path(archive, ".tif"), row.path(archive, ".json")
    with _folder_aside(archive, out) as folder:
        cells, store = _embedded(folder / "block.f32", settings, row, encoder, out)
        share = store.cells_with_data() / (row.rows * row.columns)
        out.parent.mkdir(parents=True, exist_ok=True)
        mark.unlink(missing_ok=True)  # an old item must not describe a new file
        if share:
            storage = fit_storage(store.rows(), settings.dtype)
            write_tiff(folder / out.name, cells, store, storage)
        for made in (folder / out.name, folder / f"{out.name}.aux.xml"):
            if made.exists():
                os.replace(made, out.with_name(made.name))
            else:  # the scene's earlier version may have one
                out.with_name(made.name).unlink(missing_ok=True)
        item = block_item(row.name, cells, settings.dtype, out.name if share else None)
        item["collection"] = archive.name
        item["properties"] |= {
            "datetime": row.datetime,
            "rs_otl:key": row.key,
            "rs_otl:scene": row.scene,
            "rs_otl:data": round(share, 4),
        }
        item["links"] += [
            {"rel": rel, "href": f"../../{COLLECTION}", "type": "application/json"}
            for rel in ("root", "parent", "collection")
        ]
        place = row.source if is_address(row.source) else Path(row.source).as_uri()
        item["links"] += [
            {"rel": rel, "href": place, "title": row.scene} for rel in ("derived_from", SOURCE)
        ]
        item["links"].append(_model_link(settings))
        with atomic_write(mark) as aside:
            aside.write_text(json.dumps(item), encoding="utf-8")
        row.path(archive, _FAILED).unlink(missing_ok=True)
    return _Outcome(made=True, tiles=cells.timer.tiles)


def _embedded(
    path: Path, settings: Settings, row: Row, encoder: "Encoder", out: Path
) -> tuple[SceneCells, Store]:
    """Embed a block to a temporary file.

    Raises:
        _SceneError: The scene cannot be embedded.
        InputError: The disk cannot be written.
    """
    try:
        with _scene(row, settings) as scene:
            if scene.fingerprint() != row.fingerprint:
                raise InputError(f"{row.source}: has changed since it was planned; plan it again")
            cells = SceneCells.over(
                scene,
                encoder,
                settings.tile,
                settings.stride,
                settings.bands,
                (row.top, row.left, row.rows, row.columns),
            )
            return cells, fill_store(path, cells)
    except MemoryError:
        raise
    except OSError as error:  # from writing: errors of a scene are InputErrors
        raise unwritten(out, error) from error
    except Exception as error:
        raise _SceneError(error) from error


@contextmanager
def _folder_aside(archive: Path, out: Path) -> Iterator[Path]:
    """Make a folder for incomplete files; errors name their final path."""
    folder = ""
    try:
        prefix = f"{_ASIDE}-{socket.gethostname()}-{os.getpid()}-"
        with TemporaryDirectory(prefix=prefix, dir=archive) as folder:
            yield Path(folder)
    except InputError as error:
        raise InputError(str(error).replace(folder, str(out.parent))) from error
    except OSError as error:
        raise unwritten(out, error) from error


def _failed(archive: Path, row: Row, reason: str) -> _Outcome:
    """Write down why a row has failed; the file stays until the row is embedded."""
    mark = row.path(archive, _FAILED)
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(mark, error) from error
    with atomic_write(mark) as aside:
        aside.write_text(json.dumps({"key": row.key, "reason": reason}), encoding="utf-8")
    return _Outcome(made=False)


def _lost(archive: Path, row: Row) -> _Outcome:
    return _failed(archive, row, f"{row.source}: three workers have died with it; out of memory?")


def _gather(archive: Path, settings: Settings, worked: bool) -> dict[str, str]:
    """Write the collection of the embedded blocks, and the table of failures.

    Every process does so at its end, so the files of the last process are complete.

    Returns:
        The reason of each failure, by the name of the block, or of a scene without blocks.
    """
    failed: list[tuple[str, Row, str]] = []

    def standing() -> Iterator[dict[str, Any]]:
        for row in _rows(archive):
            if row.reason:
                failed.append((row.scene, row, row.reason))
                continue
            item = read_json(row.path(archive, ".json"))
            if key_of(item) == row.key:
                yield item
                continue
            mark = read_json(row.path(archive, _FAILED))
            if mark.get("key") == row.key:
                failed.append((row.name, row, str(mark.get("reason"))))

    collection = collection_of(archive.name, standing(), settings.features, settings.dtype)
    collection["links"].append(_model_link(settings))
    # Several machines may write these files at once: each writes to its own folder and renames.
    with _folder_aside(archive, archive / COLLECTION) as folder:
        if worked or not (archive / COLLECTION).exists():
            (folder / COLLECTION).write_text(json.dumps(collection), encoding="utf-8")
            os.replace(folder / COLLECTION, archive / COLLECTION)
        if failed:
            rows = [
                {"block": name, "scene": row.scene, "source": row.source, "reason": reason}
                for name, row, reason in failed
            ]
            pq.write_table(pa.Table.from_pylist(rows), folder / FAILED)
            os.replace(folder / FAILED, archive / FAILED)
        else:
            (archive / FAILED).unlink(missing_ok=True)
    # Remove what killed workers have left: other processes may still write to newer folders.
    for path in archive.glob(f"{_ASIDE}*"):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
    return {name: reason for name, _, reason in failed}


def _model_link(settings: Settings) -> dict[str, str]:
    """Link to the encoder's own item, else to the encoder."""
    place = settings.encoder_item or settings.encoder
    path = Path(place)
    return {
        "rel": "emb:model",
        "href": path.as_uri() if path.is_absolute() else place,
        "title": f"{settings.encoder}, weights {settings.weights}",
    }
