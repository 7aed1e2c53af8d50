"""Evaluating a frozen encoder: nearest neighbours, linear, few-shot, with confidence intervals."""

from typing import TYPE_CHECKING

from rs_otl.lazy import lazily

if TYPE_CHECKING:
    from rs_otl.evaluation.features import extract_features
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
    from rs_otl.evaluation.shots import class_mean_predict, draw_shots, few_shot
    from rs_otl.evaluation.spreading import spread

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

__getattr__, __dir__ = lazily(
    __name__,
    {
        "Difference": "report",
        "Evaluation": "report",
        "EvaluationReport": "report",
        "FewShot": "report",
        "Layer": "report",
        "OnlineKNN": "online",
        "OnlineSpread": "online",
        "Score": "report",
        "bootstrap_interval": "intervals",
        "class_mean_predict": "shots",
        "draw_confusion": "figures",
        "draw_few_shot": "figures",
        "draw_mistakes": "figures",
        "draw_per_class": "figures",
        "draw_shots": "shots",
        "evaluate": "protocol",
        "extract_features": "features",
        "few_shot": "shots",
        "knn_predict": "knn",
        "linear_predict": "linear",
        "paired_interval": "intervals",
        "picture_of": "figures",
        "spread": "spreading",
        "stage_features": "layers",
        "stages": "layers",
        "t_interval": "intervals",
    },
)
