"""An encoder directory as an entry among torchgeo's weights."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import Weights, WeightsEnum

from rs_otl.models.encoder import evaluation_transforms
from rs_otl.models.loading import WEIGHTS, read_config


class _LocalWeights(WeightsEnum):
    """Weights whose ``url`` is a file on this machine, which is read directly."""

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        # torchvision would copy it to its cache, under a name that all exports have in common.
        return load_file(Path(self.url))


def weights(directory: str | Path) -> WeightsEnum:
    """Describe an encoder directory as torchgeo describes its weights.

    The entry is accepted wherever torchgeo takes a member of an enum: ``resnet18(weights=...)``,
    ``ClassificationTask(weights=...)``.

    Args:
        directory: A directory that ``rs_otl.export.export_encoder`` wrote.

    Returns:
        The entry. Its ``transforms`` turn raw values, 0 to 255 for 8-bit images, ``(..., C, H,
        W)``, into what the encoder expects; its ``meta`` holds ``model``, ``in_chans``,
        ``bands``, ``units``, ``quantity``, ``resolution`` and ``dataset``.

    Raises:
        InputError: If it is not such a directory.
    """
    directory = Path(directory)
    config = read_config(directory)
    spec = config.spec
    mean = [spec.offset + spec.scale * value for value in spec.mean]
    std = [spec.scale * value for value in spec.std]
    entry = Weights(
        url=str((directory / WEIGHTS).resolve()),
        transforms=evaluation_transforms(config.image_size, mean, std),
        meta={
            "model": config.encoder,
            "in_chans": len(spec.bands),
            "bands": list(spec.bands),
            "units": spec.units,
            "quantity": str(spec.quantity),
            "resolution": spec.resolution,
            "dataset": config.dataset,
        },
    )
    made: Any = _LocalWeights("Encoder_Weights", {"ENCODER": entry})
    return made.ENCODER
