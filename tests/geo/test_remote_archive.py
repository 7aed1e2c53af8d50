"""An archive of scenes behind STAC and HTTP is made by any processes, which may be lost."""

import os
import shutil
import signal
import threading
import time

import pytest
from command_line import rs_otl_here
from drawn_catalog import draw_catalog
from geo_scenes import make_encoder
from served import serving_apart

from rs_otl.spec import Quantity

WORDS = ("--encoder", "encoder", "--tile", 32, "--stride", 32)
COUNT = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twenty scenes of a catalog, and an encoder of their bands."""
    root = tmp_path_factory.mktemp("remote-archive")
    draw_catalog(root / "served", count=COUNT, side=64)
    make_encoder(
        root / "encoder", units="surface reflectance x 10,000", scale=10_000.0,
        architecture="test_resnet", quantity=Quantity.SURFACE,
    )  # fmt: skip
    return root


def files(archive):
    return {path.name: path.read_bytes() for path in archive.glob("blocks/*/*.tif")}


def test_one_process_two_dask_workers_of_which_one_is_killed_and_two_shards_are_one(folder):
    distributed = pytest.importorskip("distributed")
    with serving_apart(folder / "served", drop_every=25) as address:
        catalog = f"{address}/catalog.json"
        told = rs_otl_here("embed", "--plan", catalog, *WORDS, "-o", "alone", cwd=folder)
        assert told.stdout == "alone: 20 scenes in 20 blocks, 20 scenes new, 0 changed\n"
        for name in ("dask", "shards"):
            shutil.copytree(folder / "alone", folder / name)
        told = rs_otl_here("embed", "alone", cwd=folder)
        assert "alone: 20 of 20 blocks embedded, 0 stood already" in told.stdout
        for shard in ("0/2", "1/2"):
            told = rs_otl_here("embed", "shards", "--shard", shard, cwd=folder)
            assert "shards: 10 of 10 blocks embedded" in told.stdout
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster:
            left = []

            def kill():
                while len(done := list(folder.glob("dask/blocks/*/*.json"))) < COUNT // 2:
                    time.sleep(0.005)
                cluster.workers[0].auto_restart = False
                os.kill(cluster.workers[0].pid, signal.SIGKILL)
                left.append(COUNT - len(done))

            killer = threading.Thread(target=kill, daemon=True)
            killer.start()
            told = rs_otl_here("embed", "dask", "--dask", cluster.scheduler_address, cwd=folder)
            killer.join(timeout=10)
        assert left[0] > 0
        assert "20 blocks" in told.stdout
        one = files(folder / "alone")
        assert len(one) == COUNT
        assert files(folder / "dask") == one
        assert files(folder / "shards") == one
        times = {path: path.stat().st_mtime_ns for path in (folder / "shards").rglob("*")}
        told = rs_otl_here("embed", "shards", "--workers", 2, cwd=folder)
        assert told.stdout == "shards: all 20 blocks stand, nothing to do\n"
        assert times == {path: path.stat().st_mtime_ns for path in (folder / "shards").rglob("*")}
