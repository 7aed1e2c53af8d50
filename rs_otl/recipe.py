"""The configuration of a run."""

import difflib
import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from rs_otl.errors import InputError, note
from rs_otl.spec import Pool, Quantity, Values

# Larger than any recipe; reading YAML takes time and memory.
_LONGEST = 2**16
_YAML_ERRORS = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    RecursionError,
)
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 200


def _named(text: str) -> str:
    """Refuse a text that cannot be the name of a file."""
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ValueError("expected a name that a file can have")
    return text


# Keys by which views are not two views of one image, or have another loss.
NOT_CONTRASTED = ("views_apart", "local_views", "temperature", "mixup")

Name = Annotated[str, Field(max_length=4096), AfterValidator(_named)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Number = Annotated[int, Field(ge=0, le=2**31 - 1)]
Rate = Annotated[FiniteFloat, Field(gt=0, le=1e3)]


class Recipe(BaseModel):
    """How an encoder is pretrained: keys and values. ``rs-otl recipes`` shows their bounds.

    The bounds allow every sensible run, and refuse what no machine can do.

    Attributes:
        Each key has its own docstring, which is also the description of its field in
        ``Recipe.model_fields``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    dataset: Name
    """Data set of the catalogue, or some of its images (``cifar10@500``), or a folder of images or
    scenes, or scenes that STAC describes."""
    encoder: Name = "resnet18"
    """timm architecture."""
    contrast: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    """Share of the loss by which a view finds the other views of its image in the batch (SimCLR);
    the rest is that of the clusters. 1 trains without clusters."""
    image_size: Annotated[int, Field(ge=16, le=4096)] = 224
    """Side of a view in pixels; for vision transformers a multiple of the patch size."""
    pool: Pool | None = None
    """Features of a vision transformer: ``cls`` takes its class token, ``mean`` the mean of its
    patches; null for the rule of its architecture, or of ``init``."""
    views: Annotated[int, Field(ge=1, le=1000)] = 10
    """Views g of an image in each step."""
    views_apart: bool = False
    """Take the views of a step from different images, as in the authors' code: each view has its
    own shuffled order of the images and its own forward pass."""
    local_views: Annotated[int, Field(ge=0, le=1000)] = 0
    """Small crops of an image in each step, which learn the labels of its views."""
    local_size: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Side of a local view in pixels; null for half of ``image_size``."""
    reduction: Literal["sum", "mean"] = "sum"
    """``sum`` or ``mean`` of the terms of equation 18. The paper takes the ``sum``;
    its learning rates are for the ``sum``."""
    clusters: Annotated[int, Field(ge=2, le=2**31 - 1)] | None = 128
    """Outputs k of each head; null for one cluster per image."""
    heads: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of heads, each with its own labels."""
    hidden: Annotated[int, Field(ge=0, le=65_536)] = 0
    """Width of the heads' hidden layer; 0 for linear heads."""
    epochs: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 128
    """Images in a step; each is seen ``views`` times."""
    lr: Rate = 0.03
    """Learning rate at the start."""
    milestones: tuple[Count, ...] = ()
    """Epochs at which the learning rate changes."""
    milestone_lrs: tuple[Rate, ...] = ()
    """Learning rate from each milestone on. Without milestones it falls to 0 along a cosine."""
    momentum: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.9
    """Momentum of SGD."""
    weight_decay: Annotated[FiniteFloat, Field(ge=0, le=1e3)] = 5e-4
    """Weight decay of SGD."""
    augment: Literal["simple", "strong"] = "strong"
    """``simple`` or ``strong`` views."""
    operations: Annotated[int, Field(ge=1, le=100)] = 10
    """Operations of a strong view."""
    orientations: Literal[1, 2, 8] | None = None
    """Orientations of a view: 1 upright; 2 also mirrored, for photographs; 8 also in quarter turns;
    null for 8 of simple and 2 of strong views."""
    relabel_every: Count = 1
    """Epochs for which labels are kept."""
    relabel: Literal["fresh", "reuse"] = "fresh"
    """What new labels are made from: ``fresh`` views in a pass over the images, as in the paper,
    or ``reuse``: the outputs of the last epoch's steps."""
    method: Literal["translation", "translation-paper", "sinkhorn", "kmeans", "instance"] = (
        "translation"
    )
    """How outputs become labels: ``translation``, exactly even; ``translation-paper``;
    ``sinkhorn``; ``kmeans``; or ``instance``, with ``clusters: null``."""
    targets: Annotated[str, Field(max_length=200)] = "even"
    """Sizes of the clusters: ``even``; ``power-law X``, as i to the power of X with i from 1
    (equation 27); or ``power-law X from 0``, as in table 4."""
    label_batch_sizes: Annotated[
        tuple[Annotated[int, Field(ge=2, le=65_536)], ...], Field(max_length=1000)
    ] = ()
    """Batch sizes of the label passes, each of which makes one label set from one view of every
    image; empty for one pass over ``views`` stacked views."""
    decay: Annotated[FiniteFloat, Field(gt=1, le=1e3)] = 1.5
    """The rate beta of Algorithm 1, for ``translation-paper``."""
    temperature: Annotated[FiniteFloat, Field(ge=1e-6, le=1e6)] | None = None
    """Temperature of a cosine head that is filled with features of the weights to start from; null
    for heads that are learnt."""
    warmup: Number = 0
    """Steps over which the learning rate rises; if above 0, it changes every step."""
    freeze_batch_norm: bool = False
    """Keep the batch normalisation of the weights to start from unchanged."""
    tune: Literal["all", "norm", "lora"] = "all"
    """Trained part of the encoder: ``all``; ``norm``, only its biases and scales; or ``lora``,
    low-rank changes to the attention of a vision transformer, merged into it on export."""
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rank of the changes of ``lora``."""
    layer_decay: Annotated[FiniteFloat, Field(gt=0, le=1)] = 1.0
    """Factor of the learning rate from each layer of the encoder to the layer before it; the last
    layer and the heads have the full rate."""
    label_smoothing: Annotated[FiniteFloat, Field(ge=0, lt=1)] = 0.0
    """Share of a label that is spread evenly over all clusters."""
    mixup: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0
    """Parameter of the symmetric beta distribution that a step's mixing shares are drawn from.
    Above 0, each image of a step is mixed with another and learns the labels of both."""
    supervised: bool = False
    """Train with the labels instead, the paper's baseline."""
    init: Name | None = None
    """Weights to start from: a run, an encoder directory, a checkpoint file, ``timm/NAME``, the
    name of torchgeo weights, or a data set (its latest run); null for random weights."""
    bands: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] | None = None
    """Bands of a folder to train on, in this order, by name or number from 1; where files name no
    bands, names for all of them; null for all."""
    scale: Annotated[FiniteFloat, Field(gt=0, le=1e12)] | None = None
    """Factor that stored values of a folder are multiplied with; null for what files say."""
    offset: Annotated[FiniteFloat, Field(ge=-1e12, le=1e12)] | None = None
    """Number that is added after ``scale``; null for what files say."""
    units: Quantity | None = None
    """What values measure after ``scale`` and ``offset``; null for what files say."""
    division: Count = 1
    """Number of the random 80/20 division; the 80 % are trained on. CIFAR, SVHN and ImageNet have
    only their official one."""
    keep_duplicates_together: bool = True
    """Keep identical images on one side of the division."""
    knn_every: Count = 10
    """Epochs between kNN scores on the other 20 %, if there are labels."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """``float32``, ``bf16``, or ``auto``: bf16 if the hardware multiplies it."""
    chunks: Count = 1
    """Forward passes that a step's views are divided into when memory is short; at most
    ``views`` x ``batch_size``."""
    compile: bool = False
    """Run the encoder through ``torch.compile``."""
    cache: Literal["auto", "ram", "gpu", "disk", "none"] = "auto"
    """Where decoded images are kept: ``ram``; ``disk``, a memory-mapped file beside the run;
    ``gpu``; ``none``; or ``auto``: in memory if they fit the budget, else on disk if there is
    room, else nowhere."""
    workers: Annotated[int, Field(ge=0, le=256)] = 2
    """Processes that decode images that are not cached."""
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0
    """Seed of everything random."""

    @property
    def makes_labels(self) -> bool:
        """Whether images get pseudo-labels."""
        return self.contrast < 1 and not self.supervised

    @property
    def local_side(self) -> int:
        """Side of a local view in pixels."""
        return self.local_size or self.image_size // 2

    @property
    def values(self) -> Values | None:
        """What stored values stand for; ``None`` if the recipe does not say it."""
        if self.scale is None and self.offset is None and self.units is None:
            return None
        return Values(scale=self.scale, offset=self.offset, quantity=self.units)

    @model_validator(mode="after")
    def _check_milestones(self) -> Self:
        if len(self.milestones) != len(self.milestone_lrs):
            raise ValueError(
                f"{len(self.milestones)} milestones need as many milestone_lrs, "
                f"not {len(self.milestone_lrs)}"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must ascend")
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise ValueError(
                f"milestones {list(self.milestones)} with epochs = {self.epochs}: expected all of "
                "them below, or the learning rate never changes"
            )
        return self

    @model_validator(mode="after")
    def _check_instances(self) -> Self:
        if self.method == "instance" and self.clusters is not None:
            raise ValueError("method = instance goes with clusters = null: one cluster per image")
        return self

    @model_validator(mode="after")
    def _check_chunks(self) -> Self:
        if self.chunks > self.views * self.batch_size:
            raise ValueError(
                f"chunks = {self.chunks:,}: expected at most views x batch_size = "
                f"{self.views * self.batch_size:,}, the images of a step"
            )
        return self

    @model_validator(mode="after")
    def _check_mixup(self) -> Self:
        if self.mixup and self.relabel == "reuse":
            raise ValueError(
                "mixup goes with relabel = fresh: labels would be made from mixed images"
            )
        return self

    @model_validator(mode="after")
    def _check_contrast(self) -> Self:
        if self.contrast and not self.supervised:
            if self.views < 2:
                raise ValueError(f"contrast goes with views of 2 or more, not {self.views}")
            if self.reduction == "sum":
                raise ValueError("contrast goes with reduction = mean")
            for key in NOT_CONTRASTED:
                if getattr(self, key):
                    raise ValueError(f"contrast and {key} exclude each other: expected one of them")
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
    """Check keys and values, and make a recipe from them.

    Args:
        values: Keys and values.
        source: Where they come from, for the error.

    Raises:
        InputError: If a key is unknown (the error names the nearest), or a value is not allowed.
    """
    for key in values:
        if key not in Recipe.model_fields:
            near = difflib.get_close_matches(str(key)[:99], Recipe.model_fields, n=1, cutoff=0.4)
            hint = (
                f"did you mean {near[0]!r}? `rs-otl recipes quick` lists all keys"
                if near
                else f"expected one of {', '.join(Recipe.model_fields)}"
            )
            raise InputError(f"{source}: unknown key {_shown(key)}; {hint}")
    try:
        return Recipe.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        given = f"{key} = {_shown(first['input'])}: " if key else ""
        message = re.sub("^Value error, ", "", first["msg"])
        raise InputError(f"{source}: {given}{message}") from None


def _shown(value: object) -> str:
    """Return a short text of a value that was read."""
    try:
        return _REPR.repr(value)
    except ValueError:  # Python does not write integers of thousands of digits
        return "a number of thousands of digits"


def parse_yaml(text: str, source: str) -> Any:
    """Read a recipe, or a value of one, from YAML.

    Args:
        text: The YAML. Aliases are refused: flat keys need none, and a few lines of them can expand
            to gigabytes.
        source: Where it comes from, for the error.

    Returns:
        The value; ``None`` if the text is empty.

    Raises:
        InputError: If the text is not YAML, has a value that its tag does not allow or a key twice,
            or is longer than any recipe. The error is one line with source, line and key.
    """
    if len(text) > _LONGEST:
        raise InputError(f"{source}: expected YAML of a recipe, of {_LONGEST:,} characters at most")
    place, several = "", "\n" in text.strip()
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            return None if node is None else loader.construct_document(node)
        values: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            place = f", line {key_node.start_mark.line + 1}" if several else ""
            key = loader.construct_object(key_node, deep=True)
            place += f", key {_shown(key)}"
            if key in values:
                raise InputError(f"{source}{place}: given twice; expected each key once")
            values[key] = loader.construct_object(value_node, deep=True)
        return values
    except InputError:
        raise
    # YAML's own errors, and those of its readers of numbers, dates and tags.
    except _YAML_ERRORS as error:
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, yaml.MarkedYAMLError):
            mark = error.problem_mark or error.context_mark
            if several and mark and not place:
                place = f", line {mark.line + 1}"
            reason = error.problem or error.context or reason
        elif isinstance(error, KeyError | AttributeError):
            reason = "not a value of its tag"
        reason = f"{reason.partition(';')[0] or type(error).__name__:.200}"
        raise InputError(f"{source}{place}: expected a YAML value ({reason})") from None


class _Loader(yaml.SafeLoader):
    """Reads plain values, and refuses aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse an alias; read anything else."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, "an alias, which recipes do not have", mark
            )
        return super().compose_node(parent, index)


def read_recipe(path: Path) -> dict[str, Any]:
    """Read the keys and values of a recipe file.

    Args:
        path: A YAML file of flat keys.

    Raises:
        InputError: If the file is missing or is not a YAML mapping.
    """
    try:
        if not path.is_file() and path.exists():
            raise InputError(f"{path}: expected a file")  # a pipe or device might never end
        with path.open(encoding="utf-8") as file:
            text = file.read(_LONGEST + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected YAML in UTF-8 ({error.reason})") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected lines of `key: value`")
    return values


def find_recipe(name: str) -> Path:
    """Find a recipe: a file, or one that comes with rs-otl.

    Args:
        name: A path, or a name such as ``"quick"`` or ``"pretrain/aid"``.

    Raises:
        InputError: If there is no such recipe; the error names those that exist.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = shipped_recipes()
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
        overrides: ``key=value`` texts, which replace keys of the file; values as in YAML.

    Returns:
        The recipe, and the name or file it came from.

    Raises:
        InputError: If a file, key or value is not as expected.
    """
    name = recipe
    if name is None:
        own = f"pretrain/{dataset.partition('@')[0]}"  # the same for a selection of its images
        name = own if own in shipped_recipes() else "quick"
    path = find_recipe(name)
    values = read_recipe(path) | {"dataset": dataset}
    shipped = make_recipe(values, str(path))
    changes: dict[str, Any] = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"--set {override}: expected key=value")
        changes[key.strip()] = parse_yaml(value, f"--set {override}")
    source = f"{name} with --set" if overrides else str(path)
    if "epochs" in changes and not {"milestones", "milestone_lrs"} & set(changes):
        epochs = make_recipe(
            values | changes | {"milestones": [], "milestone_lrs": []}, source
        ).epochs
        changes |= _scaled_milestones(shipped, epochs)
    return make_recipe(values | changes, source), name


def _scaled_milestones(recipe: Recipe, epochs: int) -> dict[str, Any]:
    """Return the milestones of a recipe, scaled to another number of epochs."""
    if not recipe.milestones or epochs == recipe.epochs:
        return {}
    rates = {
        max(1, round(milestone * epochs / recipe.epochs)): rate
        for milestone, rate in zip(recipe.milestones, recipe.milestone_lrs, strict=True)
    }
    rates = {milestone: rate for milestone, rate in rates.items() if milestone < epochs}
    note(
        f"milestones {list(recipe.milestones)} of {recipe.epochs} epochs become {list(rates)} of "
        f"{epochs}; --set milestones=[...] sets others"
    )
    return {"milestones": list(rates), "milestone_lrs": list(rates.values())}


def shipped_recipes() -> dict[str, Path]:
    """Return the recipes that come with rs-otl, in the installed package or beside it."""
    package = Path(str(resources.files("rs_otl")))
    folder = next(
        path for path in (package / "recipes", package.parent / "recipes") if path.is_dir()
    )
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*.yaml"))
    }


def recipe_summary(path: Path) -> str:
    """Return the first sentence of the comment that a recipe file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = (line.removeprefix("#").strip() for line in takewhile(_is_comment, lines))
    return " ".join(comment).split(". ")[0].removesuffix(".")


def _is_comment(line: str) -> bool:
    return line.startswith("#")


class Key(NamedTuple):
    """A key of a recipe.

    Attributes:
        name: Its name.
        value: Its value in the recipe.
        allowed: Allowed values, in words.
        meaning: What it sets.
    """

    name: str
    value: Any
    allowed: str
    meaning: str


def recipe_keys(name: str) -> list[Key]:
    """Describe the keys of a recipe.

    Args:
        name: Its name or file, as for :func:`find_recipe`.

    Raises:
        InputError: If there is no such recipe, or it is not valid.
    """
    path = find_recipe(name)
    values = read_recipe(path)
    recipe = make_recipe({"dataset": ""} | values, str(path))
    whole = Recipe.model_json_schema()
    schema = whole["properties"]
    for definition, content in whole.get("$defs", {}).items():
        _resolve(schema, f"#/$defs/{definition}", content)
    return [
        Key(
            key,
            getattr(recipe, key),
            _allowed(schema[key]),
            " ".join((field.description or "").replace("``", "").split()),
        )
        for key, field in Recipe.model_fields.items()
    ]


def _resolve(schema: Any, reference: str, content: Any) -> None:
    """Replace each reference to a definition by its content, in a JSON schema."""
    if isinstance(schema, dict):
        if schema.get("$ref") == reference:
            schema.pop("$ref")
            schema.update(content)
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            _resolve(part, reference, content)


def _allowed(schema: Mapping[str, Any]) -> str:
    """Say what a JSON schema allows."""
    if "anyOf" in schema:
        return " or ".join(map(_allowed, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(str, schema["enum"]))
    kind = schema["type"]
    if kind == "array":
        return f"list of {_allowed(schema['items'])}"
    if kind not in ("integer", "number"):
        return {"string": "text", "boolean": "true or false"}.get(kind, kind)
    words = {
        "minimum": "",
        "exclusiveMinimum": "above ",
        "maximum": "to ",
        "exclusiveMaximum": "below ",
    }
    return " ".join(
        f"{word}{schema[bound]:{',' if kind == 'integer' else 'g'}}"
        for bound, word in words.items()
        if bound in schema
    )
