"""Which encoder a name means."""

import os

import pytest
import yaml

from rs_otl.errors import InputError
from rs_otl.runs import find_source
from rs_otl.runs.paths import run_of


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(path, dataset, made, finished=True, **recipe):
    encoder = path / "encoder"
    encoder.mkdir(parents=True)
    (path / "recipe.yaml").write_text(yaml.safe_dump({"dataset": dataset} | recipe))
    (encoder / "model.safetensors").touch()
    os.utime(encoder, (made, made))
    if not finished:
        (encoder / "model.safetensors").unlink()
        encoder.rmdir()


def test_a_data_set_means_its_latest_finished_run_without_labels(place, capsys):
    _run(place / "runs" / "pretrain" / "aid", "aid", made=100)
    _run(place / "runs" / "adapt" / "aid-2", "aid", made=300)
    _run(place / "runs" / "pretrain" / "other", "hmhr", made=400)
    _run(place / "runs" / "supervised" / "aid", "aid", made=500, supervised=True)
    _run(place / "runs" / "pretrain" / "begun", "aid", made=600, finished=False)
    found = find_source("aid")
    assert str(found) == "runs/adapt/aid-2/encoder"
    assert capsys.readouterr().err == "aid: taking its latest run, runs/adapt/aid-2\n"


def test_a_folder_is_known_by_its_name(place):
    _run(place / "runs" / "pretrain" / "field", "../imagery/field", made=1)
    assert find_source("field") == find_source("elsewhere/field")


def test_runs_directories_and_files_are_taken_as_they_are(place, capsys):
    _run(place / "mine", "aid", made=1)
    assert find_source("mine") == find_source("mine/encoder")
    (place / "encoder.pth").touch()
    assert str(find_source("encoder.pth")) == "encoder.pth"
    assert find_source("timm/resnet18") == "timm/resnet18"
    assert not capsys.readouterr().err


def test_what_is_nowhere_is_answered_with_where_it_was_looked_for():
    with pytest.raises(InputError, match=r"'aid': nothing at aid, aid/encoder, and no finished"):
        find_source("aid")


def test_a_run_is_what_an_encoder_lies_in(place):
    _run(place / "mine", "aid", made=1)
    assert run_of(place / "mine" / "encoder") == place / "mine"
    (place / "exported").mkdir()
    assert run_of(place / "exported") == place / "exported"
    (place / "encoder.pth").touch()
    assert run_of(place / "encoder.pth") is None
    assert run_of("timm/resnet18") is None
