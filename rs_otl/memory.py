"""How much memory there is, and what becomes of what is freed."""

import ctypes
import os
from pathlib import Path
from typing import Any

GIB = 2**30
# Of glibc's malloc.h.
_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3


def available_bytes() -> int:
    """Memory available without swapping, of this machine or this container.

    What this process has freed and keeps (:func:`keep_freed_memory`) is given back first.
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
        if not hasattr(os, "sysconf"):  # Windows: what any machine of this kind has
            return 4 * GIB
        # Not Linux: half of all memory is a fair guess at what is not in use.
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def keep_freed_memory() -> None:
    """Let this process use memory again that its tensors have freed.

    glibc gives every block above 32 MiB back to the system when it is freed, and the system clears
    its pages when the next tensor wants them: more than half the time of a training step of 224
    pixels on a processor. Blocks below 128 MiB are kept instead; larger ones are given back, since
    keeping those too takes a third more memory. Where the C library has no such setting, or the
    environment says what it is to be, nothing changes.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    if mallopt := _libc("mallopt"):
        mallopt(_TRIM_THRESHOLD, -1)  # never
        mallopt(_MMAP_THRESHOLD, 128 * 2**20)


def _libc(name: str) -> Any:
    """Return a function of the C library, or ``None`` where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
