"""Evaluating a frozen encoder: nearest neighbours, linear, few-shot, with confidence intervals."""

from rs_otl.evaluation.features import extract_features
from rs_otl.evaluation.few_shot import class_mean_predict, draw_shots, few_shot
from rs_otl.evaluation.figures import (
    draw_confusion,
    draw_few_shot,
    draw_mistakes,
    draw_per_class,
    picture_of,
)
from rs_otl.evaluation.intervals import bootstrap_interval, paired_interval, t_interval
from rs_otl.evaluation.knn import knn_predict
from rs_otl.evaluation.layers import stage_features, stages
from rs_otl.evaluation.linear import linear_predict
from rs_otl.evaluation.online import OnlineKNN, OnlineSpread
from rs_otl.evaluation.protocol import evaluate
from rs_otl.evaluation.report import (
    Difference,
    Evaluation,
    EvaluationReport,
    FewShot,
    Layer,
    Score,
)
from rs_otl.evaluation.spread import spread

__all__ = [
    "Difference",
    "Evaluation",
    "EvaluationReport",
    "FewShot",
    "Layer",
    "OnlineKNN",
    "OnlineSpread",
    "Score",
    "bootstrap_interval",
    "class_mean_predict",
    "draw_confusion",
    "draw_few_shot",
    "draw_mistakes",
    "draw_per_class",
    "draw_shots",
    "evaluate",
    "extract_features",
    "few_shot",
    "knn_predict",
    "linear_predict",
    "paired_interval",
    "picture_of",
    "spread",
    "stage_features",
    "stages",
    "t_interval",
]
