"""Full disks, folders that cannot be written, odd variables, closed pipes."""

import random
from pathlib import Path

from harness import Case
from materials import QUICK, Materials, settings


def _sound(numbers: random.Random, materials: Materials, work: Path) -> tuple[list[str], str]:
    """Return a sound command line, and what it writes."""
    encoder = str(materials.encoder)
    for name in ("images", "scene.tif", "labels.geojson", "embeddings.tif"):
        materials.copy(name, work)
    scene = ["scene.tif", "--encoder", encoder, *QUICK]
    lines = [
        (["pretrain", "images", "--out", "new", *settings()], "new"),
        (["evaluate", encoder, "--on", "images", "--out", "new"], "new"),
        (["export", encoder, "--to", "new"], "new"),
        (["transfer", "--from", encoder, "--to", "images", "--frozen", "--out", "new"], "new"),
        (["embed", *scene, "-o", "new.tif"], "new.tif"),
        (["embed", *scene, "-o", "new.parquet"], "new.parquet"),
        (["embed", *scene, "-o", "new"], "new"),
        (["map", *scene, "--labels", "labels.geojson", "-o", "new.tif"], "new.tif"),
        (["search", *scene, "--query", "500100,4999900", "-o", "new.json"], "new.json"),
        (["view", "embeddings.tif", "-o", "new.html"], "new.html"),
        (["tile", "scene.tif", "-o", "new", "--tile", "32"], "new"),
        (["augmentations", "images/class0/00.png", "-o", "new.png"], "new.png"),
        (["datasets", "--check", "images"], ""),
        (["doctor"], ""),
    ]
    return numbers.choice(lines)


def full_disk(numbers: random.Random, materials: Materials, work: Path) -> Case:
    words, out = _sound(numbers, materials, work)
    size = numbers.choice((0, 100, 1000, 5000, 20_000, 100_000, 1_000_000))
    # What --resume goes on with.
    leaves: tuple[str, ...] = ()
    if words[0] in ("pretrain", "transfer", "evaluate"):
        leaves = ("new", "new/*", "runs", "runs/*")
    elif words[0] == "embed":
        leaves = (f"{out}.part", f"{out}.part/*")
    return Case(words, f"no file above {size:,} bytes", leaves=leaves, file_bytes=size)


def read_only(numbers: random.Random, materials: Materials, work: Path) -> Case:
    words, out = _sound(numbers, materials, work)
    how = numbers.choice(("folder", "folder", "home", "output", "tmp"))
    environment: dict[str, str | None] = {}
    if how == "home":
        environment = {"HOME": "/proc/none", "XDG_CACHE_HOME": None, "NUMBA_CACHE_DIR": None}
    elif how == "tmp":
        environment = {"TMPDIR": "/proc/none"}
    elif how == "output" and out and "." not in out:
        (work / out).mkdir(0o555)
    else:
        work.chmod(0o555)
    return Case(words, f"read-only {how}", environment=environment, unprivileged=True)


def variables(numbers: random.Random, materials: Materials, work: Path) -> Case:
    words, _ = _sound(numbers, materials, work)
    values: tuple[dict[str, str | None], ...] = (
        {"HOME": None},
        {"HOME": ""},
        {"HOME": "relative"},
        {"HOME": None, "USER": None, "LOGNAME": None, "PATH": None},
        {"LANG": "C", "LC_ALL": "C"},
        {"LANG": "xx_XX.UTF-8"},
        {"TZ": "Nowhere/Else"},
        {"COLUMNS": "0"},
        {"COLUMNS": "x"},
        {"COLUMNS": "1"},
        {"TERM": "dumb", "NO_COLOR": "1"},
        {"RS_OTL_DATA": "/proc/none"},
        {"RS_OTL_DATA": ""},
        {"RS_OTL_DATA": "\x1b[31m"},
        {"MPLCONFIGDIR": "/proc/none"},
        {"GDAL_DATA": "/proc/none"},
        {"PROJ_DATA": "/proc/none", "PROJ_LIB": "/proc/none"},
        {"TMPDIR": "relative"},
        {"SOURCE_DATE_EPOCH": "x"},
    )
    chosen = numbers.choice(values)
    note = " ".join(f"{name}={value!r}" for name, value in chosen.items())
    return Case(words, note, environment=chosen)


def start_up(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """What is read when the program starts needs a new process."""
    materials.copy("images", work)
    values: tuple[dict[str, str | None], ...] = (
        {"NUMBA_THREADING_LAYER": "tbb"},
        {"NUMBA_THREADING_LAYER": "none"},
        {"NUMBA_CACHE_DIR": "/proc/none"},
        {"NUMBA_NUM_THREADS": "0"},
        {"NUMBA_NUM_THREADS": "9999"},
        {"NUMBA_DISABLE_JIT": "1"},
        {"OMP_NUM_THREADS": "x"},
        {"CUDA_VISIBLE_DEVICES": "x"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONUTF8": "0", "LC_ALL": "C"},
        {"HF_HOME": "/proc/none"},
        {"HOME": None, "MPLCONFIGDIR": None},
        {"PROJ_DATA": "/proc/none", "PROJ_LIB": "/proc/none"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "job"},
        {"WORLD_SIZE": "x", "RANK": "0"},
        {"MASTER_PORT": "x", "LOCAL_RANK": "0"},
    )
    chosen = numbers.choice(values)
    note = "new process, " + " ".join(f"{name}={value!r}" for name, value in chosen.items())
    words = ["pretrain", "images", "--out", "new", *settings()]
    return Case(words, note, environment=chosen, fresh=True, leaves=("new", "new/*"))


def narrow_streams(numbers: random.Random, materials: Materials, work: Path) -> Case:
    words, _ = _sound(numbers, materials, work)
    how = numbers.choice(("ASCII", "ASCII", "Latin-1", "full"))
    if how == "full":
        # Python's own answer to a stdout that cannot be written at its end is 120.
        # The work is done by then, and its outputs are complete.
        return Case(
            words,
            "stdout on a full disk",
            codes=(0, 2, 120),
            leaves=("new*", "runs*"),
            stdout="/dev/full",
        )
    (work / "images" / "class0").rename(work / "images" / "été 中")
    if words[0] == "augmentations":
        words[1] = "images/été 中/00.png"
    encoding = {"ASCII": "ascii", "Latin-1": "latin-1"}[how]
    return Case(words, f"streams in {how}", encoding=encoding)


DRAWS = (
    full_disk,
    full_disk,
    full_disk,
    full_disk,
    read_only,
    read_only,
    variables,
    variables,
    narrow_streams,
    narrow_streams,
    start_up,
)
