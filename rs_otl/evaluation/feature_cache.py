"""Features that were extracted before, kept on disk."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rs_otl.files import atomic_write
from rs_otl.models import Encoder


def cached_features(path: Path, rows: int, extract: Callable[[], Tensor]) -> Tensor:
    """Return the features in a file; extract and write them if it has none.

    Args:
        path: The file, named by :func:`features_key`. A damaged one is written again.
        rows: Number n of images.
        extract: Returns the features, ``(n, D)`` float32 on the CPU.
    """
    try:
        features = load_file(path)["features"]
        if features.shape[:-1] == (rows,) and features.dtype == torch.float32:
            return features
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError):
        pass  # missing or damaged
    features = extract()
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as aside:
        save_file({"features": features.contiguous()}, aside)
    return features


def features_key(encoder: Encoder, hashes: NDArray[np.uint64], reading: str) -> str:
    """Name features by everything that they depend on.

    Args:
        encoder: The encoder, by its fingerprint and precision.
        hashes: Hashes of the images' pixels before resizing, in order, ``(n,)``.
        reading: How files became images, :attr:`rs_otl.datasets.CachedDataset.reading`.

    Returns:
        32 hexadecimal digits.
    """
    facts = f"{encoder.fingerprint()} {encoder.precision} {reading}"
    digest = hashlib.blake2b(facts.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(hashes).tobytes())
    return digest.hexdigest()
