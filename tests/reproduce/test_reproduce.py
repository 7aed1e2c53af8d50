"""`rs-otl reproduce`, on drawn images in the layouts of HMHR and AID."""

import csv
import json

import numpy as np
import pytest
from command_line import rs_otl_here
from PIL import Image

from rs_otl.datasets import CATALOGUE
from rs_otl.recipe import recipe_for
from rs_otl.reproduce import encoders
from rs_otl.reproduce.published import ENCODER_TABLES, SCORES, Trained

TINY = ("epochs=1", "image_size=32", "clusters=4", "batch_size=8", "hidden=0", "knn_every=1")


def _draw(root, name, classes, images):
    folder = root / CATALOGUE[name].folders[0]
    random = np.random.default_rng(len(name))
    for label, title in enumerate(CATALOGUE[name].classes[:classes]):
        (folder / title).mkdir(parents=True)
        for number in range(images):
            noise = random.integers(0, 80, (32, 32, 3)) + 40 * (label % 4)
            Image.fromarray(noise.astype(np.uint8)).save(folder / title / f"{number:02}.jpg")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "_QUICK", TINY)
    _draw(tmp_path / "data", "hmhr", 5, 6)
    _draw(tmp_path / "data", "aid", 4, 6)
    return tmp_path / "data"


def _reproduce(*words, root, out, **settings):
    return rs_otl_here("reproduce", *words, "--root", root, "--out", out, **settings)


def test_a_table_stands_beside_the_papers_and_is_made_once(root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    listed = json.loads(_reproduce("--list", "--json", root=root, out=out).stdout)
    table = next(entry for entry in listed if entry["name"] == "table-6")
    assert table["missing"] == ["eurosat", "patternnet", "resisc45"]
    assert (table["runs"], table["finished"]) == (4, 0)
    assert table["seconds"] > 0

    done = json.loads(_reproduce("table-6", "--json", root=root, out=out).stdout)
    cells = {(cell["column"], cell["row"]): cell for cell in done["cells"]}
    assert len(cells) == 7 * len(SCORES)
    lacking = cells["OTL, from PatternNet", "linear"]
    assert (lacking["published"], lacking["ours"]) == (85.7, None)
    assert lacking["note"] == "needs patternnet"
    made = cells["OTL, from AID", "kNN, k = 10"]
    assert 0 <= made["low"] <= made["ours"] <= made["high"] <= 100
    assert "image_size 32 for the paper's 224" in done["settings"]["table-6"]
    assert "The copy is partial" in done["settings"]["table-6"]
    claims = [verdict["claim"] for verdict in done["verdicts"]]
    assert any("OTL, from AID against OTL, from random weights" in claim for claim in claims)
    assert {verdict["verdict"] for verdict in done["verdicts"]} <= {
        "found",
        "not found",
        "within noise",
    }
    folder = out / "quick"
    with (folder / "results.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(cells)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "85.7" in page
    assert "needs patternnet" in page

    # What is finished is kept, and what another table shares.
    trained = []
    monkeypatch.setattr(encoders, "pretrain", lambda *args, **kwargs: trained.append(args))
    again = _reproduce("table-6", root=root, out=out)
    assert "| OTL, from PatternNet | linear | 85.7 | needs patternnet |" in again.stdout
    assert trained == []
    listed = json.loads(_reproduce("--list", "--json", root=root, out=out).stdout)
    assert [entry["finished"] for entry in listed if entry["name"] == "table-10"] == [1]


def test_a_stopped_run_goes_on(root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    evaluate = encoders.evaluate

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(encoders, "evaluate", stopped)
    _reproduce("table-10", root=root, out=out, check=130)
    monkeypatch.setattr(encoders, "evaluate", evaluate)
    done = _reproduce("table-10", root=root, out=out)
    assert "is finished: nothing to resume" in done.stderr
    assert "run 2 of 2" in done.stderr


def test_several_seeds_give_their_mean_and_interval(root, tmp_path):
    done = _reproduce("table-10", "--seeds", 2, "--json", root=root, out=tmp_path / "out")
    cells = json.loads(done.stdout)["cells"]
    scores = [
        json.loads(path.read_text())["linear"]["accuracy"]
        for path in (tmp_path / "out" / "quick" / "scores").glob("aid-otl-*.json")
    ]
    assert len(scores) == 2
    ours = next(c["ours"] for c in cells if (c["column"], c["row"]) == ("OTL", "linear"))
    assert ours == pytest.approx(100 * np.mean(scores))


def test_tables_of_labels_are_the_papers(tmp_path):
    done = json.loads(
        _reproduce("table-16", "table-17", "--json", root=tmp_path, out=tmp_path).stdout
    )
    assert {cell["difference"] for cell in done["cells"]} == {0}
    assert {verdict["verdict"] for verdict in done["verdicts"]} == {"found"}


def test_wrong_names_and_damaged_scores_are_one_line(root, tmp_path):
    done = _reproduce("table-99", root=root, out=tmp_path, check=2)
    assert done.stderr.startswith("rs-otl: 'table-99': expected tables or figures of table-6")
    assert "expected one of quick, paper" in (
        _reproduce("--scale", "big", "table-6", root=root, out=tmp_path, check=2).stderr
    )
    name = Trained("aid").name
    path = tmp_path / "out" / "quick" / "scores" / f"{name}.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = _reproduce("table-10", root=root, out=tmp_path / "out", check=2)
    assert f"{path}: damaged" in done.stderr


def test_the_papers_scale_is_the_papers_recipe(tmp_path):
    for table in ENCODER_TABLES.values():
        for column in table.columns:
            recipe = encoders.recipe_of(column.trained, "paper", tmp_path)
            assert (recipe.image_size, recipe.views, recipe.clusters) == (224, 10, 128)
            assert (recipe.lr, recipe.momentum, recipe.reduction) == (0.03, 0.9, "sum")
            assert recipe.epochs == (64 if column.trained.source else 300)
            assert (recipe.init is None) == (column.trained.source is None)
    assert recipe_for("aid")[0] == encoders.recipe_of(Trained("aid"), "paper", tmp_path)
