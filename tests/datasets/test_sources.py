"""Scenes are read from where they lie: servers, catalogs, mosaics."""

import json
import pickle

import numpy as np
import pytest
import rasterio
from drawn_catalog import BANDS, CORNER, draw_catalog, draw_item, draw_scene, items_of, save_band
from geo_scenes import draw, write
from served import serving

from rs_otl.datasets.remote import public
from rs_otl.datasets.scene import Scene
from rs_otl.datasets.sources import all_scenes, scenes_of
from rs_otl.datasets.wanted import Interval, box_of, boxes_meet
from rs_otl.errors import InputError
from rs_otl.spec import Quantity


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Short waits; they are the user's to set."""
    for key, value in (("LOW_SPEED_TIME", 1), ("RETRY_DELAY", 0.05), ("CONNECTTIMEOUT", 2)):
        monkeypatch.setenv(f"GDAL_HTTP_{key}", str(value))


def values(source):
    with Scene(source) as scene:
        return scene.read(0, 0, scene.width, scene.height)[0]


def big(folder):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 700, 700)).astype(np.uint8)
    return write(folder / "big.tif", pixels, tiled=True, blockxsize=128, blockysize=128), pixels


def test_a_raster_behind_http_is_read_by_ranges_to_the_number(tmp_path):
    _, pixels = big(tmp_path)
    with serving(tmp_path) as server:
        for address in (f"{server.address}/big.tif", f"/vsicurl/{server.address}/big.tif"):
            with Scene(address) as scene:
                part, _ = scene.read(256, 128, 100, 100)
                np.testing.assert_array_equal(part, pixels[:, 128:228, 256:356])
        asked = [request for request in server.requests if request[2]]
        assert asked
        assert not [path for _, path, _ in server.requests if path != "/big.tif"]
        np.testing.assert_array_equal(values(f"{server.address}/big.tif"), pixels)


def test_s3_is_read_as_gdal_is_set(tmp_path, monkeypatch):
    (tmp_path / "bucket").mkdir()
    _, pixels = big(tmp_path / "bucket")
    with serving(tmp_path) as server:
        monkeypatch.setenv("AWS_S3_ENDPOINT", server.address.removeprefix("http://"))
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_VIRTUAL_HOSTING", "FALSE")
        monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
        np.testing.assert_array_equal(values("s3://bucket/big.tif"), pixels)
        np.testing.assert_array_equal(values("/vsis3/bucket/big.tif"), pixels)


@pytest.mark.parametrize("every", [2, 10])
def test_requests_that_are_dropped_are_made_again(every, tmp_path):
    _, pixels = big(tmp_path)
    with serving(tmp_path) as server:
        server.drop_every = every
        for number in range(4):
            write(tmp_path / f"{number}.tif", pixels)
            np.testing.assert_array_equal(values(f"{server.address}/{number}.tif"), pixels)
        assert len(server.requests) >= every


def test_a_server_that_stalls_is_asked_again_then_named(tmp_path):
    _, pixels = big(tmp_path)
    with serving(tmp_path) as server:
        server.stall, server.stalls = "big.tif", 1
        np.testing.assert_array_equal(values(f"{server.address}/big.tif"), pixels)
    with serving(tmp_path) as server:
        server.stall = "big.tif"
        with pytest.raises(InputError, match=f"{server.address}/big.tif: .*sent nothing for 1 sec"):
            Scene(f"{server.address}/big.tif?signature=SECRET")


def test_what_cannot_be_read_is_one_line_without_secrets(tmp_path):
    (tmp_path / "page.tif").write_text("<html>sign in</html>")
    (tmp_path / "other.json").write_text('{"some": "json"}')
    with serving(tmp_path) as server:
        host = server.address.replace("http://", "http://me:SECRET@")
        for name, reason in (
            ("none.tif?X-Amz-Signature=SECRET", "none.tif: cannot be opened (HTTP 404"),
            ("page.tif?sig=SECRET", "page.tif: cannot be opened (not an image but a page"),
            ("other.json?sig=SECRET", "other.json: JSON that is no STAC"),
            ("none.json?sig=SECRET", "none.json: cannot be read (HTTP 404)"),
            ("none?sig=SECRET", "none: HTTP 404"),
        ):
            with pytest.raises(InputError) as caught:
                Scene(f"{host}/{name}")
            assert str(caught.value).startswith(f"{server.address}/{reason}")
            assert "SECRET" not in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"127.0.0.1:9/x.json: .*refuses"):
        Scene("http://127.0.0.1:9/x.json?key=SECRET")


