"""The race of methods, at toy size."""

import csv
import itertools
import json
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from command_line import draw_folder
from geo_scenes import draw, write
from lightning.pytorch import Trainer
from PIL import Image
from typer.testing import CliRunner

from rs_otl.bench.contenders import Contender
from rs_otl.bench.methods import METHODS, Result, paired_seeds, race
from rs_otl.cli import app
from rs_otl.errors import InputError
from rs_otl.recipe import Recipe

_SIZE = [
    option
    for key in (
        "encoder=test_resnet",
        "image_size=32",
        "epochs=2",
        "clusters=4",
        "batch_size=16",
        "hidden=32",
        "precision=float32",
    )
    for option in ("--set", key)
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("images"))


def _race(images, out, *options):
    command = ["bench", "methods", str(images), "--seeds", "1", *_SIZE, "--out", str(out)]
    return CliRunner().invoke(app, [*command, *options])


def test_every_method_trains_and_is_judged_on_the_same_images(images, tmp_path):
    result = _race(images, tmp_path, "--set", "local_views=1", "--set", "local_size=16")
    assert result.exit_code == 0, result.output
    with (tmp_path / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == list(METHODS)
    for row in rows:
        assert 0.1 < float(row["knn"]) <= 1, row
    weights = {json.loads((tmp_path / f"{name}-0.json").read_text())["seconds"] for name in METHODS}
    assert len(weights) == len(METHODS)
    made = json.loads((tmp_path / "otl-0.json").read_text())
    (spread,) = made["spread"].values()
    assert spread["rank"] >= 1
    drawn = np.asarray(Image.open(tmp_path / "race.png").convert("L"))
    assert drawn.std() > 10

    again = _race(images, tmp_path, "--set", "local_views=1", "--set", "local_size=16", "--json")
    for made in json.loads(again.stdout):  # nothing is made again
        kept = json.loads((tmp_path / f"{made['method']}-0.json").read_text())
        assert made == kept


def test_rates_are_chosen_on_training_images_and_time_is_shared(images, tmp_path):
    options = ("--methods", "otl,simclr", "--sweep", "0.01,1", "--budget", "time")
    result = _race(images, tmp_path, *options)
    assert result.exit_code == 0, result.output
    paths = (tmp_path / "otl.json", tmp_path / "simclr.json")
    otl, simclr = (json.loads(path.read_text()) for path in paths)
    assert list(simclr["knn"]) == ["0.0006", "0.06"]
    made = json.loads((tmp_path / "simclr-0.json").read_text())
    assert made["lr"] == float(max(simclr["knn"], key=simclr["knn"].get))
    expected = round(2 * otl["epoch_seconds"] / simclr["epoch_seconds"])
    assert made["epochs"] == max(1, expected)


def test_another_race_and_what_is_none_are_refused(images, tmp_path):
    wrong = _race(images, tmp_path, "--methods", "otl,barlow")
    assert isinstance(wrong.exception, InputError)
    assert "expected names from otl, diet" in str(wrong.exception)
    with pytest.raises(InputError, match="seeds = 0: expected at least 1"):
        race(Recipe(dataset="synthetic"), ["otl"], tmp_path, seeds=0)
    assert not list(tmp_path.iterdir())
    wrong = _race(images, tmp_path, "--methods", "simclr", "--set", "views=3")
    assert "views = 3: the other methods compare two views" in str(wrong.exception)
    keys = ("--set", "milestones=[1]", "--set", "milestone_lrs=[0.01]")
    wrong = _race(images, tmp_path, "--methods", "simclr", *keys)
    assert "milestones = [1]: " in str(wrong.exception)
    assert "--set milestones=[] --set milestone_lrs=[]" in str(wrong.exception)
    wrong = _race(images, tmp_path, "--set", "supervised=true")
    assert "methods that train without labels from random weights" in str(wrong.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "expected"), [("bands=['9']", "--bands 9"), ("units=toa", "can be read")]
)
def test_images_are_read_as_the_recipe_says(key, expected, images, tmp_path):
    wrong = _race(images, tmp_path / "race", "--methods", "otl", "--set", key)
    assert expected in str(wrong.exception)
    assert not (tmp_path / "race").exists()


def test_further_images_have_the_same_bands(images, tmp_path):
    for number in range(2):
        (tmp_path / f"four/class{number}").mkdir(parents=True)
        pixels = draw(40, 40, 4, seed=number).astype(np.uint8)
        write(tmp_path / f"four/class{number}/0.tif", pixels)
    wrong = _race(images, tmp_path / "race", "--methods", "otl", "--also", str(tmp_path / "four"))
    assert "expected those of" in str(wrong.exception)
    assert not (tmp_path / "race").exists()


