"""The encoder as an ONNX model."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rs_otl.models import Encoder
from rs_otl.spec import EncoderConfig

# Largest accepted difference from PyTorch's features, as a share of the largest feature.
TOLERANCE = 1e-4


def write_onnx(encoder: Encoder, path: Path) -> None:
    """Write an encoder as ONNX, from ``images`` ``(n, C, S, S)`` to ``features`` ``(n, D)``.

    Images are normalised; bands, scale, mean and std are in the model's metadata. Batches may have
    any size.

    Args:
        encoder: In evaluation mode, on the CPU.
        path: File to write.

    Raises:
        RuntimeError: If onnxruntime's features differ from the encoder's.
    """
    import onnxruntime  # an extra

    # onnxscript logs its optimisations.
    logging.getLogger("onnxscript").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # torchgeo's DOFA sets its wavelengths as an attribute, which nothing reads.
        warnings.filterwarnings("ignore", ".* was assigned during export")
        program = torch.onnx.export(
            encoder.module,
            (sample_images(encoder.config, 2),),
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # None only without dynamo
    program.model.metadata_props["rs_otl"] = json.dumps(encoder.config.model_dump(mode="json"))
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    difference = onnx_difference(encoder, session)
    if not difference <= TOLERANCE:  # it may be NaN
        raise RuntimeError(f"the ONNX model differs from the encoder by {difference:.1e}")


def onnx_difference(encoder: Encoder, session: Any) -> float:
    """Compare an ONNX model with the encoder on random images, in batches of 1, 2 and 5.

    Args:
        encoder: In evaluation mode, on the CPU.
        session: An ``onnxruntime.InferenceSession`` of the ONNX model.

    Returns:
        The largest difference, as a share of the largest feature.
    """
    differences = []
    for batch in (1, 2, 5):
        images = sample_images(encoder.config, batch)
        with torch.no_grad():
            expected = encoder(images)
        (features,) = session.run(["features"], {"images": images.numpy()})
        differences.append(
            (expected - torch.from_numpy(features)).abs().max()
            / expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
        )
    return float(torch.stack(differences).max())


def sample_images(config: EncoderConfig, batch: int) -> Tensor:
    """Return random images ``(batch, C, S, S)``, the same on every call."""
    generator = torch.Generator().manual_seed(0)
    size = config.image_size
    return torch.rand(batch, len(config.spec.bands), size, size, generator=generator)
