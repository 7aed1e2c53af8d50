"""The true command line: from one folder's encoder to another folder, and encoders compared."""

import json
import shutil

import pytest
import yaml
from command_line import draw_folder, rs_otl_here, settings, undrawn


@pytest.fixture(autouse=True)
def no_figures():
    """None but in the first transfer, which is looked at."""
    with undrawn():
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with two folders and a finished run on the first."""
    place = tmp_path_factory.mktemp("transfer")
    draw_folder(place / "much")
    draw_folder(place / "little", classes=2, images=12)
    with undrawn():
        rs_otl_here("pretrain", place / "much", *settings("epochs=1"), cwd=place)
    return place


@pytest.fixture(scope="module")
def transferred(place):
    """What a transfer printed, and its directory."""
    arguments = ["--from", "much", "--to", place / "little", "--shots", "1,2"]
    done = rs_otl_here("transfer", *arguments, *settings("epochs=1"), cwd=place)
    return done, place / "runs" / "transfer" / "little"


def _report(directory):
    return json.loads((directory / "evaluation.json").read_text())


def test_a_transfer_sets_all_that_it_is_to_be_judged_by_side_by_side(transferred):
    done, directory = transferred
    report = _report(directory)
    rows = [row["encoder"] for row in report["encoders"]]
    assert rows[:3] == ["transferred", "source, frozen", "supervised"]
    assert rows[-1] == "untrained"
    assert "timm/tf_efficientnet_lite0" in rows or "timm/tf_efficientnet_lite0" in report["skipped"]
    assert all(row in done.stdout for row in ("transferred", "supervised", "untrained"))
    assert [few["shots"] for few in report["encoders"][0]["few_shot"]] == [1, 2]
    for name in ("confusion", "per_class", "few_shot"):
        assert (directory / "figures" / f"{name}.png").stat().st_size > 1000


def test_a_data_sets_name_means_its_latest_run_and_says_which(transferred):
    done, directory = transferred
    assert "much: taking its latest run, runs/pretrain/much" in done.stderr
    recipe = yaml.safe_load((directory / "recipe.yaml").read_text())
    assert recipe["init"] == "runs/pretrain/much/encoder"
    supervised = yaml.safe_load((directory / "supervised" / "recipe.yaml").read_text())
    assert supervised == recipe | {"supervised": True}


def test_a_stopped_transfer_goes_on_where_it_was(transferred, place, tmp_path):
    _, directory = transferred
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    for lost in ("supervised", "evaluation.json"):
        (copy / lost).rename(tmp_path / lost)
    arguments = ["--from", "much", "--to", place / "little", "--shots", "1,2", "--resume"]
    done = rs_otl_here("transfer", *arguments, "--out", copy, cwd=place)
    assert "is finished: nothing to resume" in done.stderr
    scores = [[row["knn"] for row in _report(path)["encoders"]] for path in (directory, copy)]
    assert scores[0] == scores[1]
    arguments[-2] = "1"  # finished: only the evaluation is made again
    rs_otl_here("transfer", *arguments, "--out", copy, cwd=place)
    assert [few["shots"] for few in _report(copy)["encoders"][0]["few_shot"]] == [1]


def test_frozen_only_evaluates_and_finetune_trains_with_labels(place, tmp_path):
    source = place / "runs" / "pretrain" / "much"
    arguments = ["--from", source, "--to", place / "little"]
    rs_otl_here("transfer", *arguments, "--frozen", "--out", tmp_path / "frozen")
    assert not (tmp_path / "frozen" / "encoder").exists()
    assert len(_report(tmp_path / "frozen")["encoders"]) >= 2

    tuned = tmp_path / "tuned"
    rs_otl_here("transfer", *arguments, "--finetune", "--out", tuned, *settings("epochs=1"))
    assert yaml.safe_load((tuned / "recipe.yaml").read_text())["supervised"] is True
    rows = [row["encoder"] for row in _report(tuned)["encoders"]]
    assert rows[:2] == ["fine-tuned", "source, frozen"]
    assert not (tuned / "supervised").exists()


def test_supervised_pretraining_is_a_run_of_its_own_kind(place):
    rs_otl_here("pretrain", place / "little", "--supervised", *settings("epochs=1"), cwd=place)
    assert (place / "runs" / "supervised" / "little" / "encoder").is_dir()


def test_encoders_are_compared_on_identical_images_and_the_missing_is_named(
    place, tmp_path, monkeypatch
):
    monkeypatch.delenv("COLUMNS", raising=False)
    run = place / "runs" / "pretrain" / "much"
    sources = [run, run / "checkpoints" / "last.ckpt", "timm/resnet10t"]
    done = rs_otl_here(
        "evaluate", *sources, "--on", place / "little", "--out", tmp_path / "e", "--json"
    )
    report = json.loads(done.stdout)
    assert report == _report(tmp_path / "e")
    one, other = report["encoders"][:2]
    assert one["encoder"] == str(run)
    assert one["knn"] == other["knn"]  # the same weights, from the encoder and the checkpoint
    assert "timm/resnet10t" in report["skipped"]
    table = rs_otl_here(
        "evaluate", *sources, "--on", place / "little", "--out", tmp_path / "t"
    ).stdout
    assert "timm/resnet10t" in table
    assert f"│ {run} " in table  # wider than 80 columns, which would break the name


def test_wrong_use_is_one_clear_line_and_leaves_nothing_behind(place, tmp_path):
    run = place / "runs" / "pretrain" / "much"
    for arguments, expected in (
        (["transfer", "--from", tmp_path / "none", "--to", place / "little"], "nothing at"),
        (["transfer", "--from", run, "--to", tmp_path / "none"], str(tmp_path / "none")),
        (
            ["transfer", "--from", run, "--to", place / "little", "--frozen", "--finetune"],
            "--frozen trains nothing",
        ),
        *(
            (["transfer", "--from", run, "--to", place / "little", "--resume", *more], "--resume")
            for more in (["--division", "2"], ["--no-keep-duplicates-together"], ["--finetune"])
        ),
        (["evaluate", run, "--on", place / "little", "--shots", "1,x"], "--shots 1,x"),
        (["evaluate", run, "--on", place / "little", "--shots", "0"], "at least 1"),
    ):
        done = rs_otl_here(*arguments, check=2, cwd=tmp_path)
        assert expected in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_images_without_labels_are_refused_before_anything_is_trained(place, tmp_path):
    shutil.copytree(place / "little" / "class0", tmp_path / "plain")
    run = place / "runs" / "pretrain" / "much"
    words = ("transfer", "--from", run, "--to", "plain", "--out", "run")
    done = rs_otl_here(*words, check=2, cwd=tmp_path)
    assert "plain has no labels to train with" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()
