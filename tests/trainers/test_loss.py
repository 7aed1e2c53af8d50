import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from rs_otl.trainers.loss import label_consistent_loss


@given(st.integers(1, 5), st.integers(1, 9), st.integers(2, 7), st.integers(0, 2**31 - 1))
def test_it_is_the_sum_of_every_view_against_every_view(views, batch, clusters, seed):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(views, batch, clusters, generator=generator, dtype=torch.float64)
    labels = torch.randint(clusters, (views, batch), generator=generator)
    every = sum(
        F.cross_entropy(outputs[b].float(), labels[a]) for a in range(views) for b in range(views)
    )
    loss = label_consistent_loss(outputs, labels)
    assert float(loss) == pytest.approx(float(every) / views**2, rel=1e-5)
    # The same as g soft-target cross entropies against the mean of the one-hot labels.
    soft = F.one_hot(labels, clusters).float().mean(0)
    softly = sum(F.cross_entropy(outputs[b].float(), soft) for b in range(views)) / views
    assert float(loss) == pytest.approx(float(softly), rel=1e-5)


def test_a_network_that_knows_nothing_loses_ln_k():
    loss = label_consistent_loss(torch.zeros(3, 4, 10), torch.zeros(3, 4, dtype=torch.int64))
    assert float(loss) == pytest.approx(math.log(10))


def test_half_precision_outputs_are_summed_in_float32():
    outputs = torch.randn(2, 8, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(16).view(2, 8)
    exact = label_consistent_loss(outputs.float(), labels)
    assert torch.equal(label_consistent_loss(outputs, labels), exact)


def test_mixed_images_learn_the_labels_of_both():
    outputs, labels = torch.randn(2, 4, 6), torch.randint(6, (3, 4))
    shares = 0.7 * torch.eye(4) + 0.3 * torch.eye(4).roll(1, 0)
    mixed = label_consistent_loss(outputs, labels, 0.1, shares)
    expected = 0.7 * label_consistent_loss(outputs, labels, 0.1)
    expected += 0.3 * label_consistent_loss(outputs, labels.roll(1, 1), 0.1)
    torch.testing.assert_close(mixed, expected)
