"""Read the scenes of an archive, with their blocks joined to one grid again."""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rasterio import Affine

from rs_otl.errors import InputError, note
from rs_otl.geo.cells import Cells, FileCells, open_file, refuse_mixed
from rs_otl.geo.grid import TileGrid

SETTINGS, MANIFEST, BLOCKS = "archive.json", "manifest.parquet", "blocks"


def is_archive(path: Any) -> bool:
    """Whether a path is an archive that :func:`rs_otl.geo.plan_archive` made."""
    return isinstance(path, str | Path) and (Path(path) / SETTINGS).is_file()


def is_scene_of_archive(path: Any) -> bool:
    """Whether a path is the folder of a scene's blocks in an archive."""
    if not isinstance(path, str | Path) or not Path(path).is_dir():
        return False
    folder = Path(path).resolve()
    return folder.parent.name == BLOCKS and is_archive(folder.parent.parent)


def scenes_in(sources: Any) -> list[Any]:
    """List sources, with each archive replaced by its scenes.

    Raises:
        InputError: An archive cannot be read, or nothing in it is embedded.
    """
    several: Sequence[Any] = sources if isinstance(sources, list | tuple) else [sources]
    return [
        one
        for source in several
        for one in (_scenes_of(Path(source)) if is_archive(source) else [source])
    ]


def files_in(sources: Sequence[str | Path]) -> list[Path]:
    """List GeoTIFFs of embeddings, with archives and their scenes replaced by their blocks."""
    return [
        path
        for source in scenes_in(sources)
        for path in (_files_of(Path(source)) if is_scene_of_archive(source) else [Path(source)])
    ]


@dataclass(frozen=True)
class _Block:
    """A file of a scene's cells: where they begin in its grid, and how many there are."""

    path: Path
    top: int
    left: int
    rows: int
    columns: int


@dataclass(frozen=True)
class JoinedCells(Cells):
    """Cells of a scene that are read from its blocks; where there is no block, there is no data.

    Attributes:
        date: When the scene was taken, as its blocks' items say; empty if they do not.
        blocks: The blocks, from the top and then from the left. They are opened only to be read,
            since a scene may have more blocks than a process may have open files.
    """

    date: str
    blocks: tuple[_Block, ...]

    @classmethod
    def of(cls, folder: Path) -> "JoinedCells":
        """Read what the blocks of a scene say about its cells.

        Raises:
            InputError: There are no blocks, or they are of several scenes.
        """
        blocks: list[_Block] = []
        parts: list[Cells] = []
        grids = []
        for path in _files_of(folder):
            with open_file(path) as file:
                part: Cells = FileCells.of(file)
            grid = part.grid
            (above, left), (below, right) = grid.before, grid.after
            place = above // grid.stride, left // grid.stride
            blocks.append(_Block(path, *place, grid.rows, grid.columns))
            size = left + grid.width + right, above + grid.height + below
            grids.append(TileGrid(*size, grid.tile, grid.stride))
            parts.append(part)
        refuse_mixed(parts)
        if len(set(grids)) > 1:
            raise InputError(f"{folder}: blocks of several scenes; plan the archive again")
        first, grid = parts[0], grids[0]
        (above, left) = first.grid.before
        made = first.provenance.model_copy(
            update={"scene_size": (grid.width, grid.height), "before": (0, 0), "after": (0, 0)}
        )
        return cls(
            str(folder),
            grid,
            first.crs,
            first.transform * Affine.translation(-left, -above),
            made,
            first.features,
            first.taken,
            tuple(sorted(blocks, key=lambda block: (block.top, block.left))),
        )

    @property
    def taken(self) -> str:
        """When the scene was taken, in ISO 8601; empty if unknown."""
        return self.date

    @property
    def stem(self) -> str:
        """Name of the files made from the scene: its name in the archive."""
        return Path(self.name).resolve().name

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """Read one row of cells after another."""
        done = 0
        for top, group in groupby(self.blocks, key=lambda block: block.top):
            beside = list(group)
            for _ in range(top - done):
                yield self._empty()
            with ExitStack() as stack:
                files = [stack.enter_context(open_file(block.path)) for block in beside]
                parts = [FileCells.of(file).rows() for file in files]
                for _ in range(beside[0].rows):
                    row = self._empty()
                    for block, part in zip(beside, parts, strict=True):
                        row[block.left : block.left + block.columns] = next(part)
                    yield row
            done = top + beside[0].rows
        for _ in range(self.grid.rows - done):
            yield self._empty()

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read some cells, each block once."""
        values = np.full((len(cells), self.features), np.nan, np.float32)
        for block in self.blocks:
            own = cells - [block.top, block.left]
            inside = ((own >= 0) & (own < [block.rows, block.columns])).all(1)
            if inside.any():
                with open_file(block.path) as file:
                    values[inside] = FileCells.of(file).at(own[inside].astype(np.int64))
        return values

    def _empty(self) -> NDArray[np.float32]:
        return np.full((self.grid.columns, self.features), np.nan, np.float32)


def _scenes_of(archive: Path) -> list[Path]:
    """List the folders of an archive's scenes that hold embeddings, in the order of the plan."""
    plan = {archive / BLOCKS / name: rows for name, rows in _planned(archive).items()}
    folders = list(plan)
    found = [
        folder
        for folder, rows in plan.items()
        if any(path.is_file() for path in _done(folder, rows))
    ]
    if not found:
        raise InputError(f"{archive}: nothing is embedded; `rs-otl embed {archive}` does it")
    if len(found) < len(folders):
        lacking = next(folder.name for folder in folders if folder not in found)
        note(
            f"{archive}: {len(folders) - len(found):,} of {len(folders):,} scenes have no "
            f"embeddings and are left out, {lacking} is one"
        )
    return found


