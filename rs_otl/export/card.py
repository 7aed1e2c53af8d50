"""The model card: what the encoder is, what it scored, and how each tool loads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.export.facts import licence_note, training_note
from rs_otl.spec import EncoderConfig

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


@dataclass(frozen=True)
class CardScore:
    """One line of a card's scores.

    Attributes:
        dataset: Name of the data set that it was judged on.
        measure: What was measured, in words, for example ``"kNN, k = 10"``.
        accuracy: In [0, 1].
        low: Lower end of the 95 % interval.
        high: Upper end.
    """

    dataset: str
    measure: str
    accuracy: float
    low: float
    high: float


def model_card(
    config: EncoderConfig,
    name: str,
    recipe: Mapping[str, Any],
    scores: Sequence[CardScore],
    backbone: str | None,
    onnx: bool,
) -> str:
    """Write a model card in the Hugging Face form.

    Args:
        config: Of the encoder.
        name: Name of the encoder's directory; the snippets load it from there.
        recipe: How it was trained; may be empty.
        scores: What it scored.
        backbone: Its name in segmentation-models-pytorch, if it has one.
        onnx: Whether there is a ``model.onnx``.

    Returns:
        Markdown with a YAML header.
    """
    spec = config.spec
    entry = CATALOGUE.get(config.dataset)
    data = ModelCardData(
        library_name="timm",
        tags=["timm", "torchgeo", "remote-sensing", "image-feature-extraction", "rs-otl"],
        license="unknown",
        pipeline_tag="image-feature-extraction",
        model_name=name,
        eval_results=[_eval_result(score) for score in scores] or None,
    )
    trained = f"{entry.title} ({entry.citation})" if entry else f"the images of `{config.dataset}`"
    lines = [
        "---",
        data.to_yaml(),
        "---",
        "",
        f"# {name}",
        "",
        training_note(config, recipe),
        "",
        "| | |",
        "|---|---|",
        f"| trained on | {trained} |",
        f"| bands, in this order | {', '.join(spec.bands)} |",
        f"| units | {spec.units}; divided by {spec.scale:g} |",
        f"| mean | {', '.join(f'{value:.4f}' for value in spec.mean)} |",
        f"| std | {', '.join(f'{value:.4f}' for value in spec.std)} |",
        f"| resolution | {f'{spec.resolution} m' if spec.resolution else 'unknown'} |",
        f"| view | {config.image_size} by {config.image_size} pixels |",
        "",
        licence_note(config),
        "",
        "## Scores",
        "",
        *_score_lines(scores),
        "",
        "## Load it",
        "",
        "From the folder that this one lies in. Images are float32 and normalised: "
        f"`(raw / {spec.scale:g} - mean) / std` for each band; `rs_otl.load_encoder` does it "
        "in `encoder.preprocess`.",
    ]
    for title, snippet in snippets(config, name, backbone, onnx).items():
        lines += ["", f"### {title}", "", "```python", snippet.rstrip(), "```"]
    if recipe:
        settings = yaml.safe_dump(dict(recipe), sort_keys=False).rstrip()
        lines += ["", "## Recipe", "", "```yaml", settings, "```"]
    return "\n".join(lines) + "\n"


def snippets(
    config: EncoderConfig, directory: str, backbone: str | None, onnx: bool
) -> dict[str, str]:
    """Return the lines of Python that load an encoder, by the tool that does it.

    Args:
        config: Of the encoder.
        directory: Where it lies.
        backbone: Its name in segmentation-models-pytorch, if it has one.
        onnx: Whether there is a ``model.onnx``.
    """
    name, bands, size = config.encoder, len(config.spec.bands), config.image_size
    checkpoint = f"{directory}/encoder.pth"
    found = {
        "rs-otl": _RS_OTL.format(directory=directory),
        "timm": f"""\
{_TIMM.format(directory=directory)}
# the same with a classifier, for another number of bands, as feature maps
source = "local-dir:{directory}"
classifier = timm.create_model(source, pretrained=True, num_classes=10)
gray = timm.create_model(source, pretrained=True, in_chans=1)
maps = timm.create_model(source, pretrained=True, features_only=True)

