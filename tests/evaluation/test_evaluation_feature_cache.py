"""Features are extracted once for an encoder and its images."""

import numpy as np
import torch
from torch import nn

from rs_otl.evaluation.feature_cache import cached_features, features_key
from rs_otl.models import TestView


def _encoder(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.BatchNorm1d(3))


def _key(encoder=None, size=8, mean=0.5, hashes=(1, 2), loaded=9):
    view = TestView(size, [mean], [0.2])
    return features_key(encoder or _encoder(), view, np.array(hashes, np.uint64), loaded)


def test_a_key_is_the_same_for_the_same_and_another_for_whatever_differs():
    counted = _encoder()
    counted(torch.rand(4, 12))  # the running statistics
    other = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.BatchNorm1d(3, eps=0.1))
    other.load_state_dict(_encoder().state_dict())
    keys = [
        _key(),
        _key(_encoder(1)),
        _key(counted),
        _key(other),
        _key(size=9),
        _key(mean=0.4),
        _key(hashes=(2, 1)),
        _key(loaded=10),
    ]
    assert len(set(keys)) == len(keys)
    assert _key() == keys[0]


def test_features_are_extracted_once(tmp_path):
    calls = []

    def extract():
        calls.append(1)
        return torch.arange(6.0).reshape(2, 3).T

    path = tmp_path / "features" / "abc.safetensors"
    first, second = (cached_features(path, extract) for _ in range(2))
    assert torch.equal(first, second)
    assert len(calls) == 1
