"""This machine's figures, beside those of the alternatives, measured in turn in one process."""

from rs_otl.bench.augmenting import bench_augment
from rs_otl.bench.labels import (
    LabelRow,
    bench_labels,
    draw_labels,
    encoder_outputs,
    labels_text,
    made_up_outputs,
)
from rs_otl.bench.paper import PaperImages, paper_epoch
from rs_otl.bench.pretraining import bench_pretrain
from rs_otl.bench.table import Row, text

__all__ = [
    "LabelRow",
    "PaperImages",
    "Row",
    "bench_augment",
    "bench_labels",
    "bench_pretrain",
    "draw_labels",
    "encoder_outputs",
    "labels_text",
    "made_up_outputs",
    "paper_epoch",
    "text",
]
