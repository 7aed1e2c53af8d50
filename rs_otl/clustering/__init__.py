"""Outputs (N, k) → evenly filled pseudo-labels."""

from rs_otl.clustering.discriminativeness import Discriminativeness, discriminativeness
from rs_otl.clustering.kmeans import cluster_directions
from rs_otl.clustering.labels import METHODS, BalancedLabels, balanced_labels
from rs_otl.clustering.targets import power_law, whole_sizes

__all__ = [
    "METHODS",
    "BalancedLabels",
    "Discriminativeness",
    "balanced_labels",
    "cluster_directions",
    "discriminativeness",
    "power_law",
    "whole_sizes",
]
