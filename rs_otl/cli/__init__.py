"""The command line: parse, call, print."""

import contextlib
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import typer

from rs_otl import __version__
from rs_otl.cli.augmentations import augmentations
from rs_otl.cli.bench import bench
from rs_otl.cli.change import change
from rs_otl.cli.cluster import cluster
from rs_otl.cli.datasets import datasets
from rs_otl.cli.demo import demo
from rs_otl.cli.doctor import doctor
from rs_otl.cli.embed import embed
from rs_otl.cli.encoders import encoders
from rs_otl.cli.evaluate import evaluate
from rs_otl.cli.export import export
from rs_otl.cli.help import Command, Group
from rs_otl.cli.index import index
from rs_otl.cli.interrupted import command_to_go_on
from rs_otl.cli.map import map_
from rs_otl.cli.pretrain import pretrain
from rs_otl.cli.recipes import recipes
from rs_otl.cli.report import report
from rs_otl.cli.reproduce import reproduce
from rs_otl.cli.runs import runs
from rs_otl.cli.search import search
from rs_otl.cli.suggest import suggest
from rs_otl.cli.tile import tile
from rs_otl.cli.transfer import transfer
from rs_otl.cli.view import view
from rs_otl.errors import InputError, complain, note, set_verbosity
from rs_otl.memory import keep_freed_memory
from rs_otl.recipe import Recipe

__all__ = ["app", "main"]

_INTERRUPTED = 130
# Typer has no name for it that all its releases share.
_UsageError = cast(type[Exception], typer.BadParameter.__bases__[0])

app = typer.Typer(
    help="Learn encoders from overhead images without labels, judge them, and map with them.",
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Learn": (pretrain, transfer, recipes, datasets, augmentations),
    "Judge": (evaluate, report, runs, reproduce),
    "Map": (demo, embed, map_, cluster, suggest, change, search, index, view, tile),
    "Tools": (encoders, export, doctor),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(_command.__name__.rstrip("_"), cls=Command, rich_help_panel=_panel)(_command)
app.add_typer(bench, name="bench", rich_help_panel="Tools")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rs-otl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Print only results and errors."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Show what libraries log."),
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    # main() reads --debug itself, since it reports errors after Typer has returned.
    del debug, version
    set_verbosity(verbose - quiet)
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", force=True)


def main() -> None:
    """Run the command line and exit.

    The exit code is 0 on success, 1 on a fault of the program, 2 on bad input, 3 if ``embed`` left
    out scenes or blocks that failed, and 130 after control-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # escape characters that it cannot encode
            stream.reconfigure(errors="backslashreplace")
    # Without a home folder it would print two lines on where it keeps its list of fonts.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    _leave_out_absent_proj_data()
    # Otherwise threads spin while they wait, and next to other programs they spin on cores that the
    # working threads need. The variable is read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    keep_freed_memory()
    try:
        code = app(prog_name="rs-otl", standalone_mode=False)
        sys.stdout.flush()
    except InputError as error:
        _report(str(error), 2)
    except _UsageError as error:
        _report_usage(error)
    except BrokenPipeError:
        _discard_output()
        sys.exit(0)  # the reader of our output has closed it
    except OSError as error:  # a full or read-only disk, a folder that cannot be entered
        _discard_output()
        _report(f"{error.filename or 'input or output'}: {error.strerror or error}", 2)
    except SystemExit as exit_:
        if isinstance(exit_.__context__, BrokenPipeError):  # Typer turns it into an exit
            sys.exit(0)
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        if _is_lack_of_memory(error):
            _report(f"not enough memory ({reason:.200}): use smaller images, batches or tiles", 2)
        if "proj.db" in reason:  # torchgeo looks for it when it is imported
            _report(f"PROJ's data cannot be read ({reason:.200}): unset PROJ_DATA and PROJ_LIB", 2)
        _report(f"fault: {type(error).__name__}: {reason} (--debug shows where)", 1)
    if code == _INTERRUPTED:  # Typer's code for control-C
        again = command_to_go_on(sys.argv[1:])
        _report("interrupted" + (f"; to continue: {again}" if again else ""), _INTERRUPTED)
    sys.exit(code)


def _leave_out_absent_proj_data() -> None:
    """Unset variables that point to no PROJ data, so that PROJ uses the data of its package.

    Otherwise PROJ would print an error for every CRS.
    """
    for name in ("PROJ_DATA", "PROJ_LIB"):
        folders = os.environ.get(name)
        if folders and not any(
            Path(folder, "proj.db").is_file() for folder in folders.split(os.pathsep)
        ):
            note(f"{name}={folders} holds no proj.db: left out")
            del os.environ[name]


def _report(line: str, code: int) -> NoReturn:
    if "--debug" in sys.argv[1:]:
        traceback.print_exc()
    complain(f"rs-otl: {line}")
    sys.exit(code)


def _report_usage(error: Any) -> NoReturn:
    """Report a wrong command line; show the help if there are no words."""
    message = " ".join(error.format_message().split()).removesuffix(".")
    if not message or type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.ctx.get_help() if message else "", nl=bool(message))
        sys.exit(0)
    key = getattr(error, "option_name", "").lstrip("-").replace("-", "_")
    if key in Recipe.model_fields:
        message += f"; {key} is a key of the recipe: --set {key}=VALUE"
    command = error.ctx.command_path if error.ctx else "rs-otl"
    _report(f"{message}; see `{command} --help`", 2)


def _is_lack_of_memory(error: Exception) -> bool:
    """Tell by the names of errors, so that torch is not imported for every command."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "CPUAllocator" in str(error)


def _discard_output() -> None:
    """Drop output that stdout cannot take; Python would try to write it again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            sys.stdout.close()
