"""Encoders on folders of other bands: evaluated on theirs, started from with another layer."""

import json
import shutil

import numpy as np
import pytest
import torch
from command_line import rs_otl_here, settings, undrawn
from geo_scenes import draw, make_encoder, write

from rs_otl.datasets import load_dataset
from rs_otl.errors import InputError
from rs_otl.models import adapted_weights, create_encoder, load_encoder
from rs_otl.spec import UNITS, Quantity

S2 = ("B02", "B03", "B04")


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with undrawn():
        yield


def chips(folder, names, dtype="uint16", images=12, high=6000):
    """Two classes of chips."""
    for number in range(2):
        (folder / f"class{number}").mkdir(parents=True)
        for image in range(images):
            pixels = draw(
                40, 40, 4 if names is None else len(names), seed=100 * number + image, high=high
            )
            write(folder / f"class{number}" / f"{image:02}.tif", pixels.astype(dtype), names=names)
    return folder


@pytest.fixture
def sentinel(tmp_path):
    return make_encoder(
        tmp_path / "e", S2, UNITS[Quantity.TOA], 10_000, "test_resnet", Quantity.TOA
    )


def test_the_first_layer_is_adapted_band_by_band():
    encoder = create_encoder("resnet18", 3)
    weights = adapted_weights(encoder, [2, None, 0], "mine")
    old, new = encoder.conv1.weight, weights["conv1.weight"]
    assert torch.equal(new[:, 0], old[:, 2])
    assert torch.equal(new[:, 2], old[:, 0])
    torch.testing.assert_close(new[:, 1], old.mean(1))
    create_encoder("resnet18", 3).load_state_dict(weights)
    assert torch.equal(weights["bn1.weight"], encoder.bn1.weight)


def test_an_encoder_takes_its_own_bands_of_a_folder(sentinel, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = chips(tmp_path / "chips", ("red", "nir", "green", "blue"))
    encoder = load_encoder(sentinel)
    images = load_dataset(str(folder), 37, like=encoder.config.spec)
    assert images.spec.bounds == (0, 10_000)
    positions = encoder.bands_among(images.spec)
    assert positions == [3, 2, 0]
    said = capsys.readouterr().err
    assert "B02 = blue, B03 = green, B04 = red by common name" in said
    assert "taken as top-of-atmosphere reflectance x 10,000" in said
    picked = images.of_bands(positions, encoder.config.spec)
    np.testing.assert_array_equal(picked.images([3]), images.images([3])[:, positions])
    done = rs_otl_here("evaluate", "e", "--on", "chips", cwd=tmp_path)
    assert "kNN" in done.stdout
    line = rs_otl_here(
        "evaluate", "e", "--on", "chips", "--units", "surface", "--out", "x", check=2, cwd=tmp_path
    ).stderr.splitlines()[-1]
    assert "top-of-atmosphere" in line
    assert "--units" in line


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (None, {"bands": "red,green,blue,nir", "units": "toa"}),
        (("red", "green", "blue", "nir"), {"units": "toa", "scale": "0.00001"}),
    ],
)
def test_a_transfer_is_evaluated_on_the_values_that_it_is_trained_on(names, said, tmp_path):
    chips(tmp_path / "chips", names)
    bands = ("red", "green", "blue", "nir")
    make_encoder(tmp_path / "e", bands, UNITS[Quantity.TOA], 1.0, "test_resnet", Quantity.TOA)
    keys = [f"{key}={f'[{value}]' if key == 'bands' else value}" for key, value in said.items()]
    quick = settings("epochs=1", "views=2", "augment=simple", *keys)
    rs_otl_here("transfer", "--from", "e", "--to", "chips", "--out", "run", *quick, cwd=tmp_path)
    options = [word for key, value in said.items() for word in (f"--{key}", value)]
    rs_otl_here("evaluate", "e", "--on", "chips", "--out", "alone", *options, cwd=tmp_path)
    reports = [
        json.loads((tmp_path / out / "evaluation.json").read_text())["encoders"]
        for out in ("run", "alone")
    ]
    frozen, alone = reports[0][1], reports[1][0]
    assert frozen["encoder"] == "source, frozen"
    for score in ("knn", "linear", "linear_standardised"):
        assert frozen[score] == alone[score]


def test_init_from_other_bands_is_said_and_what_has_none_refused(sentinel, tmp_path):
    chips(tmp_path / "chips", ("red", "nir", "green", "blue"))
    quick = settings("epochs=1", "views=2", "augment=simple", "encoder=test_resnet")
    done = rs_otl_here(*("pretrain", "chips", "--init", "e", "--out", "run", *quick), cwd=tmp_path)
    assert "first layer for the bands B02, B03, B04 is adapted to red, nir, green" in done.stderr
    assert "nir by the mean of all" in done.stderr
    spec = load_encoder(tmp_path / "run").config.spec
    assert spec.bands == ("red", "nir", "green", "blue")
    assert spec.mean[3] == load_encoder(sentinel).config.spec.mean[0]
    chips(tmp_path / "radar", ("VV", "VH"))
    line = rs_otl_here(
        *("pretrain", "radar", "--init", "e", "--out", "no", *quick), check=2, cwd=tmp_path
    ).stderr.splitlines()[-1]
    assert "expected at least one of these; name" in line


def test_catalogues_say_themselves_what_they_are(tmp_path):
    with pytest.raises(InputError, match="--units are for folders"):
        load_dataset("synthetic", 16, bands=["red"])


def test_features_that_are_kept_are_of_the_same_bands_in_the_same_order(sentinel, tmp_path):
    chips(tmp_path / "chips", names=None)

    def evaluated(bands):
        command = ("evaluate", "e", "--on", "chips", "--units", "toa", "--bands", bands)
        with undrawn():
            return rs_otl_here(*command, "--overwrite", "--json", cwd=tmp_path).stdout

    evaluated("red,green,blue,nir")
    kept = evaluated("nir,red,green,blue")
    shutil.rmtree(tmp_path / "runs" / "features")
    assert kept == evaluated("nir,red,green,blue")
