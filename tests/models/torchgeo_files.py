"""Random weights of torchgeo's classes, in the files that torchgeo fetches."""

import functools

import torch
import torchvision
from torchgeo.models import copernicusfm, croma, dofa, get_model, panopticon, scale_mae

from rs_otl.models.torchgeo_models import OF_WEIGHTS

# Classes whose depth, or the width of whose first layer, matters to time alone.
_DEEP = (
    (dofa.DOFA, {"depth": 1}),
    (croma.CROMA, {"encoder_depth": 2}),
    (copernicusfm.CopernicusFM, {"depth": 1}),
    (panopticon.Panopticon, {"attn_dim": 96}),
    (scale_mae.ScaleMAE, {"depth": 1}),
    (torchvision.models.SwinTransformer, {"depths": [1, 1, 1, 1]}),
)


def shallow_torchgeo(monkeypatch):
    """Let torchgeo and torchvision make deep networks of few blocks."""
    for kind, fewer in _DEEP:
        monkeypatch.setattr(kind, "__init__", _with(kind.__init__, fewer))
    monkeypatch.setattr(croma, "get_2dalibi", functools.cache(croma.get_2dalibi))  # slow


def _with(init, fewer):
    @functools.wraps(init)
    def made(self, *arguments, **settings):
        init(self, *arguments, **settings | fewer)

    return made


def write_weights(entry, folder):
    """Write random weights of an entry of torchgeo's own architectures, as its file has them."""
    name = OF_WEIGHTS[type(entry).__name__].removesuffix("_window12")
    given = {"in_chans": entry.meta.get("in_chans")}
    if name == "earthloc":
        made = get_model(name, pretrained=False)
    elif name.startswith("swin"):
        made = _swin(name, entry)
    elif name.startswith("scalemae"):
        made = get_model(name, **given)
    else:
        made = get_model(name)
    for parameter in made.parameters():
        if parameter.ndim < 4:  # norms and tokens are constant at first
            torch.nn.init.normal_(parameter, std=1 if parameter.ndim == 1 else 0.05)
    tensors = made.state_dict()
    if name.startswith("dofa"):  # pretrained without them
        tensors = {k: v for k, v in tensors.items() if not k.startswith(("head.", "fc_norm."))}
    elif name.startswith("croma"):
        tensors = {key: getattr(made, key).state_dict() for key, _ in made.named_children()}
    elif name.startswith("panopticon"):
        tensors = made.model.state_dict()
        tensors["pos_embed"] = torch.randn(1, 1 + 37**2, 768)
        tensors["mask_token"] = torch.zeros(1, 768)
    elif name in ("swin_t", "swin_s", "swin_b"):
        tensors = {k: v for k, v in tensors.items() if not k.startswith(("head.", "norm."))}
        tensors = {"state_dict": tensors, "feat_norms_state_dict": {}}
    torch.save(tensors, folder / entry.url.rpartition("/")[2])


def _swin(name, entry):
    if name == "swin_b":
        made = torchvision.models.SwinTransformer(
            patch_size=[4, 4],
            embed_dim=128,
            depths=[2, 2, 18, 2],
            num_heads=[4, 8, 16, 32],
            window_size=[entry.meta["window_size"]] * 2,
        )
    else:
        made = get_model(name)
    embed = made.features[0]
    embed[0] = torch.nn.Conv2d(entry.meta["in_chans"], embed[0].out_channels, 4, 4)
    return made


def features_by_torchgeo(entry, images, sensor):
    """Compute features of normalised images with torchgeo's own model, loaded by torchgeo."""
    name = OF_WEIGHTS[type(entry).__name__].removesuffix("_window12")
    bands = images.shape[1]
    if name.startswith("croma"):
        modality = "sar" if bands == 2 else "optical"
        model = get_model(name, weights=entry, modalities=[modality]).eval()
        return model(**{f"x_{modality}": (images / 4 + 0.5).clamp(0, 1)})[f"{modality}_GAP"]
    model = get_model(name, weights=entry, **_arguments(name)).eval()
    waves = {
        "rgb": [665, 560, 490],
        "sentinel-1": [5405] * 2,
        "sentinel-2": [440, 490, 560, 665, 705, 740, 783, 842, 860, 940, 1370, 1610, 2190],
    }.get(sensor)
    if name.startswith("dofa"):
        if sensor == "sentinel-2":
            waves = [665, 560, 490, 705, 740, 783, 842, 1610, 2190]
        return model.forward_features(images, [wave / 1000 for wave in waves])
    if name.startswith("panopticon"):
        ids = {
            "rgb": [665, 560, 493],
            "sentinel-1": [-1, -2],
            "sentinel-2": [443, 493, 560, 665, 704, 740, 783, 833, 865, 945, 1373, 1613, 2202],
        }[sensor]
        return model({"imgs": images, "chn_ids": torch.tensor(ids).repeat(len(images), 1)})
    if name.startswith("copernicusfm"):
        widths = [20, 65, 35, 30, 15, 15, 20, 115, 20, 20, 30, 90, 180]
        if sensor == "sentinel-1":
            waves, widths = [50_000_000] * 2, [1e9] * 2
        nowhere = torch.full((len(images), 4), torch.nan)
        return model(images, nowhere, waves, widths)
    if name.startswith("swin"):
        model.head = torch.nn.Identity()
    return model(images)


def _arguments(name):
    return {"in_chans": 3, "num_classes": 0} if name.startswith("scalemae") else {}
