"""The label-consistent loss."""

from torch import Tensor


def label_consistent_loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of every view against every view's labels (equation 18), averaged.

    Cross entropy is linear in its target, so the g x g terms are g cross entropies against the
    mean of the g one-hot labels, and equal the mean of each view's log-probabilities at the g
    labels. It is the mean over the g x g terms, not the paper's sum, so that the learning rate
    does not depend on g and a network that guesses loses ln k.

    Args:
        outputs: Outputs before softmax, ``(g, B, k)`` floating point.
        labels: Each view's labels, ``(g, B)`` int64 in [0, k).

    Returns:
        The loss, a scalar of at least 0, in nats.
    """
    views, batch, _ = outputs.shape
    log_probabilities = outputs.float().log_softmax(-1)
    every_label = labels.T.expand(views, batch, views)
    return -log_probabilities.gather(-1, every_label).mean()
