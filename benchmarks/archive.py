"""What an archive costs beside the encoder, and what a second process brings.

    python benchmarks/archive.py rows          # rows that do nothing
    python benchmarks/archive.py scenes --encoder my_encoder        # 1, 10 and 100 drawn scenes
    python benchmarks/archive.py workers --encoder my_encoder       # one thread, then two processes

Rows and scenes are measured in processor time of all processes together, since other programs may
run too. Workers are measured in wall time, on a machine that does nothing else.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio import Affine

from rs_otl.geo.workers import work_off

ROWS = int(os.environ.get("ROWS", 10_000))
SIDE = 512


def nothing(row: int) -> int:
    """Do nothing: what remains is the cost of giving out a row."""
    return row


@contextmanager
def measured(what: str, rows: int) -> Iterator[None]:
    """Print the time of a block, in this process and in the processes that it has started."""
    began, before = time.perf_counter(), _processor_seconds()
    yield
    wall, used = time.perf_counter() - began, _processor_seconds() - before
    each = 1000 / rows
    print(f"{what}: {each * used:.2f} ms of processor time a row, {each * wall:.2f} ms", flush=True)


def _processor_seconds() -> float:
    usage = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in usage)


def measure_rows() -> None:
    """Give out rows that do nothing."""
    with measured("this process", ROWS):
        assert sum(1 for _ in work_off(nothing, range(ROWS), nothing)) == ROWS
    with measured("--workers 2, their start included", ROWS):
        assert sum(1 for _ in work_off(nothing, range(ROWS), nothing, workers=2)) == ROWS
    import distributed

    with measured("--dask, two workers, their start included", ROWS):  # noqa: SIM117
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster:
            address = cluster.scheduler_address
            assert sum(1 for _ in work_off(nothing, range(ROWS), nothing, dask=address)) == ROWS


def measure_scenes(encoder: str) -> None:
    """Plan and embed 1, 10 and 100 drawn scenes."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = [_drawn(Path(folder, f"scene{number}.tif"), number) for number in range(100)]
        for count in (1, 10, 100):
            out = str(Path(folder, f"archive{count}"))
            words = ["--encoder", encoder, "--image-size", "64", "--tile", "64", "--stride", "64"]
            plan = _run(["--plan", *scenes[:count], *words, "-o", out])
            work = _run([out])
            again = _run([out])
            print(
                f"{count} scenes: planned in {plan[0]:.1f} s, embedded in {work[0]:.1f} s at "
                f"{work[1]:,} MiB, again in {again[0]:.1f} s (processor time)",
                flush=True,
            )


def measure_workers(encoder: str) -> None:
    """Embed the same scenes by one process with one thread, and by two such processes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        scenes = [_drawn(Path(folder, f"s{number}.tif"), number, 1024) for number in range(48)]
        words = ["--encoder", encoder, "--image-size", "64", "--tile", "64", "--stride", "32"]
        seconds = []
        for workers in (1, 2):
            out = str(Path(folder, f"archive{workers}"))
            _run(["--plan", *scenes, *words, "-o", out])
            began = time.perf_counter()
            _run([out, "--workers", str(workers)])
            seconds.append(time.perf_counter() - began)
        one, two = seconds
        print(
            f"one thread {one:.0f} s, two workers {two:.0f} s, their start included: "
            f"{one / two:.2f} times as fast"
        )


def _drawn(path: Path, seed: int, side: int = SIDE) -> str:
    pixels = np.random.default_rng(seed).integers(0, 255, (3, side, side)).astype(np.uint8)
    place = Affine(10, 0, 4e5 + 10 * side * seed, 0, -10, 5e6)
    profile = {"count": 3, "width": side, "height": side, "dtype": "uint8"}
    with rasterio.open(path, "w", "GTiff", crs="EPSG:32633", transform=place, **profile) as file:
        file.write(pixels)
    return str(path)


def _run(words: list[str]) -> tuple[float, int]:
    """Run a command; return its processor seconds and its largest memory in MiB."""
    program = [sys.executable, "-c", "from rs_otl.cli import main; main()", "embed", *words]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(words)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["rows", "scenes", "workers"])
    parser.add_argument("--encoder", default="timm/tf_efficientnet_lite0")
    given = parser.parse_args()
    if given.what == "rows":
        measure_rows()
    elif given.what == "scenes":
        measure_scenes(given.encoder)
    else:
        measure_workers(given.encoder)
