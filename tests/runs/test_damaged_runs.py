"""A run that was damaged or changed by hand is refused in one line and stays as it is."""

import csv
import json
import shutil
import zipfile
from importlib import metadata
from unittest import mock

import pytest
import torch
from command_line import draw_folder, rs_otl_here, settings, undrawn
from lightning.pytorch import Callback

from rs_otl.errors import InputError
from rs_otl.files import locked
from rs_otl.recipe import recipe_for
from rs_otl.runs import pretrain
from rs_otl.runs.state import read_run_checkpoint
from rs_otl.runs.summary import read_imagery
from rs_otl.trainers import checkpoint_digest, read_metrics


@pytest.fixture(autouse=True, scope="module")
def no_figures():
    with undrawn():
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Images, and a run of one epoch that wants two."""
    folder = tmp_path_factory.mktemp("stopped")
    images = draw_folder(folder / "images", images=8)
    rs_otl_here("pretrain", images, *settings("epochs=1"), "--out", folder / "run")
    shutil.rmtree(folder / "run" / "encoder")
    set_key(folder / "run", "epochs", 2)
    return folder


@pytest.fixture
def run(stopped, tmp_path):
    return shutil.copytree(stopped / "run", tmp_path / "run")


def set_key(run, key, value):
    path = run / "recipe.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{key}:")]
    path.write_text("\n".join([*lines, f"{key}: {value}", ""]))


def state(run):
    return {path.relative_to(run): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def refused(stopped, run):
    """Resume the run; return the line that refuses it."""
    before = state(run)
    done = rs_otl_here("pretrain", stopped / "images", "--resume", "--out", run, check=2)
    assert state(run) == before
    lines = [line for line in done.stderr.splitlines() if line.startswith("rs-otl: ")]
    assert len(lines) == 1
    assert lines == done.stderr.splitlines()[-1:]
    assert "arning" not in done.stderr, done.stderr
    assert "weights_only" not in done.stderr, done.stderr
    return lines[0]


BYTES = {
    "empty": b"",
    "JSON list": b"[1, 2]",
    "text": b"just words",
    "binary": bytes(range(256)),
    "deep": b"[" * 20_000,
    "a pickle": b"cos\nsystem\n(S'true'\ntR.",
}


@pytest.mark.parametrize("name", ["imagery.json", "recipe.yaml", "checkpoints/last.ckpt"])
@pytest.mark.parametrize("content", BYTES)
def test_a_file_that_holds_something_else_is_named(stopped, run, name, content):
    (run / name).write_bytes(BYTES[content])
    line = refused(stopped, run)
    assert name in line
    assert len(line) < 700


@pytest.mark.parametrize("name", ["imagery.json", "checkpoints/last.ckpt", "provenance.json"])
@pytest.mark.parametrize("share", [0.1, 0.99])
def test_a_file_that_was_cut_is_named(stopped, run, name, share):
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: int(len(content) * share)])
    assert name in refused(stopped, run)


@pytest.mark.parametrize("name", ["imagery.json", "checkpoints/last.ckpt"])
def test_a_folder_in_a_files_place_is_named(stopped, run, name):
    (run / name).unlink()
    (run / name).mkdir()
    assert name in refused(stopped, run)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("views", 3),
        ("hidden", 8),
        ("encoder", "resnet34"),
        ("supervised", "true"),
        ("division", 2),
        ("batch_size", 4),
        ("image_size", 48),
    ],
)
def test_another_recipe_is_refused_by_its_key(stopped, run, key, value):
    set_key(run, key, value)
    line = refused(stopped, run)
    assert f"recipe.yaml: {key} = " in line
    assert "was trained with" in line


def test_fewer_epochs_than_were_trained_are_refused(stopped, run):
    values = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    write(run, values | {"epoch": 5})
    assert "recipe.yaml: epochs = 2" in refused(stopped, run)


def write(run, values):
    """Write a checkpoint as another version might: whole, and of this run."""
    values = values | {"digest": checkpoint_digest(values)}
    torch.save(values, run / "checkpoints" / "last.ckpt")


def _replace(values, *keys, by):
    *outer, last = keys
    inner = values
    for key in outer:
        inner = inner[key]
    inner[last] = by(inner[last])


CHANGES = {
    "a weight": (("state_dict", "heads.weight"), lambda old: old + 1),
    "labels of another shape": (("pseudo_labels", "labels"), lambda old: old[..., :5]),
    "a counter": (("loops", "fit_loop", "epoch_progress", "current", "completed"), lambda old: 99),
    "a rate": (("optimizer_states", 0, "param_groups", 0, "lr"), lambda old: 1e9),
    "the epoch": (("epoch",), lambda old: "x"),
    "no loops": (("loops",), lambda old: {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_checkpoint_that_was_changed_is_refused(stopped, run, change):
    keys, by = CHANGES[change]
    values = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    if change == "a weight":
        keys = ("state_dict", next(name for name in values["state_dict"] if "heads" in name))
    _replace(values, *keys, by=by)
    torch.save(values, run / "checkpoints" / "last.ckpt")
    assert "last.ckpt" in refused(stopped, run)


@pytest.mark.parametrize("of", ["Lightning", "weights", "a list", "nothing", "an encoder"])
def test_a_foreign_checkpoint_is_refused(stopped, run, of):
    values = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    foreign = {
        "Lightning": {
            "state_dict": {"layer.weight": torch.zeros(2, 2)},
            "epoch": 3,
            "global_step": 9,
            "pytorch-lightning_version": "2.2.0",
            "loops": {},
            "callbacks": {},
            "optimizer_states": [],
            "lr_schedulers": [],
        },
        "weights": values["state_dict"],
        "a list": [1],
        "nothing": {},
        "an encoder": {"hyper_parameters": {"model": "resnet18"}, "state_dict": {}},
    }
    torch.save(foreign[of], run / "checkpoints" / "last.ckpt")
    line = refused(stopped, run)
    assert "last.ckpt" in line
    assert "delete it to train from the start" in line


def test_bits_that_turned_over_are_seen(run):
    path = run / "checkpoints" / "last.ckpt"
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + largest.file_size // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"last\.ckpt: changed since it was written|damaged"):
        read_run_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"loops": {"fit_loop": None}},
        {"lr_schedulers": [{}]},
        {"callbacks": {"History": {"epochs": 3}}},
        {"state_dict": {"layer.weight": torch.zeros(2, 2)}},
        {"optimizer_states": [{"state": {}, "param_groups": [{"params": [0]}]}]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_lightning_cannot_load_is_one_line(stopped, run, change):
    """What no model describes: the optimiser's state, the loops', a callback's."""
    values = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    write(run, values | change)
    line = refused(stopped, run)
    assert "last.ckpt: cannot be resumed" in line
    assert "delete it to train from the start" in line


