"""torchgeo's command line and Lightning's train OTLTask."""

import contextlib
import csv
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import rasterio
import torch
import torchgeo.main
from lightning.pytorch.cli import LightningCLI
from PIL import Image
from rasterio.transform import from_origin
from small_run import small_trainer
from torch.utils.data import DataLoader, Subset
from torchgeo.datamodules import NonGeoDataModule
from torchgeo.datasets import EuroSAT
from torchvision.transforms import v2

from rs_otl import load_encoder
from rs_otl.datasets import IndexedDataset, OTLDataModule
from rs_otl.errors import InputError
from rs_otl.trainers import OTLTask

PROGRAMS = Path(sys.executable).parent
TRAINER = """
seed_everything: 1
trainer:
  max_epochs: 1
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
  logger: {class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: logs, name: ""}}
"""
# The files of docs/recipes.md, at a size for a test.
_PAGE = Path(__file__).parents[2].joinpath("docs/recipes.md").read_text()
OURS, EUROSAT = (
    block.replace("clusters: 128", "clusters: 4")
    .replace("size: 64", "size: 32")
    .replace("model: resnet18", "model: test_resnet")
    .replace("{in_channels", "{model: test_resnet, in_channels")
    .replace("batch_size: 32", "batch_size: 8")
    .replace("trainer: {max_epochs: 30}\n", "")
    .replace("path/to/", "")
    for block in re.findall(r"^```yaml\n(.*?)^```", _PAGE, re.M | re.S)
)


def _run_here(program, folder):
    """Run a command line in this process, which saves the seconds that imports take."""
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ),  # where torchgeo and Lightning set variables
        mock.patch.object(sys, "argv", ["program", "fit", "--config", "otl.yaml"]),
    ):
        program()


def _metrics(folder):
    (path,) = folder.glob("logs/**/metrics.csv")
    metrics = {}
    for row in csv.DictReader(path.read_text().splitlines()):
        metrics |= {name: float(value) for name, value in row.items() if value}
    return metrics


def _draw_folder(folder):
    random = np.random.default_rng(0)
    for number in range(30):
        path = folder / f"class{number % 2}" / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (36, 36, 3), np.uint8)).save(path)


def _draw_eurosat(root):
    """Thirteen bands of 16 bits, in torchgeo's layout."""
    random = np.random.default_rng(0)
    names = [f"{name}_{number}" for name in ("River", "Forest") for number in range(1, 13)]
    for name in names:
        path = root / EuroSAT.base_dir / name.split("_")[0] / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "count": 13, "height": 36, "width": 36, "dtype": "uint16"}
        place = {"crs": "EPSG:32632", "transform": from_origin(5e5, 5e6, 10, 10)}
        with rasterio.open(path, "w", **profile, **place) as file:
            file.write(random.integers(0, 12_000, (13, 36, 36)).astype(np.uint16))
    for split, some in (("train", names[::2] + names[1::4]), ("val", names[3::4])):
        (root / f"eurosat-{split}.txt").write_text("\n".join(f"{name}.jpg" for name in some))