def _files_of(folder: Path) -> list[Path]:
    """List the files of a scene's blocks that are embedded as planned; say what is missing."""
    place = folder.resolve()
    archive = place.parent.parent
    rows = _planned(archive).get(place.name, [])
    done = list(_done(folder, rows))
    files = [path for path in done if path.is_file()]
    if not files:
        raise InputError(f"{folder}: holds no embeddings; `rs-otl embed {archive}` makes them")
    if len(done) < len(rows):
        note(
            f"{folder}: {len(rows) - len(done):,} of {len(rows):,} blocks are not embedded, and "
            f"taken as without data; `rs-otl embed {archive}` makes them"
        )
    return files


def _done(folder: Path, rows: Sequence[tuple[str, str]]) -> Iterator[Path]:
    """Go through the files of the blocks that are done; a block without any data has no file."""
    for name, key in rows:
        if key_of(read_json(folder / f"{name}.json")) == key:
            yield folder / f"{name}.tif"


def _planned(archive: Path) -> dict[str, list[tuple[str, str]]]:
    """Return the names and keys of the blocks of each scene."""
    path = archive / MANIFEST
    try:
        return _read_plan(path, path.stat().st_mtime_ns)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read ({reason:.200})") from None


@lru_cache(1)  # it is called for every scene of an archive
def _read_plan(path: Path, written: int) -> dict[str, list[tuple[str, str]]]:
    del written  # only for the cache: a new file has a new time
    scenes: dict[str, list[tuple[str, str]]] = {}
    for row in pq.read_table(path, columns=["scene", "top", "left", "key"]).to_pylist():
        name = block_name(row["scene"], row["top"], row["left"])
        scenes.setdefault(row["scene"], []).append((name, row["key"]))
    return scenes


def block_name(scene: str, top: int, left: int) -> str:
    """Name the block of a scene that begins at a row and a column of cells."""
    return f"{scene}-r{top}-c{left}"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of an archive; empty if it is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def key_of(item: dict[str, Any]) -> str | None:
    """Return the key in a block's item, which marks the row with this key as done.

    Args:
        item: The item; ``None`` is returned if it is empty or damaged.
    """
    try:
        return str(item["properties"]["rs_otl:key"])
    except (KeyError, TypeError):
        return None
