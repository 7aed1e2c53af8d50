"""Architectures that torchgeo has and timm has not, as models of timm's registry.

torchgeo's models are kept as they are; the table says how to get features from them.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from timm.models import (
    VisionTransformer,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
)
from torch import Tensor, nn

# Numbers that a model is told about each band.
_Told = list[list[float]]
# Wavelengths of unknown bands lie in this range, in micrometres; their width is in nm.
_UNKNOWN, _WIDTH = (0.45, 2.2), 30.0


@dataclass(frozen=True)
class Input:
    """Images of a sensor, for weights whose entry names no bands.

    Attributes:
        like: torchgeo's entry whose bands, values and statistics the images have; ``None`` for
            pictures in red, green and blue with ImageNet's statistics.
        bands: Positions of the images' bands in that entry; empty for all.
        told: Numbers that the model is told about each band, in its own units, ``(C, n)``.
    """

    like: str | None
    bands: tuple[int, ...] = ()
    told: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Architecture:
    """How an architecture of torchgeo becomes a module from images to features.

    Attributes:
        build: Makes the model for a number of bands, with random weights.
        width: Number of features.
        features: Computes the features, for a model that is not called with images alone.
        told: How many numbers the model is told about each band, the wavelength first.
        micrometre: One micrometre in the model's unit of wavelength.
        size: Side of the images in pixels.
        any_size: Whether the model takes other sizes.
        first_conv: The layer over the bands, if it is a convolution.
        inputs: Images by sensor; the first sensor is the default.
        ignores: Whether torchgeo ignores tensors of the file that are not part of the model.
        traced: Whether torch.export, and so ONNX, supports the model; it does not if the
            computation depends on values.
    """

    build: Callable[[int], Any]
    width: int
    features: Callable[[Any, Tensor, _Told], Tensor] | None = None
    told: int = 0
    micrometre: float = 1000
    size: int = 224
    any_size: bool = False
    first_conv: str | None = None
    inputs: dict[str, Input] = field(default_factory=dict)
    ignores: bool = False
    traced: bool = True


class BandModel(nn.Module):
    """A torchgeo model with the numbers it is told about bands; called with images alone.

    Args:
        model: The model that torchgeo builds.
        features: See :class:`Architecture`.
        told: Numbers that it is told about each band, ``(C, n)``, the wavelength first.
        micrometre: One micrometre in the model's unit of wavelength.

    Attributes:
        told: These numbers, stored with the weights.
        micrometre: As given.
    """

    told: Tensor

    def __init__(
        self,
        model: nn.Module,
        features: Callable[[Any, Tensor, _Told], Tensor],
        told: _Told,
        micrometre: float,
    ) -> None:
        super().__init__()
        self.model = model
        self._features = features
        self.register_buffer("told", torch.tensor(told))
        self.micrometre = micrometre
        self._numbers = told
        self.register_load_state_dict_post_hook(_read_told)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features ``(n, D)`` of normalised images ``(n, C, S, S)``."""
        return self._features(self.model, images, self._numbers)


def _read_told(model: nn.Module, _: object) -> None:
    """Keep the loaded tensor as plain numbers, which torchgeo's models expect."""
    band_model = cast(BandModel, model)
    band_model._numbers = band_model.told.tolist()


def _make(
    name: str, in_chans: int = 3, num_classes: int = 0, img_size: Any = None, **_: Any
) -> nn.Module:
    """Make a model of the table for timm's registry."""
    if num_classes:
        raise ValueError(f"{name} gives features alone: expected num_classes=0")
    architecture = ARCHITECTURES[name]
    model = architecture.build(in_chans)
    if architecture.features is not None:
        low, high = _UNKNOWN
        step = (high - low) / max(1, in_chans - 1)
        told = [
            [(low + step * band) * architecture.micrometre, _WIDTH][: architecture.told]
            for band in range(in_chans)
        ]
        model = BandModel(model, architecture.features, told, architecture.micrometre)
    elif img_size is not None and isinstance(model, VisionTransformer):
        model.set_input_size(img_size=img_size)
    # timm's names for these numbers.
    model.num_classes, model.num_features, model.in_chans = 0, architecture.width, in_chans
    return cast(nn.Module, model)


