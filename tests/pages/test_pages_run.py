"""Every command on every page runs: page by page, in order, at toy size, in this process.

What a page does in hours is shortened by words put at the end of its command (:func:`shorter`): its
own words are read all the same, in their order. Data sets are drawn in their real layouts, and what
a page takes for granted lies in the folder that its commands run in.
"""

import contextlib
import dataclasses
import glob
import os
import re
import runpy
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from unittest import mock

import campaign
import geopandas
import ideas
import numpy as np
import pytest
import rasterio
import rasterio.warp
import shellingham
import table
import timm
import torch
from command_line import TINY, draw_folder, rs_otl, rs_otl_here, settings, undrawn
from geo_scenes import draw, write
from layouts import OFFICIAL
from PIL import Image
from random_weights import put_into_cache, shallow
from torch.distributed.run import get_args_parser as torchrun_options
from torchgeo_files import shallow_torchgeo, write_weights

from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.evaluation.linear import fit_linear, linear_predict
from rs_otl.geo import drawing
from rs_otl.models.known import torchgeo_entries
from rs_otl.reproduce import encoders as reproduced
from rs_otl.reproduce import labels as reproduced_labels
from rs_otl.reproduce.published import ENCODER_TABLES

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = {
    path.name: path
    for path in (
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")),
        *sorted((REPOSITORY / "docs").glob("*.md")),
    )
}
# Pages whose commands of rs-otl another test runs, and checks what they print.
ELSEWHERE = {
    "tutorial-map.md": "geo/test_geo_tutorial.py",
    "explore.md": "geo/test_geo_tutorial.py",
    "tutorial-archive.md": "geo/test_geo_tutorial.py",
    "tutorial-adapt.md": "test_tutorials.py",
    "tutorial-sentinel-2.md": "test_tutorials.py",
    "sensors.md": "geo/test_sensors_page.py",
    "archive.md": "geo/test_archive.py",
}
# Lines that cannot run here, why, and the test that does the same where there is one.
NOT_RUN = {
    "python3 -m venv .venv": "makes an environment; test_wheel.py makes one",
    ". .venv/bin/activate": "changes the reader's shell",
    "pytest tests/reliability": "is a part of this suite",
    "rs-otl export runs/pretrain/synthetic --push-to-hub me/my_encoder": (
        "needs the hub; cli/test_cli_hub.py publishes to a server that answers as it does"
    ),
    "rs-otl reproduce table-10 --scale paper --devices auto": (
        "takes GPUs for days; reproduce/test_reproduce.py holds its recipes against the paper's"
    ),
    "torchgeo fit --config otl.yaml": "trainers/test_torchgeo_fit.py runs it, with the page's file",
    "python benchmarks/tutorial_archive.py . --figures figures": (
        "draws the page's pictures; geo/test_geo_tutorial.py judges the same maps and changes"
    ),
    "rs-otl embed archive --dask tcp://10.0.0.1:8786": (
        "needs Dask's scheduler; geo/test_remote_archive.py starts one"
    ),
}
# Data sets that the pages take for granted: of each two classes of so many images (20 shots need
# 25), of those with test images of their own so many in each split.
IMAGES = 26
EUROSAT = ("AnnualCrop", "SeaLake")
BANDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8a", "B9", "B10", "B11", "B12")
FOLDERS = {
    "aid": "AID",
    "hmhr": "HMHR/RS Image Dataset",
    "siri-whu": "Google dataset of SIRI-WHU_earth_im_tiff/12class_tif",
    "ucmerced": "UCMerced_LandUse/Images",
    "patternnet": "PatternNet/images",
    "cifar10": "cifar10/train",
}
DINO2, DINO3 = "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"


def lines(page):
    """Return the commands of a page, in order, as its blocks have them."""
    blocks = re.findall(r"^```(?:console|bash|sh)\n(.*?)^```", page.read_text(), re.M | re.S)
    found = "".join(blocks).replace("\\\n", " ").splitlines()
    return [
        part.strip()
        for line in found
        for part in re.sub(r"(^|\s)#.*", "", line).split(" && ")
        if part.strip()
    ]


