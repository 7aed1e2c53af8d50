"""Scenes that say more of themselves than a transform and a CRS, and other formats."""

import warnings

import numpy as np
import rasterio
from geo_scenes import PLACES, draw
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

UTM = PLACES["utm"]


def create(path, pixels, place=UTM, say=None, driver="GTiff", mask=None, **profile):
    """Write a raster; ``say`` gets the open file to tell more of it."""
    crs, transform = place if place else (None, None)
    if crs is not None:
        profile["crs"] = crs
    if transform is not None:
        profile["transform"] = transform
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path,
                "w",
                driver=driver,
                count=len(pixels),
                height=pixels.shape[1],
                width=pixels.shape[2],
                dtype=pixels.dtype,
                **profile,
            ) as file,
        ):
            if say is not None:
                say(file)
            file.write(pixels)
            if mask is not None:
                file.write_mask(mask)
    return path


def points(place, pixels, height=128, width=160, side=3):
    """Ground control points on a lattice; ``place`` gives x and y of column and row."""
    return [
        GroundControlPoint(row, column, *place(column, row), 0.0)
        for row in np.linspace(0, height, side)
        for column in np.linspace(0, width, side)
    ]


def rpcs(height=128, width=160, **changes):
    """RPCs of a camera that looks straight down, about 3 m a pixel."""
    zeros = [0.0] * 16
    values = {
        "height_off": 100.0,
        "height_scale": 500.0,
        "lat_off": 50.0,
        "lat_scale": 0.002,
        "long_off": 15.0,
        "long_scale": 0.004,
        "line_off": height / 2,
        "line_scale": height / 2,
        "samp_off": width / 2,
        "samp_scale": width / 2,
        "line_num_coeff": [0.0, 0.0, -1.0, 0.0, *zeros],
        "line_den_coeff": [1.0, 0.0, 0.0, 0.0, *zeros],
        "samp_num_coeff": [0.0, 1.0, 0.05, 0.0, *zeros],
        "samp_den_coeff": [1.0, 0.0, 0.0, 0.0, *zeros],
        "err_bias": None,
        "err_rand": None,
    }
    return RPC(**values | changes)


def with_points(path, place, crs="EPSG:32633", pixels=None, chosen=None, **profile):
    pixels = draw(128, 160).astype(np.uint8) if pixels is None else pixels
    lattice = chosen or points(place, *pixels.shape[1:])

    def say(file):
        file.gcps = (lattice, CRS() if crs is None else CRS.from_user_input(crs))

    return create(path, pixels, None, say, **profile)


def palette(path, pixels=None, entries=10, transparent=(), gcps=None, place=UTM, **profile):
    """Write one band of indices of colours; return the colours."""
    if pixels is None:
        pixels = (draw(128, 160, bands=1) * entries / 256).astype(np.uint8)
    table = {
        value: (
            25 * value % 256,
            255 - 20 * value % 256,
            97 * value % 256,
            0 if value in transparent else 255,
        )
        for value in range(entries)
    }

    def say(file):
        file.colorinterp = (ColorInterp.palette,)
        file.write_colormap(1, table)
        if gcps is not None:
            file.gcps = gcps

    create(path, pixels, place, say, photometric="palette", **profile)
    colours = np.array([table[value][:3] for value in range(entries)], np.uint8)
    return colours[pixels[0]].transpose(2, 0, 1)
