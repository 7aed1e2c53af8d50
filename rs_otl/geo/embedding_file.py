"""The embeddings of a scene on disk while it is gone through, so that memory stays bounded."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError
from rs_otl.files import atomic_write
from rs_otl.geo.embed_windows import Clock, embed_rows
from rs_otl.geo.grid import TileGrid
from rs_otl.models import Encoder
from rs_otl.progress import tracked


@dataclass(frozen=True)
class Store:
    """The cells of a scene, row after row, as float32.

    Attributes:
        path: The file.
        grid: The scene's cells.
        width: Number D of features.
    """

    path: Path
    grid: TileGrid
    width: int

    def rows(self) -> Iterator[NDArray[np.float32]]:
        """Go through the rows of cells: (columns, D), not a number where there is no data."""
        shape = (self.grid.columns, self.width)
        with self.path.open("rb") as file:
            for _ in range(self.grid.rows):
                yield np.fromfile(file, np.float32, shape[0] * shape[1]).reshape(shape)


@contextmanager
def part_folder(out: Path, facts: dict[str, Any], resume: bool) -> Iterator[Path]:
    """Make the folder ``OUT.part`` in which a pass lies until its output is whole.

    It is removed when the block ends, and when bad input ends it; it stays for ``resume`` when
    the program is stopped, or a disk is full.

    Args:
        out: The output; must be new.
        facts: What the pass depends on, to be held against what a half-done one depended on.
        resume: Go on with a half-done pass, if there is one.

    Raises:
        InputError: The output exists, its folder does not, or a half-done pass lies there that
            is another one or was not asked for.
    """
    folder = out.with_name(f"{out.name}.part")
    state = folder / "state.json"
    refuse_existing(out)
    if folder.exists():
        if not resume:
            raise InputError(
                f"{folder} holds a half-done pass: --resume goes on with it, or delete it"
            )
        begun = json.loads(state.read_text()) if state.is_file() else facts
        for key, value in facts.items():
            if begun.get(key) != value:
                raise InputError(
                    f"{folder}: begun with {key} {begun.get(key)}, not {value}; say the same "
                    "again, or delete it"
                )
    try:
        folder.mkdir(exist_ok=True)
        with atomic_write(state) as aside:
            aside.write_text(json.dumps(facts))
        yield folder
    except RasterioError:
        raise
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror or error}); --resume goes on when it can"
        ) from error
    except InputError as error:
        full = isinstance(error.__cause__, OSError) and not isinstance(
            error.__cause__, RasterioError
        )
        if not full:
            shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def refuse_existing(out: Path) -> None:
    """Raise an :class:`InputError` if an output exists, or the folder for it does not."""
    if out.exists():
        raise InputError(f"{out} exists already: name another, or delete it")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder to write {out.name} to")


def fill_store(
    path: Path,
    scene: Scene,
    grid: TileGrid,
    encoder: Encoder,
    bands: Sequence[int],
    clock: Clock | None = None,
    progress: bool = False,
) -> Store:
    """Embed a scene to a file, going on after the rows that it holds already.

    Args:
        path: The file.
        scene: The scene.
        grid: Its cells and tiles.
        encoder: The encoder.
        bands: Positions of the scene's bands that are the encoder's.
        clock: Is told the seconds.
        progress: Whether to show a bar on stderr.

    Returns:
        The whole store.

    Raises:
        InputError: The scene is damaged, or no cell of it holds data.
    """
    store = Store(path, grid, encoder.num_features)
    row_bytes = grid.columns * encoder.num_features * 4
    done = path.stat().st_size // row_bytes if path.exists() else 0
    with path.open("r+b" if done else "wb") as file:
        file.truncate(done * row_bytes)
        file.seek(done * row_bytes)
        rows = embed_rows(scene, grid, encoder, bands, done, clock)
        for row in tracked(rows, f"Embedding {Path(scene.name).name}", progress, grid.rows - done):
            file.write(row.tobytes())
    if not any(np.isfinite(row).any() for row in store.rows()):
        raise InputError(f"{scene.name}: no tile of it holds data, all is nodata")
    return store
