"""An encoder: how it sees images, and what it says of itself."""

import pytest
import torch
from torch import nn

from rs_otl.errors import InputError
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import EncoderConfig, ImageSpec

BANDS = ("red", "green", "blue", "nir")
SPEC = ImageSpec(
    bands=BANDS,
    units="8-bit counts",
    scale=255,
    resolution=None,
    mean=(0.4, 0.5, 0.3, 0.6),
    std=(0.2, 0.25, 0.2, 0.3),
)


def config(size=56, **changes):
    return EncoderConfig(
        encoder="resnet18", image_size=size, spec=SPEC, dataset="made", epochs=1
    ).model_copy(update=changes)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(create_encoder("resnet18", 4, seed=3), config(), "mine").eval()


def raw_images(*shape, seed=0):
    return torch.randint(
        0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def test_images_are_cropped_at_the_centre_and_normalised(encoder):
    images = torch.rand(2, 4, 64, 64)  # load_size(56)
    mean, std = (torch.tensor(values).view(4, 1, 1) for values in (SPEC.mean, SPEC.std))
    expected = (images[:, :, 4:-4, 4:-4] - mean) / std
    torch.testing.assert_close(encoder.preprocess(images), expected)


@pytest.mark.parametrize("shape", [(1, 4, 300, 200), (3, 4, 20, 50)])
def test_images_of_any_size_and_raw_or_scaled_are_seen_alike(encoder, shape):
    raw = raw_images(*shape)
    seen = encoder.preprocess(raw)
    assert seen.shape == (shape[0], 4, 56, 56)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(encoder.preprocess(raw / 255), seen)
    torch.testing.assert_close(encoder.preprocess(raw.to(torch.int16)), seen)
    assert raw.equal(raw_images(*shape))  # left as it was


def test_raw_values_are_scaled_by_the_spec_and_clipped():
    deep = config(spec=SPEC.model_copy(update={"scale": 3000.0, "units": "16-bit counts"}))
    encoder = Encoder(nn.Identity(), deep)
    raw = torch.tensor([-5, 0, 1500, 3000, 9000], dtype=torch.int16)
    assert encoder.scale(raw).tolist() == [0, 0, 0.5, 1, 1]
    raw = torch.tensor([1500.0])
    assert encoder.scale(raw).item() == 0.5
    assert raw.item() == 1500


def test_pixels_without_data_are_seen_as_the_mean(encoder):
    images = torch.rand(2, 4, 64, 64)
    valid = torch.rand(2, 64, 64) > 0.5
    mean = torch.tensor(SPEC.mean).view(4, 1, 1)
    images = images.masked_fill(~valid[:, None], float("nan"))
    filled = torch.where(valid[:, None], images, mean)
    torch.testing.assert_close(encoder.preprocess(images, valid), encoder.preprocess(filled))
    nothing = encoder.preprocess(images, torch.zeros(2, 64, 64, dtype=torch.bool))
    torch.testing.assert_close(nothing, torch.zeros_like(nothing))


def test_normalised_images_and_other_shapes_are_refused(encoder):
    for images in (torch.randn(2, 4, 64, 64), torch.rand(2, 4, 8, 8) * 255):
        with pytest.raises(InputError, match=r"mine: images with values from .* in \[0, 1\]"):
            encoder.preprocess(images)
    for shape in ((4, 64, 64), (2, 3, 64, 64)):
        with pytest.raises(InputError, match=r"mine: images of shape .*\(n, 4, H, W\).*nir"):
            encoder.preprocess(torch.rand(shape))


def test_embedding_is_preprocessing_and_the_module_in_batches(encoder, monkeypatch):
    images = raw_images(5, 4, 80, 70)
    with torch.no_grad():
        expected = encoder.module(encoder.preprocess(images))
        torch.testing.assert_close(encoder(encoder.preprocess(images)), expected)
    features = encoder.embed(images)
    assert (features.dtype, features.shape) == (torch.float32, (5, encoder.num_features))
    torch.testing.assert_close(features, expected)
    monkeypatch.setattr(Encoder, "batch_size", 2)
    valid = torch.rand(5, 80, 70) > 0.2
    one_by_one = [encoder.embed(images[n : n + 1], valid[n : n + 1]) for n in range(5)]
    torch.testing.assert_close(
        encoder.embed(images, valid), torch.cat(one_by_one), rtol=1e-4, atol=1e-5
    )
    assert encoder.embed(images[:0]).shape == (0, 512)
    nn.Linear(512, 2)(features).sum().backward()  # it can be trained on
    assert encoder.seconds > 0


def test_the_mode_is_restored_even_after_a_failure():
    class Broken(nn.Module):
        def forward(self, images):
            assert not self.training
            raise RuntimeError("broken")

    encoder = Encoder(Broken().train(), config())
    with pytest.raises(RuntimeError, match="broken"):
        encoder.embed(raw_images(1, 4, 9, 9))
    assert encoder.module.training


def test_features_that_are_none_are_refused():
    with pytest.raises(InputError, match=r"mine gives \(2, 4, 56, 56\).*num_classes=0"):
        Encoder(nn.Identity(), config(), "mine").embed(raw_images(2, 4, 9, 9))
    diverged = nn.Sequential(nn.Flatten(), nn.Linear(4 * 56 * 56, 3))
    nn.init.constant_(diverged[1].weight, float("nan"))
    with pytest.raises(InputError, match="mine gives features that are not finite"):
        Encoder(diverged, config(), "mine").embed(raw_images(2, 4, 9, 9))


def test_half_precision_is_near_and_comes_back_as_float32(encoder):
    images = raw_images(4, 4, 64, 64)
    half = Encoder(encoder.module, encoder.config, precision="bf16")
    features = half.embed(images)
    assert features.dtype == torch.float32
    assert not torch.equal(features, encoder.embed(images))
    assert torch.cosine_similarity(features, encoder.embed(images)).min() > 0.99


def test_it_says_what_it_is(encoder):
    text = repr(encoder)
    for part in ("resnet18", "512 features", "red, green, blue, nir", "8-bit counts", "56 px"):
        assert part in text
    assert "source='mine', device='cpu', precision='float32'" in text
    assert "\n" not in text


def test_it_is_a_plain_module(encoder):
    assert {name.removeprefix("module.") for name in encoder.state_dict()} == set(
        encoder.module.state_dict()
    )
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        encoder, (torch.zeros(2, 4, 56, 56),), dynamic_shapes=({0: batch},)
    )
    images = encoder.preprocess(raw_images(3, 4, 64, 64))
    torch.testing.assert_close(program.module()(images), encoder(images))


