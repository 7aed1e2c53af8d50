"""Encoders exported once for all tests of exports."""

import pytest
import torch

from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import EncoderConfig, ImageSpec

RECIPE = {"dataset": "aid", "lr": 0.03, "milestones": [3], "init": None}


def describe(encoder="resnet18", bands=("red", "green", "blue", "nir"), dataset="aid", size=64):
    spec = ImageSpec(
        bands=bands,
        units="8-bit counts",
        scale=255,
        resolution="0.5-8",
        mean=(0.4,) * len(bands),
        std=(0.2,) * len(bands),
    )
    return EncoderConfig(encoder=encoder, image_size=size, spec=spec, dataset=dataset, epochs=3)


@pytest.fixture(scope="session")
def described():
    """Return a function that makes the description of an encoder."""
    return describe


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """A ResNet-18 of four bands, its description, and the directory with all there can be."""
    directory = tmp_path_factory.mktemp("export") / "my_encoder"
    encoder = create_encoder("resnet18", 4, seed=5).eval()
    encoder.to(memory_format=torch.channels_last)  # as training leaves it
    export_encoder(Encoder(encoder, describe()), directory, RECIPE, onnx=True)
    return encoder, describe(), directory


@pytest.fixture(scope="session")
def lite(tmp_path_factory):
    """The same of an EfficientNet of thirteen bands, without ONNX."""
    directory = tmp_path_factory.mktemp("lite") / "my_encoder"
    config = describe("tf_efficientnet_lite0", tuple(f"B{band}" for band in range(13)), size=32)
    encoder = create_encoder(config.encoder, 13, seed=6).eval()
    export_encoder(Encoder(encoder, config), directory)
    return encoder, config, directory


@pytest.fixture(scope="session")
def images():
    images = torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last)
