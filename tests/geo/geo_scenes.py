"""Small scenes in several CRS, and small encoders."""

import warnings

import numpy as np
import rasterio
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning

from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import RGB, EncoderConfig, ImageSpec, Quantity

# From metres and degrees to a scene that lies askew, one with rows going up, and none at all.
PLACES = {
    "utm": ("EPSG:32633", Affine(10, 0, 400_000, 0, -10, 5_000_000)),
    "web mercator": ("EPSG:3857", Affine(0.6, 0, 1_432_185.3, 0, -0.6, 453_302.1)),
    "degrees": ("EPSG:4326", Affine(0.0015, 0, -106.0566, 0, -0.0015, 40.6197)),
    "rotated": ("EPSG:32633", Affine(8, 3, 400_000, 3, -8, 5_000_000)),
    "south up": ("EPSG:32633", Affine(10, 0, 400_000, 0, 10, 5_000_000)),
    "no CRS": (None, Affine.identity()),
}


def draw(height, width, bands=3, seed=0, high=255):
    """Blobs of their own texture and colour, so that tiles differ."""
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, high, (bands, -(-height // 16), -(-width // 16)))
    shapes = coarse.repeat(16, axis=1).repeat(16, axis=2)[:, :height, :width]
    return np.clip(shapes + random.normal(0, high / 10, shapes.shape), 0, high)


def write(path, pixels, place="utm", nodata=None, names=None, mask=None, **profile):
    crs, transform = PLACES[place]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=len(pixels),
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=pixels.dtype,
            crs=crs,
            transform=transform,
            nodata=nodata,
            **profile,
        ) as file:
            file.write(pixels)
            if names:
                file.descriptions = names
            if mask is not None:
                file.write_mask(mask)
    return path


def make_encoder(
    folder,
    bands=RGB,
    units="8-bit counts",
    scale=255.0,
    architecture="test_resnet",
    quantity=Quantity.COUNTS,
):
    spec = ImageSpec(
        bands=bands,
        units=units,
        scale=scale,
        quantity=quantity,
        resolution=None,
        mean=tuple(0.3 + 0.05 * number for number in range(len(bands))),
        std=(0.25,) * len(bands),
    )
    config = EncoderConfig(encoder=architecture, image_size=32, spec=spec, dataset="made", epochs=1)
    export_encoder(Encoder(create_encoder(architecture, len(bands)), config), folder)
    return folder
