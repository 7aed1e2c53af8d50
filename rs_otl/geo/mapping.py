"""Make class maps from a handful of labels."""

import csv
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rs_otl.datasets.scene import SceneLike
from rs_otl.datasets.sources import all_scenes
from rs_otl.errors import InputError, note, shortened
from rs_otl.files import atomic_write, refuse_output
from rs_otl.geo.cells import Cells, refuse_mixed
from rs_otl.geo.class_map import TIFF, write_class_map, write_features, written_aside
from rs_otl.geo.classifier import MOST_CLASSES, Classifier, Linear
from rs_otl.geo.fitting import fit, predict_left_out, predict_other_blocks
from rs_otl.geo.formats import write_cog
from rs_otl.geo.grid import scaled
from rs_otl.geo.joined import scenes_in
from rs_otl.geo.labels import Label, Labels, Skipped, read_labels
from rs_otl.geo.legend import (
    colours_of,
    confidence_of,
    natural,
    read_colours,
    write_statistics,
)
from rs_otl.geo.opening import is_embedding, load_encoder_for, open_cells
from rs_otl.progress import tracked
from rs_otl.spec import Values

if TYPE_CHECKING:  # importing PyTorch takes seconds; embedding files do not need it
    from rs_otl.models import Encoder

# Side of a block in tiles: labels of a block stay together when folds are left out.
_BLOCK_TILES = 2
# Parts along the longer side of the labelled area: each is left out whole in the second test.
_PARTS = 4


@dataclass(frozen=True)
class SceneMap:
    """The map of a scene.

    Attributes:
        path: The map; ``PATH.aux.xml`` and a ``.qml`` beside it hold the legend.
        confidence: The probability of each cell's class.
        polygons: The map as polygons, if asked for.
        scene: Name of the scene.
        cells: Cells of each class.
        hectares: Area of each class on the ground; ``None`` for a scene without a place on Earth.
    """

    path: Path
    confidence: Path
    polygons: Path | None
    scene: str
    cells: dict[str, int]
    hectares: dict[str, float] | None


@dataclass(frozen=True)
class Tested:
    """A label that was predicted from others.

    Attributes:
        number: Its number in the file, from 1.
        name: Name of the label in messages.
        given: Its class.
        predicted: The class that the others predict; ``None`` if it was not tested
            (:func:`rs_otl.geo.fitting.predict_left_out`).
        probability: Probability of the predicted class.
    """

    number: int
    name: str
    given: str
    predicted: str | None
    probability: float | None