def test_public_keeps_what_a_search_asks_for():
    address = "https://a:b@h/search?collections=c&bbox=1,2,3,4&token=t"
    assert public(address) == "https://h/search?collections=c&bbox=1,2,3,4"
    assert public("/vsicurl?header=key&url=x no such file") == "/vsicurl no such file"
    assert public("is this so? yes") == "is this so? yes"


def reflectance(number):
    return draw_scene(number).astype(np.float32) - 1000


@pytest.mark.parametrize("old", [False, True], ids=["STAC 1.1", "eo and raster"])
def test_an_item_is_a_scene_of_aligned_bands(old, tmp_path):
    item = draw_item(tmp_path, 1, old)
    (tmp_path / "item.json").write_text(json.dumps(item.to_dict(include_self_link=False)))
    (source,) = scenes_of(str(tmp_path / "item.json"))
    assert (source.id, source.datetime) == (item.id, "2023-07-02T10:00:00Z")
    with Scene(pickle.loads(pickle.dumps(source))) as scene:
        assert scene.bands == ("b02", "b03", "b04", "b08")
        assert [band.common_name for band in scene.known] == list(BANDS)
        assert scene.known[0].wavelength
        assert (scene.quantity, scene.stem) == (Quantity.SURFACE, item.id)
        pixels, valid = scene.read(0, 0, 120, 120)
        assert valid.all()
        np.testing.assert_allclose(pixels, reflectance(1), atol=1e-2)
    visual, _ = np.broadcast_arrays(values(scenes_of(f"{tmp_path}/item.json", "visual")[0]), 0)
    np.testing.assert_array_equal(visual, (draw_scene(1)[2::-1] / 32).astype(np.uint8))
    np.testing.assert_allclose(
        values(f"{tmp_path}/item.json#asset=nir,red"), reflectance(1)[[3, 2]], atol=1e-2
    )
    with pytest.raises(InputError, match="--asset swir: no raster asset of this name; there are b"):
        scenes_of(f"{tmp_path}/item.json", "swir")


def test_an_offset_that_is_taken_already_is_not_taken_again(tmp_path):
    item = draw_item(tmp_path, 1).to_dict(include_self_link=False)
    item["properties"]["earthsearch:boa_offset_applied"] = True
    (tmp_path / "item.json").write_text(json.dumps(item))
    np.testing.assert_allclose(values(f"{tmp_path}/item.json"), reflectance(1) + 1000, atol=1e-2)


def test_a_catalog_on_a_server_gives_the_scenes_of_its_items(tmp_path):
    path = draw_catalog(tmp_path)
    with serving(tmp_path) as server:
        server.drop_every = 10
        for text, base in (
            (str(path), tmp_path),
            (f"{server.address}/catalog.json", server.address),
        ):
            found = all_scenes([text])
            assert len(found) == 4
            for number, source in enumerate(found):
                assert source.name == f"{base}/scenes/{source.id}/{source.id}.json"
                np.testing.assert_allclose(values(source), reflectance(number), atol=1e-2)
        (one,) = scenes_of(f"{server.address}/scenes/{source.id}/{source.id}.json?sig=SECRET")
        assert one.name == source.name
        with pytest.raises(InputError, match=r"4 scenes, S2A.*expected one"):
            Scene(str(path))


