"""Reproduce the paper's tables and figures, and compare them with the printed ones."""

from rs_otl.reproduce.report import Cell, Result, Verdict, reproduce
from rs_otl.reproduce.tables import Entry, entries

__all__ = ["Cell", "Entry", "Result", "Verdict", "entries", "reproduce"]
