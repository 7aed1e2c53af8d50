"""Labels that are no labels, or odd ones."""

import json
import random
from pathlib import Path
from typing import Any

from harness import Case
from materials import (
    QUICK,
    SIDE,
    Materials,
    collection,
    damage,
    feature,
    place,
    sound_labels,
)

_NAN = float("nan")


def _polygon(*corners: tuple[float, float]) -> dict[str, Any]:
    """Return a polygon of corners in pixels."""
    ring = [place(*corner) for corner in (*corners, corners[0])]
    return {"type": "Polygon", "coordinates": [ring]}


def _case(
    numbers: random.Random,
    materials: Materials,
    work: Path,
    note: str,
    name: str = "labels.geojson",
) -> Case:
    """Map the scene, or its embeddings, by the labels ``name`` in ``work``."""
    if numbers.random() < 0.7:
        materials.copy("embeddings.tif", work)
        words = ["map", "embeddings.tif", "--labels", name, "-o", "m.tif"]
    else:
        materials.copy("scene.tif", work)
        words = ["map", "scene.tif", "--encoder", str(materials.encoder), *QUICK]
        words += ["--labels", name, "-o", "m.tif"]
    return Case(words, note, makes=("m.tif",))


def _written(work: Path, values: Any, name: str = "labels.geojson") -> None:
    (work / name).write_text(json.dumps(values))


def odd_geometry(numbers: random.Random, materials: Materials, work: Path) -> Case:
    half, side = SIDE / 2, float(SIDE)
    square = _polygon((5, 5), (40, 5), (40, 40), (5, 40))
    outside_hole = _polygon((5, 5), (40, 5), (40, 40), (5, 40))
    outside_hole["coordinates"] += _polygon((60, 60), (70, 60), (70, 70))["coordinates"]
    shapes: dict[str, Any] = {
        "bow-tie": _polygon((5, 5), (40, 40), (40, 5), (5, 40)),
        "pentagram": _polygon((20, 2), (32, 38), (2, 15), (38, 15), (8, 38)),
        "hole outside": outside_hole,
        "overlapping parts": {
            "type": "MultiPolygon",
            "coordinates": [square["coordinates"], square["coordinates"]],
        },
        "line as polygon": _polygon((5, 5), (40, 5), (5, 5)),
        "point as polygon": _polygon((5, 5), (5, 5), (5, 5)),
        "open ring": {"type": "Polygon", "coordinates": [[place(5, 5), place(9, 9)]]},
        "empty": {"type": "Polygon", "coordinates": []},
        "empty point": {"type": "Point", "coordinates": []},
        "null": None,
        "line": {"type": "LineString", "coordinates": [place(5, 5), place(40, 40)]},
        "collection": {"type": "GeometryCollection", "geometries": [square]},
        "points": {"type": "MultiPoint", "coordinates": [place(5, 5), place(900, 900)]},
        "NaN": {"type": "Point", "coordinates": [_NAN, _NAN]},
        "half NaN": _polygon((5, 5), (_NAN, 5), (40, 40)),
        "infinite": {"type": "Point", "coordinates": [1e400, 0]},
        "far": {"type": "Point", "coordinates": [1e300, -1e300]},
        "three coordinates": {"type": "Point", "coordinates": [*place(9, 9), 5.0]},
        "edge": _polygon((side, 5), (side + 40, 5), (side + 40, 40), (side, 40)),
        "corner": {"type": "Point", "coordinates": place(side, side)},
        "whole scene": _polygon((0, 0), (side, 0), (side, side), (0, side)),
        "around the scene": _polygon((-9e5, -9e5), (9e5, -9e5), (9e5, 9e5), (-9e5, 9e5)),
        "sliver": _polygon((half, 0), (half + 1e-9, 0), (half, side)),
        "unknown": {"type": "Blob", "coordinates": place(9, 9)},
        "text": {"type": "Point", "coordinates": ["a", "b"]},
    }
    name = numbers.choice(sorted(shapes))
    values = sound_labels()
    values["features"].insert(numbers.randrange(5), feature(shapes[name], "a"))
    if numbers.random() < 0.3:
        values["features"] = [feature(shapes[name], "a")]
    _written(work, values)
    return _case(numbers, materials, work, f"geometry: {name}")


