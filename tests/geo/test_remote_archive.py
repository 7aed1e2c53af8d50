"""An archive of scenes behind STAC and HTTP is made by any processes, which may be lost."""

import json
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager

import pyarrow.parquet as pq
import pystac
import pytest
from command_line import rs_otl_here
from drawn_catalog import draw_catalog, items_of
from geo_scenes import make_encoder
from served import serving_apart
from valid_stac import refuse_no_stac

from rs_otl.errors import InputError
from rs_otl.geo import search
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


@contextmanager
def two_dask_workers():
    """Start a scheduler with two workers, forks of one process that has imported PyTorch."""
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        distributed.utils.get_mp_context().set_forkserver_preload(
            ["distributed", "rs_otl.geo.archive", "rs_otl.models"]
        )
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster:
            yield cluster


def files(archive):
    return {path.name: path.read_bytes() for path in archive.glob("blocks/*/*.tif")}


def test_one_process_two_dask_workers_of_which_one_is_killed_and_two_shards_are_one(folder):
    with serving_apart(folder / "served", drop_every=25) as address:
        catalog = f"{address}/catalog.json"
        told = rs_otl_here("embed", "--plan", catalog, *WORDS, "-o", "alone", cwd=folder)
        assert told.stdout == "alone: 20 scenes in 20 blocks, 20 scenes new, 0 changed\n"
        for name in ("dask", "shards"):
            shutil.copytree(folder / "alone", folder / name)
        told = rs_otl_here("embed", "alone", cwd=folder)
        assert "alone: 20 of 20 blocks embedded, 0 already done" in told.stdout
        for shard in ("0/2", "1/2"):
            told = rs_otl_here("embed", "shards", "--shard", shard, cwd=folder)
            assert "shards: 10 of 10 blocks embedded" in told.stdout
        with two_dask_workers() as cluster:
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
        collection = pystac.Collection.from_file(str(folder / "dask" / "collection.json"))
        items = sorted(collection.get_items(), key=lambda item: item.id)
        refuse_no_stac(collection, *items)
        assert items[0].id == "S2A_33TVM_20230701_0_L2A-r0-c0"
        assert items[0].datetime.isoformat().startswith("2023-07-01T10:00")
        source = f"{address}/scenes/S2A_33TVM_20230701_0_L2A/S2A_33TVM_20230701_0_L2A.json"
        assert items[0].get_single_link("emb:source-data").href == source
        one = files(folder / "alone")
        assert len(one) == COUNT
        assert files(folder / "dask") == one
        assert files(folder / "shards") == one
        times = {path: path.stat().st_mtime_ns for path in (folder / "shards").rglob("*")}
        told = rs_otl_here("embed", "shards", "--workers", 2, cwd=folder)
        assert told.stdout == "shards: all 20 blocks already embedded, nothing to do\n"
        assert times == {path: path.stat().st_mtime_ns for path in (folder / "shards").rglob("*")}


def test_items_that_make_no_scene_are_failed_rows_and_all_else_is_planned(folder, tmp_path):
    shutil.copytree(folder / "encoder", tmp_path / "encoder")
    path = draw_catalog(tmp_path / "served", count=6, side=64)
    (gone, whole), (_, first), (broken, _), (bandless, third), (embedded, _), _ = items_of(path)
    gone.unlink()
    broken.write_text("{")
    bandless.write_text(json.dumps(third | {"assets": {}}))
    (tmp_path / "served" / "scenes" / first["id"] / "B03.tif").unlink()
    with serving_apart(tmp_path / "served") as address:
        words = ("embed", "--plan", f"{address}/catalog.json", *WORDS, "-o", "archive")
        told = rs_otl_here(*words, cwd=tmp_path, check=3)
        assert told.stdout == "archive: 6 scenes in 2 blocks, 6 scenes new, 0 changed\n"
        assert "rs-otl: 4 cannot be embedded" in told.stderr
        reasons = {
            row["source"].rpartition("/")[2]: row["reason"]
            for row in pq.read_table(tmp_path / "archive" / "failed.parquet").to_pylist()
        }
        assert set(reasons) == {gone.name, broken.name, bandless.name, f"{first['id']}.json"}
        assert reasons[gone.name].endswith(f"{gone.name}: cannot be read (HTTP 404)")
        assert "no STAC that can be read" in reasons[broken.name]
        assert "no raster asset; expected GeoTIFF" in reasons[bandless.name]
        assert "B03.tif" in reasons[f"{first['id']}.json"]
        assert all(reason in told.stderr for reason in reasons.values())
        told = rs_otl_here("embed", "archive", cwd=tmp_path, check=3)
        assert "archive: 2 of 2 blocks embedded" in told.stdout
        assert pq.read_table(tmp_path / "archive" / "failed.parquet").num_rows == 4
        # An item comes back, and one of what is embedded is not there today: its file stays.
        gone.write_text(json.dumps(whole))
        embedded.unlink()
        told = rs_otl_here(*words, cwd=tmp_path, check=3)
        assert told.stdout == "archive: 6 scenes in 3 blocks, 0 scenes new, 1 changed\n"
        assert f"{embedded.name}: cannot be read (HTTP 404)" in told.stderr
        assert f"{embedded.stem}-r0-c0.tif" in files(tmp_path / "archive")
        lost = rs_otl_here("embed", "--plan", f"{address}/no.json", *WORDS, "-o", "b",
                           cwd=tmp_path, check=2)  # fmt: skip
        assert lost.stderr == f"rs-otl: {address}/no.json: cannot be read (HTTP 404)\n"


