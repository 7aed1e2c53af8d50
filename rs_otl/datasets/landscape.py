"""Land cover drawn procedurally: pictures of one cover each, and a landscape of many."""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

SIDE = 64
LANDSCAPE = ("fields", "forest", "industrial", "meadow", "residential", "water")

Array = NDArray[Any]
Random = np.random.Generator

# Reflectance in red, green, blue and near infrared, about as field spectrometers measure it.
_SPECTRA = {
    "tree": (0.09, 0.15, 0.08, 0.42),
    "grass": (0.20, 0.27, 0.14, 0.46),
    "crop": (0.14, 0.25, 0.11, 0.55),
    "straw": (0.50, 0.44, 0.29, 0.54),
    "soil": (0.38, 0.28, 0.20, 0.44),
    "dark soil": (0.23, 0.18, 0.14, 0.28),
    "sand": (0.60, 0.52, 0.40, 0.64),
    "rock": (0.40, 0.37, 0.34, 0.42),
    "clear water": (0.05, 0.11, 0.15, 0.03),
    "muddy water": (0.27, 0.26, 0.19, 0.14),
    "green water": (0.10, 0.18, 0.11, 0.12),
    "asphalt": (0.20, 0.20, 0.21, 0.23),
    "concrete": (0.50, 0.49, 0.47, 0.50),
    "tile": (0.50, 0.29, 0.22, 0.40),
    "slate": (0.27, 0.28, 0.31, 0.30),
    "white roof": (0.76, 0.76, 0.75, 0.72),
    "blue roof": (0.30, 0.42, 0.60, 0.42),
}
_LAND = ("grass", "crop", "straw", "soil", "dark soil")
_WATER = ("clear water", "muddy water", "green water")
_HOUSES = ("tile", "tile", "slate", "concrete", "white roof")
_HALLS = ("white roof", "concrete", "slate", "blue roof", "tile")


def draw_scene(path: str) -> NDArray[np.uint8]:
    """Draw a scene.

    Args:
        path: ``<class>/<number>``; each path gives one scene, always the same.

    Returns:
        (4, 64, 64) uint8: red, green, blue, near infrared.
    """
    rng = np.random.default_rng(zlib.crc32(path.encode()))
    draw = _DRAW[path.partition("/")[0]]
    u, v = _ground(rng)
    return _photographed(rng, draw(rng, u, v))


def draw_landscape(side: int = 1024, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.intp]]:
    """Draw a scene of many land covers, and return the cover of each pixel.

    Args:
        side: Height and width in pixels.
        seed: Another seed draws another place.

    Returns:
        Pixels (4, side, side) uint8: red, green, blue, near infrared; and the index in
        :data:`LANDSCAPE` of what covers each pixel, (side, side).
    """
    rng = np.random.default_rng(seed)
    cover, _ = _parcelled(rng, side)
    (scene,) = _covered(rng, [cover])
    return _photographed(rng, scene), cover


