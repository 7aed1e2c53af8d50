"""Running the real command line, and a folder of drawn images for it."""

import contextlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from matplotlib.figure import Figure
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


# Processes come from one that has imported what commands import, which takes ten seconds.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["command_line", "rs_otl.runs.pretraining", "rs_otl.runs.comparing"]
)


def _main(words, cwd, environment, streams):
    """Be the program, in a new process."""
    os.chdir(cwd or ".")
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [str(PROGRAM), *words]
    # As from a terminal: a job in the background starts with control-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


def start(*arguments, cwd=None, environment=ENVIRONMENT, streams=(os.devnull, os.devnull)):
    """Start the command line in a process of its own, and return the process."""
    words = [str(argument) for argument in arguments]
    process = _PROCESSES.Process(target=_main, args=(words, cwd, environment, streams))
    with mock.patch.dict(os.environ, ENVIRONMENT):  # what libraries read when they are imported
        forkserver.ensure_running()
    process.start()
    return process


def rs_otl(*arguments, check=0, cwd=None, **variables):
    """Run the command line in a process of its own, with further variables of the environment."""
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("out", "err")]
        process = start(*arguments, cwd=cwd, environment=ENVIRONMENT | variables, streams=streams)
        process.join(300)
        if process.is_alive():
            process.kill()
            raise AssertionError(f"{arguments}: still running after 300 s")
        done = subprocess.CompletedProcess(
            arguments, process.exitcode, *(path.read_text() for path in streams)
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


@contextlib.contextmanager
def undrawn():
    """Write a pixel in place of each figure, which takes as long as all else."""

    def save_a_pixel(figure, file, **_):
        Image.new("RGB", (1, 1)).save(file, "png")

    with mock.patch.object(Figure, "savefig", save_a_pixel):
        yield


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
