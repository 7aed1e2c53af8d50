"""Turn outputs (N, k) into pseudo-labels that fill the clusters evenly."""

from rs_otl.clustering.discriminativeness import Discriminativeness, discriminativeness
from rs_otl.clustering.kmeans import cluster_directions
from rs_otl.clustering.labels import METHODS, UNTARGETED, BalancedLabels, balanced_labels
from rs_otl.clustering.targets import power_law, target_sizes, whole_sizes

__all__ = [
    "METHODS",
    "UNTARGETED",
    "BalancedLabels",
    "Discriminativeness",
    "balanced_labels",
    "cluster_directions",
    "discriminativeness",
    "power_law",
    "target_sizes",
    "whole_sizes",
]
