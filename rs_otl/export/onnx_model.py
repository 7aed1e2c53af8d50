"""The encoder as an ONNX model."""

import importlib.util
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from rs_otl.errors import InputError
from rs_otl.spec import EncoderConfig

# Largest difference to PyTorch's features that passes, as a share of the largest feature.
TOLERANCE = 1e-4

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def require_onnx() -> None:
    """Check that ONNX can be written and run.

    Raises:
        InputError: If a package is missing, with the command that installs it.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"ONNX needs {', '.join(missing)}, not installed: pip install 'rs-otl[onnx]'"
        )


def write_onnx(encoder: nn.Module, config: EncoderConfig, path: Path) -> None:
    """Write an encoder as ONNX, from ``images`` ``(B, C, S, S)`` to ``features`` ``(B, D)``.

    Images are normalised, as for the encoder itself; bands, scale, mean and std stand in the
    model's metadata. The batch size B is free.

    Args:
        encoder: In evaluation mode, on the CPU.
        config: What travels with it.
        path: File to write.

    Raises:
        RuntimeError: If onnxruntime's features differ from the encoder's.
    """
    # onnxscript tells on the terminal what it optimises.
    logging.getLogger("onnxscript").setLevel(logging.WARNING)
    program = torch.onnx.export(
        encoder,
        (sample_images(config, 2),),
        input_names=["images"],
        output_names=["features"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # what dynamo=True returns
    program.model.metadata_props["rs_otl"] = json.dumps(config.model_dump(mode="json"))
    program.save(path)
    difference = onnx_difference(encoder, config, path)
    if difference > TOLERANCE:
        raise RuntimeError(f"the ONNX model differs from the encoder by {difference:.1e}")


def onnx_difference(
    encoder: nn.Module, config: EncoderConfig, path: Path, batches: Sequence[int] = (1, 2, 5)
) -> float:
    """Run an ONNX model beside the encoder on random images.

    Args:
        encoder: In evaluation mode, on the CPU.
        config: What travels with it.
        path: The ONNX model.
        batches: Batch sizes to try.

    Returns:
        The largest difference, as a share of the largest feature.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for batch in batches:
        images = sample_images(config, batch)
        with torch.no_grad():
            expected = encoder(images)
        (features,) = session.run(["features"], {"images": images.numpy()})
        differences.append(
            (expected - torch.from_numpy(features)).abs().max() / expected.abs().max()
        )
    return float(torch.stack(differences).max())


def sample_images(config: EncoderConfig, batch: int) -> Tensor:
    """Return random images ``(batch, C, S, S)``, the same at each call."""
    generator = torch.Generator().manual_seed(0)
    size = config.image_size
    return torch.rand(batch, len(config.spec.bands), size, size, generator=generator)
