"""An encoder ready to see the tiles of scenes."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

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
        seconds: What its forward passes have taken so far.
    """

    source: str
    module: nn.Module
    config: EncoderConfig
    precision: str
    device: torch.device
    seconds: float = 0.0

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
                torchgeo weights, or an encoder opened before, which is given back.
            image_size: Side that tiles are resized to; by default the encoder's own.
            precision: ``float32``, ``bf16``, or ``auto``: bf16 where the processor has it.

        Raises:
            InputError: There is none, or no such precision.
        """
        if isinstance(source, TileEncoder):
            return source
        if precision not in ("auto", "float32", "bf16"):
            raise InputError(f"--precision {precision}: expected auto, float32 or bf16")
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

    def __call__(self, tiles: Tensor, valid: Tensor | None = None) -> Tensor:
        """Embed tiles.

        They are scaled to [0, 1], clipped, normalised, and resized if they are not of the
        encoder's image size (bilinear, antialiased).

        Args:
            tiles: (n, C, T, T), raw values in the encoder's bands.
            valid: (n, T, T), which pixels hold data; the others get the mean. By default all.

        Returns:
            (n, D) float32 on the CPU.

        Raises:
            InputError: The features are no finite vector a tile.
        """
        size = self.config.image_size
        with torch.inference_mode():
            images = self._normalised(tiles, valid)
            if images.shape[-1] != size:
                images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
            began = time.perf_counter()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                features = self.module(images)
            features = features.float().cpu()
            self.seconds += time.perf_counter() - began
        finite = bool(features.isfinite().all())
        if features.ndim != 2 or not finite:
            raise InputError(
                f"{self.source}: expected a vector of finite numbers a tile, got "
                f"{tuple(features.shape)}{'' if finite else ', not all of them finite'}"
            )
        return features

    def _normalised(self, tiles: Tensor, valid: Tensor | None) -> Tensor:
        """Return float32 on the device, channels last."""
        spec = self.config.spec
        mean, std = (
            torch.tensor(values, device=self.device).view(-1, 1, 1)
            for values in (spec.mean, spec.std)
        )
        images = tiles.to(self.device).to(torch.float32, memory_format=torch.channels_last)
        images.div_(spec.scale).clamp_(0, 1).sub_(mean).div_(std)
        if valid is not None:
            images.masked_fill_(~valid.to(self.device)[:, None], 0)
        return images
