"""Writing files so that no reader sees an incomplete one."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rs_otl.errors import InputError

# What writers raise when a disk is full. torch.save raises RuntimeError without the reason;
# write_checkpoint does not.
WRITE_ERRORS = (OSError, SafetensorError)


def refuse_existing(
    output: Path,
    reason: str = "exists already: name another, or delete it",
    *,
    may_be_empty: bool = False,
) -> None:
    """Refuse to write where there is something already.

    A link that leads nowhere is something: it would be replaced.

    Args:
        output: The file or folder to write.
        reason: What is wrong and what to do, for the error.
        may_be_empty: Whether a folder is right that holds nothing but hidden files.

    Raises:
        InputError: If there is something.
    """
    if may_be_empty and output.is_dir():
        taken = any(path.name[0] != "." for path in output.iterdir())
    else:
        taken = os.path.lexists(output)
    if taken:
        raise InputError(f"{output} {reason}")


def refuse_output(output: Path) -> None:
    """Refuse an output that exists, see :func:`refuse_existing`, or that has no folder to lie in.

    Raises:
        InputError: If so.
    """
    refuse_existing(output)
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder to write {output.name} to")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed to ``path`` when the block ends.

    The temporary path has the suffix of ``path``, since many writers choose the format by it. If
    the block raises, ``path`` is not changed and the temporary file is removed.

    Args:
        path: The file to write; its folder must exist. An existing file is replaced.

    Yields:
        The path to write to, in the same folder.

    Raises:
        InputError: If it cannot be written: a full or read-only disk, a missing folder.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except WRITE_ERRORS as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):  # the disk or folder that failed above
            temporary.unlink(missing_ok=True)


def unwritten(path: Path, error: Exception) -> InputError:
    """Make the error for a path that cannot be written.

    Args:
        path: The file or folder.
        error: One of ``WRITE_ERRORS``.
    """
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return InputError(f"{path}: cannot be written ({reason})")


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint for ``torch.load``.

    Args:
        checkpoint: Anything that ``torch.save`` takes.
        path: The file to write; an existing file is replaced.

    Raises:
        OSError: If it cannot be written; ``torch.save`` would raise an error without the reason.
    """
    import torch  # takes seconds

    serialised = io.BytesIO()
    torch.save(checkpoint, serialised)
    path.write_bytes(serialised.getbuffer())
