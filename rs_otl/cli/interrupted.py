"""What to type after control-C."""

import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from rs_otl.datasets.remote import dataset_name

# Options to leave out with --resume, since the run has them: those with a value, and those without.
_WITH_VALUE = (
    *("--recipe", "--set", "--init", "--division", "--cache"),
    *("--bands", "--scale", "--offset", "--units"),
)
_WITHOUT = ("--supervised", "--finetune")
# Options without a value that may come before the data set.
_FLAGS = (*_WITHOUT, "--download", "--resume", "--json")
_RESUMED = ("pretrain", "transfer", "embed")


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
    if command not in _RESUMED or "--frozen" in words:
        return None
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        name = word.partition("=")[0]
        if command != "embed" and name in _WITH_VALUE:
            if "=" not in word:
                next(rest, None)
        elif command == "embed" or (name not in _WITHOUT and "keep-duplicates" not in name):
            kept.append(word)
    if "--supervised" in words and "--out" not in words:
        dataset = next(
            word
            for before, word in pairwise(words)
            if word[0] != "-" and (before == command or before[0] != "-" or before in _FLAGS)
        )
        kept += ["--out", str(Path("runs") / "supervised" / dataset_name(dataset))]
    return shlex.join(["rs-otl", *kept, *(["--resume"] if "--resume" not in kept else [])])
