"""Numba works, or says what it does instead, on installations that lack something it wants."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import rs_otl

PARALLEL = """
import os, sys
import numpy as np
from numba import prange
from rs_otl.compiling import compiled

@compiled(parallel=True)
def total(values):
    result = 0.0
    for i in prange(len(values)):
        result += values[i]
    return result

values = np.arange(1000.0)
assert total(values) == 499500.0
"""


def python(code, folder, **environment):
    script = folder / "script.py"
    script.write_text(code)
    return subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | environment,
    )


def test_views_are_made_where_no_cache_can_be_written(tmp_path):
    package = tmp_path / "site" / "rs_otl"
    source = Path(rs_otl.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *filter(Path.is_dir, package.rglob("*"))]:
        (folder / "__pycache__").touch()  # a file: nobody, root included, can write into it
    done = python(
        "import torch\n"
        "from rs_otl.augment import augmentation\n"
        "images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)\n"
        "views = augmentation('simple', 16, [0.5] * 3, [0.5] * 3, True)(images)\n"
        "print(tuple(views.shape))\n",
        tmp_path,
        PYTHONPATH=str(package.parent),
        PYTHONDONTWRITEBYTECODE="1",
        NUMBA_CACHE_DIR="",
        HOME="/dev/null",
        XDG_CACHE_HOME="/dev/null",
    )
    assert done.stdout == "(2, 3, 16, 16)\n", done.stderr
    assert done.stderr.count("set NUMBA_CACHE_DIR to a writable folder") == 1


@pytest.mark.skipif(find_spec("tbb") is not None, reason="TBB is installed")
def test_a_threading_layer_that_is_not_installed_is_replaced(tmp_path):
    done = python(PARALLEL, tmp_path, NUMBA_THREADING_LAYER="tbb")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("pip install tbb") == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes_on_one_thread(tmp_path):
    child = (
        "child = os.fork()\nif not child:\n    os._exit(0 if total(values) == 499500.0 else 3)\n"
    )
    last = "assert os.waitpid(child, 0)[1] == 0\n"
    done = python(PARALLEL + child + last, tmp_path, NUMBA_THREADING_LAYER="omp")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NUMBA_NUM_THREADS", "0"),
        ("NUMBA_NUM_THREADS", "-3"),
        ("NUMBA_NUM_THREADS", "many"),
        ("NUMBA_THREADING_LAYER", "none"),
        ("NUMBA_THREADING_LAYER", ""),
        ("NUMBA_THREADING_LAYER_PRIORITY", "omp"),
        ("NUMBA_OPT", "77"),
        ("NUMBA_DISABLE_JIT", "maybe"),
        ("NUMBA_CPU_FEATURES", "avx"),
    ],
)
def test_a_variable_that_numba_cannot_use_is_named(tmp_path, name, value):
    code = (
        "from rs_otl.errors import InputError\n"
        "try:\n    import rs_otl.compiling\n"
        "except InputError as error:\n    print(error)\n"
    )
    done = python(code, tmp_path, **{name: value})
    assert done.stdout.startswith(f"environment variable {name}={value}: ")
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr
