"""The checkpoint that a run is resumed from, which is checked before it is used."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from torch import Tensor

from rs_otl.errors import InputError
from rs_otl.models import read_tensors
from rs_otl.recipe import Recipe
from rs_otl.runs.records import checked
from rs_otl.trainers import checkpoint_digest

# Keys of a recipe that may change when a run is resumed: where its images lie, how long it trains,
# and what a machine needs. A change of any other key would make it another run.
_MAY_CHANGE = {"cache", "chunks", "compile", "dataset", "epochs", "knn_every", "workers"}

_Count = Annotated[StrictInt, Field(ge=0)]


class Identity(BaseModel):
    """The run that a checkpoint belongs to.

    Attributes:
        recipe: The run's recipe, key by key.
        pixels: Hash of its images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: dict[str, Any]
    pixels: str


class Labels(BaseModel):
    """The pseudo-labels of a checkpoint; see :class:`rs_otl.trainers.PseudoLabels`."""

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    labels: Tensor | None
    epoch: Annotated[StrictInt, Field(ge=-1)]
    metrics: dict[str, float]


class Checkpoint(BaseModel):
    """The keys of a checkpoint that are checked here; the rest is Lightning's.

    Attributes:
        run: The run that it belongs to.
        epoch: The last epoch that was trained, from 0.
        global_step: Steps so far.
        state_dict: Weights of the task.
        pseudo_labels: The pseudo-labels.
        callbacks: States of the callbacks.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="ignore")

    run: Identity
    epoch: _Count
    global_step: _Count
    state_dict: dict[StrictStr, Tensor]
    pseudo_labels: Labels
    callbacks: dict[str, dict[str, Any]]

    def not_finite(self) -> str | None:
        """Return the name of a tensor of weights that holds NaN or infinity, if there is one."""
        return next(
            (name for name, tensor in self.state_dict.items() if not tensor.isfinite().all()), None
        )


def read_run_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint of a run, without unpickling code.

    Args:
        path: ``last.ckpt`` of a run.

    Raises:
        InputError: If it is damaged, changed by hand, or no checkpoint of a run.
    """
    try:
        values = read_tensors(path)
        checkpoint = checked(Checkpoint, values, path)
        if values.get("digest") != checkpoint_digest(values):
            raise InputError(f"{path}: changed since it was written, or damaged")
    except InputError as error:
        raise _refused(error) from None
    return checkpoint


def refuse_other_recipe(checkpoint: Checkpoint, path: Path, recipe: Recipe) -> None:
    """Raise an :class:`InputError` if a checkpoint is of a run with another recipe.

    Args:
        checkpoint: The checkpoint that was read.
        path: Its file, in the run's directory.
        recipe: The recipe that the run is to be resumed with.
    """
    source = path.parent.parent / "recipe.yaml"
    # A version without a key did what the default of the key does.
    then = Recipe(dataset="").model_dump(mode="json") | checkpoint.run.recipe
    for key, value in recipe.model_dump(mode="json").items():
        if key not in _MAY_CHANGE and then[key] != value:
            raise InputError(
                f"{source}: {key} = {json.dumps(value)}, but {path} was trained with {key} = "
                f"{json.dumps(then[key])}; put it back, or start another run with --out DIR"
            )
    if checkpoint.epoch >= recipe.epochs:
        raise InputError(
            f"{source}: epochs = {recipe.epochs:,}, but {path} has been trained for "
            f"{checkpoint.epoch + 1:,}; put it back, or start another run with --out DIR"
        )


def refused_by_lightning(path: Path, error: Exception) -> InputError:
    """Make the error for a checkpoint that could not be loaded, or whose first step failed."""
    reason = " ".join(str(error).split())
    return _refused(InputError(f"{path}: cannot be resumed ({type(error).__name__}: {reason})"))


def _refused(error: InputError) -> InputError:
    return InputError(f"{error}; delete it to train from the start")
