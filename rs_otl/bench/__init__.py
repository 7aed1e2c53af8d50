"""Labelling methods compared with each other on this machine."""

from rs_otl.bench.labels import (
    LabelRow,
    bench_labels,
    draw_labels,
    encoder_outputs,
    labels_text,
    made_up_outputs,
)

__all__ = [
    "LabelRow",
    "bench_labels",
    "draw_labels",
    "encoder_outputs",
    "labels_text",
    "made_up_outputs",
]
