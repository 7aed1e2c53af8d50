"""Features are extracted once for an encoder and its images."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rs_otl.evaluation.feature_cache import cached_features, features_key
from rs_otl.models import Encoder


def test_a_key_is_the_same_for_the_same_and_another_for_whatever_differs(module, config):
    def key(encoder, hashes=(1, 2), reading="9 pixels"):
        return features_key(encoder, np.array(hashes, np.uint64), reading)

    encoder = Encoder(module, config, "tiny")
    keys = [
        key(encoder),
        key(encoder, hashes=(2, 1)),
        key(encoder, reading="10 pixels"),
        key(Encoder(module, config, "tiny", precision="bf16")),
        key(Encoder(module, config.model_copy(update={"image_size": 9}), "tiny")),
    ]
    assert key(Encoder(module, config, "by another name")) == keys[0]
    module(torch.rand(4, 3, 9, 9))  # the running statistics
    keys.append(key(encoder))
    assert len(set(keys)) == len(keys)


def test_features_are_extracted_once(tmp_path):
    calls = []

    def extract():
        calls.append(1)
        return torch.arange(6.0).reshape(2, 3).T

    path = tmp_path / "features" / "abc.safetensors"
    first, second = (cached_features(path, 3, extract) for _ in range(2))
    assert torch.equal(first, second)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "damage", ["half", "text", "other name", "other rows", "other type", "empty"]
)
def test_damaged_features_are_extracted_again(damage, tmp_path):
    features = torch.rand(4, 2)
    path = tmp_path / "features.safetensors"
    save_file({"features": features}, path)
    if damage == "half":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("<html>" * 99)
    else:
        name = "others" if damage == "other name" else "features"
        other = features.double() if damage == "other type" else features
        save_file({name: other[:3] if damage == "other rows" else other}, path)
    for _ in range(2):
        assert torch.equal(cached_features(path, 4, lambda: features), features)
    assert torch.equal(load_file(path)["features"], features)
