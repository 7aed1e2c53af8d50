"""Fetch what a command lacks, or name the command that fetches it."""

import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from rs_otl.datasets.catalogue import CATALOGUE, Entry, base_name, data_root
from rs_otl.errors import InputError, note


def fetch(entry: Entry, root: Path | None) -> None:
    """Fetch a data set, and say so on stderr."""
    folder = data_root(root)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):  # torchvision prints what it fetches
        entry.open(folder, download=True)


def ensure_images(
    dataset: str, root: Path | None, download: bool, encoders: Sequence[str] = ()
) -> None:
    """Make sure that the images of a data set of the catalogue are on this disk.

    Missing images are fetched with ``download``, or if the user agrees on a terminal. Before that,
    all ``encoders`` that the images are for are loaded.

    Raises:
        InputError: If images are missing and not fetched; the error says how to get them.
    """
    entry = CATALOGUE.get(base_name(dataset))
    if entry is None or not _lacks(entry, root):
        return
    if encoders:
        from rs_otl.models import load_encoder

        for encoder in encoders:
            load_encoder(encoder)
    if not download:
        if not entry.downloads:
            raise InputError(entry.not_found(data_root(root)))
        what = f"{entry.title} ({entry.downloads}, licence: {entry.licence})"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise InputError(
                f"no images of {what} in {data_root(root)}; `{_this_command('--download')}` "
                "fetches them"
            )
        if not typer.confirm(f"Fetch {what} into {data_root(root)}?", err=True):
            raise InputError(entry.not_found(data_root(root)))
    fetch(entry, root)


def ensure_source(source: str, target: str, root: Path | None, download: bool) -> None:
    """Make sure that a data set that is named as the encoder to transfer has a finished run.

    With ``download`` a missing run is made.

    Raises:
        InputError: If the run is missing; the error has the commands that make and transfer it.
    """
    entry = CATALOGUE.get(base_name(source))
    if entry is None or Path(source).exists():
        return
    from rs_otl.models.loading import finished_runs

    if finished_runs(source):
        return
    from rs_otl.runs import run_directory

    begun = (run_directory("pretrain", source) / "recipe.yaml").exists()
    lacking = CATALOGUE.get(base_name(target))
    by_hand = [
        one.not_found(data_root(root))
        for one in (entry, lacking)
        if one and not one.downloads and _lacks(one, root)
    ]
    if download and not by_hand:
        from rs_otl.cli.pretrain import pretrain

        note(f"no encoder of {source} yet: pretraining one")
        with contextlib.redirect_stdout(sys.stderr):  # stdout is the transfer's
            pretrain(source, root=root, resume=begun, download=True)
        return
    first = ["rs-otl", "pretrain", source, *(["--root", str(root)] if root else [])]
    first += ["--resume"] * begun + ["--download"] * (bool(entry.downloads) and _lacks(entry, root))
    fetched = lacking and lacking.downloads and _lacks(lacking, root)
    then = _this_command(*(["--download"] if fetched else []))
    raise InputError(
        "; ".join(
            [f"no encoder of {source} yet: first `{shlex.join(first)}`, then `{then}`", *by_hand]
        )
    )


def _lacks(entry: Entry, root: Path | None) -> bool:
    """Whether a data set has neither images nor an archive that can be unpacked."""
    if not entry.folders:  # it is drawn
        return False
    if entry.is_present(data_root(root)):
        return False
    return entry.archive(data_root(root)) is None


def _this_command(*more: str) -> str:
    words = [word for word in sys.argv[1:] if word not in more]
    return shlex.join(["rs-otl", *words, *more])
