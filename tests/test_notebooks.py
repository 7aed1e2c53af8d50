"""The notebooks of the site run from top to bottom."""

import ast
import json
from pathlib import Path

import matplotlib
import pytest

NOTEBOOKS = Path(__file__).parent.parent / "docs" / "notebooks"


# rasterio's own use of affine.
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("name", sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")))
def test_a_notebook_runs_and_its_results_are_those_shown(name, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    names: dict = {}
    shapes = []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        *body, last = ast.parse("".join(cell["source"])).body
        exec(compile(ast.Module(body, []), name, "exec"), names)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), name, "exec"), names)
            continue
        value = eval(compile(ast.Expression(last.value), name, "eval"), names)
        printed = "".join(
            text
            for output in cell["outputs"]
            for text in output.get("data", {}).get("text/plain", [])
        )
        if isinstance(value, tuple | list):  # shapes and names, the same on every machine
            assert repr(value) == " ".join(printed.split())
            shapes.append(value)
    assert shapes
