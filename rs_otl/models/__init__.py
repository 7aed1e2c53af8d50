"""timm encoders, their output heads, and what they see at test time."""

from rs_otl.models.encoder import create_encoder
from rs_otl.models.heads import OutputHeads
from rs_otl.models.loading import load_encoder, read_config
from rs_otl.models.view import TestView

__all__ = ["OutputHeads", "TestView", "create_encoder", "load_encoder", "read_config"]
