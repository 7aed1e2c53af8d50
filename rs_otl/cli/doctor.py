"""`rs-otl doctor`."""

import json
import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from packaging.requirements import Requirement

from rs_otl.cli.options import Json, Root
from rs_otl.errors import InputError, wants_bars
from rs_otl.extras import install_command

_CHECKPOINTS = (".ckpt", ".pth", ".pt", ".safetensors")
# Files that show that a folder is a run, or an encoder.
_RUN, _ENCODER = ("recipe.yaml", "imagery.json", "checkpoints"), ("config.json", "encoder.pth")


def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="A run, an encoder, a checkpoint, a scene, a satellite's product, a STAC item, or "
            "a file of embeddings. Default: the installation.",
            show_default=False,
        ),
    ] = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Check the installation, or a run or file: what is wrong with it, and what can be saved.

    Exits with 2 if there is a problem. A missing extra is not a problem.
    """
    problems: list[str] = []
    if path is not None:
        sections = {str(path): _examined(path, root, problems)}
    else:
        sections = {
            "versions": _versions(problems),
            "extras": _extras(),
            "devices": _devices(problems),
            "data": _data(root, problems),
        }
    if as_json:
        typer.echo(json.dumps(sections | {"problems": problems}))
    else:
        for section, entries in sections.items():
            typer.echo(section)
            width = max(map(len, entries), default=0)
            for name, value in entries.items():
                typer.echo(f"  {name:<{width}} {value}")
        typer.echo("\n".join(f"problem: {problem}" for problem in problems) or "no problems")
    raise typer.Exit(2 if problems else 0)


def _examined(path: Path, root: Path | None, problems: list[str]) -> dict[str, str]:
    """Read a whole run or file, and describe it."""
    progress = wants_bars()
    expected = (
        "expected a run, an encoder, a checkpoint, a scene, a satellite's product, a STAC item or "
        "a file of embeddings"
    )
    if not path.exists() and "*" not in path.name:
        raise InputError(f"{path}: no such file or folder; {expected}")
    if any((path / name).exists() for name in _RUN):
        from rs_otl.runs.checking import check_run

        return check_run(path, problems, root, progress)
    files = path.iterdir() if path.is_dir() else [path]
    if any(file.suffix.lower() in _CHECKPOINTS or file.name in _ENCODER for file in files):
        from rs_otl.runs.checking import check_encoder

        return check_encoder(path, problems)
    if path.is_dir():
        from rs_otl.datasets.products import NoProductError
        from rs_otl.datasets.sources import source_of
        from rs_otl.geo.joined import is_archive

        if is_archive(path):
            raise InputError(
                f"{path}: an archive of embeddings, `rs-otl embed {path}` checks and completes it; "
                f"{expected}"
            )
        try:
            source_of(path)
        except NoProductError:
            raise InputError(
                f"{path}: holds none of these; {expected}; `rs-otl datasets --check {path}` reads "
                "a folder of images"
            ) from None
        except InputError as error:
            problems.append(str(error))
            return {"folder": "not usable"}
    if path.suffix.lower() in (".parquet", ".geoparquet"):
        from rs_otl.geo.checking import check_parquet

        return check_parquet(path, problems)
    from rs_otl.geo.checking import check_raster

    return check_raster(path, problems, progress)


def _versions(problems: list[str]) -> dict[str, str]:
    """Return the installed versions of rs-otl's requirements; too old ones are problems."""
    versions = {"python": platform.python_version(), "rs-otl": metadata.version("rs-otl")}
    for requirement in _requirements():
        if requirement.marker:
            continue  # belongs to an extra
        version = versions[requirement.name] = _installed(requirement) or "missing"
        if not _fits(requirement):
            problems.append(
                f"{requirement.name} is {version}, expected {requirement.specifier}: "
                f"pip install '{requirement}'"
            )
    return versions


def _extras() -> dict[str, str]:
    """Return, for each extra of the installed package, whether its requirements are installed."""
    names = metadata.metadata("rs-otl").get_all("Provides-Extra") or []
    extras = {}
    for name in names:
        if name in ("dev", "docs"):
            continue
        missing = ", ".join(sorted(_missing(name)))
        extras[name] = f"missing {missing}: {install_command(name)}" if missing else "installed"
    return extras


def _missing(extra: str) -> set[str]:
    """Return the packages of an extra that are not installed or too old."""
    missing = set()
    for requirement in _requirements():
        marker = requirement.marker
        if not marker or marker.evaluate({"extra": ""}) or not marker.evaluate({"extra": extra}):
            continue
        if requirement.name == "rs-otl":  # an extra made of other extras
            missing |= set().union(*map(_missing, requirement.extras))
        elif not _fits(requirement):
            missing.add(requirement.name)
    return missing


def _requirements() -> Iterator[Requirement]:
    """Return the requirements of rs-otl and of its extras."""
    return map(Requirement, metadata.requires("rs-otl") or ())


def _installed(requirement: Requirement) -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _fits(requirement: Requirement) -> bool:
    version = _installed(requirement)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _devices(problems: list[str]) -> dict[str, str]:
    """Return the devices that PyTorch can use."""
    try:
        import torch
        import torchvision  # noqa: F401 - a CPU build of torch beside another torchvision fails here
    except (ImportError, RuntimeError) as error:
        problems.append(
            f"torch and torchvision do not import together ({error}): install a matching pair, "
            "such as the one in constraints.txt"
        )
        return {}
    from rs_otl.models import resolve_precision

    devices = {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}"
    }
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    devices["precision"] = f"auto means {resolve_precision('auto')}"
    return devices


def _data(root: Path | None, problems: list[str]) -> dict[str, str]:
    """Return the data sets in the data folder."""
    from rs_otl.datasets.catalogue import CATALOGUE, data_root

    folder = data_root(root)
    if not folder.is_dir():
        return {"root": f"{folder} does not exist; --root DIR or RS_OTL_DATA names another"}
    data = {"root": str(folder)}
    for entry in CATALOGUE.values():
        if entry.folder(folder):
            present = entry.present(folder)
            data[entry.name] = entry.missing(present) or f"{sum(present.values()):,} images"
            if not sum(present.values()):
                problems.append(entry.not_found(folder))
    return data
