"""All of torchgeo's weights: those of timm's architectures, those of its own, and no encoders."""

import pytest
import rasterio
import torch
from command_line import draw_folder, rs_otl_here
from geo_scenes import draw, write
from random_weights import shallow
from torchgeo_files import features_by_torchgeo, shallow_torchgeo, write_weights
from torchvision.transforms import v2
from torchvision.transforms.functional import center_crop

from rs_otl.errors import InputError
from rs_otl.export import export_encoder, verify_export
from rs_otl.models import adapted_weights, create_encoder, load_encoder
from rs_otl.models.known import known_encoders, torchgeo_entries
from rs_otl.models.pretrained import describe_entry
from rs_otl.models.torchgeo_models import ARCHITECTURES, NO_ENCODERS, OF_WEIGHTS
from rs_otl.spec import Quantity

ENTRIES = torchgeo_entries()


def _kind(name):
    return name.partition(".")[0]


ENCODERS = sorted(name for name in ENTRIES if _kind(name) not in NO_ENCODERS)
OURS = [name for name in ENCODERS if _kind(name) not in OF_WEIGHTS]
# Those whose entry says which bands they take.
SAID = [name for name in ENCODERS if ENTRIES[name].meta.get("in_chans")]


@pytest.mark.parametrize("name", SAID)
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
    cityscapes = name.endswith("CITYSCAPES_SEMSEG")  # whose transforms take images in [0, 1]
    expected = entry.transforms(raw / 255 if cityscapes else raw.clone())
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
        ("Swin_V2_B_Weights.LANDSAT_SI_SATLAS", Quantity.COUNTS, 16_320),
        ("Swin_V2_B_Weights.SENTINEL1_SI_SATLAS", Quantity.COUNTS, 255),
        ("Swin_T_Weights.CITYSCAPES_SEMSEG", Quantity.COUNTS, 255),
        ("EarthLoc_Weights.SENTINEL2_RESNET50", Quantity.COUNTS, 255),
        ("DOFABase16_Weights.DOFA_MAE", Quantity.COUNTS, 255),
        ("DOFABase16_Weights.DOFA_MAE@sentinel-2", Quantity.TOA, 10_000),
        ("Panopticon_Weights.VIT_BASE14@sentinel-1", Quantity.DECIBELS, 80),
    ],
)
def test_quantities_are_those_of_the_training_images(name, quantity, scale):
    spec = describe_entry(ENTRIES[name.partition("@")[0]], name).spec
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


# Of torchgeo's own, a member of each architecture and sensor or number of bands.
OWN = {
    (OF_WEIGHTS[_kind(name)], sensor or ENTRIES[name].meta["in_chans"]): (name, sensor)
    for name in ENCODERS
    if _kind(name) in OF_WEIGHTS
    for sensor in ARCHITECTURES[OF_WEIGHTS[_kind(name)]].inputs or (None,)
}
# Of a family one size is enough, where the sizes differ in width and depth alone.
SIZES = ("dofa_large", "croma_large", "swin_s", "swin_v2_t")
LOADED_OWN = [one for key, one in OWN.items() if not key[0].startswith(SIZES)]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Where torch's hub keeps files, with few blocks in what is deep."""
    shallow(monkeypatch)
    shallow_torchgeo(monkeypatch)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(("name", "sensor"), LOADED_OWN)
def test_features_are_those_of_torchgeos_own_forward_pass(name, sensor, hub):
    entry = ENTRIES[name]
    write_weights(entry, hub)
    encoder = load_encoder(name if sensor is None else f"{name}@{sensor}")
    config = encoder.config
    images = torch.randn(2, len(config.spec.bands), config.image_size, config.image_size)
    with torch.no_grad():
        expected = features_by_torchgeo(entry, images, sensor)
        difference = (encoder(images) - expected).abs().max()
    assert expected.shape == (2, encoder.num_features)
    assert difference < 0.01 * expected.std(0).mean()  # far closer than two images are
    assert encoder.embed(torch.rand(1, len(config.spec.bands), 40, 50)).isfinite().all()


@pytest.mark.parametrize(
    ("name", "verified"),
    [
        ("CROMABase_Weights.CROMA_VIT@sentinel-1", False),
        ("DOFABase16_Weights.DOFA_MAE@sentinel-2", False),
        ("Panopticon_Weights.VIT_BASE14", False),
        ("Swin_V2_T_Weights.SENTINEL2_MI_MS_SATLAS", True),
    ],
)
def test_an_export_builds_the_same_module_again(name, verified, hub, tmp_path):
    write_weights(ENTRIES[name.partition("@")[0]], hub)
    encoder = load_encoder(name)
    export_encoder(encoder, tmp_path / "out")
    again = load_encoder(tmp_path / "out")
    assert (again.config, again.fingerprint()) == (encoder.config, encoder.fingerprint())
    if not verified:  # with every tool that loads it
        return
    checks = verify_export(tmp_path / "out")
    assert {check.result for check in checks} == {"equal"}, checks
    assert {check.loader for check in checks} >= {"timm local-dir", "rs_otl.load_encoder"}
    assert "torchgeo" not in " ".join(check.loader for check in checks)


