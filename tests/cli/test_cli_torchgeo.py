"""Pretraining on a data set of torchgeo's by its name."""

import json

import numpy as np
import pytest
from command_line import rs_otl_here, settings
from PIL import Image


@pytest.fixture
def resisc45(tmp_path):
    """A root with 40 images of RESISC45 in torchgeo's layout, 32 of them in its train split."""
    generator = np.random.default_rng(0)
    names = []
    for number in range(40):
        image_class = ("airplane", "wetland")[number % 2]
        names.append(f"{image_class}_{number:03}.jpg")
        path = tmp_path / "NWPU-RESISC45" / image_class / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 128, (40, 40, 3)) + 120 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (tmp_path / "resisc45-train.txt").write_text("\n".join(names[:32]) + "\n")
    return tmp_path


def test_pretrain_on_a_torchgeo_data_set(resisc45, tmp_path):
    run = tmp_path / "run"
    rs_otl_here(
        *("pretrain", "torchgeo/RESISC45", *settings("epochs=1", "batch_size=8")),
        *("--root", resisc45, "--out", run),
    )
    images = json.loads((run / "imagery.json").read_text())
    assert (images["dataset"], images["images"]) == ("torchgeo/RESISC45", 32)
    assert (run / "encoder" / "model.safetensors").is_file()
    error = rs_otl_here("pretrain", "torchgeo/RESISK45", "--root", resisc45, check=2).stderr
    # After the line that names the recipe.
    _, line = error.splitlines()
    assert line.startswith("rs-otl: torchgeo has no classification data set 'RESISK45': did you")
    assert "RESISC45" in line
