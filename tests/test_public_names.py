"""What `import rs_otl` promises."""

import ast
import inspect
import subprocess
import sys
from importlib import metadata

import pytest
import torch
from command_line import draw_folder, rs_otl_here

import rs_otl
from rs_otl.errors import InputError

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


def test_the_calls_of_the_package_docstring_are_ones_that_the_functions_take():
    lines = [line.strip() for line in rs_otl.__doc__.splitlines() if "rs_otl." in line]
    calls = [
        node
        for line in lines
        for node in ast.walk(ast.parse(line))
        if isinstance(node, ast.Call) and not isinstance(getattr(rs_otl, node.func.attr), type)
    ]
    assert len(calls) == 6
    for call in calls:
        keywords = {keyword.arg: None for keyword in call.keywords}
        signature = inspect.signature(getattr(rs_otl, call.func.attr))
        bound = signature.bind(*call.args, **keywords).arguments
        given = {ast.unparse(node): name for name, node in bound.items() if node is not None}
        # What is called an encoder or labels arrives as such.
        assert given.get("encoder", "encoder") == "encoder"
        assert given.get("'labels.geojson'", "labels") == "labels"


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


def test_from_images_to_an_exported_encoder_in_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_folder(tmp_path / "my_images")
    small = {"image_size": 32, "views": 2, "clusters": 6, "batch_size": 16}
    recipe = rs_otl.Recipe(dataset="my_images", epochs=1, encoder="test_resnet", **small)
    run = rs_otl.pretrain(recipe, out="first")
    report, directory = rs_otl.evaluate(run, "my_images")
    assert directory == run
    assert [row.encoder for row in report.encoders][:1] == ["first"]
    encoder = rs_otl.load_encoder(run)
    images = torch.zeros(2, 3, 50, 40, dtype=torch.uint8)
    assert encoder.embed(images).shape == (2, encoder.num_features)
    rs_otl.export_encoder(encoder, "my_encoder")
    report, directory = rs_otl.evaluate([encoder, "my_encoder"], "my_images", out="both")
    assert (directory / "evaluation.json").is_file()
    assert [row.encoder for row in report.encoders][:2] == ["first", "my_encoder"]
    scores = [row.knn[10].accuracy for row in report.encoders]
    assert scores[0] == scores[1]
    with pytest.raises(InputError, match="no encoder to evaluate"):
        rs_otl.evaluate([], "my_images")
