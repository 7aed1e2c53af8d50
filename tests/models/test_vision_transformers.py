"""Vision transformers at any size, pooled by their own rule or another."""

import pytest
import timm
import torch
from random_weights import put_into_cache, shallow
from timm.layers import resample_abs_pos_embed

from rs_otl.errors import InputError
from rs_otl.export import export_encoder
from rs_otl.models import create_encoder, load_encoder

DINO2, DINO3 = "vit_small_patch14_dinov2", "vit_small_patch16_dinov3"
MAE, CLIP, EVA = (
    "vit_base_patch16_224.mae",
    "vit_base_patch32_clip_224.openai",
    "eva02_tiny_patch14_224",
)
SIZES = [(DINO2, 56), (DINO2, 126), (DINO2, 224), (DINO3, 64), (DINO3, 128), (DINO3, 224)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        shallow(patch)
        yield put_into_cache([DINO2, DINO3, MAE, CLIP, EVA], tmp_path_factory.mktemp("hub"), patch)


def _features(module, images):
    with torch.no_grad():
        return module.eval()(images)


@pytest.mark.parametrize(("name", "size"), [*SIZES, (MAE, 96), (CLIP, 128), (EVA, 70)])
def test_an_export_at_any_size_loads_in_timm_unchanged(hub, name, size, tmp_path):
    encoder = load_encoder(f"timm/{name}", image_size=size)
    assert encoder.embed(torch.rand(2, 3, 90, 100)).shape == (2, encoder.num_features)
    folder = tmp_path / "out"
    export_encoder(encoder, folder)
    images = torch.rand(2, 3, size, size)
    expected = _features(encoder, images)
    again = load_encoder(folder)
    assert again.config == encoder.config
    assert (
        again.fingerprint()
        == encoder.fingerprint()
        == load_encoder(folder / "encoder.pth").fingerprint()
    )
    torch.testing.assert_close(_features(again, images), expected)
    in_timm = timm.create_model(f"local-dir:{folder}", pretrained=True)
    torch.testing.assert_close(_features(in_timm, images), expected)


def test_embeddings_are_resampled_as_timm_does_it_and_back_from_the_original(hub):
    at_126 = load_encoder(f"timm/{DINO2}", image_size=126).module
    own = hub[DINO2].pos_embed
    torch.testing.assert_close(at_126.pos_embed, resample_abs_pos_embed(own, [9, 9]))
    other = {
        name
        for name, tensor in at_126.state_dict().items()
        if not torch.equal(tensor, hub[DINO2].state_dict()[name])
    }
    assert other == {"pos_embed"}
    assert load_encoder(f"timm/{DINO2}").config.image_size == 518


@pytest.mark.parametrize("name", [DINO2, DINO3, EVA])
def test_pooling_is_the_models_own_unless_asked_for(hub, name, tmp_path):
    size = 56 if "patch14" in name else 64
    images = torch.rand(2, 3, size, size)
    encoders = {
        pool: load_encoder(f"timm/{name}", image_size=size, pool=pool)
        for pool in (None, "cls", "mean")
    }
    whole = encoders[None].module
    with torch.no_grad():
        tokens = whole.forward_features(images)
        by_hand = {"cls": tokens[:, 0], "mean": tokens[:, whole.num_prefix_tokens :].mean(1)}
        by_hand = {pool: whole.fc_norm(values) for pool, values in by_hand.items()}
    for pool, expected in by_hand.items():
        torch.testing.assert_close(_features(encoders[pool], images), expected)
        assert encoders[pool].fingerprint() != encoders[None].fingerprint()
        export_encoder(encoders[pool], tmp_path / pool)
        assert load_encoder(tmp_path / pool).config.pool == pool
        in_timm = timm.create_model(f"local-dir:{tmp_path / pool}", pretrained=True)
        torch.testing.assert_close(_features(in_timm, images), expected)
    own = "cls" if name == DINO2 else "mean"
    torch.testing.assert_close(_features(encoders[None], images), by_hand[own])


def test_other_sizes_and_poolings_are_refused_in_one_line(hub):
    with pytest.raises(InputError, match=r"multiple of 14 pixels, not 64.* 56 or 70, .*=56$"):
        load_encoder(f"timm/{DINO2}", image_size=64)
    with pytest.raises(InputError, match=r"--set image_size=16$"):
        create_encoder("vit_tiny_patch16_224", 3, image_size=10)
    with pytest.raises(InputError, match=r"pool=mean .--pool.: resnet18 is no vision transformer"):
        create_encoder("resnet18", 3, pool="mean")
    with pytest.raises(InputError, match="pool = 'max': Input should be 'cls' or 'mean'"):
        load_encoder(f"timm/{DINO2}", image_size=56, pool="max")
