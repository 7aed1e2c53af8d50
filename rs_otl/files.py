"""Writing files so that a reader never meets half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rs_otl.errors import InputError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
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
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # the same disk or folder again
            aside.unlink(missing_ok=True)
