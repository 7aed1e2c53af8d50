"""Exporting encoders for other tools."""

from rs_otl.export.card import CardScore
from rs_otl.export.directory import export_encoder
from rs_otl.export.loaders import loading_snippet
from rs_otl.export.verify import Check, print_checks, verify_export

__all__ = [
    "CardScore",
    "Check",
    "export_encoder",
    "loading_snippet",
    "print_checks",
    "verify_export",
]
