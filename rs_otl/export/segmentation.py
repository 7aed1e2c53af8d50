"""What segmentation-models-pytorch calls an encoder."""

import warnings
from collections.abc import Mapping

from torch import Tensor

from rs_otl.spec import EncoderConfig


def segmentation_backbone(config: EncoderConfig, weights: Mapping[str, Tensor]) -> str | None:
    """Find the segmentation-models-pytorch encoder that these weights fill.

    It has encoders of its own for some timm architectures, under the same name or with
    ``timm-`` before it; whether the tensors are the same is found out by loading them. (Its
    ``tu-`` encoders wrap timm's under other tensor names, which torchgeo does not load.)

    Args:
        config: Of the encoder.
        weights: Its tensors by name.

    Returns:
        The name to pass as ``encoder_name``, torchgeo's ``backbone``; ``None`` if there is none.
    """
    from segmentation_models_pytorch.encoders import encoders, get_encoder

    for name in (config.encoder, f"timm-{config.encoder}"):
        if name in encoders:
            with warnings.catch_warnings():
                # Its ``timm-`` encoders are to go, but what shall replace them is ``tu-``.
                warnings.simplefilter("ignore", DeprecationWarning)
                backbone = get_encoder(name, in_channels=len(config.spec.bands), weights=None)
            try:
                # Some of its encoders take the classifier's tensors out of what they are given.
                backbone.load_state_dict(dict(weights))
            except (RuntimeError, KeyError):
                continue
            return name
    return None