def shorter(words):
    """Return the words to put at the end of a command of rs-otl that takes long.

    One epoch of few small images, a small encoder where the page names none; one process. Of
    options given twice the last counts.
    """
    more = ()
    own = {word.partition("=")[0] for word in words}
    sizes = [each for each in (*TINY, "views=2", "hidden=16") if each.split("=")[0] not in own]
    if {"adapt", "synthetic"} & set(words):  # from weights that the recipe or the page names
        sizes = [
            each for each in sizes if not each.startswith(("encoder=", "clusters=", "hidden="))
        ]
        if any(word.startswith("runs/pretrain/aid") for word in words):  # of the run drawn here
            sizes.append("encoder=test_resnet")
    if any(word.startswith("clusters=") for word in words):  # more than there are images
        sizes.append("clusters=6")
    toy = [word for each in (*sizes, "epochs=1") for word in ("--set", each)]
    trains = words[0] in ("pretrain", "transfer") and not {"--resume", "--frozen"} & set(words)
    if trains and "torchgeo" not in words:
        more = toy
    if "--devices" in words and words[0] == "pretrain":
        more = (*more, "--devices", "1", *(("--nodes", "1") if "--nodes" in words else ()))
    if words[0] == "evaluate":  # of a page's evaluations some are alternatives
        own_size = any("Weights" in word for word in words)
        size = () if "--image-size" in words or own_size else ("--image-size", "32")
        more = ("--overwrite", *size)
    if words[0] == "reproduce" and "--seeds" in words:
        more = ("--seeds", "1")
    if words[:2] == ["bench", "labels"]:
        more = ("--rows", "600", "--clusters", "6", "--rounds", "1")
    if words[:2] == ["bench", "methods"]:
        smallest = (*TINY, "views=2", "hidden=16", "epochs=1")  # whatever the page says
        small = [word for each in smallest for word in ("--set", each)]
        sweep = ("--sweep", "1") if "--sweep" in words else ()
        more = ("--seeds", "1", "--methods", "otl,simclr", *sweep, *small)
    return more


def script(path, words):
    """Run a script of the repository in this process, at its smallest sizes."""
    name = Path(path).name
    plain = () if "--stride" in words else ("--plain-pixels", "256")
    more = {
        "augment.py": ("--images", "2", "--rounds", "1", "--size", "16"),
        "pretrain.py": ("--images", "8", *settings("batch_size=4", "views=2", "clusters=4")),
        "adaptation.py": (
            *("--sets", "hmhr,ucmerced", "--sizes", "32", "--divisions", "1", "--set", "epochs=1"),
            *("--frozen", "tf_efficientnet_lite0"),
        ),
        "tuning.py": ("--images", "2", "--image-size", "32", "--rounds", "1"),
        "embed.py": ("--pixels", "256", *plain),
    }
    if name == "campaign.py":  # its cases run in reliability/test_campaign.py
        with (
            mock.patch.object(campaign, "run_many", return_value=[]),
            mock.patch.object(sys, "argv", [path, *words]),
            pytest.raises(SystemExit),
        ):
            campaign.main()
        return
    if name == "ideas.py":  # those that the package's own trainings do not have
        smallest = "clusters=6 batch_size=8 epochs=1 "
        small = {
            idea: tuple(
                smallest + re.sub(r"(clusters|batch_size|epochs)=\d+", "", keys)
                for keys in ideas.IDEAS[idea]
            )
            for idea in list(ideas.IDEAS)[4:]
        }
        words += ["--encoder", "test_resnet", "--seeds", "1"]
        with (
            mock.patch.object(ideas, "IDEAS", small),
            mock.patch.object(sys, "argv", [path, *words]),
            pytest.raises(SystemExit, match=r"^0$"),
        ):
            table.run(ideas.main)
        return
    words = [{"1000000": "3000", "10000000": "5000"}.get(word, word) for word in words]
    with mock.patch.object(sys, "argv", [path, *words, *more.get(name, ())]):
        try:
            runpy.run_path(str(REPOSITORY / path), run_name="__main__")
        except SystemExit as left:
            if left.code:
                raise AssertionError(f"{path} {words}: {left.code}") from left


