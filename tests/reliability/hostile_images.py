"""Image files that are damaged, huge, odd, or something else than their names say."""

import io
import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from harness import Case
from materials import QUICK, Materials, damage, damaged, draw, settings, write_scene
from PIL import Image

_SUFFIXES = (".png", ".jpg", ".tif", ".webp", ".bmp", ".jp2")
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".tif": "TIFF", ".webp": "WEBP", ".bmp": "BMP"}


def _encoded(suffix: str, mode: str = "RGB", side: int = 40, **options: Any) -> bytes:
    """Return an image file of a format and a mode of Pillow."""
    image = Image.fromarray(np.ascontiguousarray(draw(3, side).transpose(1, 2, 0)))
    image = image.convert("L").convert(mode) if mode in ("F", "I;16") else image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, _FORMATS[suffix], **options)
    return stream.getvalue()


def _case(numbers: random.Random, materials: Materials, work: Path, path: Path, note: str) -> Case:
    """Let a command look at an image, alone or among sound ones."""
    how = numbers.choice(("check", "check", "pretrain", "augmentations", "search", "evaluate"))
    if how in ("check", "pretrain", "evaluate"):
        materials.copy("images", work)
        path.rename(work / "images" / "class0" / path.name)
    encoder = str(materials.encoder)
    words = {
        "check": ["datasets", "--check", "images", "--json"],
        "pretrain": ["pretrain", "images", "--out", "new", *settings()],
        "evaluate": ["evaluate", encoder, "--on", "images", "--out", "new"],
        "augmentations": ["augmentations", path.name, "-o", "a.png", "--image-size", "32"],
        "search": [
            *("search", "scene.tif", "--encoder", encoder, "--query", path.name),
            *("-o", "s.geojson", *QUICK),
        ],
    }[how]
    if how == "search":
        materials.copy("scene.tif", work)
    return Case(words, note)


def damaged_image(numbers: random.Random, materials: Materials, work: Path) -> Case:
    suffix = numbers.choice(sorted(_FORMATS))
    content, how = damaged(_encoded(suffix), numbers)
    path = work / f"damaged{suffix}"
    path.write_bytes(content)
    return _case(numbers, materials, work, path, f"{suffix}: {how}")


def wrong_suffix(numbers: random.Random, materials: Materials, work: Path) -> Case:
    contents: dict[str, bytes] = {
        "HTML": b"<!doctype html><title>404</title>",
        "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00.",
        "a GIF": b"GIF89a" + bytes(30),
        "an archive": b"PK\x03\x04" + bytes(60),
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "VRT": b'<VRTDataset rasterXSize="9" rasterYSize="9"><VRTRasterBand/></VRTDataset>',
        "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "JPEG": _encoded(".jpg"),
        "WebP": _encoded(".webp"),
        "TIFF": _encoded(".tif"),
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    }
    what = numbers.choice(sorted(contents))
    path = work / f"it is{numbers.choice(_SUFFIXES)}"
    path.write_bytes(contents[what])
    return _case(numbers, materials, work, path, f"{what} under {path.name}")


def odd_mode(numbers: random.Random, materials: Materials, work: Path) -> Case:
    modes = [
        *((".png", mode) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")),
        *((".jpg", mode) for mode in ("L", "CMYK", "YCbCr")),
        *((".tif", mode) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "LAB", "F", "I;16")),
        *((".webp", mode) for mode in ("RGBA",)),
        *((".bmp", mode) for mode in ("1", "L", "P")),
    ]
    suffix, mode = numbers.choice(modes)
    path = work / f"odd{suffix}"
    path.write_bytes(_encoded(suffix, mode))
    return _case(numbers, materials, work, path, f"{suffix} of mode {mode}")


def odd_type(numbers: random.Random, materials: Materials, work: Path) -> Case:
    types = (
        *("int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float32", "float64", "complex64", "complex128", "complex_int16"),
    )
    dtype = numbers.choice(types)
    pixels = draw(numbers.choice((1, 2, 3, 4, 7)), 40).astype(
        "complex64" if dtype.startswith("complex") else dtype
    )
    path = write_scene(work / "odd.tif", pixels, dtype=dtype, crs=None, transform=None)
    return _case(numbers, materials, work, path, f"{len(pixels)} bands of {dtype}")


