"""Colours of classes, and the files that tell a GIS about them."""

import colorsys
import json
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from rs_otl.errors import InputError, printable
from rs_otl.files import atomic_write

_OKABE_ITO = ("0072b2", "e69f00", "009e73", "cc79a7", "56b4e9", "d55e00", "f0e442", "999999")
# A class with a colour that everyone expects gets the nearest of these colours.
_EXPECTED = {
    word: colour
    for colour, words in (
        ("0072b2", "water sea lake river ocean pond"),
        ("56b4e9", "snow ice glacier cloud"),
        ("009e73", "forest wood woods tree trees conifers vegetation"),
        ("f0e442", "crop crops field fields grass meadow grassland"),
        ("e69f00", "soil bare sand beach earth"),
        ("d55e00", "roof roofs building buildings urban houses"),
        ("999999", "road roads rock street asphalt parking"),
    )
    for word in words.split()
}
# Most bytes of a file of colours.
_MOST_BYTES = 16 * 2**20


def confidence_of(out: Path) -> Path:
    """Name the file beside a map that holds its confidence."""
    return out.with_name(f"{out.stem}-confidence{out.suffix}")


def natural(name: str) -> tuple[Any, ...]:
    """Return a key that sorts 2 before 10, whatever else is in a name."""
    parts = re.split("([0-9]+)", name)
    # Numbers stay text, compared by length first: they may be too long for int().
    digits = [part.lstrip("0") for part in parts[1::2]]
    text = [(part,) for part in parts[::2]]
    numbers = [(len(part), part) for part in digits]
    return (*[(a, *b) for a, b in zip(text, [*numbers, ()], strict=True)], name)


def colours_of(classes: Sequence[str], chosen: Mapping[str, str]) -> list[str]:
    """Choose colours for classes.

    Up to eight classes have the colours of Okabe and Ito, which colour-blind eyes can distinguish;
    water is blue, forest green, and so on. Further classes have other hues.

    Args:
        classes: Names of the classes.
        chosen: Colours that the user has chosen, by class.

    Returns:
        One colour for each class, as ``#rrggbb``.
    """
    colours = {name: chosen[name] for name in classes if name in chosen}
    free = [f"#{colour}" for colour in _OKABE_ITO if f"#{colour}" not in colours.values()]
    # The last word says what a thing is; a name of one word comes before one of several.
    words = {name: re.findall("[a-z]+", name.lower())[::-1] for name in classes}
    for name in sorted(classes, key=lambda name: len(words[name])):
        expected = [f"#{_EXPECTED[word]}" for word in words[name] if word in _EXPECTED]
        colour = next((colour for colour in expected if colour in free), None)
        if name not in colours and colour is not None:
            colours[name] = colour
            free.remove(colour)
    number = 0
    for name in classes:
        if name not in colours and free:
            colours[name] = free.pop(0)
        elif name not in colours:
            colours[name] = _further(number)
            number += 1
    return [colours[name] for name in classes]