def test_a_run_goes_on_with_what_a_machine_needs_changed(stopped, run):
    set_key(run, "cache", "none")
    set_key(run, "workers", 0)
    recipe = (run / "recipe.yaml").read_bytes()
    (run / "metrics.csv").write_text("epoch,lo")
    provenance = json.loads((run / "provenance.json").read_text())
    provenance["starts"][0]["packages"]["timm"] = "0.1"
    (run / "provenance.json").write_text(json.dumps(provenance))
    done = rs_otl_here("pretrain", stopped / "images", "--resume", "--out", run)
    assert "started with other versions (timm 0.1, now " in done.stderr
    assert (run / "recipe.yaml").read_bytes() == recipe
    assert [epoch["epoch"] for epoch in read_metrics(run)] == [1, 2]
    starts = json.loads((run / "provenance.json").read_text())["starts"]
    assert [start["command"][1] for start in starts] == ["pretrain", "pretrain"]
    assert "--resume" in starts[1]["command"]
    assert starts[0]["packages"]["torch"] == metadata.version("torch")
    assert "cores" in starts[0]["machine"]
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))


def test_a_run_of_a_version_without_a_key_goes_on_with_its_default(stopped, run):
    values = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    recipe = {
        key: value for key, value in values["run"]["recipe"].items() if key != "label_smoothing"
    }
    write(run, values | {"run": values["run"] | {"recipe": recipe}})
    lines = (run / "recipe.yaml").read_text().splitlines(keepends=True)
    older = "".join(line for line in lines if not line.startswith("label_smoothing:"))
    (run / "recipe.yaml").write_text(older + "label_smoothing: 0.5\n")
    assert "label_smoothing = 0.5, but" in refused(stopped, run)
    (run / "recipe.yaml").write_text(older)
    rs_otl_here("pretrain", stopped / "images", "--resume", "--out", run)
    assert (run / "encoder").is_dir()


