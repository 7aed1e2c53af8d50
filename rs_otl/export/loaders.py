"""How each tool loads an exported encoder: the code, and the check of its result.

The model card prints the code; :func:`rs_otl.export.verify_export` runs the same code and compares.
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rs_otl.export.onnx_model import TOLERANCE, onnx_difference, sample_images
from rs_otl.models import Encoder, read_config, timm_arguments
from rs_otl.models.torchgeo_models import ARCHITECTURES
from rs_otl.spec import EncoderConfig

CHECKPOINT = "encoder.pth"
ONNX = "model.onnx"

# torchvision's own residual networks have timm's tensor names; its other families do not.
TORCHVISION = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)

# Packages whose loaders find the architecture by its name among timm's models.
_BY_NAME = ("timm", "torchgeo", "torch")


@dataclass(frozen=True)
class Loader:
    """One way to load an exported encoder.

    Attributes:
        name: The tool and its function that loads.
        package: The package to import; the loader is skipped where it is not installed.
        snippet: Python that loads the encoder. All text in it that comes from files is quoted.
        compare: Takes the names that the snippet defines, and the encoder to compare with.
            Returns what was compared; raises an error that says what differs.
        file: The file of the directory that it reads instead of ``model.safetensors``.
    """

    name: str
    package: str
    snippet: str
    compare: Callable[[Mapping[str, Any], Encoder], str]
    file: str = ""


def loaders(
    config: EncoderConfig, directory: str, backbone: str | None, onnx: bool
) -> tuple[Loader, ...]:
    """Return the loaders that suit an encoder.

    Args:
        config: The encoder's description.
        directory: Path of the encoder's directory, as the snippets name it.
        backbone: The encoder's name in segmentation-models-pytorch, if it has one.
        onnx: Whether there is a ``model.onnx``.
    """
    name, bands = _quoted(config.encoder), len(config.spec.bands)
    images = f"{bands}, {config.image_size}, {config.image_size}"
    local = _quoted(f"local-dir:{directory}")
    checkpoint = _quoted(f"{directory}/{CHECKPOINT}")
    told = timm_arguments(config.encoder, bands, config.image_size, config.pool)
    arguments = "".join(f", {key}={value!r}" for key, value in told.items())
    tasks = _torchgeo_tasks()
    table = [
        Loader("timm local-dir", "timm", _timm_snippet(directory), _compare_encoder),
        Loader(
            "timm in_chans, num_classes",
            "timm",
            f"""\
import timm

# another number of bands, with a classifier
classifier = timm.create_model(
    {local}, pretrained=True, in_chans={_other_bands(config)}, num_classes=10
)
""",
            _compare_adapted,
        ),
        Loader(
            "timm features_only",
            "timm",
            f"""\
import timm

# images to feature maps
backbone = timm.create_model({local}, pretrained=True, features_only=True)
""",
            _compare_feature_maps,
        ),
        Loader(
            "timm checkpoint_path",
            "timm",
            f"""\
import timm

encoder = timm.create_model(
    {name}, num_classes=0, in_chans={bands}{arguments}, checkpoint_path={checkpoint}
)
""",
            _compare_encoder,
            CHECKPOINT,
        ),
        Loader("rs_otl.load_encoder", "rs_otl", _rs_otl_snippet(directory, bands), _compare_rs_otl),
        Loader(
            "torchgeo ClassificationTask",
            "torchgeo",
            f"""\
from {tasks} import ClassificationTask

# torchgeo leaves tensors that do not fit random, without a warning: keep model and in_channels.
task = ClassificationTask(
    model={name}, weights={checkpoint}, in_channels={bands}, num_classes=10
)
""",
            _compare_classification,
            CHECKPOINT,
        ),
        Loader(
            "torchgeo ClassificationTask, rs_otl.models.weights",
            "torchgeo",
            f"""\
from rs_otl.models import weights
from {tasks} import ClassificationTask

entry = weights({_quoted(directory)})
task = ClassificationTask(model={name}, weights=entry, in_channels={bands}, num_classes=10)
transforms = entry.transforms  # from raw values to normalised images
facts = entry.meta
""",
            _compare_classification,
        ),
    ]
    if backbone:
        table += [
            Loader(
                "torchgeo SemanticSegmentationTask",
                "torchgeo",
                f"""\
from {tasks} import SemanticSegmentationTask

