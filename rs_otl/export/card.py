"""The model card: what the encoder is, its scores, and how each tool loads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData

from rs_otl.datasets.catalogue import CATALOGUE, base_name
from rs_otl.export.facts import licence_note, training_note
from rs_otl.export.loaders import loaders
from rs_otl.spec import EncoderConfig


@dataclass(frozen=True)
class CardScore:
    """One line of a card's scores.

    Attributes:
        dataset: Name of the data set that it was evaluated on.
        measure: The classifier, for example ``"kNN, k = 10"``.
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
    """Write a model card in the format of Hugging Face.

    Args:
        config: The encoder's description.
        name: Name of the encoder's directory; the snippets load it from there.
        recipe: How the encoder was trained; may be empty.
        scores: Its scores.
        backbone: Its name in segmentation-models-pytorch, if it has one.
        onnx: Whether there is a ``model.onnx``.

    Returns:
        Markdown with a YAML header.
    """
    spec = config.spec
    entry = CATALOGUE.get(base_name(config.dataset))
    minus = f"minus {spec.offset:g}, " if spec.offset else ""
    raw = f"(raw - {spec.offset:g})" if spec.offset else "raw"
    data = ModelCardData(
        library_name="timm",
        tags=["timm", "torchgeo", "remote-sensing", "image-feature-extraction", "rs-otl"],
        license="unknown",
        pipeline_tag="image-feature-extraction",
        model_name=name,
        eval_results=[_eval_result(score) for score in scores] or None,
    )
    trained = f"{entry.title} ({entry.citation})" if entry else f"the images of `{config.dataset}`"
    if config.epochs == 0:
        trained = "nothing"
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
        f"| units | {spec.units}; {minus}divided by {spec.scale:g} |",
        f"| normalised with mean | {', '.join(f'{value:.4f}' for value in spec.mean)} |",
        f"| normalised with std | {', '.join(f'{value:.4f}' for value in spec.std)} |",
        f"| resolution | {f'{spec.resolution} m' if spec.resolution else 'unknown'} |",
        f"| image size | {config.image_size} by {config.image_size} pixels |",
        "",
        licence_note(config),
        "",
        "## Scores",
        "",
        *_score_lines(scores),
        "",
        "## Load it",
        "",
        "Run this in the folder that contains this directory. Images are float32 and normalised: "
        f"`({raw} / {spec.scale:g} - mean) / std` for each band; `embed` of rs-otl does that "
        "itself.",
    ]
    for loader in loaders(config, name, backbone, onnx):
        lines += ["", f"### {loader.name}", "", "```python", loader.snippet.rstrip(), "```"]
    if recipe:
        settings = yaml.safe_dump(dict(recipe), sort_keys=False).rstrip()
        lines += ["", "## Recipe", "", "```yaml", settings, "```"]
    return "\n".join(lines) + "\n"


def _eval_result(score: CardScore) -> EvalResult:
    entry = CATALOGUE.get(base_name(score.dataset))
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
        return ["None yet: run `rs-otl evaluate`, then export again."]
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
