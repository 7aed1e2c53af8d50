"""Loading an exported encoder with every tool there is, and comparing what comes out."""

import contextlib
import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import rich.table
import timm
import torch
from rich.console import Console
from rich.markup import escape
from safetensors.torch import load_file
from torch import Tensor, nn

from rs_otl.export.card import TORCHVISION
from rs_otl.export.directory import CHECKPOINT, ONNX
from rs_otl.export.onnx_model import TOLERANCE, onnx_difference, sample_images
from rs_otl.export.segmentation import segmentation_backbone
from rs_otl.models import load_encoder, weights
from rs_otl.spec import EncoderConfig


@dataclass(frozen=True)
class Check:
    """What one loader made of an encoder.

    Attributes:
        loader: The loader.
        result: Whether tensors and outputs were equal; ``"not installed"`` if its package is
            missing.
        detail: What was wrong, or what the comparison left out.
    """

    loader: str
    result: Literal["equal", "unequal", "not installed"]
    detail: str = ""


@dataclass(frozen=True)
class _Exported:
    """The directory, and what its safetensors hold: what all loaders are compared with."""

    directory: Path
    config: EncoderConfig
    encoder: nn.Module
    backbone: str | None

    @property
    def weights(self) -> dict[str, Tensor]:
        return self.encoder.state_dict()

    @property
    def bands(self) -> int:
        return len(self.config.spec.bands)

    @property
    def timm(self) -> str:
        return f"local-dir:{self.directory}"

    @property
    def checkpoint(self) -> str:
        """The checkpoint's path; it is first read without unpickling, which not all do."""
        path = self.directory / CHECKPOINT
        if not path.is_file():
            raise FileNotFoundError(f"no {CHECKPOINT}: export it again")
        torch.load(path, weights_only=True)
        return str(path)


def verify_export(directory: Path) -> tuple[Check, ...]:
    """Load an exported encoder with every loader that suits its architecture.

    Args:
        directory: As ``export_encoder`` wrote it.

    Returns:
        A check for each loader, in a fixed order.

    Raises:
        InputError: If the directory holds no readable encoder at all.
    """
    loaded = load_encoder(directory)
    encoder, config = loaded.module, loaded.config
    backbone = segmentation_backbone(config, encoder.state_dict())
    exported = _Exported(directory, config, encoder, backbone)
    checks: list[tuple[str, str, Callable[[_Exported], str]]] = [
        ("timm local-dir", "timm", _timm),
        ("timm in_chans, num_classes", "timm", _timm_adapted),
        ("timm features_only", "timm", _timm_features),
        ("timm checkpoint_path", "timm", _timm_checkpoint),
        ("rs_otl.load_encoder", "rs_otl", _rs_otl),
        ("torchgeo ClassificationTask", "torchgeo", _torchgeo_classification),
        ("rs_otl.models.weights in it", "torchgeo", _torchgeo_weights),
    ]
    if backbone:
        smp = "segmentation_models_pytorch"
        checks.append(("torchgeo SemanticSegmentationTask", "torchgeo", _torchgeo_segmentation))
        checks.append(("segmentation-models-pytorch Unet", smp, _smp))
    if config.encoder in TORCHVISION:
        checks.append(("torchvision", "torchvision", _torchvision))
    if (directory / ONNX).is_file():
        checks.append(("onnxruntime", "onnxruntime", _onnxruntime))
    checks.append(("torch.export", "torch", _torch_export))
    return tuple(_check(name, package, function, exported) for name, package, function in checks)


def print_checks(checks: tuple[Check, ...], console: Console) -> None:
    """Print a row for each loader.

    Args:
        checks: What :func:`verify_export` returned.
        console: Where to print.
    """
    table = rich.table.Table("loader", "result", "")
    for check in checks:
        table.add_row(check.loader, check.result, escape(check.detail))
    console.print(table)


def _check(
    name: str, package: str, function: Callable[[_Exported], str], exported: _Exported
) -> Check:
    if importlib.util.find_spec(package) is None:
        return Check(name, "not installed")
    try:
        # What loaders tell of themselves is not the question here.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            return Check(name, "equal", function(exported))
    except Exception as error:  # whatever a loader may stumble over is its row's result
        reason = " ".join(str(error).split())[:160]
        return Check(name, "unequal", reason or type(error).__name__)


