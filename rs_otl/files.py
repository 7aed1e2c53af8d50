"""Writing files so that no reader sees an incomplete one."""

import errno
import io
import json
import os
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from rs_otl.errors import InputError

# What writers raise when a disk is full. torch.save raises RuntimeError without the reason;
# write_checkpoint raises OSError.
WRITE_ERRORS = (OSError, SafetensorError)

LOCK = ".lock"
# Where runs are written, relative to the working directory.
RUNS = Path("runs")


def refuse_existing(
    output: Path,
    reason: str = "exists already: name another, or delete it",
    *,
    may_be_empty: bool = False,
) -> None:
    """Refuse to write to a path that exists.

    A broken link counts as existing: it would be replaced.

    Args:
        output: The file or folder to write.
        reason: What is wrong and what to do, for the error.
        may_be_empty: Accept a folder that holds only hidden files.

    Raises:
        InputError: If the path exists.
    """
    if may_be_empty and output.is_dir():
        taken = any(path.name[0] != "." for path in output.iterdir())
    else:
        taken = os.path.lexists(output)
    if taken:
        raise InputError(f"{output} {reason}")


def refuse_output(output: Path) -> None:
    """Refuse an output that exists, whose folder is missing, or that cannot be written.

    Raises:
        InputError: For any of these reasons.
    """
    refuse_existing(output)
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder to write {output.name} to")
    refuse_unwritable(output)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; make the folder if it is missing.

    The operating system releases the lock when the process ends, even if it is killed, so a lock
    file that is left behind locks nothing. A folder that was made here is removed again if nothing
    was written into it.

    Args:
        folder: The folder. Its file ``.lock`` names the process that holds the lock.

    Raises:
        InputError: If another process holds the lock, or the folder cannot be written.
    """
    if not folder.is_dir():
        refuse_existing(folder, "exists already and is no folder: name another, or delete it")
    path = folder / LOCK
    with ExitStack() as stack:
        try:
            # The outermost folder comes first, so it is removed last.
            for missing in [each for each in (folder, *folder.parents) if not each.exists()][::-1]:
                stack.callback(_quietly, missing.rmdir)
            folder.mkdir(parents=True, exist_ok=True)
            holder = _holder(path)
            lock = _acquired(path)
            if lock is not None:
                stack.callback(lock.release)
                stack.callback(_quietly, path.unlink)  # still locked: no one else has it
                _sign(path)
        except Timeout:
            raise InputError(
                f"{folder}: still being written by {holder}; wait for it, stop it, or name another "
                "folder"
            ) from None
        except OSError as error:
            raise unwritten(folder, error) from error
        yield


def _acquired(path: Path) -> FileLock | None:
    """Lock a file; return ``None`` if the file system has no locks."""
    lock = FileLock(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # filelock warns where there are no locks
            lock.acquire(blocking=False)
    except NotImplementedError:  # from older releases of filelock
        return None
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            return None
        raise
    return lock


def _sign(path: Path) -> None:
    """Write into a lock file which process holds the lock."""
    me = {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }
    with suppress(PermissionError):  # on Windows a locked file cannot be written
        path.write_text(json.dumps(me))


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # no file, or one that is being written
        return "another process"


def _quietly(remove: Callable[[], None]) -> None:
    with suppress(OSError):
        remove()


@contextmanager
def atomic_write(path: Path, new: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed to ``path`` when the block ends.

    The temporary path has the suffix of ``path``, since many writers choose the format by the
    suffix. If the block raises, ``path`` is not changed and the temporary file is removed.

    Args:
        path: The file to write; its folder must exist. An existing file is replaced.
        new: Refuse to replace a file, even one that another process writes in the meantime.

    Yields:
        The path to write to, in the same folder.

    Raises:
        InputError: If the file cannot be written (full or read-only disk, missing folder), or if it
            must be ``new`` and exists.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        if new:
            _rename_to_new(temporary, path)
        else:
            os.replace(temporary, path)
    except WRITE_ERRORS as error:
        raise unwritten(path, error) from error
    finally:
        with suppress(OSError):  # the disk or folder that failed above
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary folder for the block to make; rename it to ``path`` at the end.

    If the block raises, the temporary folder is removed.

    Args:
        path: The folder, which must be missing or empty. Its parents are made.

    Raises:
        InputError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except InputError as error:  # from a file in the folder
        raise InputError(str(error).replace(str(temporary), str(path))) from None
    except WRITE_ERRORS as error:
        raise unwritten(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename_to_new(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)  # a link replaces nothing, unlike a rename
        return
    except FileExistsError:
        exists = True
    except OSError:  # a file system without hard links
        exists = os.path.lexists(path)
    if exists:
        raise InputError(
            f"{path} exists already, another process has written it meanwhile: name another, or "
            "delete it"
        )
    os.replace(temporary, path)


def refuse_unwritable(path: Path) -> None:
    """Raise an :class:`InputError` if a new file or folder could not be written, before any work.

    Args:
        path: The file or folder. Writing is tried in its nearest parent that exists.
    """
    try:
        place = next(each for each in path.absolute().parents if each.exists())
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"0")
    except OSError as error:
        raise unwritten(path, error) from error


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
