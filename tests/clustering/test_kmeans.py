import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_otl.clustering import cluster_directions
from rs_otl.errors import InputError


def _directions(rows, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, size, generator=generator), dim=1)


@settings(max_examples=30)
@given(st.integers(2, 40), st.data())
def test_centres_are_directions(rows, data):
    clusters = data.draw(st.integers(2, rows))
    found = cluster_directions(_directions(rows), clusters)
    assert found.shape == (clusters, 6)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(clusters))


def test_as_many_clusters_as_rows_are_the_rows():
    rows = _directions(9)
    assert torch.equal(cluster_directions(rows, 9), rows)


def test_groups_that_lie_apart_are_found():
    centres = torch.eye(4)
    groups = torch.arange(80) % 4
    generator = torch.Generator().manual_seed(1)
    rows = F.normalize(centres[groups] + 0.05 * torch.randn(80, 4, generator=generator), dim=1)
    # Of some beginnings: k-means may begin with two rows of one group.
    best = max(
        float((rows @ cluster_directions(rows, 4, seed).T).amax(1).mean()) for seed in range(10)
    )
    assert best > 0.98


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_rows_lie_no_further_from_their_centre_than_at_first(seed):
    rows = _directions(60, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    first = rows[torch.randperm(60, generator=generator)[:5]]
    found = cluster_directions(rows, 5, seed)
    assert (rows @ found.T).amax(1).sum() >= (rows @ first.T).amax(1).sum() - 1e-5


@pytest.mark.parametrize("clusters", [1, 10])
def test_other_numbers_of_clusters_are_refused(clusters):
    with pytest.raises(InputError, match="expected 2 to 9"):
        cluster_directions(_directions(9), clusters)
