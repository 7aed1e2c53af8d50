"""What is installed is whole: it runs away from the checkout, with recipes and the page."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
IN_TURN = """
import ast, sys
from rs_otl.cli import main

for words in ast.literal_eval(sys.argv[1]):
    sys.argv = ["rs-otl", *words]
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise
"""


def run(*words, cwd, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= variables
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_wheel_installs_and_runs_outside_the_checkout(tmp_path):
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed")
    build = ("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path)
    run(sys.executable, "-m", "pip", *build, REPOSITORY, cwd=tmp_path)
    (wheel,) = tmp_path.glob("rs_otl-*.whl")
    # An environment of its own; what rs-otl depends on comes from this one.
    made = tmp_path / "environment"
    venv.create(made, symlinks=True)
    python = made / "bin" / "python"
    install = ("install", "--no-deps", "--no-index", wheel)
    run(sys.executable, "-m", "pip", "--python", python, *install, cwd=tmp_path)
    packages = run(
        python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path
    )
    pth = Path(packages.strip()) / "dependencies.pth"
    pth.write_text(sysconfig.get_path("purelib") + "\n")

    program, away = made / "bin" / "rs-otl", tmp_path / "away"
    away.mkdir()
    where = run(python, "-c", "import rs_otl; print(rs_otl.__file__)", cwd=away)
    assert where.startswith(str(made))
    # Uncompiled, as compiling takes twenty seconds; test_compiling.py compiles away from here.
    few = ("image_size=32", "clusters=8", "epochs=1", "encoder=test_resnet", "augment=simple")
    plain = {"NUMBA_DISABLE_JIT": "1"}
    settings = [word for setting in few for word in ("--set", setting)]
    run(program, "pretrain", "synthetic@4", "--recipe", "quick", *settings, cwd=away, **plain)
    assert (away / "runs/pretrain/synthetic@4/encoder/model.safetensors").is_file()
    # The others in one process, which saves the seconds that imports take.
    encoder = ("--encoder", "runs/pretrain/synthetic@4", "--tile", "64", "--stride", "64")
    scene = ("demo/scene.tif", "--embeddings", "embedding.tif")
    commands = [
        ("demo",),
        ("embed", "demo/scene.tif", *encoder, "-o", "embedding.tif"),
        ("view", *scene, "-o", "page.html"),
    ]
    (away / "all.py").write_text(IN_TURN)
    run(python, "all.py", repr(commands), cwd=away)
    assert (away / "page.html").stat().st_size > 10_000