def test_a_search_gives_the_items_of_all_its_pages(tmp_path):
    path = draw_catalog(tmp_path, count=3)
    with serving(tmp_path) as server:
        pages = []
        for file, item in items_of(path):
            base = f"{server.address}/{file.relative_to(tmp_path).as_posix()}"
            links = [{"rel": "self", "href": base}]
            pages.append({"type": "FeatureCollection", "features": [item | {"links": links}]})
        query = "/search?collections=scenes&bbox=13,45,14,46"
        for number, page in enumerate(pages):
            here = f"{query}&token={number}" if number else query
            if number + 1 < len(pages):
                following = f"{server.address}{query}&token={number + 1}"
                page["links"] = [{"rel": "next", "href": following}]
            server.answer[here] = json.dumps(page)
        found = scenes_of(f"{server.address}{query}")
        assert [one.id for one in found] == [item["id"] for _, item in items_of(path)]
        np.testing.assert_allclose(values(found[2]), reflectance(2), atol=1e-2)
        # What a search does not ask for yet the server is asked, and no others are taken.
        asked = f"{query}&datetime=2023-07-02T00:00:00Z/.."
        every = [item for page in pages for item in page["features"]]
        server.answer[asked] = json.dumps({"type": "FeatureCollection", "features": every})
        later = Interval.of("2023-07-02/..")
        box = box_of("13,45,14,46")
        found = scenes_of(f"{server.address}{query}", interval=later, bbox=box)
        assert [one.id for one in found] == [item["id"] for _, item in items_of(path)][1:]
        assert server.requests[-1][1] == asked
        links = [{"rel": "search", "href": f"{server.address}/search"}]
        landing = {"type": "Catalog", "stac_version": "1.0.0", "conformsTo": [], "links": links}
        server.answer["/"] = json.dumps(landing)
        with pytest.raises(InputError, match=r"expected a search, such as http.*collections=NAME"):
            scenes_of(f"{server.address}/")
        # A catalog in a catalog that is not there is no scene, and says so.
        (tmp_path / "scenes" / "collection.json").unlink()
        (lost,) = scenes_of(f"{server.address}/catalog.json", whole=False)
        with pytest.raises(InputError, match=r"scenes/collection.json: cannot be read \(HTTP 404"):
            Scene(lost)
        with pytest.raises(InputError, match=r"scenes/collection.json: cannot be read \(HTTP 404"):
            scenes_of(f"{server.address}/catalog.json")


def test_times_and_boxes_meet_as_stac_says():
    for text, meant in (
        ("2024", "2024-01-01T00:00:00Z/2024-12-31T23:59:59.999999Z"),
        ("2024-02/..", "2024-02-01T00:00:00Z/.."),
        ("/2024-02", "../2024-02-29T23:59:59.999999Z"),
        ("2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00Z/2024-05-01T08:00:00Z"),
        ("20240501", "2024-05-01T00:00:00Z/2024-05-01T23:59:59.999999Z"),
    ):
        assert str(Interval.of(text)) == meant
    spring = Interval.of("2024-03/2024-05")
    assert spring.meets({"datetime": "2024-05-31T23:59:59.500Z"})
    assert not spring.meets({"datetime": "2024-06-01T00:00:00Z"})
    span = {"start_datetime": "2024-01-01T00:00:00Z", "end_datetime": "2024-12-31T00:00:00Z"}
    assert spring.meets({"datetime": None} | span)
    with pytest.raises(ValueError, match="says no time"):
        spring.meets({"datetime": None})
    fiji = box_of("170,-20,-170,-10")
    assert boxes_meet(fiji, [-175, -15, -174, -14])
    assert boxes_meet(fiji, [175, -15, 0, -175, -14, 9])
    assert not boxes_meet(fiji, [0, -15, 1, -14])


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("place", range(4))
def test_a_box_of_what_is_no_number_is_refused(number, place):
    sides = ["5", "45", "6", "46"]
    sides[place] = number
    with pytest.raises(InputError, match=f"--bbox {','.join(sides)}: expected west"):
        box_of(",".join(sides))


def test_an_item_on_a_server_reads_nothing_from_this_disk(tmp_path):
    item = draw_item(tmp_path, 1).to_dict(include_self_link=False)
    for asset in item["assets"].values():
        asset["href"] = f"file://{tmp_path}/{asset['href'][2:]}"
    (tmp_path / "item.json").write_text(json.dumps(item))
    with serving(tmp_path) as server, pytest.raises(InputError, match="a file elsewhere"):
        scenes_of(f"{server.address}/item.json")


