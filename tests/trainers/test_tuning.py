"""Training a part of an encoder."""

import copy

import pytest
import timm
import torch
from command_line import draw_folder, rs_otl_here, settings
from random_weights import put_into_cache, shallow
from small_run import small_trainer
from torch.utils.data import DataLoader

from rs_otl.errors import InputError
from rs_otl.models import create_encoder, load_encoder, merged_weights, restrict_training
from rs_otl.trainers import OTLTask
from rs_otl.trainers.loss import label_consistent_loss

DINO3 = "vit_small_patch16_dinov3"


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    shallow(monkeypatch)


def _samples():
    images = torch.rand(12, 3, 37, 37, generator=torch.Generator().manual_seed(0))
    return [{"image": image, "index": torch.tensor(place)} for place, image in enumerate(images)]


def _trained(**changes):
    asked = {"views": 2, "size": 32, "augment": "simple", "lr": 0.1, "clusters": 4} | changes
    task = OTLTask(**asked)
    before = copy.deepcopy(task.encoder.state_dict())
    small_trainer(1).fit(task, DataLoader(_samples(), batch_size=6, shuffle=True))
    after = task.trained_encoder().state_dict()
    assert after.keys() == before.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_norm_trains_the_vectors_alone():
    changed = _trained(model="vit_tiny_patch16_224", tune="norm")
    parameters = dict(create_encoder("vit_tiny_patch16_224", 3).named_parameters())
    assert changed == {name for name, one in parameters.items() if one.ndim == 1}
    convolutional = _trained(model="resnet18", tune="norm", freeze_batch_norm=True)
    assert convolutional
    assert all(".bn" in f".{name}" or "downsample.1" in name for name in convolutional)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", DINO3, "eva02_tiny_patch14_224"])
def test_lora_trains_the_attention_alone(name):
    pytest.importorskip("peft")
    size = 28 if "patch14" in name else 32
    changed = _trained(model=name, tune="lora", lora_rank=2, size=size, chunks=2)
    assert changed == {"blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight"}


@pytest.mark.parametrize("name", [DINO3, "eva02_tiny_patch14_224"])
def test_merged_weights_give_the_features_of_the_changed_encoder(name):
    pytest.importorskip("peft")
    size = 28 if "patch14" in name else 32
    encoder = create_encoder(name, 3, image_size=size).eval()
    for parameter_name, parameter in encoder.named_parameters():
        if "gamma" in parameter_name:  # almost zero before training
            parameter.data.fill_(1)
    plain = copy.deepcopy(encoder)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        expected = plain(images)
        restrict_training(encoder, "lora", rank=3)
        torch.testing.assert_close(encoder(images), expected)  # zero at first
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.1)
        changed = encoder(images)
        assert not torch.allclose(changed, expected, atol=1e-2)
        plain.load_state_dict(merged_weights(encoder.state_dict()))
        torch.testing.assert_close(plain(images), changed, rtol=1e-4, atol=1e-4)


def test_lora_is_seeded_and_leaves_the_global_state_alone(monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _: pytest.fail("a GPU is seeded"))
    before = torch.get_rng_state()
    first, again, other = ({}, {}, {})
    for found, seed in ((first, 1), (again, 1), (other, 2)):
        encoder = create_encoder("vit_tiny_patch16_224", 3)
        restrict_training(encoder, "lora", rank=2, seed=seed)
        found.update(encoder.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    (name, *_) = [name for name in first if "lora_A" in name]
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_what_cannot_be_tuned_is_refused():
    with pytest.raises(InputError, match=r"tune = lora: ResNet has no attention.*tune = norm"):
        OTLTask("resnet18", tune="lora")
    with pytest.raises(InputError, match="tune = 'head': expected one of all, norm, lora"):
        OTLTask("resnet18", tune="head")


def test_smoothed_labels_are_those_of_torch():
    outputs, labels = torch.randn(1, 6, 5), torch.randint(5, (1, 6))
    expected = torch.nn.functional.cross_entropy(outputs[0], labels[0], label_smoothing=0.3)
    torch.testing.assert_close(label_consistent_loss(outputs, labels, 0.3), expected)


def test_a_run_with_lora_resumes_and_its_export_loads_in_timm(tmp_path, monkeypatch):
    pytest.importorskip("peft")
    put_into_cache([DINO3], tmp_path / "hub", monkeypatch)
    draw_folder(tmp_path / "images", images=8)
    keys = [f"encoder={DINO3}", "image_size=32", "clusters=null", "tune=lora", "lora_rank=2"]
    words = ("pretrain", "images", "--recipe", "adapt", "--init", f"timm/{DINO3}")
    tuned = settings(*keys, "label_smoothing=0.1", "epochs=2", "lr=0.1", "warmup=0")
    rs_otl_here(*words, *tuned, "--out", "run", cwd=tmp_path)
    whole = load_encoder(tmp_path / "run")
    # The checkpoint holds the changes apart; they are merged when it is read.
    kept = load_encoder(tmp_path / "run" / "checkpoints" / "last.ckpt")
    images = torch.rand(2, 3, 32, 32)
    in_timm = timm.create_model(f"local-dir:{tmp_path / 'run' / 'encoder'}", pretrained=True)
    with torch.no_grad():
        expected = whole(images)
        torch.testing.assert_close(kept(images), expected)
        torch.testing.assert_close(in_timm.eval()(images), expected)
    frozen = load_encoder(f"timm/{DINO3}", image_size=32).module.blocks[0].attn.qkv.weight
    assert not torch.equal(frozen, whole.module.blocks[0].attn.qkv.weight)
    # Without its export, a resumed run writes the same again from its checkpoint.
    (tmp_path / "run" / "encoder").rename(tmp_path / "before")
    rs_otl_here("pretrain", "images", "--resume", "--out", "run", cwd=tmp_path)
    assert load_encoder(tmp_path / "run").fingerprint() == whole.fingerprint()