def test_bands_and_units_are_checked_with_both_named(encoder):
    encoder.check(list(BANDS), "8-bit counts")
    with pytest.raises(InputError, match=r"mine was trained on the bands red.*nir, .*have red, x"):
        encoder.check(["red", "x"], "8-bit counts")
    with pytest.raises(InputError, match=r"mine was trained on 8-bit counts.*in reflectance"):
        encoder.check(BANDS, "reflectance")


def test_a_fingerprint_is_that_of_the_features(encoder):
    fingerprint = encoder.fingerprint()
    assert len(fingerprint) == 16
    assert int(fingerprint, 16) > 0
    again = create_encoder("resnet18", 4, seed=3).to(memory_format=torch.channels_last)
    assert Encoder(again, config(), "elsewhere", precision="bf16").fingerprint() == fingerprint
    moved = SPEC.model_copy(update={"mean": (0.1,) * 4})
    fewer = create_encoder("resnet18", 4, seed=3)
    with torch.no_grad():
        fewer.bn1.running_mean[0] += 1e-6
    others = [
        Encoder(create_encoder("resnet18", 4, seed=4), config()),
        Encoder(again, config(size=64)),
        Encoder(again, config(spec=moved)),
        Encoder(fewer, config()),
    ]
    assert len({other.fingerprint() for other in others} | {fingerprint}) == 5


def test_a_fingerprint_stays_the_same_between_versions():
    """Otherwise every embedding file would become one of another encoder."""
    module = nn.Linear(2, 2)
    with torch.no_grad():
        module.weight.copy_(torch.arange(4.0).view(2, 2))
        module.bias.zero_()
    assert Encoder(module, config()).fingerprint() == "e5ad5bae019fc845"
