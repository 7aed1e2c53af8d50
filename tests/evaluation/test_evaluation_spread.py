"""A collapse is told by its features."""

import pytest
import torch

from rs_otl.evaluation import spread


def test_the_rank_is_that_of_features_that_are_known():
    torch.manual_seed(0)
    line = torch.randn(200, 1) @ torch.randn(1, 64) + torch.randn(64)
    assert spread(line)["rank"] == pytest.approx(1, abs=1e-3)
    plane = torch.randn(4000, 2) @ torch.linalg.qr(torch.randn(64, 2)).Q.T
    assert spread(plane)["rank"] == pytest.approx(2, abs=0.01)
    everywhere = spread(torch.randn(2000, 16))
    assert everywhere["rank"] == pytest.approx(16, abs=0.1)
    assert everywhere["feature_std"] == pytest.approx(1, abs=0.01)


def test_features_in_one_place_have_neither_rank_nor_deviation():
    same = spread(torch.ones(50, 8))
    assert same["feature_std"] == pytest.approx(0, abs=1e-6)
    assert same["rank"] == pytest.approx(1)
    near = spread(torch.ones(50, 8) + 1e-5 * torch.randn(50, 8))
    assert near["feature_std"] < 1e-4


def test_more_dimensions_than_images_give_the_same_as_fewer():
    torch.manual_seed(0)
    rows = torch.randn(30, 40)
    wide = spread(rows)
    padded = spread(torch.cat([rows, torch.zeros(30, 60)], dim=1))
    assert wide == pytest.approx(padded)
    assert 1 < wide["rank"] <= 29
