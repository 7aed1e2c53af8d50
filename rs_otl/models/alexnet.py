"""AlexNet with batch normalisation, as a model of timm's registry: ``alexnet_bn``."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from rs_otl.spec import PAPER_MEAN, PAPER_STD

# Filters, kernel, stride and padding of the five convolutions, and whether a pooling follows.
_LAYERS = (
    (96, 11, 4, 2, True),
    (256, 5, 1, 2, True),
    (384, 3, 1, 1, False),
    (384, 3, 1, 1, False),
    (256, 3, 1, 1, True),
)
_SIDE = 6  # side of the last map for images of 224 pixels
_WIDTH = 4096
# Smaller images leave nothing for the last pooling.
_SMALLEST = 63


class AlexNet(nn.Module):
    """AlexNet with batch instead of local response normalisation, without a Sobel filter.

    This is the larger AlexNet of self-labelling (Asano et al., ICLR 2020), which the paper uses:
    96, 256, 384, 384 and 256 filters, and two fully connected layers of 4,096. The features are
    the output of the second one. At image sizes other than 224 the last map is averaged to 6 x 6.

    Args:
        num_classes: Number of outputs; 0 to return the features.
        in_chans: Bands of the images.
        drop_rate: Dropout before both fully connected layers.
        global_pool: Ignored; timm passes it to every model.

    Attributes:
        feature_info: The five convolutions, as timm describes stages.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_rate: float = 0.5,
        global_pool: str = "",
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.num_features = self.head_hidden_size = _WIDTH
        self.feature_info: list[dict[str, Any]] = []
        channels, reduction = in_chans, 1
        for number, (filters, kernel, stride, padding, pooled) in enumerate(_LAYERS, 1):
            name = f"conv{number}"
            layer = nn.Sequential(
                nn.Conv2d(channels, filters, kernel, stride, padding),
                nn.BatchNorm2d(filters),
                nn.ReLU(inplace=True),
            )
            self.add_module(name, layer)
            reduction *= stride
            self.feature_info.append({"num_chs": filters, "reduction": reduction, "module": name})
            if pooled:
                self.add_module(f"pool{number}", nn.MaxPool2d(3, 2))
                reduction *= 2
            channels = filters
        self.fc6 = nn.Linear(channels * _SIDE**2, _WIDTH)
        self.fc7 = nn.Linear(_WIDTH, _WIDTH)
        self.head: nn.Module = nn.Identity()
        self.reset_classifier(num_classes)
        for module in self.modules():
            _initialise(module)

    def get_classifier(self) -> nn.Module:
        """Return the classifier."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier; 0 classes remove it."""
        self.num_classes = num_classes
        self.head = nn.Linear(_WIDTH, num_classes) if num_classes else nn.Identity()

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return the maps of some of the five convolutions, as timm's models do.

        Args:
            x: Normalised images ``(B, C, S, S)``.
            indices: Positions of the convolutions, from 0; or n for the last n; ``None`` for all.
            norm: Ignored.
            stop_early: Whether to stop after the last convolution asked for.
            output_fmt: ``"NCHW"``.
            intermediates_only: Whether to return only the maps, without the last map after pooling.
        """
        assert output_fmt == "NCHW", "maps are NCHW"
        places: Sequence[int] = range(len(_LAYERS))
        if isinstance(indices, int):
            wanted = places[len(places) - indices :]
        else:
            wanted = places if indices is None else [places[index] for index in indices]
        maps: list[Tensor] = []
        for number, layer in enumerate(_LAYERS):
            if stop_early and number > max(wanted):
                break
            x = cast(nn.Module, getattr(self, f"conv{number + 1}"))(x)
            if number in wanted:
                maps.append(x)
            if layer[-1]:
                x = cast(nn.Module, getattr(self, f"pool{number + 1}"))(x)
        return maps if intermediates_only else (x, maps)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last map, pooled, ``(B, 256, 6, 6)`` at 224 pixels."""
        features, _ = self.forward_intermediates(x, [])
        return features

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Return the outputs for the last map, or the features ``(B, 4096)``."""
        x = F.adaptive_avg_pool2d(x, _SIDE).flatten(1)
        for layer in (self.fc6, self.fc7):
            x = F.relu(layer(F.dropout(x, self.drop_rate, self.training)))
        return x if pre_logits else self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs ``(B, num_classes)`` of normalised images, or their features."""
        return self.forward_head(self.forward_features(x))


def _initialise(module: nn.Module) -> None:
    """Draw weights as the paper's authors do."""
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels
        nn.init.normal_(module.weight, 0, math.sqrt(2 / fan_out))
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0, 0.01)
    else:
        return
    assert module.bias is not None
    nn.init.zeros_(module.bias)


default_cfgs = generate_default_cfgs(
    {
        "alexnet_bn.untrained": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 224, 224),
            "min_input_size": (3, _SMALLEST, _SMALLEST),
            "pool_size": (_SIDE, _SIDE),
            "crop_pct": 224 / 256,
            "interpolation": "bilinear",
            "mean": PAPER_MEAN,
            "std": PAPER_STD,
            "first_conv": "conv1.0",
            "classifier": "head",
        }
    }
)


@register_model
def alexnet_bn(pretrained: bool = False, **kwargs: Any) -> AlexNet:
    """Make AlexNet with batch normalisation; there are no weights to download."""
    return build_model_with_cfg(AlexNet, "alexnet_bn", pretrained, **kwargs)
