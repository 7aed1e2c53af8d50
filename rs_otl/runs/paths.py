"""Where runs are written."""

from pathlib import Path

from rs_otl.datasets.remote import dataset_name
from rs_otl.files import RUNS


def run_directory(command: str, dataset: str) -> Path:
    """Return ``runs/COMMAND/DATASET``; a folder or a catalog gives its name."""
    return RUNS / command / dataset_name(dataset)


def run_of(path: Path | None) -> Path | None:
    """Return the run that an encoder directory belongs to, or the directory if it has no run.

    Args:
        path: Where an encoder was read from, :attr:`rs_otl.models.Encoder.path`; a checkpoint file
            or no path gives ``None``.
    """
    if path is None or path.is_file():
        return None
    return path.parent if path.name == "encoder" else path
