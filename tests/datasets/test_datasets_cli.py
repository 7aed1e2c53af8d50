import json

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from rs_otl.cli.datasets import datasets
from rs_otl.datasets.scene import Scene
from rs_otl.errors import InputError

app = typer.Typer()
app.command()(datasets)


def _run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def _json(*arguments):
    return json.loads(_run(*arguments, "--json").stdout)


@pytest.fixture
def hmhr(tmp_path, write_image):
    """A root with a very partial HMHR, one duplicate pair, one broken file."""
    folder = tmp_path / "HMHR/RS Image Dataset"
    pixels = write_image(folder / "Water/Water15.jpg")
    write_image(folder / "Greenbelt/Greenbelt24.jpg", pixels=pixels)
    write_image(folder / "Greenbelt/Greenbelt25.jpg", seed=1)
    (folder / "Water/Water16.jpg").touch()
    return tmp_path


def test_the_list_says_what_is_on_this_disk(hmhr):
    lines = {line.split()[0]: line for line in _run("--root", hmhr).stdout.splitlines()}
    assert "partial" in lines["hmhr"]
    assert lines["aid"].split()[-1] == "no"
    assert lines["synthetic"].split()[-1] == "drawn"
    on_disk = {row["name"]: row["on disk"] for row in _json("--root", hmhr)}
    assert (on_disk["hmhr"], on_disk["aid"]) == ("partial", "no")


def test_one_data_set_in_full(hmhr):
    facts = _json("hmhr", "--root", hmhr)
    assert facts["missing"].startswith("4 of 533 images")
    assert facts["classes"]["Water"] == 101
    text = _run("hmhr", "--root", hmhr).stdout
    assert "Clone github.com/leeguandong" in text
    assert "Water (101)" in text


@pytest.mark.parametrize("named", [True, False])
def test_check_reads_every_file(hmhr, named):
    where = ["hmhr", "--check", hmhr] if named else ["--check", hmhr / "HMHR/RS Image Dataset"]
    facts = _json(*where)
    assert facts["images"] == 3
    assert facts["left out"] == {"Water/Water16.jpg": "empty (0 bytes)"}
    assert facts["duplicates"] == [["Greenbelt/Greenbelt24.jpg", "Water/Water15.jpg"]]
    assert facts["conflicting labels"] == facts["duplicates"]
    assert facts["classes"]["Greenbelt"] == 2
    assert bool(facts["missing"]) == named
    assert "Greenbelt/Greenbelt24.jpg = Water/Water15.jpg" in _run(*where).stdout


def test_scenes_are_checked_by_tiles_of_a_sensible_size_and_number(tmp_path, monkeypatch):
    from geo_scenes import draw, write

    monkeypatch.setattr("rs_otl.datasets.cached._CHECKED_TILES", 40)
    for number in range(5):
        pixels = draw(300 + 300 * (number == 0), 300, seed=number).astype(np.float32)
        write(tmp_path / f"{number}.tif", pixels)
    opened = []
    read = Scene.read
    monkeypatch.setattr(Scene, "read", lambda self, *w: opened.append(w) or read(self, *w))
    result = _run("--check", tmp_path, "--json")
    assert 5 <= json.loads(result.stdout)["images"] <= 40
    assert all((width, height) == (256, 256) for _, _, width, height in opened)
    assert len(opened) < 200
    assert "tiles of 256 pixels from 5 of them" in result.stderr


def test_a_copy_under_another_name_is_listed_and_said(tmp_path, write_image):
    for number, name in enumerate(("airport", "bare land")):
        write_image(tmp_path / "AID_dataset" / name / "a.jpg", seed=number)
    result = _run("aid", "--root", tmp_path, "--json")
    assert json.loads(result.stdout)["folder"] == str(tmp_path / "AID_dataset")
    assert result.stderr == f"aid: 2 of 30 classes found in {tmp_path / 'AID_dataset'}\n"
    on_disk = {row["name"]: row["on disk"] for row in _json("--root", tmp_path)}
    assert {name for name, word in on_disk.items() if word not in ("no", "drawn")} == {"aid"}
    assert _json("aid", "--check", tmp_path)["classes"]["BareLand"] == 1


def test_bad_input_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="did you mean hmhr"):
        _run("hmrh")
    with pytest.raises(InputError, match="no images of AID"):
        _run("aid", "--check", tmp_path)
    with pytest.raises(InputError, match="hmhr cannot be downloaded"):
        _run("hmhr", "--download", "--root", tmp_path)
    assert _run("--download").exit_code == 2
