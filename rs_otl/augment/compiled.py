"""Views of 8-bit images on the CPU, compiled.

A simple view equals that of ``views.SimpleViews`` in float32, except for rounding. It takes two
passes over its pixels, because contrast needs their mean.

A strong view has PIL's arithmetic, to the bit: it stays 8-bit until it is normalised.
Operations that map levels (autocontrast, equalize, solarize, posterize, contrast, brightness)
are composed into one table per band. The table is applied in the next step that touches every
pixel anyway: a warp, a blend or the end.
Warps stay separate: each takes the nearest pixel, so one warp instead of two would show other
pixels.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.augment.operations import OPERATIONS
from rs_otl.compiling import compiled

_KINDS = {name: kind for kind, name in enumerate(OPERATIONS)}
_AUTOCONTRAST = _KINDS["autocontrast"]
_EQUALIZE = _KINDS["equalize"]
_SOLARIZE = _KINDS["solarize"]
_POSTERIZE = _KINDS["posterize"]
_COLOR = _KINDS["color"]
_CONTRAST = _KINDS["contrast"]
_BRIGHTNESS = _KINDS["brightness"]
_SHARPNESS = _KINDS["sharpness"]
_ROTATE = _KINDS["rotate"]
_SHEAR_X = _KINDS["shear_x"]
_SHEAR_Y = _KINDS["shear_y"]
_TRANSLATE_X = _KINDS["translate_x"]
_TRANSLATE_Y = _KINDS["translate_y"]

Array = NDArray[Any]


def simple_views(
    images: Tensor,
    crops: Tensor,
    factors: Tensor,
    grey: Tensor,
    size: int,
    weights: Tensor,
    mean: Tensor,
    std: Tensor,
) -> Tensor:
    """Make simple views of 8-bit images, the images shared among torch's number of threads.

    Args:
        images: (n, C, S, S), uint8.
        crops: (n, 2, 3), float32, in any of the eight orientations.
        factors: (n, 3), float32, of brightness, contrast and saturation.
        grey: (n,), bool: which images lose their colour.
        size: Side of the views in pixels.
        weights: (C,), share of each band in grey.
        mean: (C,), mean of each band in [0, 1].
        std: (C,), standard deviation of each band.

    Returns:
        (n, C, size, size), float32, normalised, in the channels-last layout.
    """
    n, bands = images.shape[:2]
    views = np.empty((n, size, size, bands), np.float32)
    shares, middle, spread = (tensor.flatten().numpy() for tensor in (weights, mean, std))
    arrays = [tensor.contiguous().numpy() for tensor in (images, crops, factors, grey)]

    def make(rows: slice) -> None:
        part = [array[rows] for array in arrays]
        _simple(part[0], part[1], part[2], part[3], shares, middle, spread, views[rows])

    _share_among_threads(n, make)
    return torch.from_numpy(views).permute(0, 3, 1, 2)


def strong_views(
    images: Tensor,
    crops: Tensor,
    kinds: Tensor,
    values: Tensor,
    holes: Tensor,
    size: int,
    weights: Tensor,
    mean: Tensor,
    std: Tensor,
) -> Tensor:
    """Make strong views of 8-bit images, the images shared among torch's number of threads.

    Args:
        images: (n, C, S, S), uint8.
        crops: (n, 2, 3), float32, in any of the eight orientations.
        kinds: (n, steps), int64 positions in ``OPERATIONS``.
        values: (n, steps), float32.
        holes: (n, 4), int64: left, top, right and lower edge.
        size: Side of the views in pixels.
        weights: (C,), share of each band in grey.
        mean: (C,), mean of each band in [0, 1].
        std: (C,), standard deviation of each band.

    Returns:
        (n, C, size, size), float32, normalised, in the channels-last layout.
    """
    n, bands = images.shape[:2]
    views = np.empty((n, size, size, bands), np.float32)
    # PIL's own fixed point for the luminance of RGB.
    shares = (weights.double() * 65536).round().long().numpy()
    levels = torch.arange(256)[:, None] / 255
    normal = ((levels - mean.flatten()) / std.flatten()).T.contiguous().numpy()
    arrays = [tensor.contiguous().numpy() for tensor in (images, crops, kinds, values, holes)]

    def make(rows: slice) -> None:
        part = [array[rows] for array in arrays]
        _strong(part[0], part[1], part[2], part[3], part[4], shares, normal, views[rows])

    _share_among_threads(n, make)
    return torch.from_numpy(views).permute(0, 3, 1, 2)


def _share_among_threads(n: int, make: Callable[[slice], None]) -> None:
    """Share n images among as many threads as torch has."""
    threads = min(torch.get_num_threads(), n)
    if threads < 2:
        make(slice(n))
        return
    bounds = np.linspace(0, n, threads + 1).astype(int)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(make, map(slice, bounds[:-1], bounds[1:])))


@compiled(nogil=True)
def _simple(
    images: Array,
    crops: Array,
    factors: Array,
    grey: Array,
    weights: Array,
    mean: Array,
    std: Array,
    views: Array,
) -> None:
    n, bands = images.shape[:2]
    size = views.shape[1]
    pixels = np.empty((bands, size, size), np.float32)
    luminance = np.empty(size, np.float32)
    for i in range(n):
        by_brightness, by_contrast, by_color = factors[i]
        _crop_bright(images[i], crops[i], by_brightness, pixels)
        total = 0.0
        for y in range(size):
            _luminance(pixels, weights, y, luminance)
            total += luminance.sum()
        middle = np.float32(total / (size * size))
        for y in range(size):
            for band in range(bands):
                row = pixels[band, y]
                for x in range(size):
                    row[x] = _mixed(middle, row[x], by_contrast)
            _luminance(pixels, weights, y, luminance)
            for band in range(bands):
                row = pixels[band, y]
                for x in range(size):
                    row[x] = _mixed(luminance[x], row[x], by_color)
            if grey[i]:
                _luminance(pixels, weights, y, luminance)
                for band in range(bands):
                    pixels[band, y] = luminance
            for band in range(bands):
                row = pixels[band, y]
                for x in range(size):
                    views[i, y, x, band] = (row[x] - mean[band]) / std[band]


@compiled(nogil=True)
def _crop_bright(image: Array, crop: Array, factor: Any, out: Array) -> None:
    """Sample bilinearly in any orientation, borders repeated, and scale, in [0, 1]."""
    bands, height, width = image.shape
    size = out.shape[1]
    turned = crop[0, 0] == 0.0  # then the image's columns are the view's rows
    along, extent, side = (1, crop[1, 0], height) if turned else (0, crop[0, 0], width)
    first = np.empty(size, np.int64)
    second = np.empty(size, np.int64)
    share = np.empty(size, np.float32)
    for x in range(size):
        first[x], second[x], share[x] = _between(extent, crop[along, 2], x, size, side)
    extent, side = (crop[0, 1], width) if turned else (crop[1, 1], height)
    scale = np.float32(factor / 255)
    above = np.empty(size, np.float32)
    for y in range(size):
        upper, lower, down = _between(extent, crop[1 - along, 2], y, size, side)
        for band in range(bands):
            lines = image[band].T if turned else image[band]
            for line, to in ((lines[upper], above), (lines[lower], out[band, y])):
                for x in range(size):
                    left = np.float32(line[first[x]])
                    to[x] = left + share[x] * (np.float32(line[second[x]]) - left)
            row = out[band, y]
            for x in range(size):
                level = (above[x] + down * (row[x] - above[x])) * scale
                row[x] = min(max(level, np.float32(0)), np.float32(1))


@compiled(nogil=True)
def _luminance(pixels: Array, weights: Array, y: int, out: Array) -> None:
    """Write the grey levels of a row."""
    out[:] = 0
    for band in range(pixels.shape[0]):
        row = pixels[band, y]
        for x in range(len(out)):
            out[x] += weights[band] * row[x]


@compiled(nogil=True)
def _mixed(other: Any, level: Any, factor: Any) -> Any:
    mixed = other + factor * (level - other)
    return min(max(mixed, np.float32(0)), np.float32(1))


@compiled(nogil=True)
def _strong(
    images: Array,
    crops: Array,
    kinds: Array,
    values: Array,
    holes: Array,
    shares: Array,
    normal: Array,
    views: Array,
) -> None:
    n, bands = images.shape[:2]
    size = views.shape[1]
    pixels = np.empty((bands, size, size), np.uint8)
    other = np.empty((bands, size, size), np.uint8)
    table = np.empty((bands, 256), np.uint8)
    step = np.empty((bands, 256), np.uint8)
    counts = np.empty((bands, 256), np.int64)
    for i in range(n):
        _crop(images[i], crops[i], pixels)
        _clear(table)
        counted = False
        for j in range(kinds.shape[1]):
            kind, value = kinds[i, j], values[i, j]
            if kind in (_AUTOCONTRAST, _EQUALIZE):
                if not counted:
                    _count(pixels, counts)
                    counted = True
                for band in range(bands):
                    if kind == _AUTOCONTRAST:
                        _autocontrast(counts[band], table[band], step[band])
                    else:
                        _equalize(counts[band], table[band], step[band])
                _compose(table, step)
            elif kind in (_SOLARIZE, _POSTERIZE):
                _threshold(kind, value, step)
                _compose(table, step)
            elif kind in (_BRIGHTNESS, _CONTRAST):
                level = 0
                if kind == _CONTRAST:
                    level = _mean_grey(pixels, table, shares)
                    counted = False
                for v in range(256):
                    step[:, v] = _blend(level, v, value)
                _compose(table, step)
            elif kind == _COLOR:
                _color(pixels, table, shares, value)
                counted = False
            elif kind == _SHARPNESS:
                _sharpen(pixels, table, value, other)
                pixels, other = other, pixels
                counted = False
            elif kind >= _ROTATE:
                _warp(pixels, table, kind, value, other)
                pixels, other = other, pixels
                counted = False
        _finish(pixels, table, normal, holes[i], views[i])


@compiled(nogil=True)
def _crop(image: Array, crop: Array, out: Array) -> None:
    """Sample bilinearly in any orientation, borders repeated, to the nearest level."""
    bands, height, width = image.shape
    size = out.shape[1]
    left = np.empty(size, np.int64)
    right = np.empty(size, np.int64)
    across = np.empty(size, np.float32)
    for x in range(size):
        left[x], right[x], across[x] = _between(crop[0, 0] + crop[0, 1], crop[0, 2], x, size, width)
    for y in range(size):
        upper, lower, down = _between(crop[1, 0] + crop[1, 1], crop[1, 2], y, size, height)
        for band in range(bands):
            above, below, row = image[band, upper], image[band, lower], out[band, y]
            for x in range(size):
                first = np.float32(above[left[x]])
                first += across[x] * (np.float32(above[right[x]]) - first)
                second = np.float32(below[left[x]])
                second += across[x] * (np.float32(below[right[x]]) - second)
                row[x] = np.uint8(first + down * (second - first) + np.float32(0.5))
    if crop[0, 0] == 0.0:  # a quarter turn: the image's columns are the view's rows
        for band in range(bands):
            out[band] = out[band].T.copy()


@compiled(nogil=True)
def _between(extent: Any, centre: Any, x: int, size: int, side: int) -> Any:
    """Return the two pixels that a point of the view lies between, and how far it lies."""
    place = np.float32((2 * x + 1) / size - 1)
    at = ((extent * place + centre + 1) * side - 1) / 2
    at = min(max(at, 0.0), side - 1.0)
    low = int(at)
    return low, min(low + 1, side - 1), np.float32(at - low)


@compiled(nogil=True)
def _clear(table: Array) -> None:
    for band in range(table.shape[0]):
        for v in range(256):
            table[band, v] = v


@compiled(nogil=True)
def _compose(table: Array, step: Array) -> None:
    for band in range(table.shape[0]):
        for v in range(256):
            table[band, v] = step[band, table[band, v]]


@compiled(nogil=True)
def _count(pixels: Array, counts: Array) -> None:
    """Count the levels of each band, in four counters: one would wait for its last addition."""
    part = np.empty((4, 256), np.int32)
    for band in range(pixels.shape[0]):
        part[:] = 0
        flat = pixels[band].reshape(-1)
        end = len(flat) - len(flat) % 4
        for i in range(0, end, 4):
            part[0, flat[i]] += 1
            part[1, flat[i + 1]] += 1
            part[2, flat[i + 2]] += 1
            part[3, flat[i + 3]] += 1
        for i in range(end, len(flat)):
            part[0, flat[i]] += 1
        for v in range(256):
            counts[band, v] = part[0, v] + part[1, v] + part[2, v] + part[3, v]


@compiled(nogil=True)
def _autocontrast(counts: Array, table: Array, step: Array) -> None:
    low, high = 255, 0
    for v in range(256):
        if counts[v]:
            low = min(low, int(table[v]))
            high = max(high, int(table[v]))
    for v in range(256):
        if high <= low:
            step[v] = v
        else:
            scale = 255.0 / (high - low)
            step[v] = min(max(int(v * scale - low * scale), 0), 255)


@compiled(nogil=True)
def _equalize(counts: Array, table: Array, step: Array) -> None:
    seen = np.zeros(256, np.int64)
    for v in range(256):
        seen[table[v]] += counts[v]
    total, kinds, brightest = 0, 0, 0
    for v in range(256):
        if seen[v]:
            total += seen[v]
            kinds += 1
            brightest = v
    width = (total - seen[brightest]) // 255
    passed = width // 2
    for v in range(256):
        if kinds <= 1 or width == 0:
            step[v] = v
        else:
            step[v] = min(passed // width, 255)
            passed += seen[v]


@compiled(nogil=True)
def _threshold(kind: int, value: float, step: Array) -> None:
    keep = 255 & ~((1 << (8 - int(value))) - 1) if kind == _POSTERIZE else 255
    for v in range(256):
        step[:, v] = v & keep if kind == _POSTERIZE or v < value else 255 - v


@compiled(nogil=True)
def _blend(other: Any, level: Any, factor: Any) -> Any:
    # Cut, not rounded, as in PIL.
    mixed = np.float32(other) + np.float32(factor) * np.float32(level - other)
    return np.uint8(np.int32(mixed))


@compiled(nogil=True)
def _look_up(pixels: Array, table: Array) -> None:
    if _is_plain(table):
        return
    for band in range(pixels.shape[0]):
        levels, flat = table[band], pixels[band].reshape(-1)
        for i in range(len(flat)):
            flat[i] = levels[flat[i]]


@compiled(nogil=True)
def _grey(pixels: Array, shares: Array, y: int, grey: Array) -> None:
    """Write the grey levels of a row, int32."""
    grey[:] = 32768
    for band in range(pixels.shape[0]):
        share, row = np.int32(shares[band]), pixels[band, y]
        for x in range(len(grey)):
            grey[x] += share * np.int32(row[x])
    for x in range(len(grey)):
        grey[x] >>= 16


@compiled(nogil=True)
def _mean_grey(pixels: Array, table: Array, shares: Array) -> int:
    size = pixels.shape[1]
    _look_up(pixels, table)
    _clear(table)
    grey = np.empty(size, np.int32)
    total = 0
    for y in range(size):
        _grey(pixels, shares, y, grey)
        total += grey.sum()
    return int(total / (size * size) + 0.5)


@compiled(nogil=True)
def _color(pixels: Array, table: Array, shares: Array, factor: float) -> None:
    size = pixels.shape[1]
    _look_up(pixels, table)
    _clear(table)
    grey = np.empty(size, np.int32)
    for y in range(size):
        _grey(pixels, shares, y, grey)
        for band in range(pixels.shape[0]):
            row = pixels[band, y]
            for x in range(size):
                row[x] = _blend(grey[x], np.int32(row[x]), factor)


@compiled(nogil=True)
def _sharpen(pixels: Array, table: Array, factor: float, out: Array) -> None:
    bands, size, _ = pixels.shape
    _look_up(pixels, table)
    _clear(table)
    sums = np.empty(size, np.int32)
    for band in range(bands):
        now = pixels[band]
        out[band, 0] = now[0]
        out[band, size - 1] = now[size - 1]
        for y in range(1, size - 1):
            above, row, below, to = now[y - 1], now[y], now[y + 1], out[band, y]
            for x in range(size):
                sums[x] = np.int32(above[x]) + np.int32(row[x]) + np.int32(below[x])
            to[0] = row[0]
            to[size - 1] = row[size - 1]
            for x in range(1, size - 1):
                level = np.int32(row[x])
                nearby = sums[x - 1] + sums[x] + sums[x + 1] + np.int32(4) * level
                # For sums of 8-bit levels this equals (2 nearby + 13) // 26.
                smooth = (np.int32(2) * nearby + np.int32(13)) * np.int32(20165) >> np.int32(19)
                to[x] = _blend(smooth, level, factor)


@compiled(nogil=True)
def _is_plain(table: Array) -> bool:
    for band in range(table.shape[0]):
        for v in range(256):
            if table[band, v] != v:
                return False
    return True


@compiled(nogil=True)
def _fixed(value: float) -> int:
    return math.floor(value * 65536.0 + 0.5)


@compiled(nogil=True)
def _warp(pixels: Array, table: Array, kind: int, value: float, out: Array) -> None:
    """Take the nearest pixel, black outside, in PIL's fixed point of 16 bits."""
    bands, size, _ = pixels.shape
    a = e = 1.0
    b = c = d = f = 0.0
    if kind == _ROTATE:
        angle = -math.radians(value)
        a, b, d, e = math.cos(angle), math.sin(angle), -math.sin(angle), math.cos(angle)
        half = size / 2
        c, f = half - a * half - b * half, half - d * half - e * half
    elif kind == _SHEAR_X:
        b = value
    elif kind == _SHEAR_Y:
        d = value
    elif kind == _TRANSLATE_X:
        c = math.floor(value * size + 0.5)
    else:
        f = math.floor(value * size + 0.5)
    right, rightdown = _fixed(a), _fixed(d)
    down, downright = _fixed(e), _fixed(b)
    plain = _is_plain(table)
    column, line = _fixed(c + a * 0.5 + b * 0.5), _fixed(f + d * 0.5 + e * 0.5)
    for y in range(size):
        u, v = column, line
        if rightdown == 0 and right == 65536:
            # The row is a piece of one row of the input.
            shift, source = u >> 16, v >> 16
            first, last = min(max(-shift, 0), size), max(min(size - shift, size), 0)
            if source < 0 or source >= size:
                first, last, source = size, size, 0
            for band in range(bands):
                levels, to, row = table[band], out[band, y], pixels[band, source]
                to[:first] = 0
                to[last:] = 0
                if plain:
                    to[first:last] = row[first + shift : last + shift]
                else:
                    for x in range(first, last):
                        to[x] = levels[row[x + shift]]
        else:
            for x in range(size):
                column_in, line_in = u >> 16, v >> 16
                if 0 <= column_in < size and 0 <= line_in < size:
                    for band in range(bands):
                        out[band, y, x] = table[band, pixels[band, line_in, column_in]]
                else:
                    for band in range(bands):
                        out[band, y, x] = 0
                u += right
                v += rightdown
        column += downright
        line += down
    _clear(table)


@compiled(nogil=True)
def _finish(pixels: Array, table: Array, normal: Array, hole: Array, out: Array) -> None:
    bands, size, _ = pixels.shape
    last = np.empty((bands, 256), np.float32)
    for band in range(bands):
        for v in range(256):
            last[band, v] = normal[band, table[band, v]]
    for y in range(size):
        for x in range(size):
            for band in range(bands):
                out[y, x, band] = last[band, pixels[band, y, x]]
    for y in range(max(hole[1], 0), min(hole[3], size)):
        for x in range(max(hole[0], 0), min(hole[2], size)):
            out[y, x] = 0.0
