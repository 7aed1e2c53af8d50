"""Encoders: loading them by any name, preprocessing their images, and the heads on top."""

from rs_otl.models.architecture import (
    adapted_weights,
    create_encoder,
    feature_width,
    seeded,
    set_image_size,
    set_pool,
    timm_arguments,
    to_channels_last,
)
from rs_otl.models.checkpoint import read_tensors
from rs_otl.models.encoder import Encoder, evaluation_transforms, resolve_precision
from rs_otl.models.heads import CosineHead, OutputHeads
from rs_otl.models.loading import load_encoder, read_config, untrained_encoder
from rs_otl.models.pretrained import WeightsUnavailableError, is_weights_name
from rs_otl.models.torchgeo_entry import weights
from rs_otl.models.tuning import check_tunable, merged_weights, restrict_training

__all__ = [
    "CosineHead",
    "Encoder",
    "OutputHeads",
    "WeightsUnavailableError",
    "adapted_weights",
    "check_tunable",
    "create_encoder",
    "evaluation_transforms",
    "feature_width",
    "is_weights_name",
    "load_encoder",
    "merged_weights",
    "read_config",
    "read_tensors",
    "resolve_precision",
    "restrict_training",
    "seeded",
    "set_image_size",
    "set_pool",
    "timm_arguments",
    "to_channels_last",
    "untrained_encoder",
    "weights",
]
