"""Benchmarks measure what they say, at sizes that take seconds."""

import json
import runpy
import sys
from pathlib import Path

import adaptation
import numpy as np
import pytest
import search
import torch
from augment import bench_augment
from command_line import draw_folder
from PIL import Image
from pil_pipeline import PaperImages
from pretrain import bench_pretrain
from table import Row, in_turn, text

from rs_otl.augment.operations import OPERATIONS
from rs_otl.errors import InputError
from rs_otl.recipe import make_recipe


def test_contestants_take_turns():
    calls = []
    found = in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=2)
    assert calls == ["a", "b"] * 3
    assert set(found) == {"a", "b"}


def test_rows_are_shown_as_a_table():
    shown = text([Row("one", 1234.56, 2.0), Row("two", 1.0, None)])
    assert shown.splitlines()[2:] == ["| one | 1,234.6 | 2.00 |", "| two | 1.0 |  |"]


def test_the_papers_views_are_of_its_shape_and_differ(tmp_path):
    files = sorted(draw_folder(tmp_path).rglob("*.png"))
    images = PaperImages(files, 32, 3, (0.5,) * 3, (0.2,) * 3)
    views, index = images[5]
    assert views.shape == (3, 3, 32, 32)
    assert views.dtype == torch.float32
    assert index == 5
    assert len(torch.unique(views.flatten(1), dim=0)) == 3
    assert len(OPERATIONS) == 14


def test_views_and_decoding_are_measured_beside_pils(tmp_path):
    rows = bench_augment(str(draw_folder(tmp_path)), 16, images=4, rounds=1)
    assert rows[0].ratio == 1
    assert all(row.rate > 0 for row in rows)
    assert {row.name for row in rows} >= {"decode", "strong views, 8-bit", "simple views"}


def test_an_epoch_is_measured_beside_the_papers_and_torchgeos(tmp_path, recwarn):
    values = {"dataset": str(draw_folder(tmp_path)), "clusters": 4, "batch_size": 16}
    values |= {"image_size": 32, "views": 2, "augment": "strong"}
    values |= {"encoder": "test_resnet", "precision": "float32"}
    rows = bench_pretrain(make_recipe(values, "here"), images=32, rounds=1)
    share, reached = rows[-2].rate, rows[-1].rate
    assert 0 < share < 100
    assert 0 < reached < 200
    assert rows[0].ratio == 1
    assert rows[2].name == "rs-otl, whole epoch, 2 strong views"


def test_a_script_prints_json(tmp_path, monkeypatch, capsys):
    path = Path(__file__).parents[2] / "benchmarks" / "augment.py"
    words = [draw_folder(tmp_path), "--size", 16, "--images", 2, "--rounds", 1, "--json"]
    monkeypatch.setattr(sys, "argv", [str(path), *map(str, words)])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(path), run_name="__main__")
    assert not left.value.code
    assert json.loads(capsys.readouterr().out)[0]["ratio"] == 1


@pytest.mark.parametrize(
    ("option", "wrong", "expected"),
    [
        ("images", "own,owm", "'owm': expected own or all"),
        ("frozen", "resnet18,resnet-18", "'resnet-18': expected the name of a timm model"),
        ("adapted", "", "'': expected the name of a timm model"),
        ("sizes", "128,64px", "'64px': expected a number of pixels"),
        ("sets", "synthetik,synthetic", "synthetik"),
        ("recipe", "adopt", "adopt"),
        ("overrides", ["epoch=1"], "epoch"),
    ],
)
def test_a_wrong_word_of_the_comparison_is_refused_before_it_begins(
    tmp_path, option, wrong, expected
):
    words = {"sets": "synthetic", "sizes": "32", "out": tmp_path / "out"} | {option: wrong}
    with pytest.raises(InputError, match=expected):
        adaptation.main(**words)
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize("last", [1, 49, 50, 51])
def test_exact_search_takes_a_last_block_of_any_size(monkeypatch, last):
    monkeypatch.setattr(search, "BLOCK", 80)
    count, queries = 160 + last, search.drawn(10**6, 3, 16)
    rows = search.unit(np.concatenate(list(search.blocks(count, 16))))
    nearest = np.argsort(-(search.unit(queries) @ rows.T), axis=1)[:, : search.TOP]
    np.testing.assert_array_equal(search.exact(count, 16, queries), nearest)


def test_what_pil_cannot_read_is_refused(tmp_path):
    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match="8-bit RGB image files"):
        bench_augment(str(tmp_path), 16)
    with pytest.raises(InputError, match="8-bit RGB image files"):
        bench_augment("synthetic@4", 16)
    recipe = make_recipe({"dataset": str(draw_folder(tmp_path / "rgb"))}, "here")
    with pytest.raises(InputError, match="48 images for batches of 128"):
        bench_pretrain(recipe)
