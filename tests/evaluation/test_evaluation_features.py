import numpy as np
import pytest
import torch
from torch import nn

from rs_otl.errors import InputError
from rs_otl.evaluation import extract_features
from rs_otl.models import Encoder


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(Encoder, "batch_size", 8)


def test_rows_follow_the_indices(encoder, pile, small_batches):
    dataset = pile()
    indices = np.array([5, 3, 100, 3, *range(20)])
    features = extract_features(encoder, dataset, indices)
    assert features.shape == (24, 8)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, encoder.embed(dataset.images[indices]))


def test_samples_and_whole_batches_give_the_same(
    encoder, pile, plain_pile, batched_pile, small_batches
):
    one_by_one, batched = pile(kind=plain_pile), pile(kind=batched_pile)
    features = [extract_features(encoder, dataset, range(20)) for dataset in (one_by_one, batched)]
    assert torch.equal(*features)
    assert [len(indices) for indices in batched.asked] == [8, 8, 4]


def test_nothing_is_left_changed(encoder, module, pile):
    module.train()
    module.layers[1].eval()  # a frozen part of a training encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [part.training for part in module.modules()]
    random_state = torch.get_rng_state()
    extract_features(encoder, pile(), range(50))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [part.training for part in module.modules()] == modes
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_features_can_be_trained_on(encoder, pile):
    features = extract_features(encoder, pile(), range(10))
    nn.Linear(8, 2)(features).sum().backward()


def test_images_of_another_quantity_are_refused(encoder, pile):
    other = pile()
    other.spec = other.spec.model_copy(update={"quantity": "toa"})
    with pytest.raises(InputError, match="tiny was trained on 8-bit counts"):
        extract_features(encoder, other, range(4))


def test_no_image_is_refused(encoder, pile):
    with pytest.raises(InputError, match="at least one"):
        extract_features(encoder, pile(), [])


def test_progress_goes_to_standard_error(encoder, pile, capsys):
    extract_features(encoder, pile(), range(4), progress=True)
    assert capsys.readouterr().out == ""
