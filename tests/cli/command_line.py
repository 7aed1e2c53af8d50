"""Running the real command line, and a folder of drawn images for it."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from rs_otl.cli import main

PROGRAM = Path(sys.executable).with_name("rs-otl")
# One thread: two test processes share two cores; float32 runs on any processor.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120", "HF_HUB_OFFLINE": "1"}
TINY = [
    "encoder=test_resnet",
    "image_size=32",
    "clusters=6",
    "batch_size=16",
    "precision=float32",
    "knn_every=2",
]


def rs_otl(*arguments, check=0, cwd=None):
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def rs_otl_here(*arguments, check=0, cwd="."):
    """Run the command line in this process, which saves the seconds that imports take."""
    words = ["rs-otl", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", words),
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(io.StringIO()) as stdout,
        contextlib.redirect_stderr(io.StringIO()) as stderr,
        pytest.raises(SystemExit) as left,
    ):
        main()
    done = subprocess.CompletedProcess(
        words, left.value.code or 0, stdout.getvalue(), stderr.getvalue()
    )
    assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def settings(*more):
    return [word for setting in (*TINY, *more) for word in ("--set", setting)]


def draw_folder(folder, classes=3, images=16):
    """Write classes of noise about a colour, in a folder for each class."""
    random = np.random.default_rng(0)
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True)
        for image in range(images):
            pixels = random.integers(0, 120, (40, 40, 3)) + np.array(
                [60 * number, 100, 130 - 60 * number]
            )
            path = folder / f"class{number}" / f"{image:02}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder
