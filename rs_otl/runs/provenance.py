"""What made a run: the software, the command line, the machine."""

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from rs_otl.runs.records import read_json, write_json

# What the numbers of a run depend on.
_PACKAGES = ("torch", "torchvision", "timm", "torchgeo", "kornia", "lightning", "numba", "numpy")
_FILE = "provenance.json"


class Start(BaseModel):
    """One start of a run: its first, or a resumption.

    Attributes:
        time: When it was, with the time zone.
        rs_otl: Version of rs-otl.
        commit: Commit of the checkout that rs-otl runs from, with ``+`` if its files were changed;
            ``None`` for an installed package.
        command: The command line.
        python: Version of Python.
        packages: Versions of the packages that the numbers depend on.
        machine: Its processor and cores.
        gpus: Names of its GPUs.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    time: str
    rs_otl: str
    commit: str | None
    command: tuple[str, ...]
    python: str
    packages: dict[str, str]
    machine: str
    gpus: tuple[str, ...]

    def versions(self) -> dict[str, str]:
        """Return the versions of everything."""
        return {"rs-otl": self.rs_otl, "python": self.python, **self.packages}


class Provenance(BaseModel):
    """The starts of a run: ``provenance.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    starts: tuple[Start, ...] = ()

    def differences(self, now: Start) -> list[str]:
        """Return versions that changed since the latest start, such as ``torch 2.11, now 2.12``."""
        then = self.starts[-1].versions() if self.starts else {}
        return [
            f"{name} {version}, now {now.versions().get(name, 'none')}"
            for name, version in then.items()
            if now.versions().get(name) != version
        ]


def read_provenance(directory: Path) -> Provenance:
    """Read the starts of a run; none if there is no file of them.

    Raises:
        InputError: If the file is damaged.
    """
    path = directory / _FILE
    return read_json(Provenance, path, "delete it") if path.exists() else Provenance()


def add_start(directory: Path, provenance: Provenance) -> None:
    """Add this process to the starts of a run, and write them."""
    starts = (*provenance.starts, this_start())
    write_json(directory / _FILE, provenance.model_copy(update={"starts": starts}))


def this_start() -> Start:
    """Describe this process."""
    import torch  # not needed to read provenance

    return Start(
        time=time.strftime("%Y-%m-%d %H:%M:%S %z"),
        rs_otl=metadata.version("rs-otl"),
        commit=_commit(),
        command=tuple(sys.argv),
        python=platform.python_version(),
        packages={name: metadata.version(name) for name in _PACKAGES},
        machine=f"{_processor()}, {os.cpu_count()} cores",
        gpus=tuple(
            torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())
        ),
    )


def _commit() -> str | None:
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():  # an installed package, perhaps in another checkout
        return None
    git = ["git", "-C", str(folder)]
    try:
        commit, changed = (
            subprocess.run(
                [*git, *words], capture_output=True, text=True, timeout=20, check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}+" if changed else commit


def _processor() -> str:
    """Return the processor's name, which Python does not know on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(
            line.partition(":")[2].strip() for line in lines if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