# How torchgeo builds the models. Importing torchgeo takes seconds.


def _torchgeo(name: str, _: int, /, **settings: Any) -> Any:
    from torchgeo.models import get_model

    return get_model(name, **settings)


def _swin(name: str, in_chans: int) -> Any:
    import torchvision

    if name == "swin_b_window12":  # for the Cityscapes weights; torchvision's own has windows of 7
        model: Any = torchvision.models.SwinTransformer(
            patch_size=[4, 4],
            embed_dim=128,
            depths=[2, 2, 18, 2],
            num_heads=[4, 8, 16, 32],
            window_size=[12, 12],
            stochastic_depth_prob=0.5,
        )
    else:
        model = getattr(torchvision.models, name)()
    model.head = nn.Identity()
    embed = model.features[0]
    embed[0] = nn.Conv2d(in_chans, embed[0].out_channels, kernel_size=4, stride=4)
    return model


def _scale_mae(in_chans: int) -> Any:
    return _torchgeo("scalemae_large_patch16", in_chans, in_chans=in_chans, num_classes=0)


def _earthloc(in_chans: int) -> Any:
    return _torchgeo("earthloc", in_chans, in_channels=in_chans, pretrained=False)


def croma_modality(in_chans: int) -> str:
    """Return CROMA's name for images with a number of bands."""
    return "sar" if in_chans == 2 else "optical"


def _croma(name: str, in_chans: int) -> Any:
    if in_chans not in (2, 12):
        raise ValueError(f"{name} takes 2 bands of radar or 12 of Sentinel-2, not {in_chans}")
    device = torch.get_default_device()
    with torch.device("cpu"):  # it computes distances one by one, slowly on the meta device
        model = _torchgeo(name, in_chans, modalities=[croma_modality(in_chans)])
    return model.to(device)


# How to get features from the models.


def _dofa_features(model: Any, images: Tensor, told: _Told) -> Tensor:
    return cast(Tensor, model.forward_features(images, [wave for (wave,) in told]))


def _croma_features(model: Any, images: Tensor, told: _Told) -> Tensor:
    # CROMA's authors scale mean - 2 std to 0 and mean + 2 std to 1.
    images = (images / 4 + 0.5).clamp(0, 1)
    (modality,) = model.modalities
    return cast(Tensor, model(**{f"x_{modality}": images})[f"{modality}_GAP"])


def _panopticon_features(model: Any, images: Tensor, told: _Told) -> Tensor:
    # Made on each call, because the model rounds the identifiers in place.
    ids = torch.tensor([one for (one,) in told], device=images.device)
    return cast(Tensor, model({"imgs": images, "chn_ids": ids.repeat(len(images), 1)}))


def _copernicus_features(model: Any, images: Tensor, told: _Told) -> Tensor:
    waves, widths = zip(*told, strict=True)
    nowhere = torch.full((len(images), 4), torch.nan, device=images.device)
    return cast(
        Tensor,
        model.forward_features(images, nowhere, waves, widths, input_mode="spectral"),
    )


# The images that the weights were trained on. The wavelengths and widths of bands for DOFA and
# Copernicus-FM come from their authors' programs: both models distinguish single nanometres.
_S1, _S2 = "ResNet50_Weights.SENTINEL1_GRD_SOFTCON", "ResNet50_Weights.SENTINEL2_ALL_SOFTCON"
_S2_WAVES = (440, 490, 560, 665, 705, 740, 783, 842, 860, 940, 1370, 1610, 2190)
_S2_WIDTHS = (20, 65, 35, 30, 15, 15, 20, 115, 20, 20, 30, 90, 180)
_S2_CENTRES = (443, 493, 560, 665, 704, 740, 783, 833, 865, 945, 1373, 1613, 2202)
# Bands 4, 3, 2, 5, 6, 7, 8, 11 and 12, as in SatlasPretrain.
_DOFA_BANDS = (3, 2, 1, 4, 5, 6, 7, 11, 12)
_DOFA = {
    "rgb": Input(None, told=((0.665,), (0.56,), (0.49,))),
    "sentinel-2": Input(_S2, _DOFA_BANDS, tuple((_S2_WAVES[at] / 1000,) for at in _DOFA_BANDS)),
    "sentinel-1": Input(_S1, told=((5.405,), (5.405,))),
}
_CROMA = {
    "sentinel-2": Input(_S2, tuple(at for at in range(13) if at != 10)),  # without cirrus
    "sentinel-1": Input(_S1),
}
_PANOPTICON = {
    "rgb": Input(None, told=((665.0,), (560.0,), (493.0,))),
    "sentinel-2": Input(_S2, told=tuple((float(wave),) for wave in _S2_CENTRES)),
    "sentinel-1": Input(_S1, told=((-1.0,), (-2.0,))),
}
_COPERNICUS = {
    "sentinel-2": Input(
        _S2, told=tuple((float(a), float(b)) for a, b in zip(_S2_WAVES, _S2_WIDTHS, strict=True))
    ),
    "sentinel-1": Input(_S1, told=((5e7, 1e9), (5e7, 1e9))),
}

