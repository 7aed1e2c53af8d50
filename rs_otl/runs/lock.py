"""One process at a time writes a run."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rs_otl.errors import InputError
from rs_otl.files import unwritten

LOCK = ".lock"


@contextmanager
def lock_run(directory: Path) -> Iterator[None]:
    """Hold the lock of a run's directory, which is made if it is missing.

    The operating system releases the lock when its process ends, however it ends, so the file
    that a killed process leaves behind locks nothing.

    Args:
        directory: The run's directory. Its file ``.lock`` names the process.

    Raises:
        InputError: If another process holds it, or the directory cannot be written.
    """
    path = directory / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise unwritten(directory, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{directory}: its run is still going, {_holder(file.read())}; wait for it, stop "
                "it, or start another run with --out DIR"
            ) from None
        except OSError:  # a file system without locks
            pass
        else:
            file.truncate(0)
            holder = {"process": os.getpid(), "host": socket.gethostname(), "since": _now()}
            file.write(json.dumps(holder))
            file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z")


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):  # it has not been written yet
        return "in another process"
