"""The command line: parse, call, print."""

import sys
import traceback
from collections.abc import Callable

import typer

from rs_otl import __version__
from rs_otl.cli.augmentations import augmentations
from rs_otl.cli.bench import bench
from rs_otl.cli.datasets import datasets
from rs_otl.cli.doctor import doctor
from rs_otl.cli.embed import embed
from rs_otl.cli.evaluate import evaluate
from rs_otl.cli.export import export
from rs_otl.cli.map import map_
from rs_otl.cli.pretrain import pretrain
from rs_otl.cli.reproduce import reproduce
from rs_otl.cli.search import search
from rs_otl.cli.tile import tile
from rs_otl.cli.transfer import transfer
from rs_otl.cli.view import view
from rs_otl.errors import InputError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    help="Learn encoders from overhead images without labels, evaluate them, use them elsewhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
_COMMANDS: tuple[Callable[..., None], ...] = (
    datasets,
    pretrain,
    transfer,
    evaluate,
    export,
    embed,
    map_,
    search,
    view,
    tile,
    augmentations,
    reproduce,
    doctor,
)
for _command in _COMMANDS:
    app.command(_command.__name__.rstrip("_"))(_command)
app.add_typer(bench, name="bench")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rs-otl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    # main() reads --debug itself, since it reports errors after Typer has returned.
    del debug, version


def main() -> None:
    """Run the command line; exit 0 on success, 2 on bad input, 1 on a fault of the program."""
    try:
        app()
    except InputError as error:
        _report(f"rs-otl: {error}", 2)
    except SystemExit as exit_:
        if exit_.code == _INTERRUPTED:  # Typer's code for control-C
            _report("rs-otl: interrupted; --resume continues pretrain and embed", _INTERRUPTED)
        raise
    except BrokenPipeError:
        sys.exit(0)  # whatever read our output has closed it
    except OSError as error:  # a full or read-only disk, a folder that cannot be entered
        _report(f"rs-otl: {error.filename or 'input or output'}: {error.strerror or error}", 2)
    except Exception as error:
        _report(f"rs-otl: fault: {type(error).__name__}: {error} (--debug shows where)", 1)


def _report(line: str, code: int) -> None:
    if "--debug" in sys.argv[1:]:
        traceback.print_exc()
    print(line, file=sys.stderr)
    sys.exit(code)