def odd_class(numbers: random.Random, materials: Materials, work: Path) -> Case:
    odd: dict[str, Any] = {
        "list": ["a", "b"],
        "mapping": {"a": 1},
        "null": None,
        "true": True,
        "NaN": _NAN,
        "infinite": 1e400,
        "large": 1e300,
        "superscript": "²",
        "unit": "m²",
        "empty": "",
        "space": "  ",
        "control": "\x1b[31mred",
        "lines": "two\nlines",
        "NUL": "a\0b",
        "surrogate": "\ud800",
        "long": "x" * 5000,
        "date": "2021-01-01",
        "number": 7,
        "digits": "9" * 5000,
        "XML": '<a b="c">&',
    }
    name = numbers.choice(sorted(odd))
    values = sound_labels()
    for entry in values["features"][:: numbers.choice((1, 2, 4))]:
        entry["properties"]["class"] = odd[name]
    _written(work, values)
    return _case(numbers, materials, work, f"class: {name}")


def odd_crs(numbers: random.Random, materials: Materials, work: Path) -> Case:
    crs = numbers.choice(
        (
            None,
            "urn:ogc:def:crs:OGC:1.3:CRS84",
            "urn:ogc:def:crs:EPSG::3857",
            "EPSG:4326",
            "urn:ogc:def:crs:EPSG::0",
            "urn:ogc:def:crs:EPSG::4978",
            "not a CRS",
            "",
        )
    )
    values = sound_labels()
    values.pop("crs")
    if crs is not None:
        values["crs"] = {"type": "name", "properties": {"name": crs}}
    if numbers.random() < 0.3:
        values["crs"] = numbers.choice((7, [], {"type": "link"}, "x"))
    if numbers.random() < 0.4:
        for entry in values["features"]:
            entry["geometry"]["coordinates"] = [15.0001, 45.15]
    _written(work, values)
    return _case(numbers, materials, work, f"CRS: {crs}")


def odd_document(numbers: random.Random, materials: Materials, work: Path) -> Case:
    sound = json.dumps(sound_labels())
    documents: dict[str, str | bytes] = {
        "empty": "",
        "no features": json.dumps(collection()),
        "a list": "[]",
        "one feature": json.dumps(sound_labels()["features"][0]),
        "a geometry": json.dumps(sound_labels()["features"][0]["geometry"]),
        "deep": "[" * 20_000,
        "deep properties": sound.replace('"a"', "[" * 500 + "]" * 500, 1),
        "null features": '{"type": "FeatureCollection", "features": null}',
        "features that are numbers": '{"type": "FeatureCollection", "features": [1, 2]}',
        "no properties": sound.replace('"properties": {"class": "a"}, ', ""),
        "null properties": sound.replace('{"class": "a"}', "null"),
        "other names": sound.replace('"class": "b"', '"kind": "b"'),
        "byte order mark": b"\xef\xbb\xbf" + sound.encode(),
        "UTF-16": sound.encode("utf-16"),
        "not UTF-8": sound.encode().replace(b'"a"', b'"\xe9"'),
        "HTML": "<!doctype html>",
        "lines": "\n".join(map(json.dumps, sound_labels()["features"])),
        "TopoJSON": '{"type": "Topology", "objects": {}, "arcs": []}',
    }
    name = numbers.choice(sorted(documents))
    content = documents[name]
    (work / "labels.geojson").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    return _case(numbers, materials, work, f"GeoJSON: {name}")