def odd_values(numbers: random.Random, materials: Materials, work: Path) -> Case:
    values = {
        "NaN": np.full((3, 40, 40), np.nan, np.float32),
        "infinite": np.full((3, 40, 40), np.inf, np.float32),
        "largest": np.full((3, 40, 40), 3e38, np.float32),
        "below zero": np.full((3, 40, 40), -5, np.float32),
        "zero": np.zeros((3, 40, 40), np.float32),
        "tiny": np.full((3, 40, 40), 1e-44, np.float32),
        "16-bit zero": np.zeros((3, 40, 40), np.uint16),
        "16-bit top": np.full((3, 40, 40), 65535, np.uint16),
    }
    what = numbers.choice(sorted(values))
    path = write_scene(work / "odd.tif", values[what], crs=None, transform=None)
    return _case(numbers, materials, work, path, f"all values {what}")


def odd_size(numbers: random.Random, materials: Materials, work: Path) -> Case:
    width, height = numbers.choice(((1, 1), (1, 40), (40, 1), (2, 2), (3000, 1), (1, 3000)))
    suffix = numbers.choice(sorted(_FORMATS))
    image = Image.fromarray(np.full((height, width, 3), 90, np.uint8))
    path = work / f"small{suffix}"
    image.save(path)
    return _case(numbers, materials, work, path, f"{width} x {height} {suffix}")


def huge_header(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """A few kilobytes that claim to be a large image."""
    side = numbers.choice((20_000, 30_000, 60_000))
    suffix = numbers.choice((".jpg", ".png", ".bmp", ".tif"))
    path = work / f"huge{suffix}"
    if suffix == ".tif":
        profile = {"width": side, "height": side, "count": 3, "dtype": "uint8"}
        tiled = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "SPARSE_OK": True}
        rasterio.open(path, "w", driver="GTiff", **profile, **tiled).close()
    else:
        content = bytearray(_encoded(suffix))
        if suffix == ".jpg":
            frame = content.index(b"\xff\xc0")
            content[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
        elif suffix == ".png":
            content[16:24] = struct.pack(">II", side, side)
            content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        else:
            content[18:26] = struct.pack("<ii", side, side)
        path.write_bytes(content)
    case = _case(numbers, materials, work, path, f"{suffix} that claims {side:,} x {side:,}")
    # Alone it cannot be used; among sound images it is left out.
    alone = case.words[0] in ("augmentations", "search")
    return replace(case, codes=(2,) if alone else case.codes)


def decompression_bomb(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """A whole, truly large image that compresses to little."""
    side = numbers.choice((5_000, 10_000))
    path = work / "bomb.png"
    Image.new("L", (side, side)).save(path)
    return _case(numbers, materials, work, path, f"{side:,} x {side:,} of nothing")


def palette(numbers: random.Random, materials: Materials, work: Path) -> Case:
    pixels = draw(1, 40) % 8
    path = write_scene(work / "palette.tif", pixels, crs=None, transform=None)
    entries = numbers.choice((1, 8, 256))
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {n: (n * 20 % 256, 255 - n, n, 255) for n in range(entries)})
    return _case(numbers, materials, work, path, f"a colour table of {entries}")


def metadata(numbers: random.Random, materials: Materials, work: Path) -> Case:
    stream = io.BytesIO()
    image = Image.fromarray(draw(3, 40).transpose(1, 2, 0).copy())
    what = numbers.choice(("EXIF", "ICC", "text", "comment"))
    if what == "EXIF":
        image.save(stream, "JPEG", exif=b"Exif\0\0" + numbers.randbytes(200))
    elif what == "ICC":
        image.save(stream, "JPEG", icc_profile=numbers.randbytes(300))
    elif what == "comment":
        image.save(stream, "JPEG", comment=numbers.randbytes(60_000))
    else:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("x", "y" * 3_000_000, zip=True)
        image.save(stream, "PNG", pnginfo=info)
    path = work / ("odd.png" if what == "text" else "odd.jpg")
    path.write_bytes(stream.getvalue())
    return _case(numbers, materials, work, path, f"odd {what}")


def several_damaged(numbers: random.Random, materials: Materials, work: Path) -> Case:
    folder = materials.copy("images", work)
    paths = sorted(folder.rglob("*.png"))
    chosen = numbers.sample(paths, numbers.choice((2, 12, len(paths) - 1, len(paths))))
    for path in chosen:
        damage(path, numbers)
    words = ["pretrain", "images", "--out", "new", *settings()]
    if numbers.random() < 0.5:
        words = ["datasets", "--check", "images"]
    return Case(words, f"{len(chosen)} of {len(paths)} images damaged")


DRAWS = (
    damaged_image,
    damaged_image,
    damaged_image,
    wrong_suffix,
    odd_mode,
    odd_type,
    odd_values,
    odd_size,
    huge_header,
    decompression_bomb,
    palette,
    metadata,
    several_damaged,
)