task = SemanticSegmentationTask(
    model="unet", backbone={_quoted(backbone)}, weights={checkpoint}, in_channels={bands},
    task="multiclass", num_classes=10,
)
""",
                lambda names, encoder: _compare_backbone(names["task"].model.encoder, encoder),
                CHECKPOINT,
            ),
            Loader(
                "segmentation-models-pytorch Unet",
                "segmentation_models_pytorch",
                f"""\
import segmentation_models_pytorch as smp
import torch

weights = torch.load({checkpoint}, weights_only=True)["state_dict_ema"]
unet = smp.Unet({_quoted(backbone)}, encoder_weights=None, in_channels={bands}, classes=10)
unet.encoder.load_state_dict(weights)
""",
                lambda names, encoder: _compare_backbone(names["unet"].encoder, encoder),
                CHECKPOINT,
            ),
        ]
    if config.encoder in TORCHVISION:
        first_layer = (
            ""
            if bands == 3
            else f"model.conv1 = torch.nn.Conv2d({bands}, 64, 7, stride=2, padding=3, bias=False)\n"
        )
        table.append(
            Loader(
                "torchvision",
                "torchvision",
                f"""\
import torch
import torchvision

weights = torch.load({checkpoint}, weights_only=True)["state_dict_ema"]
model = torchvision.models.{config.encoder}()
model.fc = torch.nn.Identity()
{first_layer}model.load_state_dict(weights)
""",
                lambda names, encoder: _compare(names["model"], encoder),
                CHECKPOINT,
            )
        )
    if onnx:
        table.append(
            Loader(
                "onnxruntime",
                "onnxruntime",
                f"""\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({_quoted(f"{directory}/{ONNX}")})
images = np.zeros((8, {images}), np.float32)  # any number of them, normalised
(features,) = session.run(["features"], {{"images": images}})
""",
                _compare_onnx,
                ONNX,
            )
        )
    table.append(
        Loader(
            "torch.export",
            "torch",
            f"""\
import timm
import torch

encoder = timm.create_model({local}, pretrained=True).eval()
images = torch.zeros(2, {images})
batch = torch.export.Dim("batch")
program = torch.export.export(encoder, (images,), dynamic_shapes=({{0: batch}},))
""",
            _compare_program,
        )
    )
    if told:  # torchgeo passes timm the name without these arguments
        table = [one for one in table if one.compare is not _compare_classification]
    ours = ARCHITECTURES.get(config.encoder)
    if ours is not None:  # these architectures give features alone
        table = [one for one in table if one.compare not in _OF_TIMM]
        table = [one for one in table if ours.traced or one.compare is not _compare_program]
    first = _registration(config.encoder)
    return tuple(
        replace(one, snippet=first + one.snippet) if one.package in _BY_NAME else one
        for one in table
    )


def loading_snippet(directory: Path) -> str:
    """Return Python that loads the encoder in ``directory`` with timm and with rs-otl."""
    bands = len(read_config(directory).spec.bands)
    return (
        f"{_registration(read_config(directory).encoder)}{_timm_snippet(str(directory))}\n"
        "# or with rs-otl, which also preprocesses\n"
        f"{_rs_otl_snippet(str(directory), bands)}"
    )


def _registration(architecture: str) -> str:
    """Return the line that adds a model of rs-otl to timm's; empty for timm's own models."""
    ours = timm.is_model(architecture) and timm.model_entrypoint(
        architecture
    ).__module__.startswith("rs_otl.")
    if not ours:
        return ""
    return f"import rs_otl.models  # adds {architecture} to timm's models\n"


def _timm_snippet(directory: str) -> str:
    return f"""\
import timm

encoder = timm.create_model({_quoted(f"local-dir:{directory}")}, pretrained=True).eval()
"""


def _rs_otl_snippet(directory: str, bands: int) -> str:
    return f"""\
import rs_otl
import torch

encoder = rs_otl.load_encoder({_quoted(directory)})
images = torch.randint(0, 256, (8, {bands}, 100, 100), dtype=torch.uint8)  # raw values, any size
features = encoder.embed(images)
"""


def _quoted(text: str) -> str:
    """Return text as a Python string in double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _torchgeo_tasks() -> str:
    """Return the module of torchgeo's tasks, which was ``torchgeo.trainers`` before 0.9."""
    return "torchgeo.tasks" if importlib.util.find_spec("torchgeo.tasks") else "torchgeo.trainers"


def _other_bands(config: EncoderConfig) -> int:
    # For one band timm sums the first layer's weights; for other numbers it repeats or cuts them.
    return 1 if len(config.spec.bands) != 1 else 3


