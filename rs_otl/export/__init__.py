"""Encoders for use elsewhere."""

from rs_otl.export.card import CardScore, loading_snippet
from rs_otl.export.directory import export_encoder

__all__ = ["CardScore", "export_encoder", "loading_snippet"]
