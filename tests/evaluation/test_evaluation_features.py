import numpy as np
import pytest
import torch
from torch import nn

from rs_otl.errors import InputError
from rs_otl.evaluation import extract_features


def test_rows_follow_the_indices(encoder, pile):
    imagery = pile()
    indices = np.array([5, 3, 100, 3])
    features = extract_features(encoder, nn.Identity(), imagery, indices, batch_size=3)
    assert features.shape == (4, 8)
    assert features.dtype == torch.float32
    expected = encoder.eval()(imagery.images[indices])
    torch.testing.assert_close(features, expected.detach())


def test_samples_and_whole_batches_give_the_same(encoder, pile, plain_pile, batched_pile):
    one_by_one, batched = pile(kind=plain_pile), pile(kind=batched_pile)
    features = [
        extract_features(encoder, nn.Identity(), imagery, range(20), batch_size=8)
        for imagery in (one_by_one, batched)
    ]
    assert torch.equal(*features)
    assert [len(indices) for indices in batched.asked] == [8, 8, 4]


def test_the_view_is_applied(encoder, pile):
    imagery = pile()

    class Darker(nn.Module):
        def forward(self, images):
            return images / 2

    features = extract_features(encoder, Darker(), imagery, [0, 1])
    expected = encoder.eval()(imagery.images[:2] / 2)
    torch.testing.assert_close(features, expected.detach())


def test_nothing_is_left_changed(encoder, pile):
    encoder.train()
    encoder.layers[1].eval()  # a frozen part of a training encoder
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    modes = [part.training for part in encoder.modules()]
    random_state = torch.get_rng_state()
    extract_features(encoder, nn.Identity(), pile(), range(50))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [part.training for part in encoder.modules()] == modes
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_mode_is_restored_after_a_failure(pile):
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("broken")

    encoder = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        extract_features(encoder, nn.Identity(), pile(), [0])
    assert encoder.training


def test_features_can_be_trained_on(encoder, pile):
    features = extract_features(encoder, nn.Identity(), pile(), range(10))
    nn.Linear(8, 2)(features).sum().backward()


def test_half_precision_comes_back_as_float32(encoder, pile):
    class Half(nn.Module):
        def forward(self, images):
            return encoder(images).bfloat16()

    features = extract_features(Half(), nn.Identity(), pile(), [0, 1])
    assert features.dtype == torch.float32


def test_an_encoder_without_pooling_is_refused(pile):
    with pytest.raises(InputError, match=r"\(4, 3, 9, 9\).*num_classes=0"):
        extract_features(nn.Identity(), nn.Identity(), pile(), range(4))


def test_diverged_weights_are_refused(encoder, pile):
    with torch.no_grad():
        encoder.layers[0].weight.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite"):
        extract_features(encoder, nn.Identity(), pile(), range(4))


def test_no_image_is_refused(encoder, pile):
    with pytest.raises(InputError, match="at least one"):
        extract_features(encoder, nn.Identity(), pile(), [])


def test_progress_goes_to_standard_error(encoder, pile, capsys):
    extract_features(encoder, nn.Identity(), pile(), range(4), progress=True)
    assert capsys.readouterr().out == ""
