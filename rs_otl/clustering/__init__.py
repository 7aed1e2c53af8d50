"""Outputs (N, k) → evenly filled pseudo-labels."""

from rs_otl.clustering.kmeans import cluster_directions
from rs_otl.clustering.labels import BalancedLabels, balanced_labels

__all__ = ["BalancedLabels", "balanced_labels", "cluster_directions"]
