"""OTL as a task of torchgeo, and what its runs need of Lightning."""

from rs_otl.trainers.history import History
from rs_otl.trainers.loss import label_consistent_loss
from rs_otl.trainers.otl import OTLTask
from rs_otl.trainers.plumbing import AtomicCheckpointIO, StderrProgressBar
from rs_otl.trainers.pseudo_labels import PseudoLabels

__all__ = [
    "AtomicCheckpointIO",
    "History",
    "OTLTask",
    "PseudoLabels",
    "StderrProgressBar",
    "label_consistent_loss",
]
