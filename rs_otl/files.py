"""Writing files so that a reader never meets half of one."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rs_otl.errors import InputError

# What writers raise when a disk is full; torch's own raises RuntimeError without saying so,
# which is what write_checkpoint is for.
WRITE_ERRORS = (OSError, SafetensorError)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside ``path`` to write to; it is renamed into place when the block ends.

    The aside path keeps the suffix of ``path``, since many writers choose the format by it.
    If the block raises, ``path`` is left as it was and the aside file is removed.

    Args:
        path: Where the file shall stand; its folder must exist. An existing file is replaced.

    Yields:
        The path to write to, in the same folder.

    Raises:
        InputError: If it cannot be written: a full or read-only disk, a missing folder.
    """
    aside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield aside
        os.replace(aside, path)
    except WRITE_ERRORS as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):  # the same disk or folder again
            aside.unlink(missing_ok=True)


def unwritten(path: Path, error: Exception) -> InputError:
    """Say in one line that a path cannot be written and why.

    Args:
        path: File or folder that was to be written.
        error: One of ``WRITE_ERRORS``.
    """
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return InputError(f"{path}: cannot be written ({reason})")


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write what ``torch.load`` reads.

    Args:
        checkpoint: Tensors, and what else ``torch.save`` takes.
        path: An existing file is replaced.

    Raises:
        OSError: If it cannot be written; ``torch.save`` would raise an error without the reason.
    """
    import torch  # takes seconds

    whole = io.BytesIO()
    torch.save(checkpoint, whole)
    path.write_bytes(whole.getbuffer())
