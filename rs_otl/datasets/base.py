"""The base classes of the data sets, built on torchgeo's classification data set."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchgeo.datasets import DatasetNotFoundError, NonGeoClassificationDataset
from torchgeo.datasets.utils import download_url, extract_archive

from rs_otl.datasets._decode import load, match_bands, quiet_reading
from rs_otl.datasets.bands import ImageInfo, rgb_positions
from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.datasets.files import find_images
from rs_otl.errors import InputError

Sample = dict[str, Tensor]
Transforms = Callable[[Sample], Sample]
Loader = Callable[[Any], NDArray[Any]]
Root = str | os.PathLike[str]


@dataclass(frozen=True)
class LeftOut:
    """An image file that is not used, and why."""

    path: str
    reason: str


class ImageDataset(NonGeoClassificationDataset):
    """Images, with what an encoder must know about them.

    A sample is ``{"image": float32 (C, H, W), raw values, "label": int64 scalar}``; without
    classes it has no label. ``loader`` reads one image, (H, W, C), for samples and for
    :class:`rs_otl.datasets.CachedDataset` alike.

    Attributes:
        name: What the data set is called.
        info: Bands, units, scale and published statistics.
        paths: N paths relative to ``root`` with forward slashes, sorted.
        samples: Path and label of each image.
        targets: Label of each image.
        classes: Class names in the order of the labels; empty without labels.
        left_out: Files known to be unusable before they are decoded, and why.
        missing: What a partial copy lacks; ``None`` if nothing, or unknown.
        note: How folders were understood, in one line, where it is not obvious.
        in_test: Whether each image is one of the official test images; ``None`` where there are
            none, and the data set is divided at random.
    """

    samples: list[tuple[str, int]]
    targets: list[int]

    def __init__(
        self,
        root: Root,
        name: str,
        info: ImageInfo,
        paths: Sequence[str],
        labels: Sequence[int] | None = None,
        classes: Sequence[str] = (),
        split: str | None = None,
        transforms: Transforms | None = None,
        loader: Loader = load,
        left_out: Sequence[LeftOut] = (),
        missing: str | None = None,
        note: str | None = None,
        in_test: Sequence[bool] | None = None,
    ) -> None:
        """Store the images that were listed.

        Args:
            root: Folder that ``paths`` are relative to; empty where there are no files.
            name: What the data set is called.
            info: Bands, units, scale and published statistics.
            paths: Paths of the images, relative to ``root``, sorted.
            labels: Labels of the images; ``None`` without classes.
            classes: Class names in the order of the labels.
            split: ``"train"`` or ``"test"`` for one side of the official division. If there is
                none, of the paper's first random division (:func:`rs_otl.datasets.divide`), which
                decodes each image once to keep identical images on one side. ``None`` for all
                images.
            transforms: Takes a sample and returns a changed one.
            loader: Takes a path joined to ``root`` and returns (H, W, C), raw values.
            left_out: Files that cannot be used, and why.
            missing: What a partial copy lacks.
            note: How folders were understood, where it is not obvious.
            in_test: Which images are official test images; ``None`` without any.

        Raises:
            InputError: ``split`` has another value, or no image can be decoded to divide them.
        """
        if split not in (None, "train", "test"):
            raise InputError(
                f"split={split!r}: expected 'train' or 'test' (the paper's random division) or "
                "None (all images); torchgeo's class of this name has the official splits"
            )
        self._classes = list(classes)
        numbers = labels if labels is not None else [0] * len(paths)
        self._listed = [
            (os.path.join(root, path), number) for path, number in zip(paths, numbers, strict=True)
        ]
        NonGeoClassificationDataset.__init__(self, root=str(root), loader=loader)
        self.transforms = transforms
        self.name = name
        self.info = info
        self.paths = list(paths)
        self.left_out = list(left_out)
        self.missing = missing
        self.note = note
        self.in_test = None if in_test is None else np.array(in_test, bool)
        if split is not None:
            self._keep_split(split)

    def find_classes(self, directory: Root) -> tuple[list[str], dict[str, int]]:
        """Return the classes that were given; the folders are not looked at."""
        return self._classes, {name: label for label, name in enumerate(self._classes)}

    def make_dataset(self, *args: Any, **kwargs: Any) -> list[tuple[str, int]]:
        """Return the images that were listed; a class may have none."""
        return self._listed

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Args:
            index: Position.

        Returns:
            ``image`` and, where there are classes, ``label``.

        Raises:
            UnreadableError: The file cannot be decoded.
        """
        with quiet_reading():
            image, label = self._load_image(index)
        sample = {"image": image, "label": label} if self.classes else {"image": image}
        return sample if self.transforms is None else self.transforms(sample)

    def _load_image(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = super()._load_image(index)
        path, bands = self.samples[index][0], len(self.info.bands)
        if len(image) != bands:
            # Only a grey image of 8 bits passes; the sample no longer says how many bits it had.
            match_bands(self.loader(path).transpose(2, 0, 1), bands, path)
            image = image.repeat(bands, 1, 1)
        return image, label

    def _keep_split(self, split: str) -> None:
        """Keep one side of the official division, or else of the first random division."""
        if self.in_test is not None:
            self.keep(np.flatnonzero(self.in_test == (split == "test")))
            return
        from rs_otl.datasets.cached import CachedDataset
        from rs_otl.datasets.divisions import divide

        dataset = CachedDataset(self, self.info.spec(), 1, cache="none")
        self.left_out = dataset.left_out
        self.keep(dataset.indices[getattr(divide(dataset), split)])

    def keep(self, positions: Sequence[int] | NDArray[np.int64]) -> None:
        """Keep only the images at some positions."""
        self.paths = [self.paths[i] for i in positions]
        self.samples = self.imgs = [self.samples[i] for i in positions]
        self.targets = [self.targets[i] for i in positions]
        if self.in_test is not None:
            self.in_test = self.in_test[positions]

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Figure:
        """Draw a sample.

        Args:
            sample: A sample of the data set; it may hold a ``prediction``.
            show_titles: Whether to write the class above the image.
            suptitle: Title of the figure.

        Returns:
            The figure: red, green and blue where the image has three bands or more, else its
            first band in grey. 8-bit values are drawn as they are, others from their 2nd to their
            98th percentile.
        """
        import matplotlib.pyplot as plt

        image = sample["image"].detach().cpu().float().numpy()
        names = self.info.bands if len(self.info.bands) == len(image) else [""] * len(image)
        shown = image[rgb_positions(names) or [0]]
        low, high = 0.0, 1.0 if shown.max() <= 1 else 255.0
        if self.info.is_16bit or shown.min() < 0 or shown.max() > high:
            low, high = np.percentile(shown, [2, 98])
        shown = np.clip((shown - low) / max(high - low, 1e-9), 0, 1)
        figure, axes = plt.subplots(figsize=(4, 4))
        axes.imshow(shown.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
        axes.axis("off")
        if show_titles:
            lines = [
                f"{title}: {self.classes[int(sample[key])]}"
                for title, key in (("Label", "label"), ("Prediction", "prediction"))
                if key in sample
            ]
            axes.set_title("\n".join(lines))
        if suptitle is not None:
            figure.suptitle(suptitle)
        return figure


class CatalogueDataset(ImageDataset):
    """A data set of the catalogue, unpacked below a root.

    The labels are the official ones, even if folders are missing. Subclasses name their entry; if
    the entry has ``downloads``, the data set can be downloaded.
    """

    entry_name: ClassVar[str]
    # Names of other archives than ``filename`` that are unpacked if they lie below the root.
    other_archives: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        root: Root = "data",
        split: str | None = None,
        transforms: Transforms | None = None,
        download: bool = False,
        checksum: bool = True,
    ) -> None:
        """Open the images on disk.

        Args:
            root: Folder that holds the data sets.
            split: ``"train"`` or ``"test"`` of the paper's first random division, or of the
                official division of CIFAR, SVHN and ImageNet; ``None`` for all images.
            transforms: Takes a sample and returns a changed one.
            download: Download the archive if neither it nor the images are below ``root``.
            checksum: Verify the downloaded archive.

        Raises:
            DatasetNotFoundError: The data set is not below ``root``, and ``download`` is false or
                it cannot be downloaded.
            InputError: ``split`` has another value.
        """
        self._open(root, split, transforms, download, checksum)

    def _open(
        self,
        root: Root,
        split: str | None,
        transforms: Transforms | None,
        download: bool,
        checksum: bool,
        loader: Loader = load,
        bands: Sequence[str] | None = None,
    ) -> None:
        entry = CATALOGUE[self.entry_name]
        # DatasetNotFoundError reads this.
        self.root = root
        if entry.downloads:
            self.download, self.checksum = download, checksum
            self._fetch()
        layout = entry.layout(Path(root))
        if layout is None:
            error = DatasetNotFoundError(self)
            if not entry.downloads:  # torchgeo's message is for data sets with a download
                error.args = (entry.not_found(Path(root)),)
            raise error
        found = [
            (find_images(folder), label)
            for label, name in enumerate(entry.classes)
            for folder in layout.classes.get(name, ())
        ]
        listed = sorted(
            (path.relative_to(layout.folder).as_posix(), label)
            for images, label in found
            for path in images.paths
        )
        labels = [label for _, label in listed]
        present = np.bincount(np.array(labels, int), minlength=len(entry.classes)).tolist()
        super().__init__(
            layout.folder,
            entry.name,
            entry.info(bands),
            [path for path, _ in listed],
            labels,
            entry.classes,
            split,
            transforms,
            loader,
            [
                LeftOut(path.relative_to(layout.folder).as_posix(), reason)
                for images, _ in found
                for path, reason in images.others
            ],
            entry.missing(dict(zip(entry.classes, present, strict=True))),
            layout.note,
            entry.splits and [path.startswith(f"{entry.splits[1]}/") for path, _ in listed],
        )

    @classmethod
    def address(cls) -> str:
        """Return the address of the archive, for a class that can be downloaded."""
        # The address ends in the name of the file in some of torchgeo's classes, not in others.
        return cls.url if cls.url.endswith(cls.filename) else cls.url + cls.filename

    @classmethod
    def archive(cls, root: Path) -> Path | None:
        """Return the archive that opening unpacks, if there is one below ``root``."""
        names = (cls.filename, *cls.other_archives)
        return next((root / name for name in names if (root / name).is_file()), None)

    def _fetch(self) -> None:
        """Download or unpack the archive if the images are not there yet.

        Both happen in a temporary folder; complete files are then moved into place.
        """
        root = Path(self.root)
        layout = CATALOGUE[self.entry_name].layout(root)
        archive = self.archive(root)
        if (layout and layout.classes) or not (archive or self.download):
            return
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".unpacking-", dir=root) as aside:
            if self.download and (archive is None or self._fault(archive)):
                archive = root / self.filename
                fetched = Path(aside) / self.filename
                download_url(self.address(), aside, self.filename)
                if fault := self._fault(fetched):
                    raise RuntimeError(fault)
                fetched.replace(archive)
            unpacked = Path(aside) / "unpacked"
            extract_archive(str(archive), str(unpacked))
            _move(unpacked, root)

    def _fault(self, archive: Path) -> str | None:
        """Say what is wrong with an archive; ``None`` if it is the expected one."""
        # From version 0.9 on torchgeo verifies by SHA-256.
        kind = "sha256" if hasattr(self, "sha256") else "md5"
        with archive.open("rb") as file:
            start = file.read(256).lstrip()
            file.seek(0)
            found = hashlib.file_digest(file, kind).hexdigest()
        if not self.checksum or found == getattr(self, kind):
            return None
        if start.startswith(b"<"):
            return "the server sent a web page, not an archive"
        size = archive.stat().st_size
        return f"wrong checksum of the {size:,} bytes received: cut off, or changed"


def _move(source: Path, target: Path) -> None:
    """Move into a folder what it does not hold yet."""
    for path in source.iterdir():
        there = target / path.name
        if not there.exists():
            path.replace(there)
        elif path.is_dir() and there.is_dir():
            _move(path, there)
