"""Index the tiles of many scenes on disk, for fast searches."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyproj
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from rs_otl.errors import InputError
from rs_otl.extras import require_extra
from rs_otl.files import atomic_folder, refuse_output
from rs_otl.geo.cells import Cells, FileCells, grid_of, open_file, refuse_mixed
from rs_otl.geo.clusters import sample
from rs_otl.geo.embedding import tiles_of
from rs_otl.geo.extent import degrees_of
from rs_otl.geo.joined import files_in
from rs_otl.geo.provenance import Provenance
from rs_otl.geo.vector_index import nearest, open_vectors, training_rows, write_vectors
from rs_otl.progress import tracked

_FACTS, _VECTORS, _TILES = "index.json", "vectors.faiss", "tiles.npy"
# Tiles that are worked on at once.
_BLOCK = 16_384


class _Indexed(BaseModel):
    """A file of embeddings in an index: its path, relative to the index, and its metadata."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    bytes: int
    tiles: int
    features: int
    crs: str | None
    transform: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    provenance: Provenance
    taken: str = ""


class _Facts(BaseModel):
    """What ``index.json`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["rs-otl index, version 1"] = "rs-otl index, version 1"
    scenes: tuple[_Indexed, ...]


@dataclass(frozen=True)
class IndexResult:
    """An index that was written.

    Attributes:
        path: Folder of the index.
        scenes: Files of embeddings in the index.
        tiles: Tiles in the index.
        features: Length of an embedding.
    """

    path: Path
    scenes: int
    tiles: int
    features: int


@dataclass(frozen=True)
class _IndexedCells(Cells):
    """Cells of a file of embeddings; the file is opened only to read cells."""

    bytes: int
    said: str

    @property
    def taken(self) -> str:
        """When the scene was taken, as the file said when it was indexed."""
        return self.said

    def at(self, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read some cells."""
        with open_file(self.name) as file:
            read = FileCells.of(file)
            if Path(self.name).stat().st_size != self.bytes or read.provenance != self.provenance:
                raise InputError(f"{self.name}: changed since it was indexed; index it again")
            return read.at(cells)