def run(line, place):
    """Run a line of a page in a folder; return what it printed on both streams."""
    if line in NOT_RUN:
        return ""
    program, *words = shlex.split(line.replace("$(which rs-otl)", "rs-otl"))
    while words and re.match(r"[A-Z_]+=", program):  # variables of this command alone
        program, *words = words
    if "=" in program or program == "export":  # a variable of the shell
        return ""
    words = [
        found
        for word in words
        for found in (sorted(glob.glob(word, root_dir=place)) if "*" in word else [word])
    ]
    if program in ("srun", "torchrun"):  # starts what follows, in each process
        if program == "torchrun":
            options = torchrun_options().parse_args(words)
            words = [options.training_script, *options.training_script_args]
        program, *words = words
        shutil.rmtree(place / "runs", ignore_errors=True)  # the other way to start the same run
    if program == "rs-otl":
        if words[0] in ("pretrain", "transfer") and not {"--out", "--resume"} & set(words):
            kind = "supervised" if "--supervised" in words else words[0]
            name = words[words.index("--to") + 1] if words[0] == "transfer" else words[1]
            # Of a page's commands some are alternatives, which write to the same place.
            shutil.rmtree(place / "runs" / kind / name, ignore_errors=True)
        if words[:2] == ["bench", "methods"]:
            shutil.rmtree(place / "runs" / "methods", ignore_errors=True)
        if "--devices" in words:  # which prepares for several processes
            done = rs_otl(*words, *shorter(words), cwd=place, RS_OTL_DATA=os.environ["RS_OTL_DATA"])
        else:
            done = rs_otl_here(*words, *shorter(words), cwd=place)
        return done.stdout + done.stderr
    if program in ("pip", "pipx"):
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
        (named,) = re.findall(r"\[(.*)\]", words[1])
        assert set(named.split(",")) <= set(extras["project"]["optional-dependencies"]), line
    elif program == "make":
        targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.M)
        assert set(words) <= set(targets), line
    elif program == "python":
        with contextlib.chdir(place):
            script(words[0], words[1:])
    else:
        raise AssertionError(f"{line}: not run by this test; NOT_RUN says why a line is not")
    return ""


def draw_data(root):
    """Draw the data sets of the pages, two classes of each."""
    for name, folder in FOLDERS.items():
        classes = CATALOGUE[name].classes
        if name != "cifar10":  # of which all classes are needed
            classes = classes[:: len(classes) - 1]
        draw_folder(root / "drawn", classes=len(classes), images=IMAGES)
        for number, image_class in enumerate(classes):
            made = root / folder / image_class
            made.parent.mkdir(parents=True, exist_ok=True)
            (root / "drawn" / f"class{number}").rename(made)
            for path in made.iterdir():
                with Image.open(path) as image:
                    suffix = {"ucmerced": ".tif", "siri-whu": ".tif", "cifar10": ".png"}
                    image.save(path.with_suffix(suffix.get(name, ".jpg")))
                if name != "cifar10":
                    path.unlink()
        shutil.rmtree(root / "drawn")
    shutil.copytree(root / "cifar10" / "train", root / "cifar10" / "test")


def draw_sentinel_2(folder, classes):
    """Draw chips of thirteen bands in a folder for each class."""
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = draw(40, 40, 13, seed=8 * place + number, high=4000).astype(np.uint16)
            write(folder / name / f"{name}_{number}.tif", pixels, names=BANDS)


