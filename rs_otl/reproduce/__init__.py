"""The paper's tables and figures, made again and set beside what it printed."""

from rs_otl.reproduce.report import Cell, Result, Verdict, reproduce
from rs_otl.reproduce.tables import Entry, entries

__all__ = ["Cell", "Entry", "Result", "Verdict", "entries", "reproduce"]
