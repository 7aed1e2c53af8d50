"""Lightning modules and what they need to run."""

from rs_otl.trainers.history import History
from rs_otl.trainers.loss import label_consistent_loss
from rs_otl.trainers.otl import OTLTask
from rs_otl.trainers.plumbing import AtomicCheckpointIO, StderrProgressBar

__all__ = [
    "AtomicCheckpointIO",
    "History",
    "OTLTask",
    "StderrProgressBar",
    "label_consistent_loss",
]
