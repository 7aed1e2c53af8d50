"""What a run takes is said before it is begun, and changes nothing."""

import re
import time

import pytest
import torch
from command_line import draw_folder, rs_otl_here, settings, undrawn
from safetensors.torch import load_file

from rs_otl.errors import InputError
from rs_otl.models.encoder import accelerator_device
from rs_otl.progress import time_in_words
from rs_otl.recipe import Recipe
from rs_otl.runs.duration import _seconds_per_view, expectation, run_seconds

SMALL = ["encoder=test_resnet", "epochs=1"]


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with undrawn():
        yield


def recipe(**changes):
    values = {"dataset": "x", "encoder": "test_resnet", "image_size": 32, "precision": "float32"}
    return Recipe(**(values | changes))


def test_the_estimate_grows_as_the_run_does_and_measures_once():
    began = time.perf_counter()
    once = run_seconds(recipe(epochs=10), 1000)
    assert once > 0
    assert time.perf_counter() - began < 60  # a second or two, on a machine that is not busy
    assert run_seconds(recipe(epochs=20), 1000) == 2 * once
    assert run_seconds(recipe(epochs=10), 3000) == pytest.approx(3 * once)
    assert run_seconds(recipe(epochs=10, supervised=True), 1000) < once
    assert run_seconds(recipe(epochs=10, relabel_every=5), 1000) < once


def test_it_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    _seconds_per_view.cache_clear()
    run_seconds(recipe(views=3), 500)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_long_run_is_told_what_is_much_shorter():
    line = expectation(recipe(epochs=1_000_000, views=100), 1_000_000)
    assert re.fullmatch(r"about [\d,]+ days on this machine; --recipe quick takes [\d,]+ \w+", line)
    assert re.fullmatch(r"about \d+ (seconds?|minutes)", expectation(recipe(epochs=1), 1000))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "1 second"),
        (1.4, "1 second"),
        (1.6, "2 seconds"),
        (100, "100 seconds"),
        (200, "3 minutes"),
        (3.6e6, "42 days"),
    ],
)
def test_durations_are_in_a_unit_that_is_read_at_a_glance(seconds, text):
    assert time_in_words(seconds) == text


def test_the_same_seed_gives_the_same_weights_with_and_without_the_estimate(tmp_path, monkeypatch):
    _seconds_per_view.cache_clear()
    draw_folder(tmp_path / "images", images=8)
    lines, weights = [], []
    for out, tiny in (("with", 0), ("without", 1e99)):
        monkeypatch.setattr("rs_otl.runs.duration._TINY", tiny)
        words = ["pretrain", "images", "--out", out, *settings(*SMALL)]
        lines.append(rs_otl_here(*words, cwd=tmp_path).stderr)
        weights.append(load_file(tmp_path / out / "encoder" / "model.safetensors"))
    assert re.search(r"^about \d+ seconds?$", lines[0], re.M)
    assert not re.search(r"^about ", lines[1], re.M)
    assert all(torch.equal(weights[1][name], value) for name, value in weights[0].items())


def test_a_dry_run_says_everything_and_writes_nothing(tmp_path):
    folder = draw_folder(tmp_path / "images")
    words = ["images", "--dry-run", *settings(*SMALL)]
    done = rs_otl_here("pretrain", *words, cwd=tmp_path)
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["reads"] == "48 images of images in images"
    assert lines["writes"] == "runs/pretrain/images"
    assert re.fullmatch(r"about \d+ seconds?", lines["takes"])
    assert re.match(r"\d+\.\d GiB at least", lines["memory"])
    assert list(tmp_path.iterdir()) == [folder]
    refused = rs_otl_here("pretrain", "aid", "--dry-run", check=2, cwd=tmp_path).stderr
    assert "no images of AID" in refused
    assert list(tmp_path.iterdir()) == [folder]


def test_a_dry_run_of_a_transfer_has_both_runs(tmp_path):
    draw_folder(tmp_path / "images", images=8)
    rs_otl_here("pretrain", "images", "--out", "run", *settings(*SMALL), cwd=tmp_path)
    there = sorted(tmp_path.rglob("*"))
    words = ["--from", "run", "--to", "images", "--dry-run", "--json", *settings("epochs=1")]
    done = rs_otl_here("transfer", *words, cwd=tmp_path)
    assert '"writes": ["runs/transfer/images", "runs/transfer/images/supervised"]' in done.stdout
    assert sorted(tmp_path.rglob("*")) == there


def test_an_accelerator_that_is_not_here_is_refused():
    assert accelerator_device("cpu").type == "cpu"
    with pytest.raises(InputError, match="tpu: expected one of auto, cpu, gpu, mps"):
        accelerator_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="gpu: this machine has none"):
            accelerator_device("gpu")


def test_the_accelerator_of_the_command_line_reaches_the_run(tmp_path):
    draw_folder(tmp_path / "images", images=8)
    words = ["pretrain", "images", "--out", "run", *settings(*SMALL)]
    refused = rs_otl_here(*words, "--accelerator", "tpu", check=2, cwd=tmp_path)
    assert "accelerator tpu: expected one of" in refused.stderr
    assert not (tmp_path / "run").exists()
    rs_otl_here(*words, "--accelerator", "cpu", cwd=tmp_path)
