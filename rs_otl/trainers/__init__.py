"""Lightning modules and what they need to run."""

from rs_otl.trainers.history import History
from rs_otl.trainers.loss import label_consistent_loss
from rs_otl.trainers.otl import OTLTask
from rs_otl.trainers.plumbing import AtomicCheckpointIO, StderrProgressBar
from rs_otl.trainers.supervised import SupervisedTask
from rs_otl.trainers.views import ViewSettings, ViewTask

__all__ = [
    "AtomicCheckpointIO",
    "History",
    "OTLTask",
    "StderrProgressBar",
    "SupervisedTask",
    "ViewSettings",
    "ViewTask",
    "label_consistent_loss",
]
