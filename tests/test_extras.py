"""Optional dependencies: each missing one is named with the command that installs it."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from command_line import ENVIRONMENT, draw_folder, settings

from rs_otl.errors import InputError
from rs_otl.extras import MODULES, missing_modules, require_extra

BY_TORCHGEO = {"geopandas", "pyproj", "shapely"}
SERVICES = {"wandb", "mlflow"}  # loggers that no other extra brings, nor the tests
PYPROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def names(requirements):
    return {re.match(r"[\w-]+", line)[0].lower().replace("_", "-") for line in requirements}


def test_every_extra_is_known_to_the_program():
    declared = PYPROJECT["optional-dependencies"]
    assert set(MODULES) == set(declared) - {"all", "dev", "docs"}
    assert names(declared["all"]) == {"rs-otl"}
    assert set(re.findall(r"[\w-]+", declared["all"][0].partition("[")[2])) == (
        set(MODULES) - SERVICES
    )
    assert "rs-otl[all,docs]" in declared["dev"]


@pytest.mark.parametrize("extra", [extra for extra in MODULES if extra not in SERVICES])
def test_the_modules_of_an_extra_are_those_of_its_packages(extra):
    packages = metadata.packages_distributions()
    brought = {
        distribution.lower().replace("_", "-")
        for module in MODULES[extra]
        for distribution in packages[module]
    }
    assert brought & names(PYPROJECT["optional-dependencies"][extra])
    assert not missing_modules(extra)


def test_a_missing_module_is_named_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "rioxarray", None)
    with pytest.raises(
        InputError, match=r"DataArrays needs rioxarray: .*pip install '\.\[xarray\]'"
    ):
        require_extra("xarray", "DataArrays")


def rs_otl_without(modules, *arguments, cwd, check):
    """Run the command line in a process where some modules cannot be imported."""
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({modules!r}))\n"
        "sys.argv[0] = 'rs-otl'\n"
        "from rs_otl.cli import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=ENVIRONMENT,
        timeout=300,
    )
    assert done.returncode == check, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.parametrize(
    ("command", "module"), [("embed", "pyarrow"), ("map", "sklearn"), ("search", "pyarrow")]
)
def test_the_geo_commands_say_what_is_missing(command, module, tmp_path):
    more = {
        "embed": ["-o", "out.tif"],
        "map": ["--labels", "labels.geojson", "-o", "out.tif"],
        "search": ["--query", "0,0", "-o", "out.geojson"],
    }[command]
    arguments = [command, "scene.tif", "--encoder", "my_encoder", *more]
    done = rs_otl_without([module], *arguments, cwd=tmp_path, check=2)
    (line,) = done.stderr.splitlines()
    assert line.startswith("rs-otl: ")
    assert module in line
    assert "pip install '.[geo]'" in line
    assert not list(tmp_path.iterdir())


def test_the_core_works_without_any_extra(tmp_path):
    # torchgeo itself requires geopandas, pyproj and shapely.
    hidden = sorted({name for names in MODULES.values() for name in names} - BY_TORCHGEO)
    folder = draw_folder(tmp_path / "my_images")
    arguments = ["pretrain", folder, *settings("epochs=1", "views=2"), "--out", tmp_path / "run"]
    done = rs_otl_without(hidden, *arguments, cwd=tmp_path, check=0)
    assert "pip install '.[stac]'" in done.stderr
    encoder = tmp_path / "run" / "encoder"
    assert (encoder / "model.safetensors").is_file()
    assert not (encoder / "item.json").exists()
