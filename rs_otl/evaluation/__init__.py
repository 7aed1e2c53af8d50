"""How good a frozen encoder is: nearest neighbours, a linear classifier, and how sure that is."""

from rs_otl.evaluation.features import extract_features
from rs_otl.evaluation.figures import draw_confusion, draw_per_class
from rs_otl.evaluation.intervals import bootstrap_interval
from rs_otl.evaluation.knn import knn_predict
from rs_otl.evaluation.linear import linear_predict
from rs_otl.evaluation.online import OnlineKNN
from rs_otl.evaluation.protocol import evaluate
from rs_otl.evaluation.report import Evaluation, EvaluationReport, Score

__all__ = [
    "Evaluation",
    "EvaluationReport",
    "OnlineKNN",
    "Score",
    "bootstrap_interval",
    "draw_confusion",
    "draw_per_class",
    "evaluate",
    "extract_features",
    "knn_predict",
    "linear_predict",
]
