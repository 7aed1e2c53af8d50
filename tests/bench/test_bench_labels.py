"""`rs-otl bench labels`: a benchmark without a bound on time."""

import json
import sys

import numpy as np
import pytest
import torch
from command_line import draw_folder, rs_otl, rs_otl_here, settings
from geo_scenes import draw, write
from PIL import Image

from rs_otl.bench import (
    bench_labels,
    draw_labels,
    encoder_outputs,
    labels_text,
    made_up_outputs,
)
from rs_otl.datasets import load_dataset
from rs_otl.errors import InputError
from rs_otl.models import load_encoder
from rs_otl.spec import Values

SMALL = ["--rows", 3000, "--clusters", 24, "--rounds", 1]


@pytest.mark.parametrize("kind", ["random", "correlated"])
@pytest.mark.parametrize("dtype", ["float32", "bf16", "fp16"])
def test_the_exact_labels_are_the_most_even(kind, dtype):
    outputs = made_up_outputs(kind, 3000, 24, dtype)
    rows = {row.method: row for row in bench_labels(outputs, rounds=1)}
    assert list(rows) == ["argmax", "translation", "translation-paper", "sinkhorn", "kmeans"]
    if dtype == "float32":  # halves have rows on ties
        assert rows["translation"].std == min(row.std for row in rows.values())
    assert rows["argmax"].score == max(row.score for row in rows.values())
    assert rows["argmax"].passes == 1
    assert all(row.seconds > 0 for row in rows.values())
    if sys.platform == "linux":
        assert all(row.memory is not None for row in rows.values() if row.method != "argmax")
    lines = labels_text(list(rows.values())).splitlines()
    assert len(lines) == 2 + len(rows)


def test_made_up_outputs_are_the_same_each_time_and_of_their_kind():
    random = made_up_outputs("random", 500, 40, "float32")
    assert np.linalg.matrix_rank(random.numpy()) == 40
    assert random.equal(made_up_outputs("random", 500, 40, "float32"))
    correlated = made_up_outputs("correlated", 500, 40, "float32")
    assert np.linalg.matrix_rank((correlated - correlated[0]).numpy(), tol=1e-2) == 16


def test_the_command_prints_a_table_or_json():
    done = rs_otl("bench", "labels", *SMALL, "--method", "translation")
    assert done.stdout.startswith("| | std | sizes |")
    printed = json.loads(rs_otl_here("bench", "labels", *SMALL, "--json").stdout)
    assert [row["method"] for row in printed][:2] == ["argmax", "translation"]
    assert printed[1]["least"] == printed[1]["most"] == 125


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "magic"], "expected one of translation"),
        (["--encoder", "aid"], "--encoder and --on go together"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_2(arguments, message):
    assert message in rs_otl_here("bench", "labels", *arguments, check=2).stderr


def test_images_are_read_as_the_encoder_was_trained_on_them(tmp_path, monkeypatch):
    for number in range(2):
        folder = tmp_path / "chips" / f"class{number}"
        folder.mkdir(parents=True)
        for image in range(8):
            pixels = draw(40, 40, 4, seed=10 * number + image, high=5000).astype(np.uint16)
            write(folder / f"{image}.tif", pixels)
    said = ("--bands", "red,green,blue,nir", "--units", "toa", "--scale", "0.0001")
    words = ("chips", *said, *settings("epochs=1", "clusters=4"))
    rs_otl_here("pretrain", *words, "--out", "run", cwd=tmp_path)
    monkeypatch.chdir(tmp_path)
    read = []

    def extract_features(encoder, images, positions):
        read.append(images)
        return torch.zeros(len(positions), 4)

    monkeypatch.setattr("rs_otl.bench.labels.extract_features", extract_features)
    encoder = load_encoder("run")
    encoder_outputs(encoder, "chips", 2)
    assert read[0].spec.bands == encoder.config.spec.bands
    assert read[0].spec.bounds == encoder.config.spec.bounds
    values = Values(scale=0.0001, quantity="toa")
    images = load_dataset("chips", 37, values=values, bands=["red", "green", "blue", "nir"])
    np.testing.assert_array_equal(read[0].images(range(16)), images.images(range(16)))


def test_pictures_are_drawn_of_a_runs_own_outputs_and_never_over_others(tmp_path):
    folder = draw_folder(tmp_path / "images")
    rs_otl_here(
        "pretrain", folder, *settings("epochs=2", "batch_size=8"), "--out", tmp_path / "run"
    )
    arguments = ["--encoder", tmp_path / "run", "--on", folder, "--clusters", 6, "--rounds", 1]
    rs_otl_here("bench", "labels", *arguments, "--plot", tmp_path / "plots")
    for name in ("decay", "clusters", "sinkhorn", "epochs"):
        with Image.open(tmp_path / "plots" / f"{name}.png") as picture:
            assert len(np.unique(np.asarray(picture.convert("L")))) > 10
    with pytest.raises(InputError, match="exists already"):
        draw_labels(made_up_outputs("random", 100, 4, "float32"), tmp_path / "plots")
