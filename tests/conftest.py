"""What all tests share."""

import logging
import os
from pathlib import Path

import hypothesis
import pytest

# Compiling logs by the megabyte where anything has turned debugging on.
logging.getLogger("numba").setLevel(logging.WARNING)

# Machines that run tests are shared: a slow example is no failure.
hypothesis.settings.register_profile("rs-otl", deadline=None)
hypothesis.settings.load_profile("rs-otl")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where there is none."""
    root = Path(os.environ.get("RS_OTL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (root / "HMHR").is_dir():
        pytest.skip(f"no real imagery at {root}: set RS_OTL_DATA to a folder that holds it")
    return root
