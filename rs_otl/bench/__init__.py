"""Labelling methods, and methods of learning, compared with each other on this machine."""

from rs_otl.bench.labels import (
    LabelRow,
    bench_labels,
    draw_labels,
    encoder_outputs,
    labels_text,
    made_up_outputs,
)
from rs_otl.bench.methods import METHODS, Result, paired_seeds, race, race_table, write_race

__all__ = [
    "METHODS",
    "LabelRow",
    "Result",
    "bench_labels",
    "draw_labels",
    "encoder_outputs",
    "labels_text",
    "made_up_outputs",
    "paired_seeds",
    "race",
    "race_table",
    "write_race",
]