def test_further_images_are_scaled_as_those_that_are_trained_on(images, tmp_path, monkeypatch):
    for name, high in (("dim", 900), ("bright", 9000)):
        for number in range(2):
            folder = tmp_path / name / f"class{number}"
            folder.mkdir(parents=True)
            for image in range(4):
                pixels = draw(40, 40, seed=10 * number + image, high=high).astype(np.uint16)
                write(folder / f"{image}.tif", pixels, names=("red", "green", "blue"))
    bounds = []

    def evaluate(encoder, images, *_, **__):
        bounds.append(images.spec.bounds)
        if len(bounds) == 2:
            raise InputError("enough")
        return mock.MagicMock()

    monkeypatch.setattr("rs_otl.bench.methods.evaluate", evaluate)
    options = ("--methods", "simclr", "--also", str(tmp_path / "bright"), "--set", "batch_size=4")
    assert str(_race(tmp_path / "dim", tmp_path / "out", *options).exception) == "enough"
    assert bounds[0] == bounds[1]


def test_the_epoch_that_is_timed_is_not_the_first_which_compiles(images, tmp_path, monkeypatch):
    ends = itertools.accumulate(itertools.chain([0, 100], itertools.cycle([0, 1])))
    monkeypatch.setattr("rs_otl.bench.methods.time", SimpleNamespace(perf_counter=ends.__next__))
    options = ("--methods", "otl", "--budget", "time", "--set", "epochs=1")
    assert _race(images, tmp_path, *options).exit_code == 0
    assert json.loads((tmp_path / "otl.json").read_text())["epoch_seconds"] == 1
    assert json.loads((tmp_path / "otl-0.json").read_text())["epochs"] == 1


@pytest.mark.parametrize(
    ("precision", "trainers"), [("float32", "32-true"), ("bf16", "bf16-mixed")]
)
def test_all_train_in_the_precision_of_the_recipe(
    images, tmp_path, monkeypatch, precision, trainers
):
    seen = []

    def make(**settings):
        seen.append(settings["precision"])
        return Trainer(**settings)

    monkeypatch.setattr("rs_otl.bench.methods.Trainer", make)
    options = ("--methods", "otl,moco", "--set", "epochs=1", "--set", f"precision={precision}")
    assert _race(images, tmp_path, *options).exit_code == 0
    assert seen == [trainers] * 2


def test_no_method_has_labels_in_its_batches(images, tmp_path, monkeypatch):
    keys = set()
    training_step = Contender.training_step

    def step(self, batch, batch_idx):
        keys.update(batch)
        return training_step(self, batch, batch_idx)

    monkeypatch.setattr(Contender, "training_step", step)
    assert _race(images, tmp_path, "--methods", "moco", "--set", "epochs=1").exit_code == 0
    assert keys == {"image", "index"}


@pytest.mark.parametrize("dataset", ["x", "data/x", "/data/x", "x@100"])
def test_results_lie_in_runs(dataset, monkeypatch):
    folders = []

    def race(recipe, methods, out, **_):
        folders.append(str(out))
        raise InputError("enough")

    monkeypatch.setattr("rs_otl.bench.methods.race", race)
    CliRunner().invoke(app, ["bench", "methods", dataset, "--budget", "time"])
    assert folders == [f"runs/methods/{dataset.rpartition('/')[2]}-time"]


def test_the_difference_of_methods_is_that_of_images_over_seeds():
    def results(*shares):
        generator = np.random.default_rng(1)
        return [
            Result(
                method="m",
                seed=seed,
                lr=1,
                epochs=1,
                seconds=1,
                correct={"d": {"knn": (generator.random(1000) < share).tolist()}},
                few_shot={},
                curve=(),
            )
            for seed, share in enumerate(shares)
        ]

    one, other = results(0.8, 0.9), results(0.6, 0.7)
    difference, low, high = paired_seeds(one, other, "d")
    exact = np.mean([run.score("d", "knn") for run in one]) - np.mean(
        [run.score("d", "knn") for run in other]
    )
    assert difference == pytest.approx(exact)
    assert low < 0.2 < high
    assert 0.03 < high - low < 0.15
    assert paired_seeds(one, one, "d") == (0, 0, 0)
