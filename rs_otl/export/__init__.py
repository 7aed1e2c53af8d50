"""Encoders for use elsewhere."""

from rs_otl.export.card import CardScore, loading_snippet
from rs_otl.export.directory import export_encoder
from rs_otl.export.verify import Check, print_checks, verify_export

__all__ = [
    "CardScore",
    "Check",
    "export_encoder",
    "loading_snippet",
    "print_checks",
    "verify_export",
]
