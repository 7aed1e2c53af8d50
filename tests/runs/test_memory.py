"""What a run would keep in memory is known before it starts."""

import re
from unittest import mock

import pytest
import torch
from command_line import draw_folder, rs_otl_here, settings
from torch.autograd.graph import saved_tensors_hooks

from rs_otl.errors import InputError
from rs_otl.memory import GIB, available_bytes
from rs_otl.models import create_encoder
from rs_otl.recipe import Recipe
from rs_otl.runs.memory import estimate, refuse_too_much


def recipe(**changes):
    values = {"dataset": "x", "encoder": "test_resnet", "image_size": 32, "views": 2}
    return Recipe(**(values | {"batch_size": 8, "precision": "float32"} | changes))


def free(gib):
    return mock.patch("rs_otl.runs.memory._free_bytes", return_value=int(gib * GIB))


@pytest.mark.parametrize("encoder", ["test_resnet", "test_vit2", "test_efficientnet"])
def test_a_step_is_estimated_as_what_it_really_keeps(encoder):
    network = create_encoder(encoder, 3)
    size = network.pretrained_cfg["input_size"][-1]
    weights = {weight.data_ptr() for weight in network.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.rand(4, 3, size, size))
    need = estimate(recipe(encoder=encoder, image_size=size, batch_size=2), 3, 100)
    assert need.step == pytest.approx(sum(kept.values()), rel=0.1)


def test_the_parts_grow_as_they_must():
    plain = estimate(recipe(clusters=16), 3, 1000)
    assert plain.outputs == 2 * 1000 * 16 * 4
    more = estimate(recipe(clusters=16, heads=3, views=4), 3, 1000)
    assert more.outputs == 6 * plain.outputs
    assert more.step == pytest.approx(2 * plain.step, rel=0.01)
    assert more.weights > plain.weights
    half = estimate(recipe(clusters=16, precision="bf16"), 3, 1000)
    assert half.step == pytest.approx(plain.step / 2, rel=0.2)
    local = estimate(recipe(clusters=16, local_views=8), 3, 1000)
    assert local.step > 1.5 * plain.step
    parted = estimate(recipe(clusters=16, chunks=4), 3, 1000)
    assert plain.step / 4 < parted.step < plain.step / 2
    assert estimate(recipe(clusters=None), 3, 1000).outputs == 2 * 1000 * 1000 * 4
    assert estimate(recipe(supervised=True), 3, 1000).outputs == 0
    reused = estimate(recipe(clusters=16, relabel="reuse"), 3, 1000)
    assert reused.total - plain.total == min(plain.step, plain.outputs)
    sets = estimate(recipe(clusters=16, label_batch_sizes=(8, 8, 8)), 3, 1000)
    assert sets.outputs == 1.5 * plain.outputs


@pytest.mark.parametrize(
    ("changes", "images", "expected"),
    [
        ({"image_size": 4096}, 100, r"for a step of 2 views x 8 images of 4,096 pixels\)"),
        ({"views": 999, "image_size": 128}, 99, r"for a step of 999 views x 8 images"),
        ({"clusters": None}, 10**6, r"x 1 heads x 1,000,000 images x 1,000,000 clusters.*clusters"),
        ({"heads": 1000, "hidden": 65_536}, 100, r"for weights, gradients and momentum.*hidden"),
    ],
)
def test_what_cannot_fit_is_refused_with_the_key_that_helps(changes, images, expected):
    with free(2), pytest.raises(InputError, match=expected) as refused:
        refuse_too_much(recipe(**changes), 3, images)
    assert "but only 2.0 GiB are free" in str(refused.value)
    assert one_number(refused.value) > 2


def one_number(error):
    return float(re.search(r"needs ([\d,.]+) GiB", str(error))[1].replace(",", ""))


def test_the_chunks_that_are_proposed_fit():
    large = recipe(encoder="resnet18", image_size=224, views=10, batch_size=64)
    with free(4):
        with pytest.raises(InputError, match="--set chunks=") as refused:
            refuse_too_much(large, 3, 1000)
        chunks = int(re.search(r"chunks=(\d+)", str(refused.value))[1])
        refuse_too_much(large.model_copy(update={"chunks": chunks}), 3, 1000)


def test_what_fits_is_not_refused():
    with free(1):
        refuse_too_much(recipe(), 3, 100)
        refuse_too_much(recipe(batch_size=65_536), 3, 40)  # cut to the images that there are
        refuse_too_much(recipe(encoder="resnet18", image_size=64, batch_size=32), 3, 10**5)
        with pytest.raises(InputError, match="but only"):  # the memory is shared
            refuse_too_much(recipe(encoder="resnet18", image_size=224), 3, 100, processes=8)


def test_there_is_memory():
    assert 2**26 < available_bytes() < 2**50


@pytest.mark.parametrize("change", ["image_size=4096", "heads=1000", "views=1000"])
def test_a_run_that_cannot_fit_leaves_nothing(change, tmp_path):
    draw_folder(tmp_path / "images", images=6)
    more = settings("encoder=test_resnet", "hidden=65536", change)
    with free(1):
        done = rs_otl_here("pretrain", "images", "--out", "new", *more, check=2, cwd=tmp_path)
    assert "GiB of memory" in done.stderr.splitlines()[-1]
    assert "18 images" not in done.stderr  # refused before they were read
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_images_that_memory_cannot_hold_are_refused_if_it_was_asked_for(tmp_path):
    draw_folder(tmp_path / "images", images=4)
    words = ["pretrain", "images", "--out", "new", "--cache", "ram", *settings()]
    with mock.patch("rs_otl.datasets._memory.available_bytes", return_value=1000):
        done = rs_otl_here(*words, check=2, cwd=tmp_path)
    assert "images do not fit into 0.0 GiB of free memory: set cache=disk" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
