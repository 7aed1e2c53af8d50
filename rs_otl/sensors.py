"""The bands of common sensors, and finding an encoder's bands among those of other images."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rs_otl.spec import RGB, Band, ImageSpec

# Largest relative difference between the centre wavelengths of bands that match: Sentinel-2's near
# infrared matches Landsat's, but one red-edge band does not match the next.
_NEAR = 0.04
_NUMBERED = re.compile(r"(?:(?:sr|toa|boa)[ _-]?)?(?:b|band)[ _-]?0*(\d{1,2})(a?)")


def _table(rows: str) -> tuple[Band, ...]:
    """Read lines of name, common name, wavelength in micrometres, aliases; ``-`` means none."""
    bands = []
    for row in rows.strip().splitlines():
        name, common, wavelength, *aliases = row.split()
        bands.append(
            Band(
                name=name,
                aliases=tuple(aliases),
                common_name=None if common == "-" else common,
                wavelength=None if wavelength == "-" else float(wavelength),
            )
        )
    return tuple(bands)


# Common names as in version 2 of STAC's extension eo. Sentinel-2: ESA's spectral responses of
# Sentinel-2A; Landsat: USGS; PlanetScope: Planet's product specification, instrument PSB.SD.
SENSORS: dict[str, tuple[Band, ...]] = {
    "sentinel-2": _table(
        """
        B01 coastal 0.4427 coastal_aerosol
        B02 blue 0.4927
        B03 green 0.5598
        B04 red 0.6646
        B05 rededge071 0.7041 rededge1
        B06 rededge075 0.7405 rededge2
        B07 rededge078 0.7828 rededge3
        B08 nir 0.8328
        B8A nir08 0.8647 rededge4
        B09 nir09 0.9451 water_vapour
        B10 cirrus 1.3735
        B11 swir16 1.6137 swir1
        B12 swir22 2.2024 swir2
        """
    ),
    "landsat-8": _table(
        """
        B1 coastal 0.443
        B2 blue 0.482
        B3 green 0.5615
        B4 red 0.6545
        B5 nir08 0.865 nir
        B6 swir16 1.6085 swir1
        B7 swir22 2.2005 swir2
        B8 pan 0.5895
        B9 cirrus 1.3735
        B10 lwir11 10.895
        B11 lwir12 12.005
        """
    ),
    "landsat-7": _table(
        """
        B1 blue 0.485
        B2 green 0.56
        B3 red 0.66
        B4 nir08 0.835 nir
        B5 swir16 1.65 swir1
        B6 lwir 11.45 B6_VCID_1
        B6_VCID_2 - 11.45
        B7 swir22 2.22 swir2
        B8 pan 0.71
        """
    ),
    "planetscope-4": _table(
        """
        blue blue 0.485 B1
        green green 0.545 B2
        red red 0.63 B3
        nir nir 0.82 B4
        """
    ),
    "planetscope-8": _table(
        """
        coastal_blue coastal 0.443 B1
        blue blue 0.49 B2
        green_i green05 0.531 B3
        green green 0.565 B4
        yellow yellow 0.61 B5
        red red 0.665 B6
        rededge rededge 0.705 B7
        nir nir 0.865 B8
        """
    ),
    "sentinel-1": _table("VV - -\nVH - -\nHH - -\nHV - -"),
    "naip": _table("red red 0.64\ngreen green 0.55\nblue blue 0.46\nnir nir 0.85"),
}
# Patterns in the names of products, and the sensor that took them.
_PRODUCTS = (
    (r"s2[abc]_|msil[12][ac]|hls\.s30|(?:^|_)t\d\d[c-x][a-z]{2}_\d{8}t|sentinel-?2", "sentinel-2"),
    (r"l[co]0[89]_|hls\.l30|landsat-?[89]", "landsat-8"),
    (r"l[te]0[457]_|landsat-?[4-7]", "landsat-7"),
    (r"s1[abc]_|sentinel-?1", "sentinel-1"),
    (r"(?:^|_)m_\d{7}_|naip", "naip"),
)
_COMMON = {band.common_name for bands in SENSORS.values() for band in bands} - {None}


def sensor_of(text: str) -> str | None:
    """Return the sensor of the table that took a product, found by the product's name."""
    if text in SENSORS:
        return text
    return next((name for pattern, name in _PRODUCTS if re.search(pattern, text, re.I)), None)


