"""`rs-otl reproduce`, on drawn images in the layouts of HMHR, AID and CIFAR-10."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from command_line import rs_otl_here, undrawn
from PIL import Image

from rs_otl.datasets import CATALOGUE
from rs_otl.errors import InputError
from rs_otl.evaluation import Evaluation, Score
from rs_otl.recipe import recipe_for
from rs_otl.reproduce import encoders, report
from rs_otl.reproduce.published import ENCODER_TABLES, SCORES, Claim, Trained

TINY = (
    "encoder=test_resnet",
    "epochs=1",
    "image_size=32",
    "clusters=4",
    "batch_size=8",
    "hidden=0",
    "knn_every=1",
)


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
    with undrawn():
        return rs_otl_here("reproduce", *words, "--root", root, "--out", out, **settings)


def test_a_table_stands_beside_the_papers_and_is_made_once(root, tmp_path, monkeypatch):
    out = tmp_path / "out"
    listed = json.loads(_reproduce("--list", "--json", root=root, out=out).stdout)
    table = next(entry for entry in listed if entry["name"] == "table-6")
    assert table["missing"] == ["eurosat", "patternnet", "resisc45"]
    assert (table["runs"], table["finished"]) == (5, 0)
    assert table["seconds"] > 0

    done = json.loads(_reproduce("table-6", "--json", root=root, out=out).stdout)
    cells = {(cell["column"], cell["row"]): cell for cell in done["cells"]}
    assert len(cells) == 8 * len(SCORES)
    lacking = cells["OTL, from PatternNet", "linear"]
    assert (lacking["published"], lacking["ours"]) == (85.7, None)
    assert lacking["note"] == "needs patternnet"
    made = cells["OTL, from AID", "kNN, k = 10"]
    assert 0 <= made["low"] <= made["ours"] <= made["high"] <= 100
    assert "image_size 32 (paper: 224)" in done["settings"]["table-6"]
    assert "The copy is partial" in done["settings"]["table-6"]
    # Whether so short a training says anything stands in the table.
    assert 0 <= cells["untrained", "linear"]["ours"] <= 100
    claims = [verdict["claim"] for verdict in done["verdicts"]]
    assert any("OTL, from random weights against untrained" in claim for claim in claims)
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
    head, lacking, made = (
        next(line for line in again.stdout.splitlines() if line.startswith(start))
        for start in ("| |", "| OTL, from PatternNet", "| OTL, from AID")
    )
    assert head == f"| | {' | '.join(SCORES)} |"
    assert lacking.startswith("| OTL, from PatternNet (needs patternnet) | (")
    assert lacking.endswith(" | (85.7) |")
    shown = cells["OTL, from AID", "linear"]
    half = (shown["high"] - shown["low"]) / 2
    assert float(made.split("|")[-2].partition("±")[0]) == pytest.approx(shown["ours"], abs=0.06)
    assert float(made.split("|")[-2].partition("±")[2]) == pytest.approx(half, abs=0.06)
    assert trained == []
    listed = json.loads(_reproduce("--list", "--json", root=root, out=out).stdout)
    assert [entry["finished"] for entry in listed if entry["name"] == "table-10"] == [1]

    # Whatever way the folder is named.
    _reproduce("table-6", root=root, out="out", cwd=tmp_path)
    assert trained == []

    # What was made with other settings, as by an older version, is not mixed in.
    monkeypatch.setattr(encoders, "_QUICK", (*TINY, "epochs=2"))
    refused = _reproduce("table-6", root=root, out=out, check=2)
    assert "trained with other settings than this version uses: remove" in refused.stderr


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
    assert "run 2 of 3" in done.stderr


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
    assert done.stderr.startswith("rs-otl: 'table-99': expected names from table-1")
    for words in (("table-6",), ("--list",), ()):
        done = _reproduce("--scale", "big", *words, root=root, out=tmp_path, check=2)
        assert done.stderr.startswith("rs-otl: scale = 'big': expected one of quick, paper")
    with pytest.raises(InputError, match="seeds = 0: expected at least 1"):
        report.reproduce(["table-10"], out=tmp_path / "none", seeds=0)
    assert not (tmp_path / "none").exists()
    name = Trained("aid").name
    path = tmp_path / "out" / "quick" / "scores" / f"{name}.json"
    path.parent.mkdir(parents=True)
    path.write_text("{")
    done = _reproduce("table-10", root=root, out=tmp_path / "out", check=2)
    assert f"{path}: damaged; remove it, and it will be made again" in done.stderr


def test_the_papers_scale_is_the_papers_recipe(tmp_path):
    for table in (table for name, table in ENCODER_TABLES.items() if name not in OF_PHOTOGRAPHS):
        for column in table.columns:
            recipe = encoders.recipe_of(column.trained, "paper", tmp_path)
            assert (recipe.image_size, recipe.views, recipe.clusters) == (224, 10, 128)
            assert (recipe.lr, recipe.momentum, recipe.reduction) == (0.03, 0.9, "sum")
            assert recipe.epochs == (64 if column.trained.source else 300)
            assert (recipe.init is None) == (column.trained.source is None)
    assert recipe_for("aid")[0] == encoders.recipe_of(Trained("aid"), "paper", tmp_path)


# Tables of photographs.

OF_PHOTOGRAPHS = ("table-1", "table-2", "table-3", "table-4", "table-5", "table-14", "table-15")
TINY_PHOTOGRAPHS = (*TINY, "encoder=resnet18")


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """CIFAR-10 of 20 training and 4 test images a class; few columns of each table."""
    monkeypatch.setattr(encoders, "_QUICK_PHOTOGRAPHS", TINY_PHOTOGRAPHS)
    monkeypatch.setattr(encoders, "_QUICK_IMAGES", {"cifar10": 10, "cifar100": 1, "svhn": 10})
    for name in OF_PHOTOGRAPHS:
        table = ENCODER_TABLES[name]
        columns = table.columns[1:2] if name == "table-1" else table.columns[:2]
        titles = {column.title for column in columns}
        claims = tuple(claim for claim in table.claims if {claim.one, claim.other} <= titles)
        monkeypatch.setitem(
            ENCODER_TABLES, name, dataclasses.replace(table, columns=columns, claims=claims)
        )
    random = np.random.default_rng(0)
    for label, name in enumerate(CATALOGUE["cifar10"].classes):
        for number in range(24):
            folder = tmp_path / "data" / "cifar10" / ("train" if number < 20 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            noise = random.integers(0, 80, (32, 32, 3)) + 15 * label
            Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number:04}.png")
    return tmp_path / "data"


def test_tables_of_photographs_are_made_of_a_part_of_them(photographs, tmp_path):
    words = ("table-1", "table-5", "table-15")
    done = json.loads(_reproduce(*words, "--json", root=photographs, out=tmp_path / "out").stdout)
    cells = {(cell["entry"], cell["column"], cell["row"]): cell for cell in done["cells"]}
    assert cells["table-1", "CIFAR-10, OTL", "linear, conv5"]["published"] == 84.3
    assert cells["table-5", "D 100, uneven", "kNN, k = 50"]["published"] == 77.0
    assert cells["table-5", "D 100, uneven", "kNN, k = 10"]["published"] is None
    made = [cell for cell in done["cells"] if cell["entry"] != "table-15"]
    assert all(0 <= cell["low"] <= cell["ours"] <= cell["high"] <= 100 for cell in made)
    lacking = [cell for cell in done["cells"] if cell["entry"] == "table-15"]
    assert {(cell["ours"], cell["note"]) for cell in lacking} == {(None, "needs cifar100")}
    assert "dataset cifar10@10 (paper: cifar10)" in done["settings"]["table-1"]
    assert "encoder resnet18 (paper: alexnet_bn)" in done["settings"]["table-5"]
    assert "for both, neighbours are searched among even classes" in done["settings"]["table-5"]
    (verdict,) = done["verdicts"]
    assert verdict["claim"].startswith("uneven data costs a point at most: D 100, uneven against")
    assert verdict["figures"].startswith("kNN, k = 10 ")
    scores = tmp_path / "out" / "quick" / "scores"
    evaluation = json.loads(next(scores.glob("cifar10-otl-fewer-uneven-100-*.json")).read_text())
    assert evaluation["dataset"] == "cifar10@10"
    assert (evaluation["n_train"], evaluation["n_test"]) == (100, 40)


@pytest.mark.parametrize(
    ("kind", "margin", "right", "verdict"),
    [
        ("better", 0, (100, 40), "found"),
        ("better", 0, (70, 70), "within noise"),
        ("better", 0, (40, 100), "not found"),
        ("within", 3, (50, 50), "found"),
        ("within", 3, (97, 100), "within noise"),
        ("within", 3, (40, 100), "not found"),
        ("near", 0, (70, 70), "found"),
    ],
)
def test_a_claim_is_judged_by_its_paired_interval(kind, margin, right, verdict):
    def evaluation(count):
        predicted = tuple(int(place >= count) for place in range(100))
        none = Score(accuracy=0, low=0, high=0)
        return Evaluation(
            encoder="one",
            dataset="made",
            division=1,
            image_size=32,
            seed=0,
            n_train=1,
            n_test=100,
            classes=("a", "b"),
            images=(),
            knn={},
            linear=none,
            linear_standardised=none,
            per_class={},
            confusion=(),
            truth=(0,) * 100,
            predicted={"knn": predicted},
            notes=(),
        )

    claim = Claim("it is so", "one", "other", kind, margin, ("knn",))
    one, other = map(evaluation, right)
    assert report._verdict("table-5", claim, [one], [other]).verdict == verdict


def test_what_photographs_lack_is_listed(tmp_path):
    listed = json.loads(_reproduce("--list", "--json", root=tmp_path, out=tmp_path).stdout)
    lacks = {entry["name"]: entry["missing"] for entry in listed if entry["name"] in OF_PHOTOGRAPHS}
    assert lacks == {
        "table-1": ["cifar10", "cifar100", "svhn"],
        "table-2": ["cifar10", "cifar100", "svhn"],
        "table-3": ["imagenet"],
        "table-4": ["cifar10", "cifar100"],
        "table-5": ["cifar10"],
        "table-14": ["cifar10"],
        "table-15": ["cifar100"],
    }


def test_a_part_of_uneven_data_is_as_uneven(tmp_path):
    def images(name, place, scale):
        trained = ENCODER_TABLES[name].columns[place].trained
        return encoders.recipe_of(trained, scale, tmp_path).dataset

    assert images("table-5", 0, "paper") == "cifar10@uneven-100"
    assert images("table-5", 9, "paper") == "cifar10@even-500"
    # The first class has ten times the images of the last.
    assert images("table-5", 8, "quick") == "cifar10@200,uneven-20"
    assert images("table-14", 0, "quick") == "cifar10@200"
    assert images("table-14", 0, "paper") == "cifar10"


def test_the_papers_scale_of_photographs_is_the_authors_programs(tmp_path):
    def recipe(name, title):
        column = next(one for one in ENCODER_TABLES[name].columns if one.title == title)
        return encoders.recipe_of(column.trained, "paper", tmp_path)

    plain, strong = (
        recipe("table-1", "SVHN, OTL"),
        recipe("table-1", "SVHN, OTL, strong and label-consistent"),
    )
    assert (plain.views, plain.label_batch_sizes, plain.augment) == (1, (), "simple")
    assert (strong.views, strong.label_batch_sizes) == (2, (128, 128, 256, 512))
    assert (strong.augment, strong.operations, strong.orientations) == ("strong", 8, 1)
    assert recipe("table-1", "CIFAR-100, OTL, k = number of classes").clusters == 100
    assert recipe("table-2", "SVHN").encoder == "resnet50"
    assert (recipe("table-3", "OTL").clusters, recipe("table-3", "OTL").batch_size) == (3000, 256)
    uneven = recipe("table-4", "CIFAR-100, x = 10")
    assert (uneven.targets, uneven.clusters) == ("power-law 10 from 0", 512)
    assert (uneven.views, uneven.augment, uneven.encoder) == (1, "simple", "alexnet_bn")
    assert recipe("table-15", "k = 2048").clusters == 2048