def test_without_its_checkpoint_a_run_begins_again(stopped, run):
    (run / "checkpoints" / "last.ckpt").unlink()
    (run / "imagery.json").write_text("{")
    rs_otl_here("pretrain", stopped / "images", "--resume", "--out", run)
    assert read_imagery(run).images == 24
    assert (run / "encoder").is_dir()


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        ("", []),
        ("epoch,loss", []),
        ("epoch,loss\n1,0.5\n2,0.25\n", [1, 2]),
        ("epoch,loss\n1,0.5\n2,0.2", [1]),
        ("epoch,knn,loss\n1,,0.5\n2,0.5,0.4\n3\n", [1, 2]),
        ("epoch,loss\n1,0.5\n2,x\n3,0.1\n", [1]),
        ("epoch,loss\n1,0.5\n2,0.1,7,7\n", [1]),
        ("\0\0\0\n", []),
        ("loss\n1\n", []),
    ],
)
def test_a_table_of_metrics_is_read_as_far_as_it_is_whole(tmp_path, text, epochs):
    (tmp_path / "metrics.csv").write_text(text)
    assert [epoch["epoch"] for epoch in read_metrics(tmp_path)] == epochs


def test_the_table_is_read_as_it_was_written(stopped):
    rows = csv.DictReader((stopped / "run" / "metrics.csv").read_text().splitlines())
    assert [{k: float(v) for k, v in row.items()} for row in rows] == read_metrics(stopped / "run")


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_goes_during_training_is_named(stopped, tmp_path, workers):
    images = shutil.copytree(stopped / "images", tmp_path / "images")

    class Remove(Callback):
        def on_train_start(self, trainer, pl_module):
            for path in images.glob("*/*.png"):
                path.unlink()

    recipe, _ = recipe_for(str(images), None, [*settings("epochs=1", f"workers={workers}")[1::2]])
    recipe = recipe.model_copy(update={"cache": "none"})
    with pytest.raises(InputError, match=r"\.png: ") as caught:
        pretrain(recipe, out=tmp_path / "run", callbacks=[Remove()])
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_decoding_process_that_is_ended_is_one_line(stopped, tmp_path):
    recipe, _ = recipe_for(str(stopped / "images"), None, settings("epochs=1", "cache=none")[1::2])
    ended = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.\nAdvice.")
    with (
        mock.patch("rs_otl.trainers.OTLTask._make_labels", side_effect=ended),
        pytest.raises(InputError, match=r"Bus error\. Advice\.\): .* workers = 0"),
    ):
        pretrain(recipe, out=tmp_path / "run")


def test_runs_are_listed_with_how_far_they_are_and_broken_ones_are_named(stopped, tmp_path):
    stopped_run = shutil.copytree(stopped / "run", tmp_path / "runs" / "here" / "stopped")
    finished = shutil.copytree(stopped / "run", tmp_path / "runs" / "there" / "deep" / "finished")
    (finished / "encoder").mkdir()
    broken = tmp_path / "runs" / "broken"
    broken.mkdir()
    (broken / "recipe.yaml").write_text("epochs: [")

    done = rs_otl_here("runs", "--json", cwd=tmp_path)
    listed = {run["run"]: run for run in json.loads(done.stdout)}
    assert set(listed) == {"runs/here/stopped", "runs/there/deep/finished"}
    assert "runs/broken" in done.stderr
    run = listed["runs/here/stopped"]
    assert (run["state"], run["epochs"], run["of"]) == ("stopped", 1, 2)
    assert run["bytes"] == sum(len(content) for content in state(stopped_run).values())
    assert listed["runs/there/deep/finished"]["state"] == "finished"

    table = rs_otl_here("runs", cwd=tmp_path).stdout
    assert "1 of 2" in table
    again = f"rs-otl pretrain {stopped / 'images'} --out {stopped / 'run'} --resume"
    assert f"runs/here/stopped is continued by: {again}" in table
    assert "finished goes on" not in table

    with locked(stopped_run):
        held = json.loads(rs_otl_here("runs", "runs/here", "--json", cwd=tmp_path).stdout)
    assert [run["state"] for run in held] == ["running"]
    assert "no such folder" in rs_otl_here("runs", "elsewhere", cwd=tmp_path, check=2).stderr
