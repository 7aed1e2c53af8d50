"""The code and the commands on the pages work."""

import re
import shlex
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import rasterio
import torch
import typer
import yaml
from PIL import Image

from rs_otl.cli import app
from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder
from rs_otl.recipe import Recipe
from rs_otl.spec import PAPER_MEAN, PAPER_STD, RGB, EncoderConfig, ImageSpec

REPOSITORY = Path(__file__).resolve().parent.parent
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.M | re.S)


def commands(page):
    lines = "".join(blocks(page, "console")).replace("\\\n", " ").splitlines()
    parsed = (shlex.split(line, comments=True) for line in lines)
    return [words[1:] for words in parsed if words[:1] == ["rs-otl"]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_is_one_that_the_program_understands(page):
    group = typer.main.get_command(app)
    own = {"--help", "--install-completion", *(name for one in group.params for name in one.opts)}
    for words in commands(page):
        if words[0].startswith("-"):
            assert words[0] in own
            continue
        with group.make_context("rs-otl", words[:1], resilient_parsing=True) as context:
            command = group.get_command(context, words[0])
            assert command, words
            command.make_context(words[0], words[1:], parent=context).close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://doi.org/") or (page.parent / target).exists(), target


def _made_up_data(root):
    """Write a few images of a data set that the pages name, in its real layout."""
    random = np.random.default_rng(0)
    for name in CATALOGUE["ucmerced"].classes:
        folder = root / "UCMerced_LandUse" / "Images" / name
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = random.integers(0, 255, (32, 32, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{number:02}.tif")


def _made_up_scene(path):
    """Write a GeoTIFF with the bands of the encoder."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 70, 100)).astype(np.uint8)
    transform = rasterio.transform.from_origin(10, 50, 0.001, 0.001)
    with rasterio.open(
        path, "w", "GTiff", 100, 70, 4, "EPSG:4326", transform, dtype="uint8"
    ) as scene:
        scene.descriptions = (*RGB, "nir")
        scene.write(pixels)


def _encoder(directory, recipe, bands, onnx=False):
    """Export the encoder that a recipe would train, untrained."""
    keys = yaml.safe_load((REPOSITORY / "recipes" / "pretrain" / f"{recipe}.yaml").read_text())
    spec = ImageSpec(
        bands=bands,
        units="8-bit counts",
        scale=255,
        resolution=None,
        mean=(0.5,) * len(bands),
        std=(0.2,) * len(bands),
    )
    name = keys["encoder"]
    config = EncoderConfig(encoder=name, image_size=32, spec=spec, dataset=recipe, epochs=1)
    export_encoder(Encoder(create_encoder(name, len(bands)), config), directory, onnx=onnx)


# rasterio's own use of affine.
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
# The tensors of EfficientNets have timm's names only in encoders that will go.
@pytest.mark.filterwarnings("ignore:`timm-` encoders are deprecated:DeprecationWarning")
# torchgeo's tasks have a validation step; the pages that train them do not use it.
@pytest.mark.filterwarnings("ignore:You defined a `validation_step`:UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_python_snippet_runs(page, tmp_path, monkeypatch):
    snippets = blocks(page, "python")
    if not snippets:
        pytest.skip("no Python on this page")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RS_OTL_DATA", str(tmp_path))
    _made_up_data(tmp_path)
    _made_up_scene(tmp_path / "scene.tif")
    onnx = "model.onnx" in page.read_text()
    _encoder(tmp_path / "my_encoder", "synthetic", (*RGB, "nir"), onnx=onnx)
    _encoder(tmp_path / "runs" / "pretrain" / "aid" / "encoder", "aid", RGB)
    names = {"mean": PAPER_MEAN, "std": PAPER_STD, "images": torch.rand(4, 3, 73, 73)}
    with mock.patch.dict(CATALOGUE):
        for snippet in snippets:
            exec(compile(snippet, page.name, "exec"), names)
            for name, shape in re.findall(r"^(\w+) = .*# \(([\d, ]+)\)", snippet, re.M):
                assert str(tuple(names[name].shape)) == f"({shape})"


def test_the_page_of_recipes_names_every_key():
    page = (REPOSITORY / "docs" / "recipes.md").read_text()
    keys = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]*)\|", page, re.M))))
    assert set(Recipe.model_fields) <= keys
