"""Several processes train one encoder."""

import contextlib
import csv
import os
import re
import subprocess
import termios

import pytest
import yaml
from command_line import ENVIRONMENT, PROGRAM, draw_folder, rs_otl, rs_otl_here, settings


def test_two_processes_on_one_machine_train_and_write_one_run(tmp_path):
    folder = draw_folder(tmp_path / "images")
    run = tmp_path / "run"
    arguments = ["--devices", 2, "--strategy", "ddp", "--out", run]
    done = rs_otl("pretrain", folder, *settings("epochs=2", "batch_size=8"), *arguments)
    assert done.stdout.count("encoder  ") == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("epoch ")]
    assert lines == ["recipe quick: 2 epochs", "images: 48 images, 38 to train on, 10 to test on"]
    assert (run / "encoder" / "model.safetensors").is_file()
    rows = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [float(row["epoch"]) for row in rows] == [1, 2]
    assert yaml.safe_load((run / "recipe.yaml").read_text())["batch_size"] == 8


def test_the_bar_on_a_terminal_tells_the_epoch_of_all_and_the_time_left(tmp_path):
    draw_folder(tmp_path / "images", images=8)
    words = ["pretrain", "images", *settings("epochs=2", "batch_size=2", "encoder=test_resnet")]
    terminal, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    with subprocess.Popen(
        [PROGRAM, *words], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=theirs
    ) as running:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux tells the end
            while part := os.read(terminal, 65_536):
                shown += part
    os.close(terminal)
    assert running.returncode == 0
    text = shown.decode()
    assert "epoch 1/2, labels" in text
    assert re.search(r"epoch 2/2, \d\d:\d\d left", text)
    assert "Epoch" not in text


@pytest.mark.parametrize("devices", ["0", "-1", "9" * 5000, "٣", "", "many"])
def test_devices_that_cannot_be_are_refused(devices):
    assert (
        "expected a number or auto"
        in rs_otl_here("pretrain", "aid", f"--devices={devices}", check=2).stderr
    )


def test_a_strategy_that_lightning_does_not_know_is_refused(tmp_path):
    draw_folder(tmp_path / "images", images=4)
    words = ["images", "--out", "new", "--strategy", "odd", *settings()]
    refused = rs_otl_here("pretrain", *words, check=2, cwd=tmp_path).stderr
    assert "strategy = 'odd': You selected an invalid strategy" in refused.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
