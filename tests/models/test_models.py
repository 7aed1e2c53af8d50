import pytest
import torch

from rs_otl.errors import InputError
from rs_otl.models import OutputHeads, create_encoder, feature_width, set_image_size


def test_encoder_gives_features_of_any_number_of_bands():
    encoder = create_encoder("resnet18", 5).eval()
    assert encoder(torch.rand(2, 5, 32, 32)).shape == (2, encoder.num_features)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "ghostnet_050"])
def test_the_width_of_features_is_known_whatever_the_head(name):
    encoder = create_encoder(name, 3).eval()
    assert encoder(torch.rand(1, 3, 64, 64)).shape == (1, feature_width(encoder))


def test_encoder_is_seeded_and_leaves_the_global_state_alone(monkeypatch):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU is seeded"))
    first, again, other = (create_encoder("resnet18", 3, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, other.conv1.weight)


def test_unknown_encoder_is_answered_with_near_names():
    with pytest.raises(InputError, match=r"resnet81.*resnet18"):
        create_encoder("resnet81", 3)


def test_an_encoder_of_one_size_refuses_others_and_names_its_own():
    fixed = create_encoder("mixer_s32_224", 3)
    set_image_size(fixed, 224)
    with pytest.raises(InputError, match=r"mixer_s32_224.*224 pixels only, not of 64"):
        set_image_size(fixed, 64)
    set_image_size(create_encoder("resnet18", 3), 64)


@pytest.mark.parametrize("hidden", [0, 16])
def test_heads_are_independent(hidden):
    heads = OutputHeads(8, 5, heads=3, hidden=hidden)
    outputs = heads(torch.randn(4, 8))
    assert outputs.shape == (3, 4, 5)
    assert not torch.equal(outputs[0], outputs[1])