@dataclass(frozen=True)
class TileIndex:
    """An open index.

    Attributes:
        path: Folder of the index.
        scenes: Cells of the files in the index.
        vectors: FAISS's index.
        tiles: Scene, first row and column in pixels of each tile, (n, 3) int32.
    """

    path: Path
    scenes: tuple[Cells, ...]
    vectors: Any
    tiles: NDArray[np.int32]

    @classmethod
    def open(cls, path: Path) -> "TileIndex":
        """Open an index; parts that a query does not need stay on the disk.

        Raises:
            InputError: It cannot be read.
        """
        require_extra("faiss", "searching an index")
        try:
            facts = _Facts.model_validate_json((path / _FACTS).read_bytes())
            scenes = tuple(_cells_of(path, each) for each in facts.scenes)
            tiles = np.load(path / _TILES, mmap_mode="r", allow_pickle=False)
        except (OSError, ValidationError, ValueError, CRSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: damaged ({reason}); index the embeddings again") from None
        vectors = open_vectors(path / _VECTORS)
        counted = sum(each.tiles for each in facts.scenes)
        if not len(tiles) == vectors.ntotal == counted or vectors.d != scenes[0].features:
            raise InputError(f"{path}: its files are of several indexes; index again")
        return cls(path, scenes, vectors, tiles)

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        """Number of the first tile of each scene, then the number of tiles, (scenes + 1,)."""
        return np.searchsorted(self.tiles[:, 0], np.arange(len(self.scenes) + 1))

    def allowed(
        self,
        scenes: Sequence[bool],
        holds: Callable[[Cells, NDArray[np.int64]], NDArray[np.bool_]] | None,
    ) -> NDArray[np.bool_]:
        """Tell which tiles, (n,), belong to the chosen scenes and pass ``holds``, if given."""
        allowed = np.repeat(np.array(scenes, bool), np.diff(self._firsts))
        if holds is not None:
            for number in np.flatnonzero(scenes):
                part = slice(*self._firsts[number : number + 2])
                allowed[part] = holds(self.scenes[number], self.tiles[part, 1:].astype(np.int64))
        return allowed

    def nearest(
        self, query: NDArray[np.float32], count: int, allowed: NDArray[np.bool_] | None
    ) -> list[tuple[float, int, int, int]]:
        """Find similarity, number of the scene, row and column of the most similar tiles."""
        scores, numbers = nearest(self.vectors, query, count, allowed)
        found = self.tiles[numbers].tolist()
        return [(score, *tile) for score, tile in zip(scores.tolist(), found, strict=True)]


def index(
    embeddings: str | Path | Sequence[str | Path], out: str | Path, *, progress: bool = False
) -> IndexResult:
    """Index the tiles of scenes, so that millions are searched in a fraction of a second.

    Args:
        embeddings: GeoTIFFs that :func:`rs_otl.geo.embed` made, archives, or scenes of archives,
            with one encoder. Keep them in place: a query by place reads its embedding from them.
        out: Folder to write, a byte per feature of each tile; for :func:`rs_otl.geo.search`.
        progress: Whether to show bars on stderr.

    Returns:
        What was written.

    Raises:
        InputError: A file or the output cannot be used, or embeddings cannot be compared.
    """
    given = [embeddings] if isinstance(embeddings, str | Path) else embeddings
    out = Path(out)
    require_extra("faiss", "index")
    refuse_output(out)
    paths = files_in(given)
    with ExitStack() as stack:
        scenes = [FileCells.of(stack.enter_context(open_file(path))) for path in paths]
        refuse_mixed(scenes)
        count = sum(cells.grid.rows * cells.grid.columns for cells in scenes)
        wanted = training_rows(count) / count
        training = np.concatenate(
            [
                sample(cells, progress, int(wanted * cells.grid.rows * cells.grid.columns) + 1)[1]
                for cells in scenes
            ]
        )
        if not len(training):
            raise InputError(f"{scenes[0].name}: holds no data, all is nodata")
        tiles: list[NDArray[np.int32]] = []

        def blocks() -> Iterator[NDArray[np.float32]]:
            for number, cells in enumerate(scenes):
                transformer = degrees_of(cells)
                title = f"Indexing {Path(cells.name).name}"
                rows = iter(tracked(cells.rows(), title, progress, cells.grid.rows))
                for corners, values in blocks_of(tiles_of(cells.grid, rows)):
                    reached = on_earth(cells, transformer, corners)
                    kept = corners[reached]
                    tiles.append(np.insert(kept, 0, number, axis=1).astype(np.int32))
                    yield values[reached]

        with atomic_folder(out) as aside:
            aside.mkdir()
            total = write_vectors(aside / _VECTORS, training, blocks(), count)
            places = np.concatenate(tiles)
            np.save(aside / _TILES, places)
            facts = _Facts(
                scenes=tuple(
                    _Indexed(
                        path=os.path.relpath(path.resolve(), out.resolve()),
                        bytes=path.stat().st_size,
                        tiles=int((places[:, 0] == number).sum()),
                        features=cells.features,
                        crs=None if cells.crs is None else cells.crs.to_wkt(version="WKT2_2019"),
                        transform=cells.transform[:6],
                        provenance=cells.provenance,
                        taken=cells.taken,
                    )
                    for number, (path, cells) in enumerate(zip(paths, scenes, strict=True))
                )
            )
            (aside / _FACTS).write_text(facts.model_dump_json(), encoding="utf-8")
    return IndexResult(out, len(scenes), total, scenes[0].features)


def is_index(source: Any) -> bool:
    """Whether a path is an index."""
    return isinstance(source, str | Path) and Path(source, _FACTS).is_file()


def _cells_of(folder: Path, indexed: _Indexed) -> _IndexedCells:
    made = indexed.provenance
    return _IndexedCells(
        os.path.normpath(folder / indexed.path),
        grid_of(made),
        None if indexed.crs is None else CRS.from_wkt(indexed.crs),
        Affine(*indexed.transform),
        made,
        indexed.features,
        indexed.bytes,
        indexed.taken,
    )


def on_earth(
    cells: Cells, to_degrees: pyproj.Transformer | None, corners: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which tiles, (n,), lie wholly on the Earth; a geostationary image reaches beyond."""
    if to_degrees is None:
        return np.ones(len(corners), bool)
    outlines = cells.outlines(corners)
    degrees = to_degrees.transform(outlines[..., 0], outlines[..., 1])
    # A scene in degrees may claim any latitude; at a pole rounding is allowed for.
    within = (np.abs(degrees[1]) < 90 + 1e-6).all(1)
    return np.asarray(np.isfinite(degrees).all((0, 2)) & within)


def blocks_of(
    tiles: Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Join rows of tiles, corners (n, 2) and embeddings (n, D), to blocks of 16,384 or more."""
    waiting: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    for part in tiles:
        waiting.append(part)
        if sum(len(corners) for corners, _ in waiting) >= _BLOCK:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(
    parts: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
