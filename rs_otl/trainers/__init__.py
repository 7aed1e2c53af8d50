"""OTL as a task of torchgeo, and what its runs need from Lightning."""

from typing import TYPE_CHECKING

from rs_otl.lazy import lazily

if TYPE_CHECKING:
    from rs_otl.trainers.history import History
    from rs_otl.trainers.loss import contrastive_loss, label_consistent_loss
    from rs_otl.trainers.metrics import read_metrics
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
    "contrastive_loss",
    "label_consistent_loss",
    "read_metrics",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "AtomicCheckpointIO": "plumbing",
        "History": "history",
        "OTLTask": "otl",
        "PseudoLabels": "pseudo_labels",
        "StderrProgressBar": "plumbing",
        "checkpoint_digest": "plumbing",
        "contrastive_loss": "loss",
        "label_consistent_loss": "loss",
        "read_metrics": "metrics",
    },
)