def test_torchgeo_fit_trains_on_our_data_module(tmp_path):
    _draw_folder(tmp_path / "images")
    (tmp_path / "otl.yaml").write_text(TRAINER + OURS)
    done = subprocess.run(
        [PROGRAMS / "torchgeo", "fit", "--config", "otl.yaml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    metrics = _metrics(tmp_path)
    assert metrics["std"] <= metrics["initial_std"]
    assert 0 <= metrics["val_knn"] <= 1
    (checkpoint,) = tmp_path.glob("logs/**/*.ckpt")
    encoder = load_encoder(checkpoint)
    assert encoder.config.image_size == 32
    assert encoder.config.spec.mean != (0, 0, 0)  # the data set's, which the module knows


# torchgeo's own use of jsonargparse.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchgeo_fit_trains_on_torchgeos_own_data_module(tmp_path):
    _draw_eurosat(tmp_path / "eurosat")
    (tmp_path / "otl.yaml").write_text(TRAINER + EUROSAT)
    _run_here(torchgeo.main.main, tmp_path)
    metrics = _metrics(tmp_path)
    assert metrics["std"] <= metrics["initial_std"]
    assert 0 <= metrics["val_knn"] <= 1
    (checkpoint,) = tmp_path.glob("logs/**/*.ckpt")
    saved = torch.load(checkpoint, weights_only=True)
    assert saved["pseudo_labels"]["labels"].shape == (2, 1, 18)
    # The data module's statistics, now after the views.
    assert saved["hyper_parameters"]["mean"][0] == pytest.approx(0.1354, abs=1e-3)


def test_lightning_cli_builds_both_from_yaml(tmp_path):
    _draw_folder(tmp_path / "images")
    config = """
model: {model: test_resnet, clusters: 4, views: 2, size: 32, freeze_batch_norm: false}
data: {dataset: images, size: 32, batch_size: 8, division: 2}
"""
    (tmp_path / "otl.yaml").write_text(TRAINER + config)
    _run_here(partial(LightningCLI, OTLTask, OTLDataModule), tmp_path)
    assert "val_knn" in _metrics(tmp_path)


class _Samples(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, position):
        return {"image": self.images[position]}


def _fit(dataset):
    task = OTLTask("test_resnet", clusters=2, views=2, size=32, augment="simple")
    small_trainer().fit(task, DataLoader(dataset, batch_size=4))
    return task


def test_images_that_are_normalised_already_are_refused():
    with pytest.raises(InputError, match=r"not yet normalised.*scale="):
        _fit(IndexedDataset(_Samples(torch.randn(8, 3, 36, 36))))


def test_an_index_that_is_not_the_position_is_refused_and_indexed_anew():
    part = Subset(IndexedDataset(_Samples(torch.rand(20, 3, 36, 36))), range(10, 18))
    with pytest.raises(InputError, match="IndexedDataset"):
        _fit(part)
    assert _fit(IndexedDataset(part)).pseudo_labels.labels.shape == (2, 1, 8)


def test_augmentations_of_ones_own_get_the_images_as_they_come():
    class Crop(torch.nn.Module):
        def forward(self, images):
            return images[..., :32, :32]

    task = OTLTask("test_resnet", clusters=2, size=32, augmentations=Crop())
    images = IndexedDataset(_Samples(torch.randn(8, 3, 36, 36)))
    small_trainer().fit(task, DataLoader(images, batch_size=4))
    assert "augmentations" not in task.hparams


class _Foreign(NonGeoDataModule):
    """A data module of another author, with statistics of its own."""

    mean, std = torch.full((3,), 100.0), torch.full((3,), 50.0)

    def __init__(self):
        super().__init__(_Samples, batch_size=8)

    def setup(self, stage):
        self.train_dataset = _Samples(255 * torch.rand(16, 3, 36, 36))


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("given", [{}, {"mean": (0.3,) * 3, "std": (0.1,) * 3}])
def test_augmentations_of_ones_own_leave_the_plain_view_as_it_was(tmp_path, given, foreign):
    _draw_folder(tmp_path / "images")
    settings = {"model": "test_resnet", "clusters": 2, "size": 32, "scale": 255} | given
    view = torch.nn.Sequential(v2.ToDtype(torch.float32), v2.CenterCrop(32))
    task = OTLTask(augmentations=view, **settings)
    ours = OTLDataModule(str(tmp_path / "images"), size=32, batch_size=8)
    small_trainer(limit_val_batches=0).fit(task, datamodule=_Foreign() if foreign else ours)
    mean, std = given.get("mean", (0.0,) * 3), given.get("std", (1.0,) * 3)
    assert (task.hparams["mean"], task.hparams["std"]) == (mean, std)
    image = torch.full((1, 3, 32, 32), 0.5)
    torch.testing.assert_close(task.plain_view(image), (image - mean[0]) / std[0])


def test_weights_must_be_of_the_same_encoder(tmp_path):
    started = OTLTask(clusters=2, size=32, seed=5, mean=(0.3,) * 3, std=(0.1,) * 3)
    path = tmp_path / "a.ckpt"
    torch.save(
        {"hyper_parameters": dict(started.hparams), "state_dict": started.state_dict()}, path
    )
    task = OTLTask(clusters=2, size=32, weights=str(path))
    assert torch.equal(task.encoder.conv1.weight, started.encoder.conv1.weight)
    assert task.hparams["mean"] == (0.3,) * 3
    with pytest.raises(InputError, match="in_channels = 3, not 4"):
        OTLTask(clusters=2, size=32, weights=str(path), in_channels=4)


@pytest.mark.parametrize("settings", [{"views": 1}, {"views": 2, "chunks": 4}])
@pytest.mark.parametrize("relabel", ["fresh", "reuse"])
def test_one_image_left_over_does_not_fail_in_batch_normalisation(settings, relabel):
    settings = settings | {"augment": "simple", "relabel": relabel}
    task = OTLTask("test_resnet", clusters=2, size=32, **settings)
    images = IndexedDataset(_Samples(torch.rand(9, 3, 36, 36)))
    small_trainer(2).fit(task, DataLoader(images, batch_size=4, shuffle=True, drop_last=True))
    assert task.pseudo_labels.labels.shape[-1] == 9
