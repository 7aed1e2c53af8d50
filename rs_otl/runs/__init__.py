"""Runs: what a command computes, and the directory that it writes.

A training run holds::

    recipe.yaml        the resolved recipe, which --resume uses
    imagery.json       what was read, what was left out and why, identical images
    provenance.json    versions, command and machine of every start
    checkpoints/       last.ckpt, after every epoch
    metrics.csv        one row per epoch
    tensorboard/       the same metrics, as events
    figures/           curves; after evaluation confusion matrices and more
    encoder/           the encoder, once all epochs are done
    evaluation.json    after evaluation
    supervised/        of a transfer: the run with labels, to compare with
"""

from typing import TYPE_CHECKING

from rs_otl.lazy import lazily

if TYPE_CHECKING:
    from rs_otl.runs.comparing import evaluate_encoders
    from rs_otl.runs.drawing import draw_views
    from rs_otl.runs.exporting import export_run, publish
    from rs_otl.runs.listing import Run, list_runs
    from rs_otl.runs.paths import run_directory
    from rs_otl.runs.planning import plan
    from rs_otl.runs.pretraining import is_first, pretrain
    from rs_otl.runs.reporting import report
    from rs_otl.runs.summary import next_command
    from rs_otl.runs.transferring import transfer

__all__ = [
    "Run",
    "draw_views",
    "evaluate_encoders",
    "export_run",
    "is_first",
    "list_runs",
    "next_command",
    "plan",
    "pretrain",
    "publish",
    "report",
    "run_directory",
    "transfer",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Run": "listing",
        "draw_views": "drawing",
        "evaluate_encoders": "comparing",
        "export_run": "exporting",
        "is_first": "pretraining",
        "list_runs": "listing",
        "next_command": "summary",
        "plan": "planning",
        "pretrain": "pretraining",
        "publish": "exporting",
        "report": "reporting",
        "run_directory": "paths",
        "transfer": "transferring",
    },
)
