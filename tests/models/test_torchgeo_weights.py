"""All of torchgeo's weights whose architecture timm has."""

import pytest
import timm
import torch
from random_weights import shallow
from torchvision.transforms import v2
from torchvision.transforms.functional import center_crop

from rs_otl.errors import InputError
from rs_otl.models import create_encoder, load_encoder
from rs_otl.models.known import known_encoders, torchgeo_entries
from rs_otl.models.pretrained import describe_entry
from rs_otl.spec import Quantity

ENTRIES = torchgeo_entries()
OURS = sorted(
    name for name, entry in ENTRIES.items() if timm.is_model(str(entry.meta.get("model")))
)


@pytest.mark.parametrize("name", OURS)
def test_what_they_expect_is_what_their_transforms_do(name):
    entry = ENTRIES[name]
    spec = describe_entry(entry, name).spec
    assert len(spec.bands) == entry.meta["in_chans"]
    low, high = spec.bounds
    generator = torch.Generator().manual_seed(0)
    # Of the size that they resize to, so that pixels can be compared.
    resized = [part.size for part in entry.transforms.modules() if isinstance(part, v2.Resize)]
    side = min(resized[0]) if resized and resized[0] else 256
    raw = low + (high - low) * torch.rand(2, len(spec.bands), side, side, generator=generator)
    expected = entry.transforms(raw.clone())
    scaled = (raw - spec.offset) / spec.scale
    mean, std = (torch.tensor(one)[:, None, None] for one in (spec.mean, spec.std))
    ours = center_crop((scaled - mean) / std, list(expected.shape[-2:]))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "quantity", "scale"),
    [
        ("ResNet18_Weights.SENTINEL2_ALL_MOCO", Quantity.TOA, 10_000),
        ("ResNet18_Weights.SENTINEL2_RGB_MOCO", Quantity.TOA, 10_000),
        ("ViTSmall16_Weights.SENTINEL2_ALL_DINO", Quantity.TOA, 10_000),
        ("ResNet50_Weights.SENTINEL2_ALL_SOFTCON", Quantity.TOA, 10_000),
        ("ResNet50_Weights.SENTINEL2_ALL_SECO_ECO", Quantity.SURFACE, 10_000),
        ("ResNet50_Weights.SENTINEL2_MI_MS_SATLAS", Quantity.COUNTS, 8160),
        ("ResNet50_Weights.SENTINEL2_SI_RGB_SATLAS", Quantity.COUNTS, 255),
        ("ResNet50_Weights.FMOW_RGB_GASSL", Quantity.COUNTS, 255),
        ("ResNet18_Weights.LANDSAT_OLI_SR_MOCO", Quantity.COUNTS, 255),
        ("ResNet50_Weights.SENTINEL1_ALL_MOCO", Quantity.DECIBELS, 80),
        ("ResNet50_Weights.SENTINEL1_GRD_CLOSP", Quantity.DECIBELS, 80),
    ],
)
def test_quantities_are_those_of_the_training_images(name, quantity, scale):
    spec = describe_entry(ENTRIES[name], name).spec
    assert (spec.quantity, spec.scale) == (quantity, scale)


# A member of each architecture and number of bands; the others have the same names.
LOADED = {
    (describe_entry(ENTRIES[name], name).encoder, ENTRIES[name].meta["in_chans"]): name
    for name in OURS
}


@pytest.mark.parametrize("name", LOADED.values())
def test_they_load_from_a_file_as_torchgeo_has_it(name, tmp_path, monkeypatch):
    shallow(monkeypatch)
    entry = ENTRIES[name]
    config = describe_entry(entry, name)
    size = entry.meta.get("img_size")
    made = create_encoder(config.encoder, entry.meta["in_chans"], image_size=size)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert not next(one for one in known_encoders(tmp_path) if one.name == name).here
    (tmp_path / "checkpoints").mkdir()
    torch.save(made.state_dict(), tmp_path / "checkpoints" / entry.url.rpartition("/")[2])
    listed = next(one for one in known_encoders(tmp_path) if one.name == name)
    assert listed.here
    encoder = load_encoder(name)
    for key, tensor in encoder.module.state_dict().items():
        assert torch.equal(tensor, made.state_dict()[key])
    assert (listed.architecture, listed.bands) == (config.encoder, encoder.config.spec.bands)
    assert listed.image_size == encoder.config.image_size in (224, 256)
    assert encoder.embed(torch.rand(1, len(listed.bands), 40, 40)).isfinite().all()


def test_those_without_a_final_norm_load_as_in_torchgeo(monkeypatch):
    name = "ViTSmall16_Weights.LANDSAT_TM_TOA_MOCO"
    tensors = create_encoder("vit_small_patch16_224", 7).state_dict()
    tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith("norm.")}
    monkeypatch.setattr(type(ENTRIES[name]), "get_state_dict", lambda self, progress: tensors)
    assert (load_encoder(name).module.norm.weight == 1).all()


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - set(OURS)))
def test_others_are_refused_before_they_are_fetched(name):
    with pytest.raises(InputError, match="none of timm's") as caught:
        load_encoder(name)
    assert "\n" not in str(caught.value)