@dataclass(frozen=True)
class Accuracy:
    """How many labels are predicted correctly from others.

    Attributes:
        correct: Labels predicted correctly when they, with all their cells, were left out.
        tested: Labels that were left out.
        low: Lower end of the accuracy's 95 % interval (Wilson); ``None`` if none was tested.
        high: Upper end.
    """

    correct: int
    tested: int
    low: float | None
    high: float | None

    @classmethod
    def of(cls, labels: Sequence[Tested]) -> "Accuracy":
        """Count labels."""
        tested = [label for label in labels if label.predicted is not None]
        correct = sum(label.predicted == label.given for label in tested)
        return cls.counted(correct, len(tested))

    @classmethod
    def counted(cls, correct: int, tested: int) -> "Accuracy":
        """Add the interval to counts."""
        if not tested:
            return cls(0, 0, None, None)
        interval = stats.binomtest(correct, tested).proportion_ci(method="wilson")
        return cls(correct, tested, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class MapResult:
    """Maps that were written, and how well the labels are predicted.

    Attributes:
        classes: Class names; the first has the value 1.
        colours: Colour of each class, as ``#rrggbb``.
        maps: One map for each scene.
        labels: Labels used of each class; empty with a saved classifier.
        skipped: Labels that could not be used, and why.
        tested: Each label used, predicted from the others.
        accuracy: Accuracy over all labels.
        accuracies: Accuracy over the labels of each class.
        blocked: Accuracy with labels predicted from other parts of the scenes only. Parts are left
            out whole; a side is a quarter of the labelled area's longer side, two tiles at least.
    """

    classes: tuple[str, ...]
    colours: tuple[str, ...]
    maps: tuple[SceneMap, ...]
    labels: dict[str, int]
    skipped: tuple[Skipped, ...]
    tested: tuple[Tested, ...]
    accuracy: Accuracy
    accuracies: dict[str, Accuracy]
    blocked: Accuracy

    @property
    def cells(self) -> dict[str, int]:
        """Cells of each class in all maps."""
        return {name: sum(map_.cells[name] for map_ in self.maps) for name in self.classes}

    @property
    def hectares(self) -> dict[str, float] | None:
        """Hectares of each class in all maps; ``None`` if a scene has no place on Earth."""
        areas = [map_.hectares for map_ in self.maps]
        if any(area is None for area in areas):
            return None
        return {name: sum(area[name] for area in areas if area) for name in self.classes}


def map_scene(
    sources: SceneLike | Sequence[SceneLike],
    labels: str | Path | None,
    out: str | Path,
    *,
    encoder: "str | Path | Encoder | None" = None,
    field: str | None = None,
    layer: str | None = None,
    classifier: str | Path | None = None,
    save_classifier: str | Path | None = None,
    colours: str | Path | None = None,
    areas: str | Path | None = None,
    tested_labels: str | Path | None = None,
    polygons: bool = False,
    tile: int | None = None,
    stride: int | None = None,
    bands: Sequence[str] | None = None,
    nodata: float | None = None,
    values: Values | None = None,
    image_size: int | None = None,
    pool: str | None = None,
    precision: str = "auto",
    progress: bool = False,
) -> MapResult:
    """Map scenes from a handful of labels, or with a saved classifier.

    The classifier is a logistic regression on the embeddings of the labelled cells, scaled to
    length 1. All classes have the same weight, and so have all labels of a class, however many
    cells a polygon covers. A scene and the embeddings made from it give the same map. With several
    scenes, labels may lie on any of them; if scenes overlap, a label counts on the first scene that
    has data there.

    Args:
        sources: One or several scenes (paths, rasterio datasets, or DataArrays that rioxarray
            knows) or embeddings, which need no encoder: GeoTIFFs that :func:`rs_otl.geo.embed`
            made, archives, or scenes of archives (``ARCHIVE/blocks/SCENE``).
        labels: Points or polygons, GeoJSON, GeoPackage, GeoParquet or CSV, in any CRS; see
            :func:`rs_otl.geo.labels.read_labels`. ``None`` with a ``classifier``.
        out: The map of one scene, a Cloud-Optimized GeoTIFF with one pixel per cell: the class,
            from 1, with its colours, 0 for nodata; ``NAME-confidence.tif`` beside it holds the
            probability of that class in per cent. Or a folder, for the maps of several scenes.
        encoder: Any name that :func:`rs_otl.load_encoder` takes, or an encoder; by default the
            classifier's. Embeddings made with another one are refused.
        field: The attribute that holds the class; by default the only one, ``class`` or ``label``.
        layer: The layer of the labels, where their file has several.
        classifier: A file that ``save_classifier`` wrote, instead of labels.
        save_classifier: JSON file to write the classifier to.
        colours: Colours of classes, and their order; see
            :func:`rs_otl.geo.legend.read_colours`.
        areas: CSV to write: cells and hectares of each class in each scene.
        tested_labels: GeoJSON, GeoPackage or GeoParquet to write: the labels, each with the class
            that the others predict for it, or why it was not used.
        polygons: Whether to write each map as polygons too, a GeoPackage beside it.
        tile: Side of a tile in pixels; by default the classifier's, or the side at which the
            encoder's images are loaded (:func:`rs_otl.spec.load_size`).
        stride: Side of a cell in pixels, at most ``tile``; by default half a tile.
        bands: The scenes' bands that the encoder sees, by name or number from 1.
        nodata: The stored value that means there is no data if all bands have it, in addition to
            what the scenes say.
        values: What stored values stand for, where files do not say it, or say it wrong: scale,
            offset and quantity.
        image_size: Side of the images that the encoder sees; by default its own.
        pool: What a vision transformer's features are made of, ``"cls"`` or ``"mean"``; by default
            the encoder's own rule.
        precision: ``float32``, ``bf16``, or ``auto``: bf16 if the hardware computes in it. An
            encoder that is given as an object keeps its own.
        progress: Whether to show bars on stderr.

    Returns:
        What was written, and how well the labels are predicted.

    Raises:
        InputError: A scene, the encoder, the classifier or an output cannot be used, no label lies
            on a scene, or all are of one class.
    """
    if (labels is None) == (classifier is None):
        raise InputError("expected either labels or a classifier made of them before")
    if labels is None and (save_classifier or tested_labels or field or layer):
        raise InputError(
            "a classifier is already made: expected labels to save one, to test labels, or to "
            "choose their field or layer"
        )
    out = Path(out)
    listed = all_scenes(scenes_in(sources))
    extra = _refuse_outputs(out, len(listed), polygons, save_classifier, areas, tested_labels)
    chosen = {} if colours is None else read_colours(Path(colours))
    kept = None if classifier is None else Classifier.read(Path(classifier))
    opened, sides = None, (tile, stride)
    if kept is not None and not all(map(is_embedding, listed)):
        if tile is None:
            sides = kept.tile, stride or kept.stride
        opened = _encoder_of(kept, encoder, Path(str(classifier)), image_size, pool, precision)
    else:
        opened = load_encoder_for(listed, encoder, image_size, pool, precision)
    with ExitStack() as stack:
        scenes = [
            stack.enter_context(
                # A classifier's tile and stride are for scenes; embeddings keep theirs.
                open_cells(source, opened, *own, bands, nodata, values)
            )
            for source in listed
            for own in [(tile, stride) if is_embedding(source) else sides]
        ]
        refuse_mixed(scenes)
        names = _names(out, scenes)
        if kept is None:
            assert labels is not None
            read = read_labels(Path(labels), scenes, field, layer)
            trained = train(Path(labels), read, scenes, chosen, progress)
        else:
            assert classifier is not None
            _refuse_another_encoder(kept, scenes[0], Path(classifier))
            given = [
                chosen.get(name, colour)
                for name, colour in zip(kept.classes, kept.colours, strict=True)
            ]
            trained = Trained(kept.linear(), kept.classes, given, {}, (), (), Accuracy.of(()))
        unknown = [name for name in trained.classes if chosen and name not in chosen]
        if unknown:
            note(f"{colours}: no colour for {', '.join(unknown)}; chosen for you")
        made = None
        if save_classifier is not None:
            made = _classifier_file(trained, scenes[0])
        target = out.parent if out.suffix.lower() in TIFF else out
        with written_aside(out) as folder:
            maps = [
                _write_map(folder / name, cells, trained, polygons, progress)
                for name, cells in zip(names, scenes, strict=True)
            ]
    result = MapResult(
        classes=tuple(trained.classes),
        colours=tuple(trained.colours),
        maps=tuple(_moved(map_, target) for map_ in maps),
        labels=trained.counts,
        skipped=trained.skipped,
        tested=trained.tested,
        accuracy=Accuracy.of(trained.tested),
        accuracies={
            name: Accuracy.of([label for label in trained.tested if label.given == name])
            for name in trained.classes
        },
        blocked=trained.blocked,
    )
    if made is not None:
        made.write(extra["classifier"])
    if areas is not None:
        _write_areas(extra["areas"], result)
    if tested_labels is not None:
        _write_tested(extra["labels"], read, result)
    return result


@dataclass(frozen=True)
class Trained:
    """A classifier, and how well its labels are predicted.

    Attributes:
        linear: The classifier.
        classes: Names of the classes.
        colours: Colour of each class.
        counts: Labels of each class.
        skipped: Labels that could not be used.
        tested: Labels that were used, each predicted from the others.
        blocked: How many labels are predicted correctly from other parts of the scenes.
    """

    linear: Linear
    classes: Sequence[str]
    colours: Sequence[str]
    counts: dict[str, int]
    skipped: tuple[Skipped, ...]
    tested: tuple[Tested, ...]
    blocked: Accuracy


def _refuse_outputs(
    out: Path,
    scenes: int,
    polygons: bool,
    classifier: str | Path | None,
    areas: str | Path | None,
    labels: str | Path | None,
) -> dict[str, Path]:
    """Refuse outputs that exist or have a wrong suffix; return the extra ones by kind."""
    suffix = out.suffix.lower()
    if suffix in TIFF and scenes > 1:
        raise InputError(
            f"{out}: {scenes:,} scenes have a map each; expected a folder for them, such as "
            f"{out.with_suffix('')}"
        )
    if suffix not in (*TIFF, ""):
        raise InputError(
            f"{out}: expected the name of a GeoTIFF, such as map.tif, for one scene, or a folder "
            "for the maps of several"
        )
    outputs = [out, *(_beside(out, polygons) if suffix in TIFF else ())]
    extra = {}
    for key, path, suffixes in (
        ("classifier", classifier, (".json",)),
        ("areas", areas, (".csv",)),
        ("labels", labels, (".geojson", ".gpkg", ".parquet")),
    ):
        if path is None:
            continue
        extra[key] = Path(path)
        if extra[key].suffix.lower() not in suffixes:
            raise InputError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")
        if extra[key] in outputs:
            raise InputError(f"{path}: is the name of another output too; name another")
        outputs.append(extra[key])
    for path in outputs:
        refuse_output(path)
    return extra


def _beside(out: Path, polygons: bool) -> list[Path]:
    """Return the files written beside a map that a user may have made or changed."""
    polygon = (out.with_suffix(".gpkg"),) if polygons else ()
    return [confidence_of(out), out.with_suffix(".qml"), *polygon]


def _names(out: Path, scenes: Sequence[Cells]) -> list[str]:
    if out.suffix.lower() in TIFF:
        return [out.name]
    names = [f"{cells.stem}.tif" for cells in scenes]
    files = [*names, *(confidence_of(Path(name)).name for name in names)]
    twice = next((name for name in files if files.count(name) > 1), None)
    if twice:
        raise InputError(f"two scenes would both become {twice}: map them in two commands")
    return names


def train(
    path: Path,
    read: Labels,
    scenes: Sequence[Cells],
    chosen: dict[str, str],
    progress: bool,
    test: bool = True,
) -> Trained:
    """Fit a classifier to labels, and predict each label from the others.

    Args:
        path: File of the labels, for errors.
        read: The labels.
        scenes: The scenes that the labels lie on.
        chosen: Colours of classes.
        progress: Whether to show a bar on stderr.
        test: Whether to predict labels from the others.

    Raises:
        InputError: No label lies on data, or all are of one class.
    """
    usable, values, places, dropped = _features(read.used, scenes)
    if not usable:
        raise InputError(f"{path}: none of its labels lies on data of {scenes[0].name}")
    counts = Counter(label.klass for label in usable)
    order = {name: number for number, name in enumerate(chosen)}
    classes = sorted(counts, key=lambda name: (order.get(name, len(order)), natural(name)))
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise InputError(
            f"{path}: expected 2 to {MOST_CLASSES} classes on {scenes[0].name}, not "
            f"{len(classes):,} ({shortened(', '.join(classes))})"
        )
    truth = np.array([classes.index(label.klass) for label in usable])
    tested, blocked = (
        _tested(usable, truth, values, places, scenes, classes, progress)
        if test
        else ((), Accuracy.of(()))
    )
    return Trained(
        fit(truth, values),
        classes,
        colours_of(classes, chosen),
        {name: counts[name] for name in classes},
        tuple(sorted([*read.skipped, *dropped], key=lambda label: label.number)),
        tested,
        blocked,
    )


def _tested(
    usable: Sequence[Label],
    truth: NDArray[np.int64],
    values: Sequence[NDArray[np.float32]],
    places: "_Places",
    scenes: Sequence[Cells],
    classes: Sequence[str],
    progress: bool,
) -> tuple[tuple[Tested, ...], Accuracy]:
    """Predict each label from the others, and from labels in other parts of the scenes."""
    sides = [_BLOCK_TILES * cells.grid.tile for cells in scenes]
    blocks = _blocks(places, scenes, sides)
    predicted, chances = predict_left_out(truth, values, blocks, progress)
    parts = _blocks(places, scenes, _part_sides(places, scenes, sides))
    elsewhere = predict_other_blocks(truth, values, parts)
    tested = tuple(
        Tested(
            label.number,
            label.name,
            label.klass,
            classes[prediction] if prediction >= 0 else None,
            chance if prediction >= 0 else None,
        )
        for label, prediction, chance in zip(
            usable, predicted.tolist(), chances.tolist(), strict=True
        )
    )
    right, known = elsewhere == truth, elsewhere >= 0
    return tested, Accuracy.counted(int(right.sum()), int(known.sum()))


_Places = Sequence[tuple[int, NDArray[np.int64]]]


def _blocks(places: _Places, scenes: Sequence[Cells], sides: Sequence[float]) -> NDArray[np.int64]:
    """Return the number of the square that each label lies in, (n,); ``sides`` are in pixels."""
    blocks = [
        (scene, *(scenes[scene].grid.corners(cells).mean(0) // sides[scene]))
        for scene, cells in places
    ]
    return np.unique(np.array(blocks), axis=0, return_inverse=True)[1].ravel()


def _part_sides(places: _Places, scenes: Sequence[Cells], least: Sequence[float]) -> list[float]:
    """Return a quarter of the longer side of the labelled area of each scene, in pixels."""
    sides = list(least)
    for number, cells in enumerate(scenes):
        middles = [cells.grid.corners(there).mean(0) for scene, there in places if scene == number]
        if middles:
            sides[number] = max(sides[number], float(np.ptp(middles, axis=0).max()) / _PARTS)
    return sides


def _features(
    labels: Sequence[Label], scenes: Sequence[Cells]
) -> tuple[
    list[Label], list[NDArray[np.float32]], list[tuple[int, NDArray[np.int64]]], list[Skipped]
]:
    """Look up the embeddings of labels, each on the first scene that has data there.

    Returns:
        The labels with data, their embeddings (tiles, D), their scene and cells there; and the
        labels whose cells are all nodata.
    """
    found: dict[int, tuple[NDArray[np.float32], int, NDArray[np.int64]]] = {}
    for scene, cells in enumerate(scenes):
        wanted = [
            (label.number, there)
            for label in labels
            for position, there in label.places
            if position == scene and label.number not in found
        ]
        if not wanted:
            continue
        rows = cells.at(np.concatenate([there for _, there in wanted]))
        ends = np.cumsum([len(there) for _, there in wanted])[:-1]
        for (number, there), part in zip(wanted, np.split(rows, ends), strict=True):
            with_data = np.isfinite(part[:, 0])
            if with_data.any():
                found[number] = part[with_data], scene, there[with_data]
    kept = [label for label in labels if label.number in found]
    skipped = [
        Skipped(label.number, label.name, "lies on nodata")
        for label in labels
        if label.number not in found
    ]
    parts = [found[label.number] for label in kept]
    return kept, [rows for rows, _, _ in parts], [part[1:] for part in parts], skipped


def _classifier_file(trained: Trained, cells: Cells) -> Classifier:
    made = cells.provenance
    if made.components is not None:
        raise InputError(
            f"{cells.name}: principal components of different files cannot be compared; embed "
            "without --pca to save a classifier"
        )
    return Classifier.of(trained.linear, trained.classes, trained.colours, made)


def _encoder_of(
    kept: Classifier,
    encoder: "str | Path | Encoder | None",
    path: Path,
    image_size: int | None,
    pool: str | None,
    precision: str,
) -> "Encoder | None":
    """Load the encoder of a classifier, by the name in its file unless another is given."""
    try:
        return load_encoder_for(
            [],
            encoder or kept.encoder,
            image_size or kept.image_size,
            pool or kept.pool,
            precision,
        )
    except InputError as error:
        if encoder is not None:
            raise
        raise InputError(
            f"{path}: its encoder is not where it was; name it with --encoder ({error})"
        ) from None


def _refuse_another_encoder(kept: Classifier, cells: Cells, path: Path) -> None:
    made = cells.provenance
    if made.weights != kept.fingerprint:
        raise InputError(
            f"{path}: made with the encoder {kept.encoder} (weights {kept.fingerprint}, "
            f"{kept.image_size} px), {cells.name} is seen with {made.encoder} (weights "
            f"{made.weights}, {made.image_size} px): expected the same; name it with --encoder"
        )
    if made.components is not None or cells.features != len(kept.weights[0]):
        raise InputError(
            f"{cells.name}: {cells.features} features, {path} expects {len(kept.weights[0])}: "
            "embed without --pca"
        )
    if made.tile != kept.tile:
        note(f"{path}: made of tiles of {kept.tile} pixels, those of {cells.name} have {made.tile}")


def _write_map(
    out: Path, cells: Cells, trained: Trained, polygons: bool, progress: bool
) -> SceneMap:
    shape = (cells.grid.rows, cells.grid.columns)
    chart, confidence = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    title = f"Mapping {Path(cells.name).name}"
    for number, row in enumerate(tracked(cells.rows(), title, progress, shape[0])):
        with_data = np.isfinite(row[:, 0])
        if with_data.any():
            chances = trained.linear(row[with_data])
            chart[number, with_data] = chances.argmax(1) + 1
            confidence[number, with_data] = np.rint(100 * chances.max(1))
    beside = confidence_of(out)
    write_cog(
        beside,
        confidence[:, None],
        (1, *shape),
        "uint8",
        0,
        cells.crs,
        scaled(cells.shown_transform, cells.grid.stride),
        ("confidence in per cent",),
        cells.provenance.tags(),
    )
    write_statistics(beside, confidence)
    counts, hectares = write_class_map(
        out, cells, chart, trained.classes, trained.colours, polygons
    )
    return SceneMap(
        out,
        beside,
        out.with_suffix(".gpkg") if polygons else None,
        cells.provenance.scene,
        counts,
        hectares,
    )


def _moved(map_: SceneMap, folder: Path) -> SceneMap:
    polygons = None if map_.polygons is None else folder / map_.polygons.name
    return SceneMap(
        folder / map_.path.name,
        folder / map_.confidence.name,
        polygons,
        map_.scene,
        map_.cells,
        map_.hectares,
    )


def _write_areas(out: Path, result: MapResult) -> None:
    """Write cells and hectares of each class in each scene."""
    with (
        atomic_write(out, new=True) as aside,
        aside.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.writer(file)
        table.writerow(("scene", "class", "value", "cells", "per cent", "hectares"))
        for map_ in result.maps:
            total = max(1, sum(map_.cells.values()))
            for value, name in enumerate(result.classes, start=1):
                cells = map_.cells[name]
                area = "" if map_.hectares is None else f"{map_.hectares[name]:.4f}"
                share = f"{100 * cells / total:.4f}"
                table.writerow((map_.scene, name, value, cells, share, area))


def _write_tested(out: Path, read: Labels, result: MapResult) -> None:
    """Write the labels with what the others predict for them."""
    frame = read.frame.copy()
    tested = {label.number: label for label in result.tested}
    notes = {label.number: label.reason for label in result.skipped}
    for label in result.tested:
        if label.predicted is None:
            only = result.labels[label.given] == 1
            reason = "not tested: left out with all others of a class"
            notes[label.number] = "the only one of its class" if only else reason
    rows = [tested.get(number) for number in range(1, len(frame) + 1)]
    frame["predicted"] = [None if row is None else row.predicted for row in rows]
    frame["probability"] = [
        None if row is None or row.probability is None else round(row.probability, 4)
        for row in rows
    ]
    frame["correct"] = [
        None if row is None or row.predicted is None else str(row.predicted == row.given).lower()
        for row in rows
    ]
    frame["note"] = [notes.get(number, "") for number in range(1, len(frame) + 1)]
    write_features(out, frame)
