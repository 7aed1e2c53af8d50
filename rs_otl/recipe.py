"""The configuration of a run."""

import difflib
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rs_otl.errors import InputError

Positive = Annotated[int, Field(ge=1)]


class Recipe(BaseModel):
    """How an encoder is pretrained.

    Attributes:
        dataset: Data set of the catalogue, or a folder of images or scenes.
        encoder: timm architecture.
        image_size: Side of a view in pixels.
        views: Views g of an image in each step.
        views_apart: Views of a step are of different images, as in the authors' code: as many
            orders of the images, shuffled apart, each with a forward pass of its own.
        reduction: ``sum`` of the terms of equation 18, as in the paper, whose rates belong to
            it, or their ``mean``.
        clusters: Outputs k of each head; null for one cluster per image.
        heads: Number of heads, each with its own labels.
        hidden: Width of the heads' hidden layer; 0 for linear heads.
        epochs: Passes over the training images.
        batch_size: Images in a step; each is seen ``views`` times.
        lr: Learning rate at the start.
        milestones: Epochs at which it changes.
        milestone_lrs: What it changes to. Without milestones it falls to 0 along a cosine.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        augment: ``simple`` or ``strong`` views.
        operations: Operations of a strong view.
        relabel_every: Epochs that labels are kept for.
        relabel: What new labels are made from: ``fresh`` views in a pass over the images, as in
            the paper, or ``reuse``: the outputs that the last epoch's steps had.
        method: How outputs become labels: ``translation``, exactly even; ``translation-paper``;
            ``sinkhorn``; ``kmeans``; or ``instance``, with ``clusters: null``.
        targets: Sizes of the clusters: ``even``; ``power-law X``, as i to the power of X with i
            from 1 (equation 27); or ``power-law X from 0``, as in table 4.
        label_batch_sizes: Batch sizes of the label passes, each of which makes one label set from
            one view of every image; empty for one pass over ``views`` stacked views.
        decay: The rate beta of Algorithm 1, for ``translation-paper``.
        temperature: Temperature of a cosine head filled from the features of the weights to start
            from; null for heads that are learnt.
        warmup: Steps over which the learning rate rises; if above 0, it changes every step.
        freeze_batch_norm: Leave the batch normalisation of the weights to start from as it is.
        supervised: Train with the labels instead, the paper's baseline.
        init: Weights to start from: a run, an encoder directory, a checkpoint file, ``timm/NAME``,
            the name of torchgeo weights, or a data set (its latest run); null for random weights.
        division: Number of the random 80/20 division; the 80 % are trained on.
        keep_duplicates_together: Keep identical images on one side of the division.
        knn_every: Epochs between kNN scores on the other 20 %, if there are labels.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 if the hardware multiplies it.
        chunks: Forward passes that a step's views are divided among when memory is short.
        compile: Run the encoder through ``torch.compile``.
        cache: Where decoded images are kept: ``ram``; ``disk``, a memory-mapped file beside the
            run; ``gpu``; ``none``; or ``auto``: in memory if they fit the budget, else on disk
            if there is room, else nowhere.
        workers: Processes that decode images that are not cached.
        seed: Seed of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    encoder: str = "resnet18"
    image_size: Annotated[int, Field(ge=16)] = 224
    views: Positive = 10
    views_apart: bool = False
    reduction: Literal["sum", "mean"] = "sum"
    clusters: Annotated[int, Field(ge=2)] | None = 128
    heads: Positive = 1
    hidden: Annotated[int, Field(ge=0)] = 0
    epochs: Positive = 300
    batch_size: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] = 0.03
    milestones: tuple[Positive, ...] = ()
    milestone_lrs: tuple[Annotated[float, Field(gt=0)], ...] = ()
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    augment: Literal["simple", "strong"] = "strong"
    operations: Positive = 10
    relabel_every: Positive = 1
    relabel: Literal["fresh", "reuse"] = "fresh"
    method: Literal["translation", "translation-paper", "sinkhorn", "kmeans", "instance"] = (
        "translation"
    )
    targets: str = "even"
    label_batch_sizes: tuple[Annotated[int, Field(ge=2)], ...] = ()
    decay: Annotated[float, Field(gt=1)] = 1.5
    temperature: Annotated[float, Field(gt=0)] | None = None
    warmup: Annotated[int, Field(ge=0)] = 0
    freeze_batch_norm: bool = False
    supervised: bool = False
    init: str | None = None
    division: Positive = 1
    keep_duplicates_together: bool = True
    knn_every: Positive = 10
    precision: Literal["auto", "float32", "bf16"] = "auto"
    chunks: Positive = 1
    compile: bool = False
    cache: Literal["auto", "ram", "gpu", "disk", "none"] = "auto"
    workers: Annotated[int, Field(ge=0)] = 2
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check_milestones(self) -> Self:
        if len(self.milestones) != len(self.milestone_lrs):
            raise ValueError(
                f"{len(self.milestones)} milestones need as many milestone_lrs, "
                f"not {len(self.milestone_lrs)}"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must ascend")
        return self

    @model_validator(mode="after")
    def _check_instances(self) -> Self:
        if self.method == "instance" and self.clusters is not None:
            raise ValueError("method = instance goes with clusters = null: one cluster per image")
        return self

    @model_validator(mode="after")
    def _check_filled_head(self) -> Self:
        if self.temperature is not None and (self.heads > 1 or self.hidden):
            raise ValueError(
                "temperature goes with heads = 1 and hidden = 0: the head is filled from features"
            )
        if self.temperature is not None and self.relabel == "reuse":
            raise ValueError(
                "temperature goes with relabel = fresh: labels are made from the plain image"
            )
        return self


def make_recipe(values: Mapping[str, Any], source: str) -> Recipe:
    """Make a recipe of checked values.

    Args:
        values: Keys and values.
        source: Where they come from, for the error.

    Raises:
        InputError: If a key is unknown, with the nearest right name, or a value is ill-typed.
    """
    for key in values:
        if key not in Recipe.model_fields:
            near = difflib.get_close_matches(str(key), Recipe.model_fields, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else "see `rs-otl pretrain --help`"
            raise InputError(f"{source}: unknown key {key!r}; {hint}")
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        given = f"{key} = {first['input']!r}: " if key else ""
        message = re.sub("^Value error, ", "", first["msg"])
        raise InputError(f"{source}: {given}{message}") from None


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the keys and values of a recipe file.

    Args:
        path: A YAML file of flat keys.

    Raises:
        InputError: If the file is missing or is not a YAML mapping.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates and numbers too
        raise InputError(f"{path}: expected YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected lines of `key: value`")
    return values


def find_recipe(name: str) -> Path:
    """Find a recipe among those that come with rs-otl, or as a file.

    Args:
        name: A path, or a name such as ``"quick"`` or ``"pretrain/aid"``.

    Raises:
        InputError: If there is none, with the names of those that exist.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = _shipped_recipes()
    if name in shipped:
        return shipped[name]
    raise InputError(
        f"recipe {name!r}: expected a YAML file or one of {', '.join(sorted(shipped))}"
    )


def recipe_for(
    dataset: str, recipe: str | None = None, overrides: Sequence[str] = ()
) -> tuple[Recipe, str]:
    """Put together the recipe of a run.

    Args:
        dataset: Name in the catalogue, or a folder.
        recipe: A recipe's name or file; ``None`` takes ``pretrain/DATASET`` where there is
            one, else ``quick``.
        overrides: ``key=value`` texts, which win over the file; values as in YAML.

    Returns:
        The recipe, and the name or file it came from.

    Raises:
        InputError: If a file, key or value is not as expected.
    """
    name = recipe or (
        f"pretrain/{dataset}" if f"pretrain/{dataset}" in _shipped_recipes() else "quick"
    )
    path = find_recipe(name)
    values = read_recipe(path) | {"dataset": dataset}
    make_recipe(values, str(path))
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"--set {override}: expected key=value")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {override}: expected a YAML value after =") from None
    return make_recipe(values, f"{name} with --set" if overrides else str(path)), name


def _shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with rs-otl: in an installed package, or beside it."""
    package = Path(str(resources.files("rs_otl")))
    folder = next(
        path for path in (package / "recipes", package.parent / "recipes") if path.is_dir()
    )
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")
    }