ARCHITECTURES: dict[str, Architecture] = {
    **{
        f"dofa_{size}_patch16_224": Architecture(
            functools.partial(_torchgeo, f"dofa_{size}_patch16_224", num_classes=0),
            width,
            _dofa_features,
            told=1,
            micrometre=1,
            inputs=_DOFA,
        )
        for size, width in (("base", 768), ("large", 1024))
    },
    **{
        name: Architecture(
            functools.partial(_croma, name), width, _croma_features, size=120, inputs=_CROMA
        )
        for name, width in (("croma_base", 768), ("croma_large", 1024))
    },
    "panopticon_vitb14": Architecture(
        functools.partial(_torchgeo, "panopticon_vitb14"),
        768,
        _panopticon_features,
        told=1,
        inputs=_PANOPTICON,
        traced=False,
    ),
    "copernicusfm_base": Architecture(
        functools.partial(_torchgeo, "copernicusfm_base"),
        768,
        _copernicus_features,
        told=2,
        inputs=_COPERNICUS,
        traced=False,
    ),
    "scalemae_large_patch16": Architecture(
        _scale_mae, 1024, any_size=True, first_conv="patch_embed.proj", ignores=True
    ),
    "earthloc": Architecture(_earthloc, 4096, size=320, first_conv="backbone.conv1"),
    **{
        name: Architecture(
            functools.partial(_swin, name), width, any_size=True, first_conv="features.0.0"
        )
        for name, width in (
            ("swin_t", 768),
            ("swin_s", 768),
            ("swin_b_window12", 1024),
            ("swin_v2_t", 768),
            ("swin_v2_b", 1024),
        )
    },
}
# The architectures of torchgeo's weights, by the class of the entry.
OF_WEIGHTS = {
    "DOFABase16_Weights": "dofa_base_patch16_224",
    "DOFALarge16_Weights": "dofa_large_patch16_224",
    "CROMABase_Weights": "croma_base",
    "CROMALarge_Weights": "croma_large",
    "Panopticon_Weights": "panopticon_vitb14",
    "CopernicusFM_Base_Weights": "copernicusfm_base",
    "ScaleMAELarge16_Weights": "scalemae_large_patch16",
    "EarthLoc_Weights": "earthloc",
    "Swin_T_Weights": "swin_t",
    "Swin_S_Weights": "swin_s",
    "Swin_B_Weights": "swin_b_window12",
    "Swin_V2_T_Weights": "swin_v2_t",
    "Swin_V2_B_Weights": "swin_v2_b",
}
# Weights of models that do not turn an image into one vector of features.
NO_ENCODERS = {
    "Aurora_Weights": "weather model",
    "Unet_Weights": "segmentation model",
    "YOLO_Weights": "detection model",
}

default_cfgs = generate_default_cfgs(
    {
        f"{name}.torchgeo": {
            "url": "",
            "num_classes": 0,
            "input_size": (3, one.size, one.size),
            "fixed_input_size": not one.any_size,
            "first_conv": one.first_conv,
            "classifier": "head",
        }
        for name, one in ARCHITECTURES.items()
    }
)


def _register(name: str) -> None:
    def entry(pretrained: bool = False, **settings: Any) -> Any:
        make = functools.partial(_make, name)
        return build_model_with_cfg(make, name, pretrained, **settings)

    entry.__name__ = name
    register_model(entry)


for _name in ARCHITECTURES:
    _register(_name)
