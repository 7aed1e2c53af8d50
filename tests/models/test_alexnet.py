"""AlexNet is one of timm's models wherever a name of these is taken."""

import pytest
import timm
import torch

from rs_otl.errors import InputError
from rs_otl.models import create_encoder, set_image_size


def test_it_is_the_papers():
    model = create_encoder("alexnet_bn", 3).eval()
    assert model.num_features == 4096
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters() if "weight" in name}
    assert shapes["conv1.0.weight"] == (96, 3, 11, 11)
    assert shapes["fc6.weight"] == (4096, 256 * 6 * 6)
    images = torch.zeros(2, 3, 224, 224)
    assert model.forward_features(images).shape == (2, 256, 6, 6)
    assert model(images).shape == (2, 4096)
    maps = model.forward_intermediates(images, intermediates_only=True)
    assert [tuple(one.shape[1:]) for one in maps] == [
        (96, 55, 55),
        (256, 27, 27),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
    ]


def test_it_is_one_of_timms():
    model = timm.create_model("alexnet_bn", num_classes=7, in_chans=4).eval()
    images = torch.rand(2, 4, 96, 96)
    assert model(images).shape == (2, 7)
    features = model.forward_head(model.forward_features(images), pre_logits=True)
    assert torch.equal(model.get_classifier()(features), model(images))
    model.reset_classifier(0)
    assert model(images).shape == (2, 4096)
    maps = timm.create_model("alexnet_bn", features_only=True, in_chans=4)(images)
    assert [one.shape[1] for one in maps] == [96, 256, 384, 384, 256]
    assert len(model.forward_intermediates(images, 2, intermediates_only=True)) == 2


def test_small_images_are_refused():
    encoder = create_encoder("alexnet_bn", 3).eval()
    set_image_size(encoder, 63)
    assert encoder(torch.zeros(1, 3, 63, 63)).shape == (1, 4096)
    with pytest.raises(InputError, match="takes images of at least 63 pixels, not of 32"):
        set_image_size(encoder, 32)
