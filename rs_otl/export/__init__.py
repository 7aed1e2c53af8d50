"""Encoders for use elsewhere."""

from rs_otl.export.directory import export_encoder, loading_snippet

__all__ = ["export_encoder", "loading_snippet"]
