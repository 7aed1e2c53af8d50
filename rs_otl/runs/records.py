"""The small files of a run, read and written without the libraries that it needs."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from rs_otl.errors import InputError
from rs_otl.files import atomic_write
from rs_otl.recipe import Recipe, make_recipe, read_recipe

Model = TypeVar("Model", bound=BaseModel)


def own_recipe(directory: Path) -> Recipe:
    """Return the recipe of the run in a directory, or raise an :class:`InputError`."""
    path = directory / "recipe.yaml"
    if not path.is_file():
        raise InputError(f"{directory}: no run to resume there (it has no recipe.yaml)")
    return make_recipe(read_recipe(path), str(path))


def recipe_of(run: Path | None, dataset: str) -> Recipe:
    """Return a run's recipe, or the default one, to read a data set with.

    Args:
        run: The run's directory; ``None`` without a run.
        dataset: Name in the catalogue, or a folder. If the run was trained on another one, what
            its recipe says of bands and values is left out.

    Raises:
        InputError: If the recipe is damaged.
    """
    path = run and run / "recipe.yaml"
    if not (path and path.exists()):
        return Recipe(dataset=dataset)
    recipe = make_recipe(read_recipe(path), str(path))
    if recipe.dataset == dataset:
        return recipe
    return recipe.model_copy(update=dict.fromkeys(("bands", "scale", "offset", "units")))


def read_json(model: type[Model], path: Path, remedy: str) -> Model:
    """Read a JSON file of a run.

    Args:
        model: Model of its content.
        path: The file.
        remedy: What the user can do if it is damaged.

    Raises:
        InputError: If it is missing, damaged, or holds something else.
    """
    try:
        return checked(model, from_json(path.read_bytes()), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    except InputError as error:
        raise InputError(f"{error}; {remedy}") from None
    except ValueError as error:
        raise InputError(f"{path}: damaged, expected JSON ({error}); {remedy}") from None


def write_json(path: Path, model: BaseModel) -> None:
    """Write a JSON file of a run, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(model.model_dump_json(indent=2) + "\n", encoding="utf-8")


def checked(model: type[Model], values: object, path: Path) -> Model:
    """Validate what was read; errors name the key but not its value, which may be huge.

    Args:
        model: Model that the values should fit.
        values: What was read.
        path: The file, for the error.

    Raises:
        InputError: If the values do not fit.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = first["msg"][0].lower() + first["msg"][1:]
        raise InputError(
            f"{path}: not as this version of rs-otl writes it ({key + ': ' if key else ''}{reason})"
        ) from None
