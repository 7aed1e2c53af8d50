"""Loading an exported encoder with every tool, and comparing the results."""

import contextlib
import importlib.util
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rs_otl.export.loaders import CHECKPOINT, ONNX, Loader, loaders
from rs_otl.export.segmentation import segmentation_backbone
from rs_otl.models import Encoder, load_encoder


@dataclass(frozen=True)
class Check:
    """The result of one loader.

    Attributes:
        loader: Name of the loader.
        result: Whether tensors and outputs were equal; ``"not installed"`` if its package is
            missing.
        detail: What was compared, or what was wrong.
    """

    loader: str
    result: Literal["equal", "unequal", "not installed"]
    detail: str = ""


def verify_export(directory: str | Path) -> tuple[Check, ...]:
    """Load an exported encoder with every loader that suits its architecture.

    It runs the code of the model card.

    Args:
        directory: As ``export_encoder`` wrote it.

    Returns:
        A check for each loader, in a fixed order.

    Raises:
        InputError: If the directory holds no readable encoder at all.
    """
    encoder = load_encoder(directory)
    folder = encoder.path or Path(directory)
    backbone = segmentation_backbone(encoder.config, encoder.module.state_dict())
    suitable = loaders(encoder.config, str(folder), backbone, (folder / ONNX).is_file())
    return tuple(_check(loader, encoder, folder) for loader in suitable)


def print_checks(checks: tuple[Check, ...], console: Console) -> None:
    """Print a row for each loader.

    Args:
        checks: The result of :func:`verify_export`.
        console: Where to print.
    """
    table = Table("loader", "result", "")
    for check in checks:
        table.add_row(check.loader, check.result, escape(check.detail))
    console.print(table)


def _check(loader: Loader, encoder: Encoder, directory: Path) -> Check:
    if importlib.util.find_spec(loader.package) is None:
        return Check(loader.name, "not installed")
    names: dict[str, Any] = {}
    try:
        # The loaders' own warnings and messages are not part of the result.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            _check_file(loader, directory)
            exec(compile(loader.snippet, loader.name, "exec"), names)
            return Check(loader.name, "equal", loader.compare(names, encoder))
    except Exception as error:  # any error of a loader is its result
        reason = " ".join(str(error).split())[:160]
        return Check(loader.name, "unequal", reason or type(error).__name__)


def _check_file(loader: Loader, directory: Path) -> None:
    """Check that the loader's file is there, and that no code is pickled in a checkpoint."""
    path = directory / loader.file
    if not path.exists():
        raise FileNotFoundError(f"no {loader.file}: export it again")
    if loader.file == CHECKPOINT:
        torch.load(path, weights_only=True)  # not all loaders ask for that
