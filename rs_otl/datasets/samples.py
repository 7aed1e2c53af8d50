"""Data sets known only by their samples: torchgeo's other classes and the user's own."""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rs_otl.datasets._decode import FAILURES
from rs_otl.datasets.bands import ImageInfo, top_value
from rs_otl.datasets.raster import UnreadableError
from rs_otl.datasets.statistics import refuse_mixed_units
from rs_otl.errors import InputError
from rs_otl.spec import RGB, ImageSpec, band_names

TORCHGEO = "torchgeo/"
# Numbers of samples, and of values in each, that decide bands, units and scale.
_SAMPLED_IMAGES = 64
_SAMPLED_VALUES = 65_536
# Values are counts if this share of them is whole: some images may have been resized.
_WHOLE_SHARE = 0.9
_NORMALISED = "expected raw values, before they are normalised"


def read_sample(dataset: Any, index: int, path: str) -> tuple[NDArray[np.float32], int]:
    """Read one sample.

    Args:
        dataset: Gives ``{"image": (C, H, W) or (H, W), "label": integer scalar}``.
        index: Position.
        path: What to call it in errors.

    Returns:
        The raw values, (C, H, W), infinite values and NaN as 0; and the label, -1 if there is
        none, or if it is not one class.

    Raises:
        UnreadableError: The data set cannot read the sample.
        InputError: The sample has another form.
    """
    try:
        sample = dataset[index]
    except FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableError(Path(path), f"cannot be read ({reason})") from error
    image = sample.get("image") if isinstance(sample, dict) else None
    if not isinstance(image, Tensor) or image.ndim not in (2, 3):
        raise InputError(
            f'{type(dataset).__name__}[{index}]: expected a dictionary with an "image" of '
            "(C, H, W), as torchgeo's classification data sets give"
        )
    values = np.nan_to_num(image.detach().cpu().float().numpy(), nan=0, posinf=0, neginf=0)
    label = np.asarray(sample.get("label", 0.5))
    is_class = label.size == 1 and label.dtype.kind in "iu"
    return values[None] if values.ndim == 2 else values, int(label.item()) if is_class else -1


def describe_samples(
    dataset: Any, name: str, paths: Sequence[str], spec: ImageSpec | None
) -> ImageInfo:
    """Find out what most images of a data set are from a sample of them.

    Args:
        dataset: See :func:`read_sample`.
        name: What to call it in errors.
        paths: What to call its samples.
        spec: What the caller says about the images; it is checked.

    Returns:
        ``spec``, or bands named as the data set's ``bands`` if it has any; 8-bit counts if all
        values are whole and at most 255, else their 99.9th percentile as scale.

    Raises:
        InputError: No sample can be read, some hold counts and others fractions, the images are
            normalised already, or ``spec`` has other bands.
    """
    values: dict[str, NDArray[np.float32]] = {}
    counts = Counter[int]()
    failure: UnreadableError | None = None
    for index in np.linspace(0, len(paths) - 1, min(len(paths), _SAMPLED_IMAGES), dtype=int):
        try:
            image, _ = read_sample(dataset, int(index), paths[index])
        except UnreadableError as error:
            failure = error
            continue
        counts[len(image)] += 1
        flat = image.ravel()
        values[paths[index]] = flat[:: max(1, len(flat) // _SAMPLED_VALUES)]
    if not values:
        raise InputError(f"{name}: no sample can be read; {failure or 'it is empty'}")
    count = counts.most_common(1)[0][0]
    refuse_mixed_units(values, name)
    samples = list(values.values())
    scale = top_value(samples, name) or 1.0
    highest = max(float(sample.max()) for sample in samples)
    whole = float(np.mean([(sample == np.rint(sample)).mean() for sample in samples]))
    if spec is not None:
        if len(spec.bands) != count:
            raise InputError(
                f"{name}: most images have {count} bands, the spec has {', '.join(spec.bands)}"
            )
        if highest <= 1 < spec.scale and whole < _WHOLE_SHARE:
            raise InputError(
                f"{name}: values reach {highest:.3g}, and the spec's scale is {spec.scale:g}; "
                f"{_NORMALISED}, or a spec of scale 1"
            )
        return ImageInfo.from_spec(spec)
    given = getattr(dataset, "bands", None)
    bands = band_names(count)
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == count:
        bands = tuple(str(band) for band in given)
    elif count == len(RGB):
        bands = RGB
    if whole < _WHOLE_SHARE:
        return ImageInfo(bands, "floating-point values", True, scale)
    if highest <= 255:
        return ImageInfo(bands)
    return ImageInfo(bands, "16-bit counts", True, scale)


def open_torchgeo(name: str, root: Path) -> Any:
    """Open one of torchgeo's classification data sets, in its default split; never download it.

    Args:
        name: ``torchgeo/`` and the name of the class, for example ``torchgeo/RESISC45``.
        root: Folder that the data set lies in.

    Raises:
        InputError: There is no such class, or no such data set below ``root``.
    """
    from torchgeo import datasets

    wanted = name.removeprefix(TORCHGEO)
    known = [
        other
        for other in datasets.__all__
        if isinstance(getattr(datasets, other), type)
        and issubclass(getattr(datasets, other), datasets.NonGeoDataset)
    ]
    if wanted not in known:
        close = difflib.get_close_matches(wanted.lower(), [other.lower() for other in known], n=3)
        near = [other for other in known if other.lower() in close]
        hint = f"did you mean {' or '.join(near)}?" if near else "see torchgeo.datasets"
        raise InputError(f"torchgeo has no classification data set {wanted!r}: {hint}")
    try:
        return getattr(datasets, wanted)(root=root)
    except (datasets.DatasetNotFoundError, datasets.DependencyNotFoundError) as error:
        raise InputError(f"{name}: {' '.join(str(error).split())}") from None
    except (TypeError, OSError, RuntimeError, AssertionError) as error:
        raise InputError(
            f"{name} cannot be opened in {root} ({' '.join(str(error).split())}): "
            "open it in Python and hand it to rs_otl.datasets.CachedDataset"
        ) from error


def paths_of(dataset: Any) -> list[str]:
    """Name each sample by its file, relative to the data set's root, else by its position."""
    paths = getattr(dataset, "paths", None) or [
        _relative(item[0], getattr(dataset, "root", None))
        for item in getattr(dataset, "samples", ())
        if isinstance(item, tuple)
    ]
    if len(paths) != len(dataset):
        return [str(index) for index in range(len(dataset))]
    return [str(path) for path in paths]


def _relative(path: Any, root: Any) -> str:
    if root is not None and Path(path).is_relative_to(root):
        return Path(path).relative_to(root).as_posix()
    return str(path)