def _further(number: int) -> str:
    # The golden ratio keeps neighbouring numbers far apart on the colour wheel.
    hue = (number * 0.618034) % 1
    shade = colorsys.hsv_to_rgb(hue, (0.55, 0.9)[number % 2], (0.95, 0.6)[number // 2 % 2])
    return "#" + bytes(round(255 * part) for part in shade).hex()


def palette(most: int) -> dict[str, Any]:
    """Return what :func:`colours_of` chooses from, for programs in other languages.

    Args:
        most: Largest number of classes.

    Returns:
        ``plain`` colours, ``expected`` colours by word, and ``further`` colours, as ``#rrggbb``.
    """
    return {
        "plain": [f"#{colour}" for colour in _OKABE_ITO],
        "expected": {word: f"#{colour}" for word, colour in _EXPECTED.items()},
        "further": [_further(number) for number in range(most)],
    }


def read_colours(path: Path) -> dict[str, str]:
    """Read the colours of classes, in the order of the file.

    Args:
        path: JSON, ``{"water": "#0072b2", ...}``; a style of QGIS (``.qml``) of a map or of
            labels; or a GeoPackage in which QGIS has stored the style of a layer.

    Returns:
        ``#rrggbb`` by class.

    Raises:
        InputError: The file cannot be read, or holds no colours of classes.
    """
    expected = (
        'expected JSON such as {"water": "#0072b2"}, a style of QGIS with a colour for each class, '
        "or a GeoPackage with such a style"
    )
    if not path.is_file():
        raise InputError(f"{path}: no such file, {expected}")
    if path.stat().st_size > _MOST_BYTES and path.suffix.lower() != ".gpkg":
        raise InputError(f"{path}: too large for a file of colours, {expected}")
    try:
        if path.suffix.lower() == ".gpkg":
            with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as tables:
                rows = tables.execute("SELECT styleQML FROM layer_styles ORDER BY useAsDefault")
                found: dict[str, str] = {}
                for (style,) in rows:
                    found = _of_style(str(style)) or found
        elif path.suffix.lower() == ".qml":
            found = _of_style(path.read_text(encoding="utf-8"))
        else:
            found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, ElementTree.ParseError, sqlite3.Error) as error:
        reason = printable(" ".join(str(error).split()))
        raise InputError(f"{path}: cannot be read ({reason}), {expected}") from None
    if not found or not isinstance(found, dict):
        raise InputError(f"{path}: holds no colours of classes, {expected}")
    for name, colour in found.items():
        if not re.fullmatch("#[0-9a-fA-F]{6}", str(colour)):
            raise InputError(f"{path}: {name}: {colour}: expected a colour such as #0072b2")
    return {name: colour.lower() for name, colour in found.items()}


def _of_style(text: str) -> dict[str, str]:
    """Find the colours of classes in a style of QGIS, of a raster or of features."""
    root = ElementTree.fromstring(text)
    found = {
        entry.get("label") or entry.get("value") or "": (entry.get("color") or "")[:7]
        for entry in root.iterfind(".//paletteEntry")
    }
    symbols = {symbol.get("name"): symbol for symbol in root.iterfind(".//symbols/symbol")}
    for category in root.iterfind(".//categories/category"):
        name, symbol = category.get("value"), symbols.get(category.get("symbol"))
        if not name or symbol is None:
            continue
        # The forms since QGIS 3.18, and before.
        values = [option.get("value") for option in symbol.iterfind(".//Option[@name='color']")]
        values += [prop.get("v") for prop in symbol.iterfind(".//prop[@k='color']")]
        parts = re.match("([0-9]{1,3}),([0-9]{1,3}),([0-9]{1,3})", next(iter(values), "") or "")
        if parts:
            found[name] = "#" + "".join(f"{min(255, int(part)):02x}" for part in parts.groups())
    return found


def rgba(colour: str) -> tuple[int, int, int, int]:
    """Return red, green, blue and alpha of ``#rrggbb``, 0 to 255."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue, 255


def write_attributes(
    path: Path,
    classes: Sequence[str],
    colours: Sequence[str],
    counts: Sequence[int],
    hectares: Sequence[float] | None,
    values: NDArray[np.uint8],
) -> None:
    """Write class names, an attribute table and statistics to ``MAP.aux.xml``, which GDAL reads.

    GeoTIFF has no place for them. A CRS that the file already holds is kept.

    Args:
        path: The map.
        classes: Names of the classes, from value 1.
        colours: Colour of each class.
        counts: Cells of each class.
        hectares: Hectares of each class; ``None`` for a map without a place on Earth.
        values: The map.
    """
    root, band = _band_of(path)
    _add_statistics(band, values)
    names = ElementTree.SubElement(band, "CategoryNames")
    for name in ("", *classes):
        ElementTree.SubElement(names, "Category").text = name
    table = ElementTree.SubElement(band, "GDALRasterAttributeTable", {"tableType": "thematic"})
    # Name, GDAL's type (0 whole number, 1 number, 2 text) and usage.
    fields = [("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8)]
    fields += [("Cells", 1, 1), *([("Hectares", 1, 0)] if hectares is not None else [])]
    for index, (title, kind, usage) in enumerate(fields):
        field = ElementTree.SubElement(table, "FieldDefn", {"index": str(index)})
        for key, text in (("Name", title), ("Type", kind), ("Usage", usage)):
            ElementTree.SubElement(field, key).text = str(text)
    for index, (name, colour) in enumerate(zip(classes, colours, strict=True)):
        row = ElementTree.SubElement(table, "Row", {"index": str(index)})
        of_class = [index + 1, name, *rgba(colour)[:3], counts[index]]
        of_class += [f"{hectares[index]:.4f}"] if hectares is not None else []
        for value in of_class:
            ElementTree.SubElement(row, "F").text = str(value)
    _write_xml(root, path.with_name(f"{path.name}.aux.xml"))


def write_statistics(path: Path, values: NDArray[np.uint8]) -> None:
    """Write the statistics of a raster of one band to its ``.aux.xml``; 0 is nodata."""
    root, band = _band_of(path)
    _add_statistics(band, values)
    _write_xml(root, path.with_name(f"{path.name}.aux.xml"))


def _band_of(path: Path) -> tuple[ElementTree.Element, ElementTree.Element]:
    aside = path.with_name(f"{path.name}.aux.xml")
    root = (
        ElementTree.parse(aside).getroot() if aside.exists() else ElementTree.Element("PAMDataset")
    )
    for old in root.findall("PAMRasterBand"):
        root.remove(old)
    return root, ElementTree.SubElement(root, "PAMRasterBand", {"band": "1"})


def _add_statistics(band: ElementTree.Element, values: NDArray[np.uint8]) -> None:
    with_data = values[values > 0]
    metadata = ElementTree.SubElement(band, "Metadata")
    if with_data.size:
        for name, value in (
            ("MAXIMUM", with_data.max()),
            ("MEAN", with_data.mean(dtype=float)),
            ("MINIMUM", with_data.min()),
            ("STDDEV", with_data.std(dtype=float)),
            ("VALID_PERCENT", 100 * with_data.size / values.size),
        ):
            item = ElementTree.SubElement(metadata, "MDI", {"key": f"STATISTICS_{name}"})
            item.text = f"{value:.6g}"


def write_map_style(path: Path, classes: Sequence[str], colours: Sequence[str]) -> None:
    """Write ``MAP.qml``, which QGIS reads first."""
    root = ElementTree.Element("qgis", {"version": "3.22.0"})
    renderer = ElementTree.SubElement(
        ElementTree.SubElement(root, "pipe"),
        "rasterrenderer",
        {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1"},
    )
    palette = ElementTree.SubElement(renderer, "colorPalette")
    for value, (name, colour) in enumerate(zip(classes, colours, strict=True), start=1):
        entry = {"value": str(value), "color": colour, "alpha": "255", "label": name}
        ElementTree.SubElement(palette, "paletteEntry", entry)
    _write_xml(root, path.with_suffix(".qml"))


def write_outline_style(path: Path) -> None:
    """Write a style beside polygons, for QGIS to show them as outlines, if there is none."""
    if os.path.lexists(path.with_suffix(".qml")):  # also a link that leads nowhere
        return
    root = ElementTree.Element("qgis", {"version": "3.22.0"})
    renderer = ElementTree.SubElement(root, "renderer-v2", {"type": "singleSymbol"})
    symbol = ElementTree.SubElement(
        ElementTree.SubElement(renderer, "symbols"), "symbol", {"type": "fill", "name": "0"}
    )
    line = ElementTree.SubElement(symbol, "layer", {"class": "SimpleLine", "enabled": "1"})
    options = ElementTree.SubElement(line, "Option", {"type": "Map"})
    red, green, blue = bytes.fromhex(_OKABE_ITO[5])
    for name, value in (("line_color", f"{red},{green},{blue},255"), ("line_width", "0.6")):
        attributes = {"name": name, "type": "QString", "value": value}
        ElementTree.SubElement(options, "Option", attributes)
    _write_xml(root, path.with_suffix(".qml"))


def _write_xml(root: ElementTree.Element, path: Path) -> None:
    with atomic_write(path) as aside:
        aside.write_bytes(ElementTree.tostring(root, encoding="utf-8") + b"\n")