def _same_tensors(loaded: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Compare what is in both; name what one of them lacks or has in another shape."""
    both = [
        name for name in expected if name in loaded and loaded[name].shape == expected[name].shape
    ]
    different = [name for name in both if not torch.equal(loaded[name], expected[name])]
    if different or not both:
        raise ValueError(
            f"{len(different)} tensors differ: {', '.join(different[:3])}"
            if different
            else "no tensor in common"
        )
    return f"{len(both)} of {len(expected)} tensors"


def _same(exported: _Exported, loaded: nn.Module) -> str:
    """Compare all tensors and the features of random images."""
    if missing := exported.weights.keys() - loaded.state_dict().keys():
        raise ValueError(f"{len(missing)} tensors are missing, {min(missing)} among them")
    compared = _same_tensors(loaded.state_dict(), exported.weights)
    images = sample_images(exported.config, 2)
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(images), exported.encoder(images))
    return compared


def _finite(loaded: nn.Module, bands: int, exported: _Exported) -> None:
    config = exported.config
    images = torch.rand(2, bands, config.image_size, config.image_size)
    with torch.no_grad():
        outputs = loaded.eval()(images)
    for output in outputs if isinstance(outputs, list) else [outputs]:
        if not output.isfinite().all():
            raise ValueError("outputs are not finite")


def _timm(exported: _Exported) -> str:
    return _same(exported, timm.create_model(exported.timm, pretrained=True))


def _timm_adapted(exported: _Exported) -> str:
    # For one band timm sums the first layer; for others it repeats or cuts off.
    bands = 1 if exported.bands != 1 else 3
    loaded = timm.create_model(exported.timm, pretrained=True, in_chans=bands, num_classes=7)
    filled = loaded.state_dict()
    other = [
        name for name, tensor in exported.weights.items() if filled[name].shape != tensor.shape
    ]
    if len(other) > 1:
        raise ValueError(f"more than the first layer has another shape: {', '.join(other)}")
    compared = _same_tensors(filled, exported.weights)
    _finite(loaded, bands, exported)
    return f"{compared}, the first layer adapted to in_chans={bands}"


def _timm_features(exported: _Exported) -> str:
    loaded = timm.create_model(exported.timm, pretrained=True, features_only=True)
    filled = _renamed(loaded, exported.weights)
    if strange := filled.keys() - exported.weights.keys():
        raise ValueError(f"{len(strange)} tensors not filled, {min(strange)} among them")
    compared = _same_tensors(filled, exported.weights)
    _finite(loaded, exported.bands, exported)
    return compared


def _renamed(loaded: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo the names of ``features_only``: ``blocks_0.`` for ``blocks.0.``, ``model.`` before."""
    names = {name.replace(".", "_"): name for name in weights}
    return {
        names.get(name.removeprefix("model.").replace(".", "_"), name): tensor
        for name, tensor in loaded.state_dict().items()
    }


def _timm_checkpoint(exported: _Exported) -> str:
    loaded = timm.create_model(
        exported.config.encoder,
        num_classes=0,
        in_chans=exported.bands,
        checkpoint_path=exported.checkpoint,
    )
    return _same(exported, loaded)


def _rs_otl(exported: _Exported) -> str:
    expected = load_file(exported.directory / "model.safetensors")
    return _same_tensors(exported.weights, expected)


def _torchgeo() -> Any:
    # The one place that imports it: torchgeo is about to rename it torchgeo.tasks.
    import torchgeo.trainers

    return torchgeo.trainers


def _classification(exported: _Exported, source: Any) -> str:
    task = _torchgeo().ClassificationTask(
        model=exported.config.encoder, weights=source, in_channels=exported.bands, num_classes=7
    )
    loaded = task.model
    loaded.reset_classifier(0)
    return _same(exported, loaded)


def _torchgeo_classification(exported: _Exported) -> str:
    return _classification(exported, exported.checkpoint)


def _torchgeo_weights(exported: _Exported) -> str:
    return _classification(exported, weights(exported.directory))


def _torchgeo_segmentation(exported: _Exported) -> str:
    task = _torchgeo().SemanticSegmentationTask(
        model="unet",
        backbone=exported.backbone,
        weights=exported.checkpoint,
        in_channels=exported.bands,
        task="multiclass",
        num_classes=7,
    )
    compared = _same_tensors(task.model.encoder.state_dict(), exported.weights)
    _finite(task.model.encoder, exported.bands, exported)
    return compared


def _plain_weights(exported: _Exported) -> dict[str, Tensor]:
    plain: dict[str, Tensor] = torch.load(exported.checkpoint, weights_only=True)["state_dict_ema"]
    return plain


def _smp(exported: _Exported) -> str:
    import segmentation_models_pytorch as smp

    unet = smp.Unet(exported.backbone, encoder_weights=None, in_channels=exported.bands)
    unet.encoder.load_state_dict(_plain_weights(exported))
    compared = _same_tensors(unet.encoder.state_dict(), exported.weights)
    _finite(unet.encoder, exported.bands, exported)
    return compared


def _torchvision(exported: _Exported) -> str:
    import torchvision

    model = torchvision.models.get_model(exported.config.encoder)
    model.fc = nn.Identity()
    if exported.bands != 3:
        model.conv1 = nn.Conv2d(exported.bands, 64, 7, stride=2, padding=3, bias=False)
    model.load_state_dict(_plain_weights(exported))
    return _same(exported, model)


def _onnxruntime(exported: _Exported) -> str:
    path = exported.directory / ONNX
    difference = onnx_difference(exported.encoder, exported.config, path)
    if difference > TOLERANCE:
        raise ValueError(f"features differ by {difference:.1e} of the largest")
    return f"features within {difference:.0e} of the largest, batches of 1, 2, 5"


def _torch_export(exported: _Exported) -> str:
    images = sample_images(exported.config, 2)
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(exported.encoder, (images,), dynamic_shapes=shapes).module()
    for batch in (1, 2, 5):
        images = sample_images(exported.config, batch)
        with torch.no_grad():
            torch.testing.assert_close(program(images), exported.encoder(images))
    return "features in batches of 1, 2, 5"
