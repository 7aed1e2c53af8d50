"""Small sound inputs, of which hostile ones are made."""

import json
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from harness import Case, Worker
from PIL import Image
from rasterio import Affine

SIDE = 96
PLACE = ("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000))
TINY = (
    "image_size=32",
    "encoder=test_resnet",
    "views=2",
    "clusters=3",
    "batch_size=8",
    "epochs=1",
    "precision=float32",
    "workers=0",
    "seed=1",
)
# Settings with which a scene takes a fraction of a second.
QUICK = ("--tile", "32", "--stride", "32", "--precision", "float32")
# Those of the unfinished embedding, which is too large for the disk that it is written to.
UNFINISHED = ("--tile", "32", "--stride", "8", "--precision", "float32")


@dataclass(frozen=True)
class Materials:
    """A folder of sound inputs, to be copied.

    Attributes:
        folder: It holds ``images/`` (two classes of 12 images), ``scene.tif``, ``scene-1.tif``,
            ``scene-4.tif`` (bands of them), ``labels.geojson``, ``embeddings.tif``, ``map.tif``,
            ``run/`` (finished), ``stopped/`` (a run after the first of two epochs),
            ``part.tif.part/`` (an unfinished embedding) and ``runs/features/`` (a cache).
        program: Options of every command, and keys of a recipe.
    """

    folder: Path
    program: dict[str, Any]

    @property
    def encoder(self) -> Path:
        """The encoder of red, green and blue."""
        return self.folder / "run" / "encoder"

    def copy(self, name: str, where: Path, new_name: str | None = None) -> Path:
        """Copy one of them to a folder."""
        source, target = self.folder / name, where / (new_name or Path(name).name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
        return target


def settings(*more: str) -> list[str]:
    """Return options for a tiny recipe; later settings win."""
    return [word for setting in (*TINY, *more) for word in ("--set", setting)]


def make_materials(worker: Worker, folder: Path) -> Materials:
    """Draw images and scenes, and have the program make the rest of them."""
    program = worker.start()
    (folder / "tmp").mkdir()
    (folder / "home").mkdir()
    draw_images(folder / "images")
    write_scene(folder / "scene.tif", draw(3))
    write_scene(folder / "scene-1.tif", draw(1, high=3000).astype(np.uint16))
    write_scene(folder / "scene-4.tif", draw(4, high=3000).astype(np.uint16))
    (folder / "labels.geojson").write_text(json.dumps(sound_labels()))

    def made(*words: str, codes: tuple[int, ...] = (0,), file_bytes: int | None = None) -> None:
        case = Case(list(words), "sound", file_bytes=file_bytes)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "NUMBA_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        outcome = worker.run(case, folder, environment, 600)
        assert outcome.code in codes, f"{words}: {outcome}"

    made("pretrain", "images", "--out", "run", *settings())
    # A run after the first of two epochs: all but what is written at the end.
    shutil.copytree(folder / "run", folder / "stopped")
    shutil.rmtree(folder / "stopped" / "encoder")
    recipe = folder / "stopped" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 1", "epochs: 2"))
    embed = ("embed", "scene.tif", "--encoder", "run")
    made(*embed, *QUICK, "-o", "embeddings.tif")
    made(*embed, *UNFINISHED, "-o", "part.tif", codes=(2,), file_bytes=8000)
    assert (folder / "part.tif.part" / "0.f32").stat().st_size > 4000
    made("map", "embeddings.tif", "--labels", "labels.geojson", "-o", "map.tif")
    made("evaluate", "run", "--on", "images", "--out", "evaluated")
    return Materials(folder, program)


def draw(bands: int, side: int = SIDE, seed: int = 0, high: float = 255) -> Any:
    """Draw blobs of noise about a colour, (bands, side, side), 8-bit."""
    numbers = np.random.default_rng(seed)
    cells = -(-side // 16)
    coarse = numbers.uniform(0, high, (bands, cells, cells))
    pixels = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :side, :side]
    pixels = np.clip(pixels + numbers.normal(0, high / 10, pixels.shape), 1, high)
    return pixels.astype(np.uint8) if high <= 255 else pixels


def draw_images(folder: Path, classes: int = 2, images: int = 12, suffix: str = ".png") -> None:
    """Write folders of small images, a folder for each class."""
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True)
        for image in range(images):
            pixels = draw(3, 40, seed=100 * number + image)
            path = folder / f"class{number}" / f"{image:02}{suffix}"
            Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(path)


def write_scene(path: Path, pixels: Any, **profile: Any) -> Path:
    """Write a raster; by default it lies in a UTM zone."""
    crs, transform = PLACE
    values = {
        "driver": "GTiff",
        "count": len(pixels),
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
        "crs": crs,
        "transform": transform,
    } | profile
    with rasterio.open(path, "w", **values) as file:
        file.write(pixels)
    return path


def sound_labels() -> dict[str, Any]:
    """Return GeoJSON of two classes of points over the scene."""
    points = [(2, 3, "a"), (9, 3, "b"), (3, 9, "a"), (8, 8, "b")]
    return collection(
        *(
            feature({"type": "Point", "coordinates": place(x * SIDE / 12, y * SIDE / 12)}, name)
            for x, y, name in points
        )
    )


def place(column: float, row: float) -> list[float]:
    """Return the coordinates of a pixel of the scene."""
    return list(PLACE[1] * (column, row))


def feature(geometry: Any, value: Any) -> dict[str, Any]:
    """Return a GeoJSON feature of a class."""
    return {"type": "Feature", "properties": {"class": value}, "geometry": geometry}


def collection(*features: Any, crs: str | None = "urn:ogc:def:crs:EPSG::32633") -> dict[str, Any]:
    """Return GeoJSON of features in a CRS."""
    values: dict[str, Any] = {"type": "FeatureCollection", "features": list(features)}
    if crs is not None:
        values["crs"] = {"type": "name", "properties": {"name": crs}}
    return values


def damaged(content: bytes, numbers: random.Random) -> tuple[bytes, str]:
    """Damage the bytes of a file; return them, and how."""
    how = numbers.choice(("empty", "truncated", "a bit", "bits", "a hole", "random", "appended"))
    size = len(content)
    where = numbers.randrange(max(size, 1))
    changed = bytearray(content)
    if how == "empty":
        return b"", "0 bytes"
    if how == "truncated":
        return content[:where], f"cut at byte {where:,} of {size:,}"
    if how in ("a bit", "bits"):
        # Headers are where the harm is.
        span = size if how == "a bit" else min(size, 512)
        for _ in range(1 if how == "a bit" else 8):
            changed[numbers.randrange(span)] ^= 1 << numbers.randrange(8)
        return bytes(changed), f"{how} turned over"
    if how == "a hole":
        changed[where : where + 256] = bytes(min(256, size - where))
        return bytes(changed), f"zeros at byte {where:,} of {size:,}"
    if how == "random":
        return numbers.randbytes(numbers.choice((1, 26, 300, 5000))), "random bytes"
    return content + numbers.randbytes(64), "bytes after the end"


def damage(path: Path, numbers: random.Random) -> str:
    """Damage a file; return how."""
    content, how = damaged(path.read_bytes(), numbers)
    path.write_bytes(content)
    return f"{path.name}: {how}"
