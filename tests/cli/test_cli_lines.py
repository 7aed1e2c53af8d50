"""What the command line says when it refuses: one printable line, whatever it echoes."""

import io
import json
import os
import re
import subprocess
import sys
from unittest import mock

import pytest
import torch
from command_line import ENVIRONMENT, PROGRAM, draw_folder, rs_otl_here, settings
from geo_scenes import make_encoder
from PIL import Image

from rs_otl.cli import main
from rs_otl.cli.options import overridden
from rs_otl.errors import LONGEST_LINE, InputError, note, one_line
from rs_otl.recipe import recipe_for

HOSTILE = (
    "\x1b[31mred",
    "two\nlines",
    "\u2028",
    "\t",
    "\udcff\udcfe",
    "x" * 5000,
    "\x1b" * 5000,
    "[bold]x[/]",
    "²",
)
SIGNED = "https://me:SECRET@127.0.0.1:9/catalog.json?sig=SECRET"


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return make_encoder(tmp_path_factory.mktemp("lines") / "encoder")


def refused(*arguments, **more):
    """Return the line of a refusal, which notes may come before."""
    done = rs_otl_here(*arguments, check=2, **more)
    assert not done.stdout
    lines = done.stderr.removesuffix("\n").split("\n")
    assert [line.startswith("rs-otl: ") for line in lines] == [False] * (len(lines) - 1) + [True]
    assert all(line.isprintable() for line in lines)
    # An escape takes up to six characters.
    assert max(map(len, lines)) <= 6 * LONGEST_LINE
    return lines[-1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pretrain"], "Missing argument 'dataset'; see `rs-otl pretrain --help`"),
        (["nope"], "No such command 'nope'; see `rs-otl --help`"),
        (["pretrain", "aid", "--root"], "requires an argument"),
        (["pretrain", "aid", "--nodes", "0"], "Invalid value for '--nodes'"),
        (["bench", "labels", "--kind", "odd"], "not one of 'random', 'correlated'"),
        (["pretrain", "aid", "--batch-size", "3"], "--set batch_size=VALUE"),
        (["pretrain", "aid", "hmhr"], "unexpected extra argument"),
        (["datasets", "--download"], "--download needs the NAME of a data set"),
    ],
)
def test_words_that_are_no_command_are_one_line(words, expected):
    assert expected in refused(*words)


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: ascii(value)[:20])
def test_a_refusal_is_one_printable_line_whatever_it_echoes(value, tmp_path):
    for words in (
        [value],
        ["pretrain", value],
        ["pretrain", "aid", f"--{value}"],
        ["pretrain", "aid", "--nodes", value],
        ["pretrain", "aid", "--set", f"lr={value}"],
        ["pretrain", "aid", "--set", f"{value}=1"],
        ["pretrain", "aid", "--recipe", value],
        ["evaluate", value, "--on", "aid"],
        ["augmentations", value, "-o", "a.png"],
    ):
        refused(*words, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "code", "expected"),
    [
        (ValueError("two\n\n  lines \x1b[31m"), 1, r"fault: ValueError: two lines \x1b[31m ("),
        (RuntimeError("x" * 10**6), 1, "fault: RuntimeError: xxx"),
        (MemoryError("Unable to allocate 9 TiB"), 2, "not enough memory (Unable to allocate 9 TiB"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTry"), 2, "not enough memory (CUDA out of"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't"), 2, "not enough memory ([enf"),
        (OSError(28, "No space left on device"), 2, "input or output: No space left on device"),
        (OSError(28, "No space", "a\nb"), 2, r"a\nb: No space"),
        (InputError("a\nb"), 2, r"a\nb"),
    ],
)
def test_every_error_is_one_line(error, code, expected):
    with mock.patch("rs_otl.recipe.recipe_for", side_effect=error):
        stderr = rs_otl_here("pretrain", "aid", check=code).stderr
    assert stderr.startswith(f"rs-otl: {expected}")
    assert stderr.count("\n") == 1
    assert len(stderr) <= LONGEST_LINE


