"""Exporting encoders for other tools."""

from rs_otl.export.card import CardScore
from rs_otl.export.directory import export_encoder
from rs_otl.export.hub import check_hub_name, push_to_hub
from rs_otl.export.loaders import loading_snippet
from rs_otl.export.verify import Check, print_checks, verify_export

__all__ = [
    "CardScore",
    "Check",
    "check_hub_name",
    "export_encoder",
    "loading_snippet",
    "print_checks",
    "push_to_hub",
    "verify_export",
]
