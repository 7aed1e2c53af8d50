"""Memory that tensors free is used again, as the command line asks for."""

import os
import platform
import subprocess
import sys

import pytest

from rs_otl.memory import available_bytes, keep_freed_memory

# MiB that the system had to clear while tensors of 100 MiB were made and freed ten times. Before,
# memory settles: a block that is freed takes the next of its size only beside another free one.
CLEARED = """
import resource, torch
from rs_otl.memory import keep_freed_memory
keep_freed_memory()
for _ in range(30):
    torch.ones(25 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(25 * 2**20)
print(4096 * (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 2**20)
"""

# MiB that are still taken after tensors of 400 MiB are freed, as they are and once it is asked what
# is available.
TAKEN = """
import os, resource, torch
from rs_otl.memory import available_bytes, keep_freed_memory
def taken():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20
keep_freed_memory()
before = taken()
some = [torch.ones(25 * 2**18) for _ in range(16)]
last = torch.ones(1000)  # above them all
del some
print(taken() - before)
available_bytes()
print(taken() - before)
"""


def run(code, **environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True
    )
    assert not done.returncode, done.stderr
    return list(map(int, done.stdout.split()))


def cleared(**environment):
    """Return the MiB cleared in a new process."""
    (found,) = run(CLEARED, **environment)
    return found


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_memory_of_freed_tensors_is_used_again():
    assert cleared() < 50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_the_environment_has_the_last_word():
    assert cleared(MALLOC_MMAP_THRESHOLD_=str(2**20)) > 900


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_what_is_kept_counts_as_available():
    kept, left = run(TAKEN)
    assert kept > 300
    assert left < 50


def test_where_there_is_no_such_setting_nothing_changes(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    keep_freed_memory()
    assert available_bytes() > 0
