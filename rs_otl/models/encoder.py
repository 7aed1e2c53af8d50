"""An encoder with everything that is needed to use it on images."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from rs_otl.errors import InputError, note
from rs_otl.models.architecture import feature_width
from rs_otl.sensors import bands_of, match
from rs_otl.spec import EncoderConfig, ImageSpec, load_size

PRECISIONS = ("auto", "float32", "bf16")
ACCELERATORS = ("auto", "cpu", "gpu", "mps")
# A later version added these fields; without them, older encoders keep their fingerprints.
_ONLY_DESCRIBE = {"quantity", "known", "offset"}
# Pixels in a batch: on a CPU what its caches hold, on a GPU what keeps it busy.
_BATCH_PIXELS = {"cpu": 2**18, "cuda": 2**23}


class Encoder(nn.Module):
    """A network that turns images into features, and a description of the images it expects.

    As a module it takes normalised images; :meth:`embed` takes images as they are. Images from
    files and tiles of scenes are preprocessed in the same way: the paper's test view (section 4.3).

    Args:
        module: A timm model without classifier, from ``(n, C, S, S)`` float32 to ``(n, D)``; S is
            ``config.image_size``.
        config: Bands, units, normalisation and size of its images, and its training.
        source: The user's name for it, for error messages.
        path: The encoder directory or checkpoint file that it was read from, if any.
        precision: ``"float32"``, or ``"bf16"`` for mixed precision in :meth:`embed`.

    Attributes:
        seconds: Time that :meth:`embed` has spent in the forward pass so far.
    """

    def __init__(
        self,
        module: nn.Module,
        config: EncoderConfig,
        source: str = "encoder",
        path: Path | None = None,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.module = module
        self.config = config
        self.source = source
        self.path = path
        self.precision = precision
        self.transforms = evaluation_transforms(
            config.image_size, config.spec.mean, config.spec.std
        )
        self.seconds = 0.0

    def __repr__(self) -> str:
        """Name architecture, features, images, source and device on one line."""
        spec = self.config.spec
        return (
            f"Encoder({self.config.encoder}, {self.num_features} features, "
            f"{', '.join(spec.bands)} in {spec.units}, {self.config.image_size} px, "
            f"source={self.source!r}, device={str(self.device)!r}, precision={self.precision!r})"
        )

    @property
    def device(self) -> torch.device:
        """The device that it computes on."""
        return next(self.parameters(), torch.empty(0)).device

    @property
    def num_features(self) -> int:
        """Number D of features."""
        return feature_width(self.module)

    @property
    def batch_size(self) -> int:
        """Images that :meth:`embed` runs at once, by device and image size."""
        pixels = _BATCH_PIXELS.get(self.device.type, _BATCH_PIXELS["cuda"])
        return max(1, pixels // self.config.image_size**2)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features ``(n, D)`` of normalised images ``(n, C, S, S)``."""
        return self.module(images)

    def scale(self, raw: Tensor) -> Tensor:
        """Scale raw values to [0, 1] and clip them.

        Args:
            raw: Values in the units of ``config.spec``, any shape and type.

        Returns:
            float32 on the encoder's device.
        """
        scaled = raw.to(self.device, torch.float32, copy=True)
        return scaled.sub_(self.config.spec.offset).div_(self.config.spec.scale).clamp_(0, 1)

    def preprocess(self, images: Tensor, valid: Tensor | None = None) -> Tensor:
        """Resize, centre crop and normalise images: the paper's test view (section 4.3).

        Images are resized to the square of ``load_size(S)`` (bilinear, antialiased), whatever
        their shape, and cropped to S.

        Args:
            images: ``(n, C, H, W)`` of any size: raw values of an integer type, such as uint8, or
                floats in [0, 1].
            valid: ``(n, H, W)`` bool, the pixels that hold data; the others become the mean. By
                default all.

        Returns:
            ``(n, C, S, S)`` float32, on the encoder's device.

        Raises:
            InputError: If the images have another shape or number of bands, or floats are
                outside [0, 1].
        """
        spec = self.config.spec
        if images.ndim != 4 or images.shape[1] != len(spec.bands):
            raise InputError(
                f"{self.source}: images of shape {tuple(images.shape)}; expected (n, "
                f"{len(spec.bands)}, H, W), the bands {', '.join(spec.bands)}"
            )
        raw = not images.is_floating_point()
        scaled = self.scale(images) if raw else images.to(self.device, torch.float32)
        if valid is not None:
            mean = torch.tensor(spec.mean, device=self.device).view(-1, 1, 1)
            scaled = scaled.where(valid.to(self.device)[:, None], mean)
        if not raw and len(scaled) and not (scaled.amin() >= 0 and scaled.amax() <= 1):
            raise InputError(
                f"{self.source}: images with values from {scaled.amin():.4g} to "
                f"{scaled.amax():.4g}; expected floats in [0, 1], not normalised yet (scale() "
                "makes them from raw values), or integers"
            )
        return self.transforms(scaled)

    def embed(self, images: Tensor, valid: Tensor | None = None) -> Tensor:
        """Turn images into features, in evaluation mode and without gradients.

        Args:
            images: As :meth:`preprocess` takes them; any number, run in batches of ``batch_size``.
            valid: See :meth:`preprocess`.

        Returns:
            ``(n, D)`` float32 on the CPU.

        Raises:
            InputError: See :meth:`preprocess`; also if the features are not one vector of finite
                numbers per image.
        """
        size = self.batch_size
        masks = [None] * max(1, len(images)) if valid is None else valid.split(size)
        with _evaluation_mode(self), torch.inference_mode():
            batches = zip(images.split(size), masks, strict=False)
            parts = [self._features(self.preprocess(*batch)) for batch in batches]
        # Outside inference mode, so that the result can be trained on.
        return torch.cat(parts)

    def _features(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        began = time.perf_counter()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            features = self(images)
        features = features.float().cpu()
        self.seconds += time.perf_counter() - began
        if features.ndim != 2:
            raise InputError(
                f"{self.source} gives {tuple(features.shape)} for a batch of images; expected "
                "(n, D): make it without classifier and with pooling (num_classes=0 in timm)"
            )
        if not features.isfinite().all():
            raise InputError(
                f"{self.source} gives features that are not finite: its training has diverged; "
                "train it again with a lower lr"
            )
        return features

    def check(self, bands: Sequence[str], units: str) -> None:
        """Check that images have the bands and units that the encoder was trained on.

        Args:
            bands: Bands of the images, in the order of the channels.
            units: Units of their raw values.

        Raises:
            InputError: If bands or units differ; the message names both sides.
        """
        spec = self.config.spec
        if tuple(bands) != spec.bands:
            raise InputError(
                f"{self.source} was trained on the bands {', '.join(spec.bands)}, the images have "
                f"{', '.join(bands)}: expected the same in the same order"
            )
        if units != spec.units:
            raise InputError(
                f"{self.source} was trained on {spec.units}, the images are in {units}: "
                "expected the same units"
            )

    def check_values(self, spec: ImageSpec) -> None:
        """Check that images in [0, 1] are scaled as those that the encoder was trained on.

        Args:
            spec: Description of the images.

        Raises:
            InputError: If their raw values measure something else, or others become 0 and 1; the
                message names both sides.
        """
        own = self.config.spec
        if not own.measures_as(spec.units, spec.quantity):
            raise InputError(
                f"{self.source} was trained on {own.units}, the images are in {spec.units}: "
                "expected the same units; for a folder, "
                f"{own.how_to_measure(spec.units, spec.quantity)}"
            )
        if spec.bounds != own.bounds:
            (low, high), (lowest, highest) = own.bounds, spec.bounds
            raise InputError(
                f"{self.source} takes raw values from {low:g} to {high:g} as 0 to 1, the images "
                f"hold those from {lowest:g} to {highest:g}: expected the same; load them with "
                "load_dataset(..., like=encoder.config.spec), or give CachedDataset a spec of the "
                "encoder's scale and offset"
            )

    def bands_among(self, spec: ImageSpec) -> list[int]:
        """Find the encoder's bands among the bands of images.

        Args:
            spec: Description of the images.

        Returns:
            Positions in ``spec.bands``, one for each band of the encoder. A note on stderr names
            the bands that were not found by name.

        Raises:
            InputError: If the images lack a band; the message names both sides. See also
                :meth:`check_values`.
        """
        self.check_values(spec)
        own = self.config.spec
        if spec.bands == own.bands:
            return list(range(len(own.bands)))
        positions, words = match(bands_of(own), bands_of(spec))
        found = [position for position in positions if position is not None]
        if len(found) < len(own.bands):
            lacking = [name for name, at in zip(own.bands, positions, strict=True) if at is None]
            how = "name the folder's bands with --bands"
            if len(spec.bands) < len(own.bands):
                how = (
                    f"expected all; `rs-otl pretrain --init {self.source}` adapts the encoder to "
                    "other bands"
                )
            raise InputError(
                f"{self.source} was trained on the bands {', '.join(own.bands)}, the images have "
                f"{', '.join(spec.bands)}, without {', '.join(lacking)}: {how}"
            )
        if words is not None:
            note(f"{self.source}: matched bands {words}")
        return found

    def fingerprint(self) -> str:
        """Hash the weights, the architecture and the description of the expected images.

        Encoders with the same fingerprint give the same features of the same images, up to
        rounding.

        Returns:
            16 hexadecimal digits.
        """
        facts = self.config.model_dump_json(
            include={"encoder", "image_size", "spec"}, exclude={"spec": _ONLY_DESCRIBE}
        )
        if self.config.spec.offset:
            facts += str(self.config.spec.offset)
        if self.config.pool:
            facts += self.config.pool
        digest = hashlib.blake2b(facts.encode(), digest_size=8)
        for name, tensor in self.module.state_dict().items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def evaluation_transforms(
    image_size: int, mean: Sequence[float], std: Sequence[float]
) -> nn.Sequential:
    """Make the paper's test view (section 4.3): resize, centre crop, normalise.

    Args:
        image_size: Side of the result in pixels; images are first resized to the square of
            ``load_size(image_size)`` (bilinear, antialiased).
        mean: Mean of each band, in the units of the images' values.
        std: Standard deviation of each band, in the same units.

    Returns:
        A module from ``(..., C, H, W)`` floats to ``(..., C, image_size, image_size)``.
    """
    return nn.Sequential(
        v2.Resize([load_size(image_size)] * 2, antialias=True),
        v2.CenterCrop(image_size),
        v2.Normalize(list(mean), list(std)),
    )


def resolve_device(device: str | torch.device) -> torch.device:
    """Return a device; ``"auto"`` is the GPU if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def accelerator_device(accelerator: str) -> torch.device:
    """Return the device for a Lightning accelerator.

    Args:
        accelerator: One of :data:`ACCELERATORS`; ``auto`` is the GPU if there is one.

    Raises:
        InputError: If the name is unknown, or this machine has no such accelerator.
    """
    if accelerator not in ACCELERATORS:
        raise InputError(f"accelerator {accelerator}: expected one of {', '.join(ACCELERATORS)}")
    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(accelerator, True):
        raise InputError(f"accelerator {accelerator}: this machine has none; expected auto or cpu")
    return resolve_device("cuda" if accelerator == "gpu" else accelerator)


def resolve_precision(precision: str, device: str | torch.device = "auto") -> str:
    """Return ``"float32"`` or ``"bf16"``; ``"auto"`` is bf16 if the device computes in it."""
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision}: expected one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return precision
    if resolve_device(device).type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    # PyTorch has no public function for this.
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "float32"


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode; at the end restore the mode of every part."""
    modes = [(part, part.training) for part in module.modules()]
    try:
        module.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training
