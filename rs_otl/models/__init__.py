"""timm encoders, their output heads, what they see at test time, and loading them."""

from rs_otl.models.encoder import check_size, create_encoder
from rs_otl.models.heads import CosineHead, OutputHeads
from rs_otl.models.loading import check_imagery, load_encoder, open_encoder, read_config
from rs_otl.models.pretrained import WeightsUnavailableError, is_foreign
from rs_otl.models.torchgeo_entry import weights
from rs_otl.models.view import TestView

__all__ = [
    "CosineHead",
    "OutputHeads",
    "TestView",
    "WeightsUnavailableError",
    "check_imagery",
    "check_size",
    "create_encoder",
    "is_foreign",
    "load_encoder",
    "open_encoder",
    "read_config",
    "weights",
]
