"""Features that were extracted before."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from rs_otl.files import atomic_write
from rs_otl.models import Encoder


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


def features_key(encoder: Encoder, hashes: NDArray[np.uint64], size: int) -> str:
    """Name features by everything that they depend on.

    Args:
        encoder: Its fingerprint and precision count.
        hashes: Hashes of the images' pixels before resizing, in order, ``(n,)``.
        size: Side that the images were resized to when they were read, in pixels.

    Returns:
        32 hexadecimal digits.
    """
    facts = f"{encoder.fingerprint()} {encoder.precision} {size}"
    digest = hashlib.blake2b(facts.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(hashes).tobytes())
    return digest.hexdigest()
