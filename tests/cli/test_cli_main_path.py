"""The true command line, from a folder of images to an encoder that timm loads."""

import csv
import json
import subprocess
import sys
from unittest import mock

import numpy as np
import pytest
import rasterio
import timm
import torch
import yaml
from command_line import draw_folder, rs_otl, rs_otl_here, settings
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images with everything wrong that a pile from the field has."""
    folder = draw_folder(tmp_path_factory.mktemp("cli") / "field")
    with Image.open(folder / "class0" / "00.png") as image:
        image.save(folder / "class0" / "whole.jpg")
    whole = (folder / "class0" / "whole.jpg").read_bytes()
    (folder / "class1" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "class1" / "zero.jpg").write_bytes(b"")
    (folder / "class2" / "text.jpg").write_text("no image at all")
    deep = np.random.default_rng(1).integers(0, 9000, (3, 40, 40)).astype(np.uint16)
    with (
        pytest.warns(NotGeoreferencedWarning),
        rasterio.open(
            folder / "class2" / "deep.tif", "w", width=40, height=40, count=3, dtype="uint16"
        ) as file,
    ):
        file.write(deep)
    return folder


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    """A finished run and what pretraining printed."""
    directory = tmp_path_factory.mktemp("cli-run") / "run"
    done = rs_otl("pretrain", folder, "--out", directory, "--json", *settings("epochs=2"))
    assert json.loads(done.stdout) == {"run": str(directory), "encoder": f"{directory}/encoder"}
    return directory, done.stderr


def test_pretraining_names_what_it_left_out_and_uses_the_rest(run):
    directory, stderr = run
    account = json.loads((directory / "imagery.json").read_text())
    assert set(account["left_out"]) == {
        "class1/truncated.jpg",
        "class1/zero.jpg",
        "class2/text.jpg",
    }
    # 48 drawn, the JPEG copy and the 16-bit one.
    assert account["images"] == account["train"] + account["test"] == 50
    for path, reason in account["left_out"].items():
        assert f"{path}: {reason}" in stderr
    assert "trained without 3 files" in stderr.splitlines()[-1]


def test_a_single_file_that_is_left_out_is_one_file(tmp_path):
    folder = draw_folder(tmp_path / "field")
    (folder / "class0" / "text.jpg").write_text("no image at all")
    run = tmp_path / "run"
    said = rs_otl_here("pretrain", folder, "--out", run, *settings("epochs=1")).stderr
    assert "trained without 1 file that could not be used" in said
    rs_otl_here("report", run, "-o", run / "report.html")
    assert "1 file left out: class0/text.jpg" in (run / "report.html").read_text()


def test_a_run_is_a_directory_with_all_it_promises(run):
    directory, _ = run
    expected = {"recipe.yaml", "imagery.json", "checkpoints", "metrics.csv", "tensorboard"}
    assert {path.name for path in directory.iterdir()} >= expected | {"figures", "encoder"}
    recipe = yaml.safe_load((directory / "recipe.yaml").read_text())
    assert (recipe["epochs"], recipe["clusters"], recipe["precision"]) == (2, 6, "float32")
    with (directory / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["loss"]) > 0 for row in rows)
    assert 0 <= float(rows[1]["knn"]) <= 1
    for name in ("loss", "evenness", "labels", "knn"):
        assert _width(directory / "figures" / f"{name}.png") > 400
    assert not list(directory.rglob(".*"))


def test_an_existing_run_is_not_overwritten(run, folder):
    done = rs_otl_here("pretrain", folder, "--out", run[0], check=2)
    assert "holds a run already" in done.stderr
    assert done.stderr.count("\n") == 2  # the recipe's name, then the error


def test_evaluation_writes_table_json_and_figures(run, folder, tmp_path):
    directory, _ = run
    done = rs_otl("evaluate", directory, "--on", folder)
    assert "untrained" in done.stdout
    assert "k = 10" in done.stdout
    report = json.loads((directory / "evaluation.json").read_text())
    assert 0 <= report["encoders"][0]["knn"]["10"]["accuracy"] <= 1
    assert {row["n_test"] for row in report["encoders"]} == {10}
    for name in ("confusion", "per_class", "mistakes"):
        assert _width(directory / "figures" / f"{name}.png") > 300
    assert "--overwrite" in rs_otl_here("evaluate", directory, "--on", folder, check=2).stderr
    rs_otl_here("evaluate", directory, "--on", folder, "--shots", "1", "--overwrite")
    again = json.loads((directory / "evaluation.json").read_text())
    assert [few["shots"] for few in again["encoders"][0]["few_shot"]] == [1]
    assert [row["knn"] for row in again["encoders"]] == [row["knn"] for row in report["encoders"]]
    rs_otl_here("export", directory, "--to", tmp_path / "judged")
    accuracy = 100 * report["encoders"][0]["knn"]["10"]["accuracy"]
    assert f"| field | kNN, k = 10 | {accuracy:.1f} |" in (
        tmp_path / "judged" / "README.md"
    ).read_text(encoding="utf-8")


def test_export_prints_the_lines_that_load_it(run, tmp_path):
    done = rs_otl("export", run[0], "--to", tmp_path / "encoder")
    names: dict = {}
    exec(done.stdout, names)
    assert names["encoder"](torch.rand(1, 3, 32, 32)).shape == (1, 96)
    assert timm.create_model(f"local-dir:{tmp_path / 'encoder'}", pretrained=True)
    again = rs_otl_here("export", run[0], "--to", tmp_path / "encoder", check=2)
    assert "exists already" in again.stderr


def test_another_run_can_start_from_it(run, folder, tmp_path):
    directory = tmp_path / "next"
    arguments = ["--init", run[0], "--out", directory, *settings("epochs=1", "lr=1e-12")]
    rs_otl_here("pretrain", folder, *arguments)
    before, after = (
        torch.cat([*map(torch.flatten, encoder.parameters())])
        for encoder in (
            timm.create_model(f"local-dir:{path}/encoder", pretrained=True)
            for path in (run[0], directory)
        )
    )
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)


def _width(picture):
    with Image.open(picture) as image:
        return image.width


def test_a_flat_pile_without_labels_trains_but_cannot_be_judged(folder, tmp_path):
    pile = tmp_path / "pile"
    pile.mkdir()
    for path in folder.rglob("*.png"):
        (pile / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    run = tmp_path / "run"
    done = rs_otl_here("pretrain", pile, "--out", run, *settings("epochs=1", "clusters=4"))
    assert "kNN" not in done.stderr
    assert not (run / "figures" / "knn.png").exists()
    assert "no labels" in rs_otl_here("evaluate", run, "--on", pile, check=2).stderr


def test_bad_input_is_one_clear_line_and_exit_2(folder, tmp_path):
    for arguments, expected in (
        # Nothing is left behind that would stand in the way of the next try.
        (["pretrain", folder, "--set", "clusters=500"], "--set clusters=5"),
        (
            ["pretrain", folder, *settings("encoder=vit_tiny_patch16_224", "image_size=40")],
            "multiple of 16 pixels",
        ),
        (["pretrain", "patternet"], "patternnet"),
        (["pretrain", "aid", "--set", "cluster=3"], "did you mean 'clusters'"),
        (["pretrain", "aid", "--recipe", "quik"], "quick"),
        (["pretrain", "aid", "--resume", "--out", tmp_path], "no run to resume"),
        (["pretrain", "aid", "--root", tmp_path], f"--root {tmp_path} --download` fetches them"),
        (["evaluate", tmp_path / "none", "--on", "aid"], "expected a run"),
    ):
        done = rs_otl_here(*arguments, check=2, cwd=tmp_path)
        last = done.stderr.splitlines()[-1]
        assert last.startswith("rs-otl: ")
        assert expected in last
        assert not done.stdout
    assert "Traceback" not in done.stderr
    assert "Traceback" in rs_otl_here("--debug", *arguments, check=2, cwd=tmp_path).stderr
    assert not list(tmp_path.iterdir())


def test_help_imports_none_of_the_heavy_libraries():
    code = (
        "import sys, rs_otl.cli\n"
        "heavy = {'torch', 'timm', 'torchgeo', 'lightning', 'matplotlib', 'rasterio'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "pretrain" in rs_otl("--help").stdout


@pytest.mark.parametrize(
    ("room", "names", "unwanted"),
    [
        ("geo", "map tile demo", "torch timm torchgeo lightning matplotlib kornia"),
        ("geo", "view", "torch timm torchgeo lightning matplotlib kornia sklearn scipy.stats"),
        ("runs", "list_runs run_directory", "torch timm torchgeo matplotlib scipy rasterio"),
        ("runs", "evaluate_encoders export_run", "lightning torchmetrics kornia numba sklearn"),
    ],
)
def test_a_command_imports_what_it_needs(room, names, unwanted):
    code = (
        f"import sys\nfrom rs_otl.{room} import {', '.join(names.split())}\n"
        f"found = set({unwanted.split()}) & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor_lists_extras_from_the_installed_metadata(tmp_path):
    requires = [
        "torch>=2",
        "shapely>=2; extra == 'geo'",
        "no-such-package>=1; extra == 'stac'",
        "numpy>=999; extra == 'onnx'",
        "rs-otl[geo,stac]; extra == 'all'",
    ]
    package = {"Provides-Extra": ["geo", "stac", "onnx", "all", "dev"]}
    with (
        mock.patch("rs_otl.cli.doctor.metadata.requires", return_value=requires),
        mock.patch("rs_otl.cli.doctor.metadata.metadata") as read,
    ):
        read.return_value.get_all = package.get
        done = rs_otl_here("doctor", "--json", "--root", tmp_path)
    assert json.loads(done.stdout)["extras"] == {
        "geo": "installed",
        "stac": "missing no-such-package: pip install '.[stac]'",
        "onnx": "missing numpy: pip install '.[onnx]'",
        "all": "missing no-such-package: pip install '.[all]'",
    }


def test_doctor_lists_versions_and_data(tmp_path):
    found = json.loads(rs_otl_here("doctor", "--json", "--root", tmp_path).stdout)
    assert found["versions"]["torch"] == torch.__version__.split("+")[0]
    assert found["problems"] == []
    assert "cpu" in found["devices"]


def test_views_are_drawn(folder, tmp_path):
    image = folder / "class0" / "00.png"
    rs_otl_here("augmentations", image, "-o", tmp_path / "views.png", "--image-size", 32)
    assert _width(tmp_path / "views.png") > 500
    rs_otl_here("augmentations", image, "-o", tmp_path / "views.png", check=2)