def draw_two_dates(
    side: int = 768, seed: int = 0
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.intp]]]:
    """Draw a landscape at two dates, each in its light.

    At the second date, houses stand on a part of a meadow and fields on a part of a forest; the
    ground of the rest is the same.

    Args:
        side: Height and width in pixels.
        seed: Another seed draws another place.

    Returns:
        The pixels of both dates, and the covers of both, as :func:`draw_landscape` returns them.
    """
    rng = np.random.default_rng(seed)
    cover, bends = _parcelled(rng, side)
    later = cover.copy()
    y, x = np.mgrid[:side, :side]
    for before, after, share in (("meadow", "residential", 0.15), ("forest", "fields", 0.12)):
        ground = cover == LANDSCAPE.index(before)
        depth = distance_transform_edt(np.pad(ground, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        near = np.hypot(y + bends[0] - row, x + bends[1] - column) < share * side
        later[near & ground] = LANDSCAPE.index(after)
    covers = [cover, later]
    return [_photographed(rng, scene) for scene in _covered(rng, covers)], covers


def _parcelled(rng: Random, side: int) -> tuple[NDArray[np.intp], Array]:
    """Divide a landscape into parcels: their covers, and the bends of their borders (2, ...)."""
    y, x = np.mgrid[:side, :side].astype(float)
    # Parcels around jittered places; noise bends their borders.
    across = max(3, side // 170)
    places = (
        np.mgrid[:across, :across].reshape(2, -1).T + rng.uniform(0.1, 0.9, (across**2, 2))
    ) * (side / across)
    covers = rng.permutation(np.arange(len(places)) % len(LANDSCAPE))
    bend_y, bend_x = 9 * _noise(rng, y, 1.9), 9 * _noise(rng, y, 1.9)
    nearest = np.full(y.shape, np.inf)
    cover = np.zeros(y.shape, np.intp)
    for (row, column), kind in zip(places, covers, strict=True):
        distance = np.hypot(y + bend_y - row, x + bend_x - column)
        cover = np.where(distance < nearest, kind, cover)
        nearest = np.minimum(distance, nearest)
    return cover, np.stack([bend_y, bend_x])


def _covered(rng: Random, covers: Sequence[NDArray[np.intp]]) -> list[Array]:
    """Draw each kind of ground once, and put it where each map of covers has it."""
    side = len(covers[0])
    scenes = [np.zeros((4, side, side)) for _ in covers]
    for kind, name in enumerate(LANDSCAPE):
        u, v = _ground(rng, side)
        drawn = _open_water(rng, u) if name == "water" else _DRAW[name](rng, u, v)
        scenes = [
            np.where(cover == kind, drawn, scene)
            for cover, scene in zip(covers, scenes, strict=True)
        ]
    return scenes


def _ground(rng: Random, side: int = SIDE) -> tuple[Array, Array]:
    """Return ground coordinates of a square of pixels, turned and scaled at random."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.45)
    shift = rng.uniform(500, 900, 2)  # keeps cell numbers positive
    u = (np.cos(angle) * x + np.sin(angle) * y) * scale + shift[0]
    v = (np.cos(angle) * y - np.sin(angle) * x) * scale + shift[1]
    return u, v


def _photographed(rng: Random, ground: Array) -> NDArray[np.uint8]:
    """Add light, season, haze and camera noise to (4, height, width) reflectances."""
    ground = ground * rng.lognormal(0, 0.05, (4, 1, 1)) * rng.lognormal(0, 0.16)
    ground = ground * (1 + 0.06 * _noise(rng, ground[0], 1.6))
    haze = rng.uniform(0, 0.2) * np.array([0.8, 0.9, 1.0, 0.3])[:, None, None]
    ground = ground * (1 - haze) + 0.6 * haze
    ground = np.clip(ground, 0, 1) ** rng.uniform(0.7, 1.1)
    ground = ground + rng.normal(0, rng.uniform(0.004, 0.025), ground.shape)
    return np.rint(np.clip(ground, 0, 1) * 255).astype(np.uint8)


def _noise(rng: Random, like: Array, slope: float, along: float = 1.0) -> Array:
    """Fractal noise, mean 0 and deviation 1, of the shape of ``like``; a steeper slope is smoother.

    ``along`` above 1 stretches it in one random direction.
    """
    height, width = like.shape
    fy, fx = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing="ij")
    angle = rng.uniform(0, np.pi)
    a = (np.cos(angle) * fx + np.sin(angle) * fy) * along
    b = np.cos(angle) * fy - np.sin(angle) * fx
    amplitude = (a**2 + b**2 + 1 / SIDE**2) ** (-slope / 2)
    amplitude[0, 0] = 0
    field = np.fft.irfft2(amplitude * np.fft.rfft2(rng.standard_normal(like.shape)), like.shape)
    return field / field.std()


def _material(rng: Random, *names: str) -> Array:
    """Spectrum of one of the named materials, (4, 1, 1), no two quite the same."""
    spectrum = np.array(_SPECTRA[names[rng.integers(len(names))]])
    varied = spectrum * rng.lognormal(0, 0.06, 4) * rng.lognormal(0, 0.10)
    return varied[:, None, None]


def _over(below: Array, above: Array, cover: Array) -> Array:
    """Lay one ground over another by ``cover``, (height, width), 0 to 1."""
    return below + (above - below) * cover


def _inside(distance: Array) -> Array:
    """Return 1 where the distance in pixels is negative, else 0, with an edge one pixel soft."""
    return np.clip(0.5 - distance, 0, 1)


def _cells(u: Array, v: Array, du: float, dv: float) -> tuple[Array, Array, Array, Array]:
    """Cut the ground into cells: numbers of each pixel's cell, and offset from its centre."""
    i, j = np.floor(u / du), np.floor(v / dv)
    return i.astype(int) % 64, j.astype(int) % 64, u - (i + 0.5) * du, v - (j + 0.5) * dv


def _trees(rng: Random, u: Array, v: Array, spacing: float, jitter: float, share: float) -> Array:
    """Crowns around points of a jittered grid: their cover and their brightness, (2, 64, 64)."""
    places = rng.uniform(-jitter, jitter, (2, 64, 64)) * spacing
    radii = spacing * rng.uniform(0.36, 0.62) * rng.lognormal(0, 0.5 * jitter, (64, 64))
    radii[rng.random((64, 64)) > share] = -1
    tones = rng.lognormal(0, 0.10 + 0.2 * jitter, (64, 64))
    sun = rng.uniform(0, 2 * np.pi)
    depth, light = np.full(u.shape, np.inf), np.ones(u.shape)
    reach = (-1, 0, 1)
    for step_u in reach:
        for step_v in reach:
            i, j, pu, pv = _cells(u + step_u * spacing, v + step_v * spacing, spacing, spacing)
            pu, pv = (
                pu - step_u * spacing - places[0, i, j],
                pv - step_v * spacing - places[1, i, j],
            )
            radius = radii[i, j]
            distance = np.hypot(pu, pv) - radius
            nearer = distance < depth
            slant = (np.cos(sun) * pu + np.sin(sun) * pv) / np.maximum(radius, 1)
            light = np.where(nearer, tones[i, j] * (1 + 0.35 * np.clip(slant, -1, 1)), light)
            depth = np.where(nearer, distance, depth)
    return np.stack([_inside(depth), light])


def _wooded(rng: Random, ground: Array, crowns: Array) -> Array:
    """Put crowns on the ground."""
    cover, light = crowns
    return _over(ground, _material(rng, "tree") * light, cover)


def _land(rng: Random, u: Array, v: Array) -> Array:
    """Open country as background: patches of two grounds and, often, some trees."""
    patches = _inside(4 * (_noise(rng, u, 1.5) - rng.normal(0, 0.7)))
    land = _over(_material(rng, *_LAND), _material(rng, *_LAND), patches)
    land = land * (1 + rng.uniform(0.03, 0.12) * _noise(rng, u, rng.uniform(0.4, 1.2)))
    if rng.random() < 0.6:
        crowns = _trees(rng, u, v, rng.uniform(4, 8), 0.45, rng.uniform(0.05, 0.9))
        crowns[0] *= _noise(rng, u, 1.5) > rng.uniform(-0.5, 1.2)
        land = _wooded(rng, land, crowns)
    return land


def _parcels(rng: Random, u: Array, v: Array) -> Array:
    """Fields in strips of unequal length, each ploughed along one of two directions."""
    du, dv = rng.uniform(12, 34), rng.uniform(16, 50)
    strip = np.floor(u / du).astype(int) % 64
    i, j, pu, pv = _cells(u, v + rng.uniform(0, dv, 64)[strip], du, dv)
    kinds = np.stack([_material(rng, *_LAND, "crop", "soil") for _ in range(7)])[:, :, 0, 0]
    land = np.moveaxis(kinds[rng.integers(7, size=(64, 64))[i, j]], -1, 0)
    along = np.where(rng.random((64, 64))[i, j] < 0.7, u, v)
    period = rng.uniform(2.2, 6, (64, 64))[i, j]
    furrows = np.sin(2 * np.pi * along / period) * rng.uniform(0, 0.22, (64, 64))[i, j]
    land = land * (1 + furrows + 0.05 * _noise(rng, u, 1.0))
    edge = np.maximum(np.abs(pu) - du / 2, np.abs(pv) - dv / 2)
    border = _inside(-edge - rng.uniform(0.2, 1.2))
    return _over(land, _material(rng, "tree", "grass", "soil", "straw"), border)


def _bare(rng: Random, u: Array, v: Array) -> Array:
    """Ridges or dunes under low light, with a few shrubs."""
    height = _noise(rng, u, rng.uniform(1.3, 1.9), rng.uniform(1, 5))
    if rng.random() < 0.6:
        height = -np.abs(height)
    dy, dx = np.gradient(height)
    sun = rng.uniform(0, 2 * np.pi)
    slope = np.cos(sun) * dx + np.sin(sun) * dy
    shade = 1 + rng.uniform(0.12, 0.32) * np.clip(slope / slope.std(), -2.5, 2.5)
    ground = _over(
        _material(rng, "sand", "rock", "soil"),
        _material(rng, "sand", "rock", "soil", "straw"),
        _inside(2 * height - rng.normal(0, 1)),
    )
    shrubs = _trees(rng, u, v, rng.uniform(3, 7), 0.5, rng.uniform(0, 0.2))
    return _wooded(rng, ground * shade, shrubs * np.array([0.8, 1])[:, None, None])


def _forest(rng: Random, u: Array, v: Array) -> Array:
    """Crowns of all sizes, closed except for clearings."""
    floor = _material(rng, "grass", "dark soil", "tree") * (0.7 + 0.1 * _noise(rng, u, 0.8))
    forest = _wooded(rng, floor * 0.7, _trees(rng, u, v, rng.uniform(3, 5), 0.5, 1.0))
    forest = _wooded(rng, forest, _trees(rng, u, v, rng.uniform(5, 9), 0.5, rng.uniform(0.3, 0.9)))
    forest = forest * (1 + rng.uniform(0.03, 0.15) * _noise(rng, u, 1.6))
    clearings = _inside(6 * (_noise(rng, u, 1.7) + rng.uniform(0.9, 2.5)))
    return _over(forest, _material(rng, *_LAND) * (1 + 0.06 * _noise(rng, u, 1.0)), clearings)


def _orchard(rng: Random, u: Array, v: Array) -> Array:
    """Crowns in rows, some missing, inside a field that may end in the picture."""
    ground = _material(rng, *_LAND) * (1 + 0.07 * _noise(rng, u, 1.0))
    crowns = _trees(rng, u, v * rng.uniform(0.7, 1.0), rng.uniform(4.5, 8), 0.07, 0.94)
    if rng.random() < 0.5:
        beyond = (u - u.mean()) * rng.choice([-1, 1]) > rng.uniform(8, 24)
        ground = np.where(beyond, _land(rng, u, v), ground)
        crowns[0] *= ~beyond
    return _wooded(rng, ground, crowns)


def _meadow(rng: Random, u: Array, v: Array) -> Array:
    """Mottled grass, sometimes a path, and single trees."""
    second = _material(rng, "grass", "grass", "straw", "crop")
    meadow = _over(_material(rng, "grass"), second, _inside(1.5 * _noise(rng, u, 1.4)))
    meadow = meadow * (1 + rng.uniform(0.05, 0.16) * _noise(rng, u, rng.uniform(0.3, 1.3)))
    if rng.random() < 0.5:
        path = _inside(np.abs(_course(rng, u, v, 0.35)) - rng.uniform(0.4, 1.0))
        meadow = _over(meadow, _material(rng, "soil", "sand"), path)
    return _wooded(rng, meadow, _trees(rng, u, v, rng.uniform(5, 11), 0.5, rng.uniform(0, 0.25)))


def _course(rng: Random, u: Array, v: Array, bends: float) -> Array:
    """Signed distance in pixels, about, from a winding line through the middle."""
    along = (u - u.mean()) / SIDE
    waves = [
        rng.normal(0, 14 * bends / number) * np.sin(2 * np.pi * number * 0.7 * along + phase)
        for number, phase in enumerate(rng.uniform(0, 2 * np.pi, 3), 1)
    ]
    return v - v.mean() + sum(waves) - rng.uniform(-10, 10)


def _river(rng: Random, u: Array, v: Array) -> Array:
    """A winding river with bare or wooded banks."""
    distance = np.abs(_course(rng, u, v, rng.uniform(0.5, 1.3)) + 0.8 * _noise(rng, u, 1.6))
    width = rng.uniform(2.5, 9)
    bank = _material(rng, "sand", "tree", "grass", "soil")
    scene = _over(_land(rng, u, v), bank, _inside(distance - width - rng.uniform(0, 3)))
    water = _material(rng, *_WATER) * (1 + 0.05 * _noise(rng, u, 1.2))
    return _over(scene, water, _inside(distance - width))


def _road(rng: Random, u: Array, v: Array) -> Array:
    """One or two roads, straight or bent, with verges, lanes and cars."""
    scene = _land(rng, u, v)
    surface = _material(rng, "asphalt", "asphalt", "concrete", "soil")
    verge = _material(rng, "grass", "soil", "straw")
    width, bends = rng.uniform(2, 5.5), rng.choice([0, 0.3, 0.7])
    lines = [_course(rng, u, v, bends)]
    if rng.random() < 0.4:
        lines.append(_course(rng, v, -u, 0))
    for line in lines:
        scene = _over(scene, verge, _inside(np.abs(line) - width - 1.5))
    for line in lines:
        scene = _over(
            scene, surface * (1 + 0.04 * _noise(rng, u, 1)), _inside(np.abs(line) - width)
        )
        if width > 3:
            scene = _over(scene, _material(rng, "white roof"), 0.7 * _inside(np.abs(line) - 0.1))
    i, j, pu, pv = _cells(u, lines[0] - width / 2, 5.0, width)
    car = _inside(np.maximum(np.abs(pu) - 1.2, np.abs(pv) - 0.4))
    car = car * (rng.random((64, 64)) < 0.12)[i, j] * (np.abs(lines[0]) < width)
    return _over(scene, _material(rng, "white roof", "slate", "tile"), car)


def _built(
    rng: Random,
    u: Array,
    v: Array,
    ground: Array,
    lot: float,
    fill: tuple[float, float],
    share: float,
    roofs: tuple[str, ...],
    shadow: float,
) -> Array:
    """One gabled or flat roof on most lots of a grid, with its shadow."""
    sizes = rng.uniform(*fill, (2, 64, 64)) * lot / 2
    places = rng.uniform(-0.5, 0.5, (2, 64, 64)) * np.maximum(0, 0.92 * lot / 2 - sizes)
    there = rng.random((64, 64)) < share

    def distance(u: Array, v: Array) -> tuple[Array, Array, Array, Array]:
        i, j, pu, pv = _cells(u, v, lot, lot)
        pu, pv = pu - places[0, i, j], pv - places[1, i, j]
        outside = np.maximum(np.abs(pu) - sizes[0, i, j], np.abs(pv) - sizes[1, i, j])
        return (
            np.where(there[i, j], outside, np.inf),
            i,
            j,
            np.where((sizes[0] > sizes[1])[i, j], pv, pu),
        )

    sun = rng.uniform(0, 2 * np.pi)
    cast, *_ = distance(u - shadow * np.cos(sun), v - shadow * np.sin(sun))
    ground = ground * (1 - 0.55 * _inside(cast))
    edge, i, j, across = distance(u, v)
    kinds = np.stack([_material(rng, *roofs) for _ in range(6)])[:, :, 0, 0]
    roof = np.moveaxis(kinds[rng.integers(6, size=(64, 64))[i, j]], -1, 0)
    gable = rng.uniform(0, 0.3, (64, 64))[i, j] * np.sign(across)
    return _over(ground, roof * (1 + gable), _inside(edge))


def _residential(rng: Random, u: Array, v: Array) -> Array:
    """Houses with gardens along a grid of streets."""
    lot = rng.uniform(6.5, 11)
    ground = _over(
        _material(rng, "grass", "soil"), _material(rng, *_LAND), _inside(_noise(rng, u, 1))
    )
    ground = ground * (1 + 0.08 * _noise(rng, u, 0.8))
    ground = _wooded(rng, ground, _trees(rng, u, v, rng.uniform(3, 6), 0.5, rng.uniform(0.1, 0.7)))
    rows, columns = rng.integers(2, 4), rng.integers(3, 8)
    width = rng.uniform(1.0, 2.0)
    pv, pu = _cells(u, v, columns * lot, rows * lot)[3:1:-1]
    street = np.minimum(rows * lot / 2 - np.abs(pv), columns * lot / 2 - np.abs(pu)) - width
    scene = _over(ground, _material(rng, "asphalt", "concrete"), _inside(street))
    return _built(rng, u, v, scene, lot, (0.4, 0.72), rng.uniform(0.65, 0.98), _HOUSES, 1.2)


def _industrial(rng: Random, u: Array, v: Array) -> Array:
    """Halls and yards, with parked cars between them."""
    yard = _material(rng, "asphalt", "concrete", "soil", "grass")
    second = _material(rng, "asphalt", "concrete", "grass")
    yard = _over(yard, second, _inside(3 * _noise(rng, u, 1.7)))
    scene = yard * (1 + 0.05 * _noise(rng, u, 0.8))
    scene = _built(rng, u, v, scene, 3.2, (0.4, 0.7), rng.uniform(0, 0.4), _HALLS + _HOUSES, 0.4)
    return _built(
        rng, u, v, scene, rng.uniform(17, 34), (0.5, 0.9), rng.uniform(0.7, 1), _HALLS, 2.2
    )


def _open_water(rng: Random, u: Array) -> Array:
    """Waves and glint."""
    water = _material(rng, *_WATER) * (1 + rng.uniform(0.02, 0.1) * _noise(rng, u, 1.6))
    ripples = _noise(rng, u, 0.6, rng.uniform(2, 6))
    return water + rng.uniform(0, 0.03) * ripples + 0.12 * (ripples > rng.uniform(2.2, 4))


def _water(rng: Random, u: Array, v: Array) -> Array:
    """Open water, with a shore at the edge of the picture or beyond."""
    water = _open_water(rng, u)
    depth = v - v.mean() + 4 * _noise(rng, u, 1.8) + rng.uniform(5, 45)
    beach = _material(rng, "sand", "rock", "grass", "tree")
    shore = _over(_land(rng, u, v), beach, _inside(-depth - rng.uniform(0, 4)))
    return _over(shore, water, _inside(-depth))


_DRAW: dict[str, Callable[[Random, Array, Array], Array]] = {
    "bare": _bare,
    "fields": _parcels,
    "forest": _forest,
    "industrial": _industrial,
    "meadow": _meadow,
    "orchard": _orchard,
    "residential": _residential,
    "river": _river,
    "road": _road,
    "water": _water,
}
