"""The encoders that every command accepts by name."""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import timm
import torch
from torchvision.models import WeightsEnum

from rs_otl.errors import InputError, note
from rs_otl.files import RUNS
from rs_otl.models.loading import CONFIG, read_config
from rs_otl.models.pretrained import LITE, architecture_of, describe_entry, is_cached
from rs_otl.models.torchgeo_models import ARCHITECTURES, NO_ENCODERS
from rs_otl.spec import RGB, EncoderConfig


@dataclass(frozen=True)
class KnownEncoder:
    """An encoder, with the name that every command accepts.

    Attributes:
        name: What to type.
        kind: ``run``, ``exported``, ``timm`` or ``torchgeo``.
        architecture: timm's name of the architecture.
        bands: Bands of its images, in order.
        units: Units of the images' raw values.
        image_size: Side of its images in pixels, unless another is asked for.
        dataset: What it was trained on.
        licence: Licence of its weights; ``None`` if it is not stated.
        here: Whether its weights are on this disk.
        instead: What these weights are, if they are no encoder of images.
    """

    name: str
    kind: str
    architecture: str
    bands: tuple[str, ...]
    units: str
    image_size: int
    dataset: str
    licence: str | None
    here: bool
    instead: str | None = None


def known_encoders(folder: str | Path = ".") -> list[KnownEncoder]:
    """List the encoders that every command accepts by name.

    Runs below ``runs/`` and exported directories come first, then timm's encoders whose weights are
    on this disk, then all of torchgeo's weights, also those that are no encoders. The name of any
    other encoder of timm is ``timm/NAME``.

    Args:
        folder: Where to look for runs and for exported directories.

    Raises:
        InputError: If there is no such folder.
    """
    return [*_own(Path(folder)), *_of_timm(), *_of_torchgeo()]


def torchgeo_entries() -> dict[str, WeightsEnum]:
    """Return all of torchgeo's weights by name, also those that are no encoders."""
    import torchgeo.models  # takes seconds

    enums: dict[str, Any] = {
        value.__name__: value
        for value in vars(torchgeo.models).values()
        if isinstance(value, type) and issubclass(value, WeightsEnum) and value is not WeightsEnum
    }
    return {str(entry): entry for _, enum in sorted(enums.items()) for entry in enum}


def _own(folder: Path) -> Iterator[KnownEncoder]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one that holds runs or exports")
    found = [*sorted((folder / RUNS).rglob(CONFIG)), *sorted(folder.glob(f"*/{CONFIG}"))]
    for path in found:
        directory = path.parent
        try:
            config = read_config(directory)
        except InputError as error:
            note(f"skipped an encoder: {error}")
            continue
        of_run = directory.name == "encoder" and (directory.parent / "recipe.yaml").is_file()
        name = str(directory.parent if of_run else directory)
        yield _known(name, "run" if of_run else "exported", config, None, True)


def _of_timm() -> Iterator[KnownEncoder]:
    for name in (*LITE, *timm.list_pretrained()):
        settings: Any = timm.get_pretrained_cfg(name)
        package = LITE.get(name)
        if package and importlib.util.find_spec(package) is None:
            continue
        repository = settings.hf_hub_id
        if not package and not (repository and is_cached(repository)):
            continue
        yield KnownEncoder(
            name=f"timm/{name}",
            kind="timm",
            architecture=settings.architecture,
            bands=RGB,
            units="8-bit counts",
            image_size=settings.input_size[-1],
            dataset=settings.tag or "ImageNet",
            licence=settings.license,
            here=True,
        )


def _of_torchgeo() -> Iterator[KnownEncoder]:
    kept = Path(torch.hub.get_dir()) / "checkpoints"
    for name, entry in torchgeo_entries().items():
        meta = entry.meta
        licence = meta.get("license")
        try:
            ours = ARCHITECTURES.get(architecture_of(entry, name))
        except InputError:
            yield KnownEncoder(
                name=name,
                kind="torchgeo",
                architecture=str(meta.get("model")),
                bands=tuple(str(band) for band in meta.get("bands") or ()),
                units="",
                image_size=0,
                dataset=str(meta.get("dataset") or name),
                licence=licence,
                here=False,
                instead=NO_ENCODERS.get(name.partition(".")[0], "architecture not known here"),
            )
            continue
        here = (kept / Path(urlsplit(entry.url).path).name).is_file()
        sensors = list(ours.inputs)[1:] if ours is not None else []
        for called in (name, *(f"{name}@{sensor}" for sensor in sensors)):
            yield _known(called, "torchgeo", describe_entry(entry, called), licence, here)


def _known(
    name: str, kind: str, config: EncoderConfig, licence: str | None, here: bool
) -> KnownEncoder:
    return KnownEncoder(
        name=name,
        kind=kind,
        architecture=config.encoder,
        bands=config.spec.bands,
        units=config.spec.units,
        image_size=config.image_size,
        dataset=config.dataset,
        licence=licence,
        here=here,
    )