@pytest.mark.parametrize(
    ("words", "function"),
    [
        ("cluster e.tif -o map.tif", "geo.cluster"),
        ("change a.tif b.tif -o change.tif", "geo.change"),
        ("index e.tif -o index", "geo.index"),
        ("suggest e.tif -o places.geojson", "geo.suggest"),
        ("bench methods images", "bench.methods.race"),
    ],
)
def test_quiet_shows_no_bars_on_a_terminal(words, function, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(io, "StringIO", Terminal)
    bars = []

    def run(*_, progress, **__):
        bars.append(progress)
        raise InputError("enough")

    with mock.patch(f"rs_otl.{function}", run):
        rs_otl_here("-q", *words.split(), check=2)
        rs_otl_here(*words.split(), check=2)
    assert bars == [False, True]


def test_debug_shows_where_a_wrong_word_was_found():
    stderr = rs_otl_here("--debug", "nope", check=2).stderr
    assert "Traceback" in stderr
    assert stderr.splitlines()[-1].startswith("rs-otl: No such command")


def test_a_long_line_keeps_its_ends():
    line = one_line("--set lr=" + "x" * 5000 + ": expected a number")
    assert line.startswith("--set lr=xxx")
    assert line.endswith("xxx: expected a number")
    assert len(line) <= LONGEST_LINE


def test_a_note_is_one_line(capsys):
    note("a\r\nb\x1b\udcffß")
    assert capsys.readouterr().err == "a\\r\\nb\\x1b\\udcffß\n"


@pytest.mark.parametrize(
    "words",
    [
        ["bench", "labels", "--rows", 10**12, "--clusters", 10**6],
        ["augmentations", "a.png", "-o", "b.png", "--image-size", 10**6],
        ["evaluate", "run", "--on", "aid", "--seed", 2**64],
        ["evaluate", "run", "--on", "aid", "--division", 10**12],
        ["evaluate", "run", "--on", "aid", "--image-size", 10**6],
        ["embed", "a.tif", "--encoder", "run", "-o", "b.tif", "--image-size", 10**6],
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)
def test_numbers_beyond_any_sense_are_refused_before_any_work(words, tmp_path):
    assert refused(*words, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        f"pretrain {SIGNED}",
        f"pretrain x --set dataset={SIGNED}",
        f"pretrain x --set dataset={SIGNED} --dry-run",
        f"transfer --from encoder --to {SIGNED}",
        f"transfer --from encoder --to {SIGNED} --dry-run",
        f"transfer --from encoder --to x --set dataset={SIGNED} --finetune",
        f"bench methods {SIGNED} --out race",
        f"bench methods x --set dataset={SIGNED} --out race",
        f"bench methods x --also {SIGNED} --out race",
    ],
)
def test_no_run_stores_an_address_with_a_password_or_signature(words, tmp_path, encoder):
    (tmp_path / "encoder").symlink_to(encoder)
    line = refused(*words.split(), cwd=tmp_path)
    assert "https://127.0.0.1:9/catalog.json: a run stores this address, so it may hold no" in line
    assert "SECRET" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


@pytest.mark.parametrize("words", [[], ["bench"]])
def test_no_words_are_answered_with_the_help(words):
    done = rs_otl_here(*words)
    assert "Usage: rs-otl" in done.stdout
    assert "labels " in done.stdout or "Learn:" in done.stdout
    assert done.stdout.rstrip("\n") == rs_otl_here(*words, "--help").stdout.rstrip("\n")
    assert not done.stderr


def test_streams_that_cannot_encode_a_name_take_it_escaped(tmp_path):
    """As with PYTHONIOENCODING=ascii, where nothing but ASCII can be printed."""
    folder = draw_folder(tmp_path / "images", images=2)
    (folder / "class0").rename(folder / "Wälder und Bäche")
    (folder / "none.png").write_text("")
    words = ["rs-otl", "datasets", "--check", str(folder)]
    with (
        io.TextIOWrapper(io.BytesIO(), "ascii", errors="strict") as stream,
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stdout", stream),
    ):
        with pytest.raises(SystemExit) as left:
            main()
        stream.seek(0)
        printed = stream.read()
    assert not left.value.code
    assert r"W\xe4lder und B\xe4che" in printed


def test_output_that_nobody_reads_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        done = subprocess.run(
            [PROGRAM, "datasets"], stdout=closed, stderr=subprocess.PIPE, env=ENVIRONMENT
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_to_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [PROGRAM, "datasets"], stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT
        )
    assert done.returncode == 2
    assert done.stderr == b"rs-otl: input or output: No space left on device\n"


@pytest.mark.parametrize(
    "words",
    [
        ["pretrain", "images", "--out", "new", *settings()],
        ["augmentations", "image.png", "-o", "new", "--image-size", "32"],
        ["export", "encoder", "--to", "new"],
        ["evaluate", "encoder", "--on", "images", "--out", "out"],
        ["embed", "scene.tif", "--encoder", "encoder", "-o", "new.tif"],
        ["map", "scene.tif", "--encoder", "encoder", "--labels", "l.geojson", "-o", "new.tif"],
        ["search", "scene.tif", "--encoder", "encoder", "--query", "1,1", "-o", "new.geojson"],
        ["view", "scene.tif", "-o", "new.html"],
        ["tile", "scene.tif", "-o", "new"],
    ],
    ids=lambda words: words[0],
)
def test_a_link_that_leads_nowhere_is_not_replaced(words, tmp_path, encoder):
    draw_folder(tmp_path / "images", images=4)
    Image.new("RGB", (40, 40)).save(tmp_path / "image.png")
    (tmp_path / "encoder").symlink_to(encoder)
    (tmp_path / "out").mkdir()
    links = [tmp_path / name for name in ("new", "new.tif", "new.geojson", "new.html")]
    for link in [*links, tmp_path / "out" / "evaluation.json"]:
        link.symlink_to("missing")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    line = rs_otl_here(*words, check=2, cwd=tmp_path).stderr.splitlines()[-1]
    assert "already" in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert all(os.readlink(link) == "missing" for link in links)


def test_recipes_lists_the_recipes_and_the_keys_of_one(tmp_path):
    listed = rs_otl_here("recipes").stdout
    assert re.search("^quick +A first encoder on two cores", listed, re.M)
    keys = rs_otl_here("recipes", "quick").stdout
    assert re.search("^image_size +64 +16 to 4,096 +Side of a view in pixels", keys, re.M)
    assert re.search("^milestones +\\[\\] ", rs_otl_here("recipes", "quick").stdout, re.M)
    assert json.loads(rs_otl_here("recipes", "--json").stdout)["pretrain/aid"]
    own = tmp_path / "own.yaml"
    own.write_text("dataset: aid\nviews: 3\n")
    described = json.loads(rs_otl_here("recipes", own, "--json").stdout)
    assert {row["name"]: row["value"] for row in described}["views"] == 3
    assert "expected a YAML file or one of" in refused("recipes", "quik")
    own.write_text("view: 3\n")
    assert "did you mean 'views'" in refused("recipes", own)


@pytest.mark.parametrize("name", ["a: b", "a #1", "[a", "123", "x, y", "&a", "2021-02-30", ""])
def test_names_of_options_are_not_read_as_yaml(name):
    recipe, _ = recipe_for("aid", None, overridden(None, name, 2, True, False))
    assert (recipe.init, recipe.division) == (name, 2)
