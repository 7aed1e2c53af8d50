"""OTL as a task of torchgeo, and what its runs need of Lightning."""

from rs_otl.trainers.history import History, read_metrics
from rs_otl.trainers.loss import label_consistent_loss
from rs_otl.trainers.otl import OTLTask
from rs_otl.trainers.plumbing import AtomicCheckpointIO, StderrProgressBar, checkpoint_digest
from rs_otl.trainers.pseudo_labels import PseudoLabels

__all__ = [
    "AtomicCheckpointIO",
    "History",
    "OTLTask",
    "PseudoLabels",
    "StderrProgressBar",
    "checkpoint_digest",
    "label_consistent_loss",
    "read_metrics",
]
