"""`rs-otl doctor`."""

import json
import os
import platform
import re
from importlib import metadata
from pathlib import Path

import typer

from rs_otl.cli.options import Json, Root


def doctor(root: Root = None, as_json: Json = False) -> None:
    """Say what is installed, which devices and data there are, and what is wrong with them.

    Exits with 1 if anything is wrong.
    """
    problems: list[str] = []
    sections = {
        "versions": _versions(problems),
        "devices": _devices(problems),
        "data": _data(root, problems),
    }
    if as_json:
        typer.echo(json.dumps(sections | {"problems": problems}))
    else:
        for section, found in sections.items():
            typer.echo(section)
            width = max(map(len, found), default=0)
            for name, value in found.items():
                typer.echo(f"  {name:<{width}} {value}")
        typer.echo("\n".join(f"problem: {problem}" for problem in problems) or "nothing is wrong")
    raise typer.Exit(1 if problems else 0)


def _versions(problems: list[str]) -> dict[str, str]:
    """Return the versions of rs-otl's requirements, holding them against their floors."""
    versions = {"python": platform.python_version(), "rs-otl": metadata.version("rs-otl")}
    for requirement in metadata.requires("rs-otl") or ():
        matched = re.fullmatch(r"([\w-]+)>=([\d.]+)", requirement)
        if not matched:
            continue  # of an extra
        name, floor = matched.groups()
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "missing"
            problems.append(f"{name} is not installed: pip install '{requirement}'")
            continue
        if _numbers(versions[name]) < _numbers(floor):
            problems.append(
                f"{name} {versions[name]} is older than {floor}: pip install '{requirement}'"
            )
    return versions


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])][:3]


def _devices(problems: list[str]) -> dict[str, str]:
    """Return what PyTorch can compute on."""
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
    """Return what lies where data sets are looked for."""
    from rs_otl.datasets.catalogue import CATALOGUE, data_root

    folder = data_root(root)
    if not folder.is_dir():
        return {"root": f"{folder} does not exist; --root DIR or RS_OTL_DATA names another"}
    found = {"root": str(folder)}
    for entry in CATALOGUE.values():
        if entry.folder(folder):
            present = entry.present(folder)
            found[entry.name] = entry.missing(present) or f"{sum(present.values()):,} images"
            if not sum(present.values()):
                problems.append(entry.not_found(folder))
    return found