def put_torchgeo(folder, patch):
    """Write random weights of the entries that the pages name, where torchgeo looks for them."""
    folder.mkdir(parents=True)
    patch.setattr(torch.hub, "_hub_dir", str(folder.parent))
    shallow_torchgeo(patch)
    for name in ("CROMABase_Weights.CROMA_VIT", "DOFABase16_Weights.DOFA_MAE"):
        write_weights(torchgeo_entries()[name], folder)
    entry = torchgeo_entries()["ResNet50_Weights.SENTINEL2_ALL_MOCO"]
    tensors = timm.create_model("resnet50", in_chans=13, num_classes=0).state_dict()
    torch.save(tensors, folder / entry.url.rpartition("/")[2])


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """What pages take for granted: data sets, weights, scenes, labels, a run, an encoder."""
    root = tmp_path_factory.mktemp("pages")
    draw_data(root / "data")
    draw_folder(root / "my_images", images=16)
    pixels = draw(320, 320, seed=3).astype(np.uint8)
    # The place that README.md and scenes.md search at lies in the middle.
    (east,), (north,) = rasterio.warp.transform("EPSG:4326", "EPSG:32652", [128.659], [37.671])
    corner = rasterio.Affine(10, 0, east - 1600, 0, -10, north + 1600)
    for name in ("scene", "other", "A", "B", "scenes/one", "scenes/two"):
        (root / name).parent.mkdir(exist_ok=True)
        with rasterio.open(write(root / f"{name}.tif", pixels), "r+") as file:
            file.crs, file.transform = "EPSG:32652", corner
    x, y = (
        (corner.c + 10 * np.array([40, 280, 60, 250])),
        (corner.f - 10 * np.array([50, 60, 270, 260])),
    )
    points = geopandas.GeoDataFrame(
        {"class": list("abab")}, geometry=geopandas.points_from_xy(x, y), crs="EPSG:32652"
    )
    for name in ("points", "scene-labels"):
        points.to_crs("EPSG:4326").to_file(root / f"{name}.geojson", driver="GeoJSON")
    for name in ("chip.png", "photo.jpg"):
        Image.fromarray(pixels[:, :40, :40].transpose(1, 2, 0)).save(root / name)
    encoder = timm.create_model("resnet18", num_classes=0).state_dict()
    torch.save(
        {
            "state_dict": {f"backbone.{name}": tensor for name, tensor in encoder.items()},
            "hyper_parameters": {"model": "resnet18", "mean": [0.4] * 3, "std": [0.2] * 3},
            "pytorch-lightning_version": "2.5.0",
        },
        root / "simclr.ckpt",
    )
    with undrawn(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RS_OTL_DATA", str(root / "data"))
        shallow(patch)
        put_into_cache([DINO2, DINO3, "resnet50"], root / "hub", patch)
        draw_sentinel_2(root / "data" / Path(OFFICIAL["eurosat-ms"][0]).parents[1], EUROSAT)
        draw_sentinel_2(root / "my_chips", ("one", "two"))
        put_torchgeo(root / "torch" / "checkpoints", patch)
        rs_otl_here("pretrain", "aid", *settings("epochs=2", "views=2"), "--out", "run", cwd=root)
        rs_otl_here("export", "run", "--to", "my_encoder", cwd=root)
        few = dataclasses.replace(
            CATALOGUE["synthetic"], counts=dict.fromkeys(CATALOGUE["synthetic"].classes, 8)
        )
        patch.setitem(CATALOGUE, "synthetic", few)
        patch.setattr(drawing, "SIDE", 512)
        patch.setattr(drawing, "_APART", 40)
        for name in ("_QUICK", "_QUICK_PHOTOGRAPHS"):
            patch.setattr(reproduced, name, (*TINY, "epochs=1"))
        patch.setattr(reproduced, "_QUICK_IMAGES", dict.fromkeys(reproduced._QUICK_IMAGES, 10))
        for name, made in ENCODER_TABLES.items():  # most of the last column, an untrained encoder
            first = name in ("table-4", "table-8", "table-14")
            columns = made.columns[:2] if first else made.columns[-1:]
            few = dataclasses.replace(made, columns=columns, claims=())
            patch.setitem(ENCODER_TABLES, name, few)
        # A third of the time would go into linear classifiers, which other tests judge.
        for function in (linear_predict, fit_linear):
            patch.setitem(function.__kwdefaults__, "epochs", 2)
        patch.setattr(reproduced_labels, "_ROWS", 2000)
        patch.setattr(reproduced_labels, "_CLUSTERS", 40)
        patch.setitem(reproduced_labels._IMAGENET, "quick", (2000, 20))
        yield root


# What lies in the folder of a page's commands, beside the data sets.
SCENES = ("scene.tif", "other.tif", "A.tif", "B.tif", "scenes", "chip.png", "points.geojson",
          "scene-labels.geojson")  # fmt: skip
TAKEN = {
    "README.md": ("my_images", "runs/pretrain/aid", *SCENES),
    "adapt.md": ("my_images", "runs/pretrain/aid", "simclr.ckpt"),
    "encoders.md": ("scene.tif",),
    "evaluation.md": ("runs/pretrain/aid", "runs/transfer/hmhr"),
    "first-steps.md": ("photo.jpg", "runs/pretrain/patternnet"),
    "label-engine.md": ("runs/pretrain/aid",),
    "method.md": ("my_images",),
    "performance.md": ("runs/fresh1",),
    "scenes.md": ("my_encoder", *SCENES),
    "transfer.md": ("my_images", "runs/pretrain/aid", "runs/pretrain/patternnet"),
    "use.md": ("runs/pretrain/synthetic",),
    "why-not.md": ("my_chips",),
}


@pytest.fixture
def place(request, taken, tmp_path):
    """The folder that the commands of a page run in."""
    for name in TAKEN.get(request.node.callspec.params.get("page"), ()):
        path = taken / ("run" if name.startswith("runs/") else name)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        name = name.replace("my_chips", "my_images")
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / name)
        if name.startswith("runs/pretrain"):  # a run on the data set that the page says
            recipe = tmp_path / name / "recipe.yaml"
            said = recipe.read_text().replace("dataset: aid", f"dataset: {Path(name).name}")
            recipe.write_text(said)
    return tmp_path