def _compare(model: nn.Module, encoder: Encoder) -> str:
    """Compare all tensors, and the features of random images."""
    expected, loaded = encoder.module.state_dict(), model.state_dict()
    if missing := expected.keys() - loaded.keys():
        raise ValueError(f"{len(missing)} tensors are missing, such as {min(missing)}")
    compared = _compare_tensors(loaded, expected)
    images = sample_images(encoder.config, 2)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images), encoder(images))
    return compared


def _compare_tensors(loaded: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Compare the tensors that both sides have in the same shape."""
    common = [
        name for name in expected if name in loaded and loaded[name].shape == expected[name].shape
    ]
    if not common:
        raise ValueError("no tensor in common")
    if different := [name for name in common if not torch.equal(loaded[name], expected[name])]:
        raise ValueError(f"{len(different)} tensors differ: {', '.join(different[:3])}")
    return f"{len(common)} of {len(expected)} tensors"


def _check_finite(model: nn.Module, encoder: Encoder, bands: int) -> None:
    size = encoder.config.image_size
    with torch.no_grad():
        outputs = model.eval()(torch.rand(2, bands, size, size))
    for output in outputs if isinstance(outputs, list) else [outputs]:
        if not output.isfinite().all():
            raise ValueError("outputs are not finite")


def _compare_encoder(names: Mapping[str, Any], encoder: Encoder) -> str:
    return _compare(names["encoder"], encoder)


def _compare_adapted(names: Mapping[str, Any], encoder: Encoder) -> str:
    classifier, bands = names["classifier"], _other_bands(encoder.config)
    expected, loaded = encoder.module.state_dict(), classifier.state_dict()
    changed = [name for name, tensor in expected.items() if loaded[name].shape != tensor.shape]
    if len(changed) > 1:
        raise ValueError(f"more than the first layer has another shape: {', '.join(changed)}")
    compared = _compare_tensors(loaded, expected)
    _check_finite(classifier, encoder, bands)
    return f"{compared}, the first layer adapted to in_chans={bands}"


def _compare_feature_maps(names: Mapping[str, Any], encoder: Encoder) -> str:
    expected = encoder.module.state_dict()
    # features_only renames tensors: `blocks.0.` becomes `blocks_0.`, with `model.` before it.
    original = {name.replace(".", "_"): name for name in expected}
    loaded = {
        original.get(name.removeprefix("model.").replace(".", "_"), name): tensor
        for name, tensor in names["backbone"].state_dict().items()
    }
    if unfilled := loaded.keys() - expected.keys():
        raise ValueError(f"{len(unfilled)} tensors not filled, such as {min(unfilled)}")
    compared = _compare_tensors(loaded, expected)
    _check_finite(names["backbone"], encoder, len(encoder.config.spec.bands))
    return compared


def _compare_rs_otl(names: Mapping[str, Any], encoder: Encoder) -> str:
    assert encoder.path is not None  # it was loaded from a directory
    expected = load_file(encoder.path / "model.safetensors")
    compared = _compare_tensors(names["encoder"].module.state_dict(), expected)
    with torch.no_grad():
        features = encoder(encoder.preprocess(names["images"]))
    torch.testing.assert_close(names["features"], features, rtol=1e-4, atol=1e-4)
    return compared


def _compare_classification(names: Mapping[str, Any], encoder: Encoder) -> str:
    model = names["task"].model
    model.reset_classifier(0)
    return _compare(model, encoder)


def _compare_backbone(backbone: nn.Module, encoder: Encoder) -> str:
    compared = _compare_tensors(backbone.state_dict(), encoder.module.state_dict())
    _check_finite(backbone, encoder, len(encoder.config.spec.bands))
    return compared


def _compare_onnx(names: Mapping[str, Any], encoder: Encoder) -> str:
    difference = onnx_difference(encoder, names["session"])
    if not difference <= TOLERANCE:  # it may be NaN
        raise ValueError(f"features differ by {difference:.1e} of the largest")
    return f"features within {difference:.0e} of the largest, batches of 1, 2, 5"


def _compare_program(names: Mapping[str, Any], encoder: Encoder) -> str:
    program = names["program"].module()
    for batch in (1, 2, 5):
        images = sample_images(encoder.config, batch)
        with torch.no_grad():
            torch.testing.assert_close(program(images), encoder(images))
    return "features in batches of 1, 2, 5"


# Comparisons that need a model of timm: other bands, maps, a classifier.
_OF_TIMM = (_compare_adapted, _compare_feature_maps, _compare_classification)
