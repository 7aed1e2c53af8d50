"""The help: it fits a narrow terminal, and its examples are commands."""

import logging
import os
import shlex

import pytest
import typer
from command_line import draw_folder, rs_otl, rs_otl_here, settings

from rs_otl.cli import app
from rs_otl.cli.help import EXAMPLES
from rs_otl.errors import is_verbose

GROUP = typer.main.get_command(app)
COMMANDS = [
    *([name] for name, command in GROUP.commands.items() if not hasattr(command, "commands")),
    ["bench", "labels"],
]


@pytest.mark.parametrize("words", [[], ["bench"], *COMMANDS], ids=" ".join)
def test_the_help_fits_eighty_columns_and_cuts_nothing(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = rs_otl_here(*words, "--help").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    command = GROUP
    for word in words:
        command = command.commands[word]
    for option in command.params:
        assert all(name in shown.split() or f"{name}," in shown for name in option.opts[:1]) or (
            option.param_type_name == "argument"
        )
        if option.help:
            assert option.help.split()[-1] in shown


def test_the_commands_are_grouped():
    shown = rs_otl_here("--help").stdout
    places = [shown.index(f"\n{panel}:\n") for panel in ("Learn", "Judge", "Map", "Tools")]
    assert places == sorted(places)
    assert shown.index("  pretrain ") < places[1] < shown.index("  evaluate ") < places[2]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_examples_of_a_command_are_ones_that_it_understands(words):
    shown = rs_otl_here(*words, "--help").stdout
    assert EXAMPLES[words[-1]]
    for example in EXAMPLES[words[-1]]:
        assert f"\n    {example}" in shown
        name, *rest = shlex.split(example)
        assert [name, *rest[: len(words)]] == ["rs-otl", *words]
        command = GROUP
        for word in words:
            command = command.commands[word]
        command.make_context(words[-1], rest[len(words) :]).close()


def test_the_shell_completes_commands():
    asked = {"_RS_OTL_COMPLETE": "complete_bash", "COMP_WORDS": "rs-otl pre", "COMP_CWORD": "1"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in (os.environ | asked).items():
            environment.setitem(rs_otl.__globals__["ENVIRONMENT"], name, value)
        assert rs_otl().stdout.split() == ["pretrain"]


def test_a_quiet_command_says_its_results_and_errors_alone(tmp_path):
    draw_folder(tmp_path / "images")
    words = ["pretrain", "images", *settings("epochs=1")]
    done = rs_otl_here("-q", *words, cwd=tmp_path)
    assert not done.stderr
    assert "encoder  runs/pretrain/images/encoder" in done.stdout
    again = rs_otl_here("--quiet", *words, check=2, cwd=tmp_path)
    assert again.stderr.count("\n") == 1
    assert "holds a run already" in again.stderr
    assert "recipe quick" in rs_otl_here(*words, check=2, cwd=tmp_path).stderr


def test_a_verbose_command_shows_what_libraries_log(monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])
    before = root.level
    try:
        rs_otl_here("-v", "recipes")
        assert root.level == logging.INFO
        assert is_verbose()
        rs_otl_here("recipes")
        assert not is_verbose()
    finally:
        root.setLevel(before)