def here(page):
    """Return the commands of a page that this test runs."""
    return [
        line
        for line in lines(PAGES[page])
        if not (page in ELSEWHERE and line.startswith("rs-otl"))
        and "https://example.org" not in line  # geo/test_remote_scenes.py runs these
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if here(page)])
def test_the_commands_of_a_page_run_in_order(page, place, monkeypatch):
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setattr(shellingham, "detect_shell", lambda *_: ("bash", "/bin/bash"))
    for line in here(page):
        run(line, place)


def test_what_is_not_run_here_stands_on_a_page_and_in_its_test():
    everywhere = {line for page in PAGES.values() for line in lines(page)}
    assert set(NOT_RUN) <= everywhere
    for page, test in (*ELSEWHERE.items(), ("scenes.md", "geo/test_remote_scenes.py")):
        assert page in (REPOSITORY / "tests" / test).read_text()
    for reason in NOT_RUN.values():
        for test in re.findall(r"[\w/]+\.py", reason):
            assert (REPOSITORY / "tests" / test).is_file(), reason


def test_every_block_of_a_page_is_of_a_kind_that_tests_read():
    read = {"console", "bash", "sh", "python", "yaml", "text", "{toctree}"}
    read.add("{literalinclude} ../examples/otl_in_60_lines.py")
    for name, page in PAGES.items():
        marks = re.findall(r"^ *```(.*)", page.read_text(), re.M)
        assert {mark for mark in marks if mark} <= read, name
        assert not re.findall(r"^ +```", page.read_text(), re.M), name  # which lines() would miss