def described(names: Sequence[str], source: str = "") -> tuple[Band, ...]:
    """Return what is known of bands.

    Args:
        names: Names of the bands.
        source: Name of the file, product or data set, which may contain the sensor's name.

    Returns:
        One band for each name, with this name. Common name and wavelength are those of the sensor.
        Without a sensor, they are those on which all sensors agree that have all of these names.
    """
    if set(names) == set(RGB):  # any camera has them, at wavelengths that differ
        return tuple(Band(name=name, common_name=name) for name in names)
    sensor = sensor_of(source)
    if sensor is None and any(re.fullmatch(r"(?i)b(0\d|8a)", name) for name in names):
        sensor = "sentinel-2"
    tables = list(SENSORS.values()) if sensor is None else [SENSORS[sensor]]
    rows = [{key: band for band in table for key in _keys(band)} for table in tables]
    if sensor is None:
        rows = [row for row in rows if all(_key(name) in row for name in names)]
    keys = [(name, _key(name)) for name in names]
    return tuple(_agreed(name, [row[key] for row in rows if key in row]) for name, key in keys)


def bands_of(spec: ImageSpec) -> tuple[Band, ...]:
    """Return what is known of the bands of a kind of image."""
    return spec.known or described(spec.bands, spec.units)


def typical_wavelength(band: Band) -> float | None:
    """Return a band's wavelength in micrometres, or the mean over bands of its common name."""
    if band.wavelength or not band.common_name:
        return band.wavelength
    waves = [
        one.wavelength
        for bands in SENSORS.values()
        for one in bands
        if one.wavelength and one.common_name == band.common_name
    ]
    return sum(waves) / len(waves) if waves else None


def _agreed(name: str, bands: Sequence[Band]) -> Band:
    commons = {band.common_name for band in bands}
    common = commons.pop() if len(commons) == 1 else None
    if common is None and name.lower() in _COMMON:
        common = name.lower()
    waves = {band.wavelength for band in bands}
    wave = waves.pop() if len(waves) == 1 else None
    aliases = {alias for band in bands for alias in (band.name, *band.aliases)} if wave else set()
    return Band(
        name=name,
        aliases=tuple(sorted(aliases - {name})),
        common_name=common,
        wavelength=wave,
    )


class Match(NamedTuple):
    """Where an encoder's bands are among other bands.

    Attributes:
        positions: One for each of the encoder's bands; ``None`` for a missing band.
        words: One line on bands that were not found by name, and how they were found.
    """

    positions: list[int | None]
    words: str | None


def match(wanted: Sequence[Band], given: Sequence[Band]) -> Match:
    """Find bands by name, then alias, common name, and wavelength; use each given band once.

    Bands with the same name do not match if their wavelengths are known to differ, such as band 5
    of Landsat and of Sentinel-2.

    Args:
        wanted: Bands of an encoder.
        given: Bands of the images.
    """
    rules: tuple[tuple[str, Callable[[Band, Band], bool]], ...] = (
        ("name", lambda a, b: a.name.casefold() == b.name.casefold()),
        ("alias", lambda a, b: bool(_keys(a) & _keys(b))),
        ("common name", lambda a, b: a.common_name is not None and a.common_name == b.common_name),
        ("wavelength", lambda a, b: bool(a.wavelength and b.wavelength)),
    )
    found: list[int | None] = [None] * len(wanted)
    words = []
    for how, same in rules:
        said = []
        for number, band in enumerate(wanted):
            if found[number] is not None:
                continue
            free = [
                position
                for position, other in enumerate(given)
                if position not in found and same(band, other) and not _differ(band, other)
            ]
            if free:
                best = min(free, key=lambda position: _distance(band, given[position]))
                found[number] = best
                said.append(f"{band.name} = {given[best].name}")
        if said and how != "name":
            words.append(f"{', '.join(said)} by {how}")
    return Match(found, "; ".join(words) or None)


def _key(name: str) -> str:
    plain = name.strip().casefold()
    numbered = _NUMBERED.fullmatch(plain)
    return f"b{numbered[1]}{numbered[2]}" if numbered else plain


def _keys(band: Band) -> set[str]:
    return {_key(name) for name in (band.name, *band.aliases)}


def _distance(band: Band, other: Band) -> float:
    if not (band.wavelength and other.wavelength):
        return 0.0
    return abs(band.wavelength - other.wavelength) / band.wavelength


def _differ(band: Band, other: Band) -> bool:
    if band.wavelength and other.wavelength:
        return _distance(band, other) > _NEAR
    # Red is red in any camera, whatever its wavelength; nir08 is a kind of nir.
    first, second = band.common_name or "", other.common_name or ""
    return not (first.startswith(second) or second.startswith(first))
