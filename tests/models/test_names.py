"""Which encoder a name means."""

import os
import re
import shutil

import pytest
import torch
import yaml

from rs_otl.errors import InputError
from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder, load_encoder
from rs_otl.runs.paths import run_of
from rs_otl.spec import RGB, EncoderConfig, ImageSpec

SPEC = ImageSpec(
    bands=RGB, units="8-bit counts", scale=255, resolution=None, mean=(0.5,) * 3, std=(0.2,) * 3
)
CONFIG = EncoderConfig(encoder="resnet18", image_size=32, spec=SPEC, dataset="made", epochs=3)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("names") / "encoder"
    export_encoder(Encoder(create_encoder("resnet18", 3), CONFIG), directory)
    return directory


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def make_run(exported):
    def make(path, dataset, made, finished=True, **recipe):
        path.mkdir(parents=True)
        (path / "recipe.yaml").write_text(yaml.safe_dump({"dataset": dataset} | recipe))
        if finished:
            shutil.copytree(exported, path / "encoder")
            os.utime(path / "encoder", (made, made))

    return make


def test_a_data_set_means_its_latest_finished_run_without_labels(place, make_run, capsys):
    make_run(place / "runs" / "pretrain" / "aid", "aid", made=100)
    make_run(place / "runs" / "adapt" / "aid-2", "aid", made=300)
    make_run(place / "runs" / "pretrain" / "other", "hmhr", made=400)
    make_run(place / "runs" / "supervised" / "aid", "aid", made=500, supervised=True)
    make_run(place / "runs" / "pretrain" / "begun", "aid", made=600, finished=False)
    encoder = load_encoder("aid")
    assert (encoder.source, str(encoder.path)) == ("aid", "runs/adapt/aid-2/encoder")
    assert capsys.readouterr().err == "aid: taking its latest run, runs/adapt/aid-2\n"


def test_a_folder_of_images_is_known_by_its_name(place, make_run):
    make_run(place / "runs" / "pretrain" / "field", "../images/field", made=1)
    assert load_encoder("field").path == load_encoder("elsewhere/field").path


@pytest.mark.parametrize(
    "recipe",
    [
        b"lr: [1, 2",
        bytes(range(256)),
        b"lr: !!python/object:os.system {}",
        b"began: 2026-13-45",
        b"- aid",
        b"",
        b"dataset: " + 5000 * b"[",
        b"dataset: " + 5000 * b"9",
    ],
    ids=["half", "binary", "tag", "date", "list", "empty", "deep", "number"],
)
def test_a_broken_run_is_named_and_hides_no_other(recipe, place, make_run, capsys):
    make_run(place / "runs" / "pretrain" / "aid", "aid", made=100)
    make_run(place / "runs" / "pretrain" / "broken", "aid", made=200)
    (place / "runs" / "pretrain" / "broken" / "recipe.yaml").write_bytes(recipe)
    assert str(load_encoder("aid").path) == "runs/pretrain/aid/encoder"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    named = r"skipped a run: runs/pretrain/broken/recipe\.yaml(, line \d+)?(, key '\w+')?: "
    assert re.match(named, said[0])


def test_runs_directories_and_files_are_taken_as_they_are(place, make_run, capsys):
    make_run(place / "mine", "aid", made=1)
    for name in ("mine", "mine/encoder", "mine/encoder/model.safetensors"):
        assert str(load_encoder(name).path) == "mine/encoder"
    loaded = load_encoder(place / "mine" / "encoder" / "encoder.pth")
    assert loaded.path == place / "mine" / "encoder" / "encoder.pth"
    assert torch.equal(loaded.module.conv1.weight, load_encoder("mine").module.conv1.weight)
    assert not capsys.readouterr().err


def test_what_is_nowhere_is_answered_with_where_it_was_looked_for():
    with pytest.raises(InputError, match=r"'aid': nothing at aid or aid/encoder, and no finished"):
        load_encoder("aid")


def test_a_run_is_what_an_encoder_lies_in(place):
    assert run_of(place / "mine" / "encoder") == place / "mine"
    assert run_of(place / "exported") == place / "exported"
    (place / "encoder.pth").touch()
    assert run_of(place / "encoder.pth") is None
    assert run_of(None) is None
