"""What to type after control-C."""

import shlex
from collections.abc import Sequence
from contextlib import suppress

from rs_otl.datasets.remote import dataset_name
from rs_otl.errors import InputError, without_notes
from rs_otl.files import RUNS
from rs_otl.recipe import recipe_for

# Options to leave out with --resume, since the run has them: those without a value, and all.
_FLAGS_OF_RUN = (
    *("--supervised", "--finetune"),
    *("--keep-duplicates-together", "--no-keep-duplicates-together"),
)
_OF_RUN = (
    *("--recipe", "--set", "--init", "--division", "--cache"),
    *("--bands", "--scale", "--offset", "--units", *_FLAGS_OF_RUN),
)
_FLAGS = (*_FLAGS_OF_RUN, "--download", "--resume", "--json")


def command_to_go_on(words: Sequence[str]) -> str | None:
    """Return the command that goes on where an interrupted one was stopped.

    Args:
        words: The words of the interrupted command, after ``rs-otl``.

    Returns:
        The command, or ``None`` if there is nothing to go on with.
    """
    command = next((word for word in words if not word.startswith("-")), None)
    archive = command == "embed" and (
        "--plan" in words or not any(word.startswith("--encoder") for word in words)
    )
    if command == "reproduce" or archive:  # keeps what is finished
        return shlex.join(["rs-otl", *words])
    if command not in ("pretrain", "transfer", "embed") or {"--frozen", "--dry-run"} & set(words):
        return None
    kept = list(words) if command == "embed" else _without_recipe(command, words)
    return shlex.join(["rs-otl", *kept, *(["--resume"] if "--resume" not in kept else [])])


def _without_recipe(command: str, words: Sequence[str]) -> list[str]:
    """Leave out the options that the run has; name its directory if the others do not."""
    start = words.index(command) + 1
    kept = list(words[:start])
    values: dict[str, list[str]] = {}
    rest = iter(words[start:])
    for word in rest:
        name, equals, value = word.partition("=")
        option = [word]
        if not word.startswith("-"):
            name, value = "", word
        elif not equals and name not in _FLAGS:
            value = next(rest, "")
            option.append(value)
        values.setdefault(name, []).append(value)
        if name not in _OF_RUN:
            kept += option
    if command == "pretrain" and "--out" not in values and "" in values:
        dataset = values[""][0]
        changes = values.get("--set", []) + ["supervised=true"] * ("--supervised" in values)
        with suppress(InputError), without_notes():  # a run has begun with a sound recipe
            recipe, _ = recipe_for(dataset, values.get("--recipe", [None])[-1], changes)
            if recipe.supervised:
                kept += ["--out", str(RUNS / "supervised" / dataset_name(dataset))]
    return kept
