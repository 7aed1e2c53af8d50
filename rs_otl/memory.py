"""How much memory there is."""

import os
from pathlib import Path

GIB = 2**30


def available_bytes() -> int:
    """Memory available without swapping, of this machine or this container."""
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
