"""What `import rs_otl` promises."""

import inspect
import subprocess
import sys
from importlib import metadata

import pytest
from command_line import rs_otl_here

import rs_otl

PUBLIC = [
    "OTLTask",
    "Recipe",
    "__version__",
    "balanced_labels",
    "embed",
    "evaluate",
    "export_encoder",
    "load_encoder",
    "map",
    "pretrain",
    "search",
    "transfer",
]


def test_the_public_names_are_these():
    assert rs_otl.__all__ == PUBLIC
    assert {*PUBLIC, "geo"} <= set(dir(rs_otl))


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - {"__version__"}))
def test_each_name_is_usable_and_says_how(name):
    public = getattr(rs_otl, name)
    assert callable(public)
    documentation = inspect.getdoc(public)
    assert "Args:" in documentation or "Attributes:" in documentation
    if inspect.isfunction(public):
        named = set(inspect.signature(public).parameters)
        assert all(f"{parameter}:" in documentation for parameter in named), named


def test_geo_is_there_without_another_import():
    assert rs_otl.geo.embed is rs_otl.embed
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        _ = rs_otl.pretrian


def test_importing_it_is_quick():
    slow = ["torch", "numpy", "timm", "torchgeo", "lightning", "rasterio", "pydantic", "typer"]
    program = f"import rs_otl, sys; dir(rs_otl); print([n for n in {slow} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package():
    assert rs_otl.__version__ == metadata.version("rs-otl")
    assert rs_otl_here("--version").stdout.strip() == f"rs-otl {rs_otl.__version__}"


def test_the_shell_can_complete_commands():
    assert "--install-completion" in rs_otl_here("--help").stdout
