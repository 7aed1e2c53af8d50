"""A chip gives the same features as an image file of a data set and as a tile of a scene."""

import numpy as np
import pytest
import rasterio
import torch
from geo_scenes import draw, make_encoder, write
from PIL import Image

from rs_otl.datasets import load_dataset
from rs_otl.evaluation import extract_features
from rs_otl.geo import embed
from rs_otl.models import Encoder, load_encoder
from rs_otl.spec import load_size


def from_files(encoder: Encoder, folder) -> torch.Tensor:
    dataset = load_dataset(str(folder), load_size(encoder.config.image_size))
    return extract_features(encoder, dataset, range(len(dataset)))


def from_scenes(encoder: Encoder, chips, folder) -> torch.Tensor:
    """Embed each chip as a scene that is one tile."""
    side = chips[0].shape[1]
    features = []
    for number, chip in enumerate(chips):
        path = write(folder / f"scene{number}.tif", chip)
        embed(path, encoder, folder / f"out{number}.tif", tile=side, stride=side)
        with rasterio.open(folder / f"out{number}.tif") as file:
            features.append(torch.from_numpy(file.read()[:, 0, 0]))
    return torch.stack(features)


@pytest.mark.parametrize(("side", "size"), [(32, 32), (73, 64), (100, 64), (150, 48)])
def test_generated_chips(side, size, tmp_path):
    encoder = load_encoder(make_encoder(tmp_path / "encoder"), image_size=size)
    chips = [draw(side, side, seed=seed).astype(np.uint8) for seed in range(4)]
    folder = tmp_path / "images"
    folder.mkdir()
    for number, chip in enumerate(chips):
        Image.fromarray(chip.transpose(1, 2, 0)).save(folder / f"{number}.png")
    files, scenes = from_files(encoder, folder), from_scenes(encoder, chips, tmp_path)
    assert torch.cosine_similarity(files, scenes).min() > 0.999
    # Far nearer than two chips are to each other, once their common part is taken away.
    centre = files.mean(0)
    assert torch.cosine_similarity(files - centre, scenes - centre).min() > 0.99


def test_real_chips(real_data, tmp_path):
    encoder = load_encoder(make_encoder(tmp_path / "encoder"), image_size=64)
    folder = tmp_path / "images"
    folder.mkdir()
    paths = sorted((real_data / "HMHR").rglob("*.jpg"))[::45]
    chips = []
    for number, path in enumerate(paths):
        # Without the loss of a JPEG, whose decoders differ.
        image = Image.open(path).convert("RGB").crop((0, 0, 256, 256))
        image.save(folder / f"{number:02}.png")
        chips.append(np.asarray(image).transpose(2, 0, 1))
    files, scenes = from_files(encoder, folder), from_scenes(encoder, chips, tmp_path)
    assert len(files) >= 12
    assert torch.cosine_similarity(files, scenes).min() > 0.999