# from the checkpoint
encoder = timm.create_model(
    "{name}", num_classes=0, in_chans={bands}, checkpoint_path="{checkpoint}"
)
""",
        "torchgeo, classification": f"""\
from torchgeo.trainers import ClassificationTask

# It fills what fits and leaves the rest random without a word: model and in_channels as here.
task = ClassificationTask(
    model="{name}", weights="{checkpoint}", in_channels={bands}, num_classes=10
)
""",
    }
    found["torchgeo, an entry among its weights"] = f"""\
from rs_otl.models import weights
from torchgeo.trainers import ClassificationTask

entry = weights("{directory}")
task = ClassificationTask(model="{name}", weights=entry, in_channels={bands}, num_classes=10)
views = entry.transforms  # raw values in, normalised views out
facts = entry.meta
"""
    if backbone:
        found["torchgeo, segmentation"] = f"""\
from torchgeo.trainers import SemanticSegmentationTask

task = SemanticSegmentationTask(
    model="unet", backbone="{backbone}", weights="{checkpoint}", in_channels={bands},
    task="multiclass", num_classes=10,
)
"""
        found["segmentation-models-pytorch"] = f"""\
import segmentation_models_pytorch as smp
import torch

weights = torch.load("{checkpoint}", weights_only=True)["state_dict_ema"]
unet = smp.Unet("{backbone}", encoder_weights=None, in_channels={bands}, classes=10)
unet.encoder.load_state_dict(weights)
"""
    if name in TORCHVISION:
        conv = (
            ""
            if bands == 3
            else f"model.conv1 = torch.nn.Conv2d({bands}, 64, 7, stride=2, padding=3, bias=False)\n"
        )
        found["torchvision"] = f"""\
import torch
import torchvision

weights = torch.load("{checkpoint}", weights_only=True)["state_dict_ema"]
model = torchvision.models.{name}()
model.fc = torch.nn.Identity()
{conv}model.load_state_dict(weights)
"""
    if onnx:
        found["ONNX"] = f"""\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{directory}/model.onnx")
images = np.zeros((8, {bands}, {size}, {size}), np.float32)  # any number of them, normalised
(features,) = session.run(["features"], {{"images": images}})
"""
    found["torch.export"] = f"""\
import timm
import torch

encoder = timm.create_model("local-dir:{directory}", pretrained=True).eval()
images = torch.zeros(2, {bands}, {size}, {size})
batch = torch.export.Dim("batch")
program = torch.export.export(encoder, (images,), dynamic_shapes=({{0: batch}},))
"""
    return found


def loading_snippet(directory: Path) -> str:
    """Return the lines of Python that load the encoder at ``directory`` with timm and rs-otl."""
    return (
        _TIMM.format(directory=directory)
        + "\n# with the preprocessing that it expects\n"
        + _RS_OTL.format(directory=directory)
    )


_TIMM = """\
import timm

encoder = timm.create_model("local-dir:{directory}", pretrained=True).eval()
"""

_RS_OTL = """\
import rs_otl

encoder = rs_otl.load_encoder("{directory}")  # encoder.embed(images): uint8, or in [0, 1]
"""


def _eval_result(score: CardScore) -> EvalResult:
    entry = CATALOGUE.get(score.dataset)
    return EvalResult(
        task_type="image-classification",
        task_name=f"{score.measure} on frozen features",
        dataset_type=score.dataset,
        dataset_name=entry.title if entry else score.dataset,
        metric_type="accuracy",
        metric_name=f"accuracy (%), {score.measure}",
        metric_value=round(100 * score.accuracy, 1),
    )


def _score_lines(scores: Sequence[CardScore]) -> list[str]:
    if not scores:
        return ["None yet: `rs-otl evaluate`, then export again."]
    return [
        "Accuracy on the frozen features in percent, with its 95 % interval over test images.",
        "",
        "| data set | classifier | accuracy | interval |",
        "|---|---|---|---|",
        *(
            f"| {score.dataset} | {score.measure} | {100 * score.accuracy:.1f} | "
            f"{100 * score.low:.1f} to {100 * score.high:.1f} |"
            for score in scores
        ),
    ]