def tables(numbers: random.Random, materials: Materials, work: Path) -> Case:
    """GeoPackages, GeoParquet and CSV with and without geometry."""
    import geopandas  # takes a second
    import pandas
    import shapely

    points = [
        shapely.Point(entry["geometry"]["coordinates"]) for entry in sound_labels()["features"]
    ]
    frame = geopandas.GeoDataFrame({"class": list("abab")}, geometry=points, crs="EPSG:32633")
    how = numbers.choice(
        (
            *("GeoPackage", "no geometry", "two layers", "first layer empty", "GeoParquet"),
            *("Parquet", "CSV", "CSV of x and y", "CSV of WKT", "no rows", "shapefile"),
            *("shapefile without index", "no CRS", "FlatGeobuf", "KML", "date"),
        )
    )
    name = "labels.gpkg"
    if how == "GeoPackage":
        frame.to_file(work / name)
    elif how == "no geometry":
        import pyogrio

        pyogrio.write_dataframe(pandas.DataFrame(frame[["class"]]), work / name)
    elif how in ("two layers", "first layer empty"):
        other = frame.iloc[:0] if how == "first layer empty" else frame.assign(kind=1)
        other.to_file(work / name, layer="other")
        frame.to_file(work / name, layer="labels")
    elif how == "no rows":
        frame.iloc[:0].to_file(work / name)
    elif how == "no CRS":
        frame.set_crs(None, allow_override=True).to_file(work / name)
    elif how == "date":
        frame.assign(**{"class": pandas.Timestamp("2021-01-01")}).to_file(work / name)
    elif how == "GeoParquet":
        name = "labels.parquet"
        frame.to_parquet(work / name)
    elif how == "Parquet":
        name = "labels.parquet"
        pandas.DataFrame(frame[["class"]]).to_parquet(work / name)
    elif how.startswith("CSV"):
        name = "labels.csv"
        columns: dict[str, Any] = {"class": list("abab")}
        if how == "CSV of x and y":
            columns |= {"x": [p.x for p in points], "y": [p.y for p in points]}
        elif how == "CSV of WKT":
            columns["WKT"] = [p.wkt for p in points]
        pandas.DataFrame(columns).to_csv(work / name, index=False)
    elif how == "FlatGeobuf":
        name = "labels.fgb"
        frame.to_file(work / name)
    elif how == "KML":
        name = "labels.kml"
        (work / name).write_text("<kml><Document/></kml>")
    else:
        name = "labels.shp"
        frame.to_file(work / name)
        if how == "shapefile without index":
            (work / "labels.shx").unlink()
    return _case(numbers, materials, work, f"labels: {how}", name)


def damaged_labels(numbers: random.Random, materials: Materials, work: Path) -> Case:
    import geopandas  # takes a second

    suffix = numbers.choice((".geojson", ".gpkg", ".parquet"))
    path = work / f"labels{suffix}"
    if suffix == ".geojson":
        _written(work, sound_labels())
    else:
        frame = geopandas.GeoDataFrame.from_features(sound_labels(), crs="EPSG:32633")
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path)
    note = damage(path, numbers)
    return _case(numbers, materials, work, note, path.name)


def odd_fields(numbers: random.Random, materials: Materials, work: Path) -> Case:
    values = sound_labels()
    fields = numbers.choice(("class and label", "none", "Class", "class twice", "id", "geometry"))
    for number, entry in enumerate(values["features"]):
        properties = {
            "class and label": {"class": "a", "label": "b"},
            "none": {},
            "Class": {"Class": "ab"[number % 2]},
            "class twice": {"class": "a", "CLASS": "b"},
            "id": {"id": number},
            "geometry": {"geometry": "ab"[number % 2]},
        }
        entry["properties"] = properties[fields]
    _written(work, values)
    case = _case(numbers, materials, work, f"fields: {fields}")
    if numbers.random() < 0.5:
        name = numbers.choice(("class", "geometry", "", "no", "\x1b", "id"))
        return Case([*case.words, "--field", name], f"{case.note}, --field {name!r}")
    return case


def many_labels(numbers: random.Random, materials: Materials, work: Path) -> Case:
    count = numbers.choice((500, 2000))
    classes = numbers.choice((2, 40, count))
    values = collection(
        *(
            feature(
                {"type": "Point", "coordinates": place(n * 7.3 % SIDE, n * 3.1 % SIDE)},
                f"class {n % classes}",
            )
            for n in range(count)
        )
    )
    _written(work, values)
    return _case(numbers, materials, work, f"{count} labels of {classes} classes")


DRAWS = (
    odd_geometry,
    odd_geometry,
    odd_geometry,
    odd_class,
    odd_class,
    odd_crs,
    odd_document,
    tables,
    tables,
    damaged_labels,
    odd_fields,
    many_labels,
)
