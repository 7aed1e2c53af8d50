"""Outputs (N, k) → evenly filled pseudo-labels."""

from rs_otl.clustering.labels import BalancedLabels, balanced_labels

__all__ = ["BalancedLabels", "balanced_labels"]
