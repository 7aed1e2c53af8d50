"""A small scene and a small encoder."""

from pathlib import Path

import numpy as np
import pytest
from geo_scenes import draw, make_encoder, write

from rs_otl.models import Encoder, load_encoder


@pytest.fixture
def scene(tmp_path) -> Path:
    """150 x 101 pixels in UTM, so that neither side is a multiple of a stride of 16."""
    return write(tmp_path / "scene.tif", draw(101, 150).astype(np.uint8))


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "encoder")


@pytest.fixture(scope="session")
def encoder(encoder_folder) -> Encoder:
    return load_encoder(encoder_folder)
