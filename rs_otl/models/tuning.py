"""Training a part of an encoder: choosing the part, and merging the change into the weights."""

from collections.abc import Mapping
from typing import Any

from timm.models import Eva, VisionTransformer
from torch import Tensor, nn

from rs_otl.errors import InputError
from rs_otl.extras import require_extra
from rs_otl.models.architecture import seeded

TUNE = ("all", "norm", "lora")
# Linear layers of timm's attention.
_ATTENTION = r"blocks\.\d+\.attn\.(qkv|q_proj|k_proj|v_proj|proj)"
# peft's names for a layer's weight and the two factors of its change.
_BASE, _FACTORS = ".base_layer.", (".lora_A.default.weight", ".lora_B.default.weight")


def check_tunable(encoder: nn.Module, tune: str) -> None:
    """Check that a part of an encoder can be trained.

    Args:
        encoder: As :func:`rs_otl.models.create_encoder` makes it.
        tune: See :func:`restrict_training`.

    Raises:
        InputError: If there is no such part, or with ``lora`` if the extra is not installed.
    """
    if tune not in TUNE:
        raise InputError(f"tune = {tune!r}: expected one of {', '.join(TUNE)}")
    if tune != "lora":
        return
    if not isinstance(encoder, VisionTransformer | Eva):
        raise InputError(
            f"tune = lora: {type(encoder).__name__} has no attention; expected a vision "
            "transformer, or tune = norm"
        )
    require_extra("lora", "tune = lora")


def restrict_training(encoder: nn.Module, tune: str, rank: int, seed: int = 0) -> None:
    """Restrict training to a part of an encoder.

    Args:
        encoder: As :func:`rs_otl.models.create_encoder` makes it; changed in place.
        tune: ``"all"``; ``"norm"``, its vectors: biases and the scales of normalisation and of
            layers (BitFit, Ben Zaken et al., ACL 2022); or ``"lora"``, a product of two narrow
            matrices that is added to each weight of its attention (LoRA, Hu et al., ICLR 2022),
            zero at first.
        rank: Width of these matrices.
        seed: Seed of the first matrix; the global random states are left as they were.

    Raises:
        InputError: See :func:`check_tunable`.
    """
    check_tunable(encoder, tune)
    if tune == "norm":
        for parameter in encoder.parameters():
            parameter.requires_grad_(parameter.ndim == 1)
    if tune != "lora":
        return
    from peft import LoraConfig, inject_adapter_in_model  # an extra; importing it takes seconds

    for module in encoder.modules():
        if getattr(module, "q_bias", None) is not None:
            # Otherwise timm reads the weight without LoRA's change. The sum is the same.
            module.qkv_bias_separate = True  # type: ignore[assignment]
    with seeded(seed):
        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=_ATTENTION)
        inject_adapter_in_model(config, encoder)


def merged_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Add LoRA's changes to the weights that they belong to.

    Args:
        weights: The state of an encoder, changed by :func:`restrict_training` or not.

    Returns:
        The state of the encoder as timm makes it.
    """
    merged: dict[str, Any] = {}
    for name, tensor in weights.items():
        if name.endswith(_FACTORS):
            continue
        first, second = (
            weights.get(name.removesuffix(f"{_BASE}weight") + factor) for factor in _FACTORS
        )
        if (
            name.endswith(f"{_BASE}weight")
            and isinstance(first, Tensor)
            and isinstance(second, Tensor)
        ):
            tensor = tensor + second @ first
        merged[name.replace(_BASE, ".")] = tensor
    return merged