def quarters(folder, nodata=0, **profile):
    whole = draw(120, 120, 2, 3, 200).astype(np.uint8).clip(1)
    for row in range(2):
        for column in range(2):
            part = whole[:, row * 60 : row * 60 + 60, column * 60 : column * 60 + 60]
            path = save_band(folder / f"{row}{column}.tif", part, 0, nodata=nodata, **profile)
            with rasterio.open(path, "r+") as file:
                t = rasterio.Affine(10, 0, CORNER[0] + 600 * column, 0, -10, CORNER[1] - 600 * row)
                file.transform = t
                file.descriptions = ("red", "nir")
    return whole


@pytest.mark.parametrize("nodata", [0, None])
def test_a_folder_of_files_side_by_side_is_one_scene(nodata, tmp_path):
    whole = quarters(tmp_path / "mosaic", nodata)
    with Scene(tmp_path / "mosaic") as scene:
        assert scene.bands == ("red", "nir")
        assert (scene.transform.c, scene.transform.f) == CORNER
        pixels, valid = scene.read(0, 0, 120, 120)
        np.testing.assert_array_equal(pixels, whole)
        assert valid.all()
    (tmp_path / "mosaic" / "01.tif").unlink()
    with Scene(str(tmp_path / "mosaic")) as scene:
        pixels, valid = scene.read(0, 0, 120, 120)
        assert not valid[:60, 60:].any()
        np.testing.assert_array_equal(pixels[:, valid], whole[:, valid])
    save_band(tmp_path / "mosaic" / "02.tif", whole[:, :60, :60], 0, nodata=nodata)
    with pytest.raises(InputError, match="differ in bands"):
        Scene(tmp_path / "mosaic")


def test_a_tile_index_is_one_scene_wherever_its_files_lie(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    from shapely import box

    whole = quarters(tmp_path / "tiles")
    later = np.zeros_like(whole)
    later[:, 10:20] = 9
    save_band(tmp_path / "tiles" / "later.tif", later, 0)
    with rasterio.open(tmp_path / "tiles" / "later.tif", "r+") as file:
        file.descriptions = ("red", "nir")
    with pytest.raises(InputError, match=r"00.tif, later.tif overlap"):
        Scene(tmp_path / "tiles")
    with serving(tmp_path) as server:
        names = ["tiles/00.tif", "tiles/01.tif", f"{server.address}/tiles/10.tif",
                 f"{server.address}/tiles/11.tif", "tiles/later.tif"]  # fmt: skip
        table = geopandas.GeoDataFrame(
            {"location": names}, geometry=[box(0, 0, 1, 1)] * 5, crs="EPSG:32633"
        )
        table.to_file(tmp_path / "index.gpkg")
        expected = np.where(later > 0, later, whole)
        np.testing.assert_array_equal(values(str(tmp_path / "index.gpkg")), expected)
        assert any(path == "/tiles/11.tif" for _, path, _ in server.requests)


def test_a_vrt_may_refer_to_a_server_where_the_user_names_it(tmp_path):
    _, pixels = big(tmp_path)
    with serving(tmp_path) as server:
        place = f"/vsicurl/{server.address}/big.tif"
        band = (
            '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename>{}'
            "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        )
        head = '<VRTDataset rasterXSize="700" rasterYSize="700">'
        (tmp_path / "x.vrt").write_text(head + band.format(place) + "</VRTDataset>")
        (tmp_path / "evil.vrt").write_text(
            head + band.format(tmp_path / "big.tif") + "</VRTDataset>"
        )
        for source in (str(tmp_path / "x.vrt"), f"{server.address}/x.vrt"):
            np.testing.assert_array_equal(values(source), pixels[:1])
        with pytest.raises(InputError, match=r"evil.vrt: a VRT that refers to .*big.tif; expected"):
            Scene(f"{server.address}/evil.vrt")
        with pytest.raises(InputError, match="refers to other than files"):
            Scene(tmp_path / "x.vrt")