def test_commands_take_them(hub, tmp_path):
    name = "ScaleMAELarge16_Weights.FMOW_RGB"
    write_weights(ENTRIES[name], hub)
    draw_folder(tmp_path / "images", images=4)
    write(tmp_path / "s.tif", draw(80, 90, 3).astype("uint8"))
    at = ("--image-size", 64)
    assert "kNN" in rs_otl_here("evaluate", name, "--on", "images", *at, cwd=tmp_path).stdout
    rs_otl_here("embed", "s.tif", "--encoder", name, *at, "-o", "e.tif", cwd=tmp_path)
    with rasterio.open(tmp_path / "e.tif") as embedded:
        assert embedded.count == 1024
    told = rs_otl_here("export", name, *at, "--to", "out", "--verify", cwd=tmp_path).stdout
    assert "torch.export" in told


def test_training_starts_from_them_on_other_bands(hub, tmp_path):
    name = "DOFABase16_Weights.DOFA_MAE"
    write_weights(ENTRIES[name], hub)
    (tmp_path / "images").mkdir()
    for number in range(10):
        pixels = draw(40, 40, 4, seed=number).astype("uint8")
        write(tmp_path / f"images/{number}.tif", pixels, names=("nir", "red", "green", "blue"))
    words = ["--recipe", "adapt", "--init", name, "--set", "encoder=dofa_base_patch16_224"]
    short = [word for key in ("image_size=224", "epochs=1") for word in ("--set", key)]
    done = rs_otl_here("pretrain", "images", *words, *short, "--out", "run", cwd=tmp_path)
    assert "is adapted to nir, red, green, blue; nir by wavelength" in done.stderr
    config = load_encoder(str(tmp_path / "run")).config
    assert config.spec.bands == ("nir", "red", "green", "blue")


def test_what_depends_on_values_is_refused_as_onnx(hub, tmp_path):
    name = "CopernicusFM_Base_Weights.CopernicusFM_ViT"
    write_weights(ENTRIES[name], hub)
    with pytest.raises(InputError, match=r"copernicusfm_base cannot be written as ONNX.*without"):
        export_encoder(load_encoder(name), tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()


def test_a_sensor_is_asked_for_by_name_and_others_are_refused(hub):
    with pytest.raises(InputError, match=r"expected one of DOFABase16_Weights.DOFA_MAE@rgb, .*-1$"):
        load_encoder("DOFABase16_Weights.DOFA_MAE@landsat-8")
    with pytest.raises(InputError, match="images of one sensor; leave out @rgb"):
        load_encoder("ResNet18_Weights.SENTINEL2_RGB_MOCO@rgb")
    with pytest.raises(InputError, match="torchgeo has no such weights"):
        load_encoder("DOFABase16_Weights.NONE")


def test_an_encoder_that_is_told_wavelengths_is_told_those_of_other_bands(hub):
    name = "DOFABase16_Weights.DOFA_MAE"
    write_weights(ENTRIES[name], hub)
    encoder = load_encoder(name).module
    weights = adapted_weights(encoder, [2, None], "mine", [0.48, 0.865])
    torch.testing.assert_close(weights["told"], torch.tensor([[0.49], [0.865]]))
    other = create_encoder("dofa_base_patch16_224", 2)
    other.load_state_dict(weights)
    assert other(torch.randn(1, 2, 224, 224)).isfinite().all()
    with pytest.raises(InputError, match="needs the wavelength of every band, and band 2 has none"):
        adapted_weights(encoder, [2, None], "mine", [0.48, None])


def test_files_that_hold_something_else_are_refused(hub):
    name = "DOFABase16_Weights.DOFA_MAE"
    torch.save({"weight": torch.zeros(1)}, hub / ENTRIES[name].url.rpartition("/")[2])
    with pytest.raises(InputError, match="expected the weights of dofa_base_patch16_224"):
        load_encoder(name)


@pytest.mark.parametrize("name", sorted(set(ENTRIES) - set(ENCODERS)))
def test_others_are_refused_before_they_are_fetched(name):
    with pytest.raises(InputError, match=f"a {NO_ENCODERS[_kind(name)]}, no encoder") as caught:
        load_encoder(name)
    assert "\n" not in str(caught.value)


def test_the_list_has_all_of_them_and_what_is_no_encoder(tmp_path):
    listed = {one.name: one for one in known_encoders(tmp_path) if one.kind == "torchgeo"}
    assert set(ENTRIES) == {name.partition("@")[0] for name in listed}
    for name, one in listed.items():
        assert (one.instead is None) == (name.partition("@")[0] in ENCODERS)
        assert one.instead is not None or (one.bands and one.units and one.image_size)
