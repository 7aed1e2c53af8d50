"""Features that were extracted before."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rs_otl.files import atomic_write

if TYPE_CHECKING:
    from rs_otl.models import TestView


def cached_features(path: Path, extract: Callable[[], Tensor]) -> Tensor:
    """Return the features kept in a file, made if it is not there yet.

    Args:
        path: The file, named by :func:`features_key`.
        extract: Gives the features, ``(n, D)`` float32 on the CPU.
    """
    if path.is_file():
        return load_file(path)["features"]
    features = extract()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside:
        save_file({"features": features.contiguous()}, aside)
    return features


def features_key(
    encoder: nn.Module, view: "TestView", hashes: NDArray[np.uint64], size: int
) -> str:
    """Name features by all that they depend on.

    Args:
        encoder: Its layers and every weight and buffer count.
        view: The test view.
        hashes: Of the images' pixels before resizing, in order, ``(n,)``.
        size: Side that the images were resized to, in pixels.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.blake2b(f"{encoder}{view.size} {size}".encode(), digest_size=16)
    for name, value in (*encoder.state_dict().items(), *view.named_buffers()):
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    digest.update(np.ascontiguousarray(hashes).tobytes())
    return digest.hexdigest()
