"""Lightning's loggers, besides the table and the events that every run writes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from rs_otl.errors import InputError
from rs_otl.extras import require_extra

LOGGERS = ("tensorboard", "csv", "wandb", "mlflow")


def check_loggers(names: Sequence[str]) -> None:
    """Raise an :class:`InputError` if a logger is unknown, or its packages are missing.

    Args:
        names: Names from :data:`LOGGERS`.
    """
    for name in names:
        if name not in LOGGERS:
            raise InputError(f"--logger {name}: expected some of {','.join(LOGGERS)}")
        if name in ("wandb", "mlflow"):
            require_extra(name, f"--logger {name}")


def make_loggers(names: Sequence[str], directory: Path) -> list[Logger]:
    """Make loggers that write into ``logs/`` of a run, so that nothing leaves this machine unasked.

    If ``WANDB_MODE`` or ``MLFLOW_TRACKING_URI`` is set, Weights & Biases or MLflow sends to where
    the variable says.

    Args:
        names: Names from :data:`LOGGERS`.
        directory: The run's directory.
    """
    return [_make(name, directory) for name in dict.fromkeys(names)]


def _make(name: str, directory: Path) -> Logger:
    if name == "tensorboard":
        return TensorBoardLogger(directory, "logs", "tensorboard")
    if name == "csv":
        return CSVLogger(directory, "logs", "csv")
    folder = directory / "logs" / name
    folder.mkdir(parents=True, exist_ok=True)
    if name == "wandb":
        from lightning.pytorch.loggers import WandbLogger

        mode = cast(Literal["online", "offline"], os.environ.get("WANDB_MODE", "offline"))
        return WandbLogger(directory.name, folder, project="rs-otl", mode=mode)
    from lightning.pytorch.loggers import MLFlowLogger

    uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{folder.resolve() / 'mlflow.db'}")
    return MLFlowLogger("rs-otl", directory.name, uri, artifact_location=str(folder.resolve()))