@pytest.mark.parametrize(
    ("words", "days"),
    [
        (("--datetime", "2023-07-17/2023-07"), [17, 18, 19, 20]),
        (("--datetime", "../2023-07-02"), [1, 2]),
        (("--bbox", "13.735,45,13.755,46"), [4, 5, 6]),
        (("--bbox", "13.735,45,13.755,46", "--datetime", "2023-07-01T00:00:00Z/2023-07-04"), [4]),
    ],
)
def test_a_plan_is_of_a_time_and_a_place(words, days, folder, tmp_path):
    catalog = folder / "served" / "catalog.json"
    features = [item for _, item in items_of(catalog)]
    for item in features:
        for asset in item["assets"].values():
            asset["href"] = str(catalog.parent / "scenes" / item["id"] / asset["href"])
    listed = tmp_path / "found.json"
    listed.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    for source in (catalog, listed):
        rs_otl_here("embed", "--plan", source, *words, *WORDS, "-o", tmp_path / source.stem,
                    cwd=folder)  # fmt: skip
        rows = pq.read_table(tmp_path / source.stem / "manifest.parquet").to_pylist()
        assert [int(row["datetime"][8:10]) for row in rows] == days


def test_times_and_places_that_are_none_or_choose_nothing_are_one_line(folder, tmp_path):
    plan = ("embed", "--plan", "served/catalog.json", *WORDS, "-o", tmp_path / "a")
    for words, said in (
        ((*plan, "--datetime", "2024-13"), "--datetime 2024-13: expected a date, or two"),
        ((*plan, "--datetime", "2024/2023"), "--datetime 2024/2023: expected a date, or two"),
        ((*plan, "--bbox", "1,2,3"), "--bbox 1,2,3: expected west,south,east,north"),
        ((*plan, "--bbox", "0,50,1,40"), "--bbox 0,50,1,40: expected west,south,east,north"),
        ((*plan, "--datetime", "2025"), "catalog.json: no scene matches --datetime and --bbox"),
        (("embed", "--plan", "a.tif", *WORDS, "-o", "a", "--bbox", "0,0,1,1"),
         "a.tif is not STAC; leave it out"),
        ((*plan[:1], *plan[2:], "--datetime", "2024"), "--datetime: works only with --plan"),
    ):  # fmt: skip
        told = rs_otl_here(*words, cwd=folder, check=2).stderr
        assert said in told
        assert len(told.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_archive_and_an_index_of_it_are_searched_by_area_and_date(folder, tmp_path):
    rs_otl_here("embed", "--plan", "served/catalog.json", "--datetime", "../2023-07-08", *WORDS,
                "-o", tmp_path / "archive", cwd=folder)  # fmt: skip
    with pytest.raises(InputError, match="nothing is embedded;"):
        search(tmp_path / "archive", (400_100, 4_999_900), tmp_path / "no.geojson")
    rs_otl_here("embed", "archive", cwd=tmp_path)
    told = rs_otl_here("index", "archive", "-o", "index", cwd=tmp_path)
    assert "8 files" in told.stdout
    # The scenes lie side by side, 640 m wide, one of each day.
    place = ("--query", "400100,4999900", "-n", 50)
    for source in ("archive", "index"):
        for words, days in (
            ((), range(1, 9)),
            (("--datetime", "2023-07-03/2023-07-06"), range(3, 7)),
            (("--within", "401920,4990000,403840,5010000"), range(4, 7)),
            (("--within", "401920,4990000,403840,5010000", "--datetime", "2023-07-05/.."), (5, 6)),
        ):
            out = tmp_path / f"{source}-{len(words)}-{days[0]}.geojson"
            rs_otl_here("search", source, *place, *words, "-o", out, cwd=tmp_path)
            scenes = {hit["properties"]["scene"] for hit in json.loads(out.read_text())["features"]}
            assert scenes == {f"S2A_33TVM_202307{day:02}_0_L2A" for day in days}
        none = rs_otl_here("search", source, *place, "--datetime", "2022", "-o", "x.json",
                           cwd=tmp_path, check=2)  # fmt: skip
        assert "rs-otl: --datetime 2022: no tile of" in none.stderr
    (tmp_path / "block.tif").write_bytes(next(iter(files(tmp_path / "archive").values())))
    undated = rs_otl_here("search", "block.tif", *place, "--datetime", "2022", "-o", "x.json",
                          cwd=tmp_path, check=2)  # fmt: skip
    assert "block.tif does not say when it was taken; expected an archive" in undated.stderr
