"""The embeddings of a scene on disk during the computation, so that memory stays bounded."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from rs_otl.errors import InputError
from rs_otl.files import atomic_write, locked, refuse_output
from rs_otl.geo.cells import SceneCells
from rs_otl.geo.grid import TileGrid
from rs_otl.progress import tracked


@dataclass(frozen=True)
class Store:
    """The embeddings of a scene's cells, row after row, as float32.

    Attributes:
        path: The file.
        grid: The scene's cells.
        width: Number D of features.
    """

    path: Path
    grid: TileGrid
    width: int

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """Read the rows of cells: (columns, D), NaN where there is no data."""
        shape = (self.grid.columns, self.width)
        with self.path.open("rb") as file:
            for _ in range(self.grid.rows):
                yield np.fromfile(file, np.float32, shape[0] * shape[1]).reshape(shape)

    def cells_with_data(self) -> int:
        """Count the cells that are not nodata."""
        return sum(int(np.isfinite(row[:, 0]).sum()) for row in self.rows())


@contextmanager
def part_folder(out: Path, facts: dict[str, Any], resume: bool) -> Iterator[Path]:
    """Make the folder ``OUT.part``, which holds embeddings until the output is complete.

    The folder is removed when the ``with`` block ends, also after bad input. It stays for
    ``resume`` if the program is stopped, a disk is full, or another process writes the output.

    Args:
        out: The output; must be new.
        facts: What the embeddings depend on; compared with the facts of an unfinished folder.
        resume: Continue an unfinished folder, if there is one.

    Raises:
        InputError: The output exists, its parent folder does not, or there is an unfinished folder
            that has other facts, or ``resume`` is off.
    """
    folder = out.with_name(f"{out.name}.part")
    state = folder / "state.json"
    refuse_output(out)
    if folder.exists():
        if not resume:
            raise InputError(
                f"{folder} holds an unfinished embedding: --resume continues it, or delete it"
            )
        begun = _read_state(state) if state.is_file() else facts
        for key, value in facts.items():
            if begun.get(key) != value:
                raise InputError(
                    f"{folder}: begun with {key} {begun.get(key)}, now {value}; repeat the same "
                    "command, or delete the folder"
                )
    try:
        with locked(folder):
            with atomic_write(state) as aside:
                aside.write_text(json.dumps(facts))
            yield folder
    except RasterioError:
        raise
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); make room, then --resume"
        ) from error
    except InputError as error:
        full = isinstance(error.__cause__, OSError) and not isinstance(
            error.__cause__, RasterioError
        )
        if not full and not out.exists():
            shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise InputError(f"{path}: damaged, expected JSON; delete {path.parent} and start again")
    return facts


def fill_store(path: Path, cells: SceneCells, progress: bool = False) -> Store:
    """Embed a scene to a file, after the rows that it already holds.

    Args:
        path: The file.
        cells: Cells of the scene.
        progress: Whether to show a bar on stderr.

    Returns:
        The whole store.

    Raises:
        InputError: The scene is damaged.
    """
    store = Store(path, cells.grid, cells.features)
    row_bytes = cells.grid.columns * cells.features * 4
    done = path.stat().st_size // row_bytes if path.exists() else 0
    with path.open("r+b" if done else "wb") as file:
        file.truncate(done * row_bytes)
        file.seek(done * row_bytes)
        title = f"Embedding {Path(cells.name).name}"
        for row in tracked(cells.rows(done), title, progress, cells.grid.rows - done):
            file.write(row.tobytes())
    return store
