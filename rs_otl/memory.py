"""How much memory is available, and whether freed memory is kept."""

import ctypes
import os
from pathlib import Path
from typing import Any

GIB = 2**30
# From glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3


def available_bytes() -> int:
    """Return the bytes available without swapping, on this machine or in this container.

    Memory that this process has freed but keeps (:func:`keep_freed_memory`) is given back first.
    """
    if trim := _libc("malloc_trim"):
        trim(0)
    free = _machine_bytes()
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit ("max")
        return free
    return max(0, min(free, limit - used))


def _machine_bytes() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration):
        if not hasattr(os, "sysconf"):  # Windows: every machine has this much
            return 4 * GIB
        # Not Linux: half of all memory is a fair guess at what is free.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def keep_freed_memory() -> None:
    """Let this process reuse the memory that its tensors have freed.

    By default glibc gives every freed block above 32 MiB back to the system, and the system clears
    the pages for the next tensor. This takes more than half the time of a training step of 224
    pixels on a CPU. Here blocks below 128 MiB are kept; larger blocks are given back, since keeping
    them too takes a third more memory. Nothing changes if the C library has no such setting, or if
    environment variables set it.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    if mallopt := _libc("mallopt"):
        mallopt(_TRIM_THRESHOLD, -1)  # never
        mallopt(_MMAP_THRESHOLD, 128 * 2**20)


def _libc(name: str) -> Any:
    """Return a function of the C library, or ``None`` where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
