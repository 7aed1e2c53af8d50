"""An encoder ready to see the tiles of scenes."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rs_otl.errors import InputError
from rs_otl.models import open_encoder
from rs_otl.runs import find_source, resolve_precision
from rs_otl.spec import EncoderConfig

# Pixels in a batch: on a processor what its caches hold, on a GPU what keeps it busy.
_PIXELS = {"cpu": 2**18, "cuda": 2**23}


@dataclass
class TileEncoder:
    """An encoder, what it expects, and where and how precisely it computes.

    Attributes:
        source: What the user called it.
        module: From (n, C, image_size, image_size) to (n, D), in evaluation mode.
        config: Its bands, units, normalisation, and image size.
        precision: ``float32`` or ``bf16``.
        device: Where it computes.
    """

    source: str
    module: nn.Module
    config: EncoderConfig
    precision: str
    device: torch.device

    @classmethod
    def open(
        cls,
        source: "str | Path | TileEncoder",
        image_size: int | None = None,
        precision: str = "auto",
    ) -> "TileEncoder":
        """Open any encoder.

        Args:
            source: A run, an exported directory, a checkpoint file, ``timm/NAME``, the name of
                torchgeo weights, or an encoder opened before.
            image_size: Side that tiles are resized to; by default the encoder's own.
            precision: ``float32``, ``bf16``, or ``auto``: bf16 where the processor has it.

        Raises:
            InputError: There is none.
        """
        if isinstance(source, TileEncoder):
            return source
        module, config = open_encoder(find_source(str(source)), image_size)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        module = module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(str(source), module, config, resolve_precision(precision), device)

    @property
    def width(self) -> int:
        """Number D of features."""
        return int(self.module.num_features)  # type: ignore[arg-type]

    @property
    def batch_size(self) -> int:
        """Tiles at once, by the device and the image size."""
        return max(1, _PIXELS[self.device.type] // self.config.image_size**2)

    def fingerprint(self) -> str:
        """Hash the weights to 16 hexadecimal digits."""
        digest = hashlib.blake2b(digest_size=8)
        for name, tensor in self.module.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().data)
        return digest.hexdigest()

    def normalise(self, pixels: np.ndarray, valid: np.ndarray) -> Tensor:
        """Scale raw values to [0, 1], clip, normalise; pixels without data get the mean.

        Args:
            pixels: (C, h, w), raw, in the encoder's bands.
            valid: (h, w), which hold data.

        Returns:
            (h, w, C) float32 on the CPU, so that tiles cut from it are channels-last.
        """
        spec = self.config.spec
        scaled = torch.from_numpy(np.ascontiguousarray(pixels.transpose(1, 2, 0))).float()
        mean, std = torch.tensor(spec.mean), torch.tensor(spec.std)
        scaled = scaled.div_(spec.scale).clamp_(0, 1).sub_(mean).div_(std)
        if not valid.all():
            scaled[torch.from_numpy(~valid)] = 0
        return scaled

    def __call__(self, tiles: Tensor) -> Tensor:
        """Embed tiles.

        Args:
            tiles: (n, T, T, C), normalised; resized if T is not the encoder's image size
                (bilinear, antialiased).

        Returns:
            (n, D) float32 on the CPU.

        Raises:
            InputError: The features are no finite vector a tile.
        """
        size = self.config.image_size
        images = tiles.permute(0, 3, 1, 2).to(self.device)
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            if images.shape[-1] != size:
                images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
            features = self.module(images).float().cpu()
        if features.ndim != 2 or not features.isfinite().all():
            raise InputError(
                f"{self.source}: expected a finite vector a tile, not {tuple(features.shape)}"
                f"{'' if features.isfinite().all() else ' with values that are not finite'}"
            )
        return features
