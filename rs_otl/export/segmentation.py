"""The name of an encoder in segmentation-models-pytorch."""

import warnings
from collections.abc import Mapping

from torch import Tensor

from rs_otl.spec import EncoderConfig


def segmentation_backbone(config: EncoderConfig, weights: Mapping[str, Tensor]) -> str | None:
    """Find the encoder of segmentation-models-pytorch that these weights fill.

    The package implements some of timm's architectures itself, under the same name or with
    ``timm-`` before it. Loading the weights shows whether the tensors are the same. (Its ``tu-``
    encoders wrap timm's under different tensor names, which torchgeo does not load.)

    Args:
        config: The encoder's description.
        weights: Its tensors by name.

    Returns:
        The name to pass as ``encoder_name``, torchgeo's ``backbone``; ``None`` if there is none.
    """
    from segmentation_models_pytorch.encoders import encoders, get_encoder

    for name in (config.encoder, f"timm-{config.encoder}"):
        if name in encoders:
            with warnings.catch_warnings():
                # Its ``timm-`` encoders are deprecated in favour of ``tu-``.
                warnings.simplefilter("ignore", DeprecationWarning)
                backbone = get_encoder(name, in_channels=len(config.spec.bands), weights=None)
            try:
                # Some of its encoders remove the classifier's tensors from their argument.
                backbone.load_state_dict(dict(weights))
            except (RuntimeError, KeyError):
                continue
            return name
    return None
