"""What data sets there are, what they hold, and how to get them.

This module does not import torch or torchgeo, so a listing is quick; :meth:`Entry.open` does.
"""

import difflib
import importlib
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from zipfile import BadZipFile

from rs_otl.datasets.bands import ImageInfo
from rs_otl.datasets.files import (
    SUFFIXES,
    find_images,
    is_a_split,
    normalised,
    sub_folders,
)
from rs_otl.errors import InputError
from rs_otl.spec import PAPER_MEAN, PAPER_STD, RGB, Quantity

if TYPE_CHECKING:
    from rs_otl.datasets.base import ImageDataset

_NO_LICENCE = "none stated; research use"

# Copies under other names are looked for at most so many levels below a folder with the data set's
# name, and in at most so many folders.
_LEVELS = 8
_FOLDERS = 2_000
# A folder without the data set's name must hold this share of the classes and little else.
_SHARE = 0.8
# At most so many classes with missing images are listed.
_NAMED = 5


@dataclass(frozen=True)
class Layout:
    """Where the images of a copy lie.

    Attributes:
        folder: Folder that the paths of images are relative to.
        classes: Class name to its folders, for the classes on disk.
        note: What was matched, in one line, where it is not the official layout.
    """

    folder: Path
    classes: Mapping[str, Sequence[Path]]
    note: str | None = None


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue.

    Attributes:
        name: What it is called on the command line.
        title: What its authors call it.
        counts: Class name (as its folder is called) to official number of images, in the order
            of the labels; 0 where only their sum is published.
        size: Official side of an image in pixels.
        bands: Band names, in the order of the channels.
        units: What a raw value counts.
        scale: The raw value that becomes 1.0.
        quantity: What a raw value measures.
        resolution: Ground size of a pixel in metres, as text.
        licence: Licence, as its authors state it.
        citation: The paper to cite.
        folders: Where its class folders may lie below the data root; the first is official.
        known_as: What names of folders with copies start with: lower-case letters and digits only.
        suffixes: Suffixes of its files, if another data set has the same classes.
        files: Pattern of the files in ``folders``.
        obtain: How to get it, in one line.
        dataset: Name of its class in ``rs_otl.datasets``.
        downloads: Size of its archive as text, if the class knows a stable address and a checksum;
            else empty.
        mean: Published mean of each band in [0, 1]; ``None`` to estimate it.
        std: Published standard deviation of each band, as for ``mean``.
        splits: Folders of its official training and test images; ``None`` if it is divided at
            random.
        packed: Files below the data root that hold all its images, as its authors publish them.
        training: Official number of training images, where there are ``splits``.
        total: Official number of images, where ``counts`` does not give it.
    """

    name: str
    title: str
    counts: Mapping[str, int]
    size: int
    resolution: str
    licence: str
    citation: str
    folders: tuple[str, ...]
    files: str
    obtain: str
    dataset: str
    downloads: str = ""
    known_as: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = SUFFIXES
    bands: tuple[str, ...] = RGB
    units: str = "8-bit counts"
    scale: float = 255
    quantity: Quantity = Quantity.COUNTS
    mean: tuple[float, ...] | None = PAPER_MEAN
    std: tuple[float, ...] | None = PAPER_STD
    splits: tuple[str, str] | None = None
    packed: tuple[str, ...] = ()
    training: int = 0
    total: int = 0

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return tuple(self.counts)

    @property
    def images(self) -> int:
        """Official number of images."""
        return self.total or sum(self.counts.values())

    def info(self, bands: Sequence[str] | None = None) -> ImageInfo:
        """Describe the images.

        Args:
            bands: Names of the bands that are read; by default all.
        """
        names = self.bands if bands is None else tuple(bands)
        chosen = [self.bands.index(name) for name in names]
        is_16bit = self.scale > 255
        return ImageInfo(
            bands=names,
            units=self.units,
            quantity=self.quantity,
            is_16bit=is_16bit,
            scale=self.scale if is_16bit else 65535,
            resolution=self.resolution,
            mean=self.mean and tuple(self.mean[i] for i in chosen),
            std=self.std and tuple(self.std[i] for i in chosen),
        )

    def layout(self, root: Path) -> Layout | None:
        """Find the class folders below ``root``, under their official names or those of copies.

        Upper and lower case, spaces, hyphens and underscores in names of classes do not matter;
        copies may be nested deeper, or divided into ``train`` and ``test``.

        Returns:
            ``None`` if there are none. For a data set with official splits, ``folder`` holds the
            splits or the packed files; ``classes`` is empty for packed files.
        """
        if self.splits is not None:
            return self._split_layout(root)
        official = [root / folder for folder in self.folders if (root / folder).is_dir()]
        for folder in official:
            classes = self._class_folders(folder)
            if classes:
                odd = [
                    path.name
                    for name, paths in classes.items()
                    for path in paths
                    if path.name != name
                ]
                note = f"{self.name}: {folder} calls classes {', '.join(odd[:3])}" if odd else None
                return Layout(folder, classes, note)
        return self._copy(root) or (Layout(official[0], {}) if official else None)

    def folder(self, root: Path) -> Path | None:
        """Find the folder that holds the class folders; ``None`` if it is not below ``root``."""
        layout = self.layout(root)
        return None if layout is None else layout.folder

    def present(self, root: Path) -> dict[str, int]:
        """Count the image files of each class below ``root``, without opening any."""
        if self.packed_in(root) is not None:
            return dict(self.counts)
        layout = self.layout(root)
        classes = {} if layout is None else layout.classes
        return {name: _count(classes.get(name, ())) for name in self.counts}

    def is_present(self, root: Path) -> bool:
        """Whether an image of the data set is below ``root``."""
        if self.packed_in(root) is not None:
            return True
        layout = self.layout(root)
        return layout is not None and any(_count(paths) for paths in layout.classes.values())

    def packed_in(self, root: Path) -> Path | None:
        """Find the folder that ``packed`` is relative to; ``None`` unless all files are there."""
        for folder in (root, *(root / name for name in self.folders)):
            if self.packed and all((folder / name).is_file() for name in self.packed):
                return folder
        return None

    def _split_layout(self, root: Path) -> Layout | None:
        """Find the folder of the official splits, or of the packed files."""
        if (folder := self.packed_in(root)) is not None:
            return Layout((folder / self.packed[0]).parent, {})
        called = [path for path in sub_folders(root) if self._is_called(path.name)]
        for folder in (*(root / name for name in self.folders), *called, root):
            classes: defaultdict[str, list[Path]] = defaultdict(list)
            for split in self.splits or ():
                for name, paths in self._class_folders(folder / split).items():
                    classes[name] += paths
            if len(classes) >= (_SHARE * len(self.counts) if folder == root else 1):
                return Layout(folder, {name: classes[name] for name in self.counts})
        return None

    def _class_folders(self, folder: Path) -> dict[str, list[Path]]:
        """Return the sub-folders that are classes, in the order of the labels."""
        found: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sub_folders(folder):
            found[normalised(path.name)].append(path)
        ours = {name: found[normalised(name)] for name in self.counts}
        return {name: paths for name, paths in ours.items() if paths}

    def _copy(self, root: Path) -> Layout | None:
        """Find a copy under another name: of several, an undivided one with the most images."""
        groups: defaultdict[tuple[str, ...], list[Path]] = defaultdict(list)
        for folder in self._class_parents(root):
            parts = folder.relative_to(root).parts
            groups[tuple("" if is_a_split(part) else part for part in parts)].append(folder)
        layouts = []
        for key, folders in groups.items():
            classes: defaultdict[str, list[Path]] = defaultdict(list)
            for folder in folders:
                for name, paths in self._class_folders(folder).items():
                    classes[name] += paths
            top = folders[0]
            merged = ""
            if "" in key:
                top = root.joinpath(*key[: key.index("")])
                splits = [folder.relative_to(top).as_posix() for folder in folders]
                merged = f", {', '.join(splits)} together"
            note = (
                f"{self.name}: {len(classes)} of {len(self.counts)} classes found in {top}{merged}"
            )
            images = 0 if len(groups) == 1 else _count(chain.from_iterable(classes.values()))
            layouts.append((("" in key, -images, len(key), str(top)), Layout(top, classes, note)))
        layouts.sort(key=lambda item: item[0])
        if not layouts:
            return None
        best, *others = (layout for _, layout in layouts)
        if not others:
            return best
        unread = ", ".join(str(layout.folder) for layout in others)
        return replace(best, note=f"{best.note}; not read: {unread}")

    def _class_parents(self, root: Path) -> list[Path]:
        """Find the folders whose sub-folders are classes, sorted."""
        found: list[Path] = []
        seen: set[Path] = set()
        queue = deque([(root, self._is_called(root.resolve().name), 0)])
        while queue and len(seen) < _FOLDERS:
            folder, called, depth = queue.popleft()
            if folder.resolve() in seen:
                continue
            seen.add(folder.resolve())
            below = sub_folders(folder)
            classes = self._class_folders(folder)
            ours = sum(map(len, classes.values()))
            if called:
                enough = ours * 2 > len(below)
            else:
                enough = ours >= _SHARE * max(len(self.counts), len(below))
            if classes and enough:
                if self._has_files(classes):
                    found.append(folder)
                continue
            for path in below:
                named = called or self._is_called(path.name)
                if depth < (_LEVELS if named else 1):
                    queue.append((path, named, depth + 1))
        return sorted(found)

    def _is_called(self, name: str) -> bool:
        return normalised(name).startswith(self.known_as)

    def _has_files(self, classes: Mapping[str, Sequence[Path]]) -> bool:
        """Whether the first class with images has one with a suffix of this data set."""
        for folders in classes.values():
            paths = [path for folder in folders for path in find_images(folder).paths]
            if paths:
                return any(path.suffix.lower() in self.suffixes for path in paths)
        return False

    def missing(self, present: Mapping[str, int]) -> str | None:
        """Say what a partial copy lacks.

        Args:
            present: Class name to number of images on disk.

        Returns:
            For example ``"2,398 of 2,400 images: agriculture lacks 1, pond lacks 1"``; of many
            classes a few are named. ``None`` if nothing is missing.
        """
        if self.total:
            there = sum(present.values())
            return f"{there:,} of {self.images:,} images" if there < self.total else None
        lacking = [
            f"{name} lacks {count - present.get(name, 0):,}"
            for name, count in self.counts.items()
            if present.get(name, 0) < count
        ]
        if not lacking:
            return None
        if len(lacking) > _NAMED:
            more = len(lacking) - _NAMED + 2
            lacking = [*lacking[: _NAMED - 2], f"{more} more classes lack some"]
        return f"{sum(present.values()):,} of {self.images:,} images: {', '.join(lacking)}"

    def open(self, root: Path, download: bool = False) -> "ImageDataset":
        """Open the data set.

        Args:
            root: Folder that holds the data sets.
            download: Download what is missing and verify its checksum; needs ``downloads``.

        Returns:
            A torchgeo data set of all images on disk, with the official labels even if classes
            are missing.

        Raises:
            InputError: The data set is not below ``root``; the message says how to get it.
        """
        if download and not self.downloads:
            raise InputError(f"{self.name} cannot be downloaded automatically. {self.obtain}")
        from torchgeo.datasets import DatasetNotFoundError

        dataset_class = getattr(importlib.import_module("rs_otl.datasets"), self.dataset)
        try:
            dataset = dataset_class(root=root, download=download)
        except DatasetNotFoundError:
            raise InputError(self.not_found(root)) from None
        except (OSError, RuntimeError, BadZipFile) as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            if isinstance(error, HTTPError):
                error.close()
            name = dataset_class.filename
            if not download:
                raise InputError(
                    f"{root / name} could not be unpacked: {reason}; delete it. {self.obtain}"
                ) from error
            raise InputError(
                f"{self.title} could not be downloaded from {dataset_class.address()} "
                f"({self.downloads}): {reason}; try again later, or put the file into {root} by "
                f"hand as {name}, which is then unpacked"
            ) from error
        if not dataset.samples:
            raise InputError(self.not_found(root))
        return dataset

    def archive(self, root: Path) -> Path | None:
        """Return the archive that opening unpacks, if there is one below ``root``."""
        if not self.downloads:
            return None
        dataset_class = getattr(importlib.import_module("rs_otl.datasets"), self.dataset)
        found: Path | None = dataset_class.archive(root)
        return found

    def not_found(self, root: Path) -> str:
        """Say in one line that nothing is below ``root``, what is expected, and how to get it."""
        looked = " or ".join(str(root / folder) for folder in self.folders)
        return f"no images of {self.title} in {looked}, expected {self.files}. {self.obtain}"


def base_name(name: str) -> str:
    """Return a catalogue name without its selection: ``cifar10`` for ``cifar10@100``."""
    base = name.partition("@")[0]
    return base if base in CATALOGUE else name


def data_root(root: str | Path | None = None) -> Path:
    """Folder that data sets are looked for in: ``root``, else ``$RS_OTL_DATA``, else ``./data``."""
    return Path(root or os.environ.get("RS_OTL_DATA") or "data")


def _count(folders: Iterable[Path]) -> int:
    return sum(len(find_images(folder).paths) for folder in folders)


def _equal(count: int, names: str) -> dict[str, int]:
    return dict.fromkeys(names.split(), count)


def _download(name: str, archive: str) -> str:
    return f"Get it with `rs-otl datasets {name} --download`, or unpack {archive} there"


_EUROSAT_COUNTS = {
    "AnnualCrop": 3000,
    "Forest": 3000,
    "HerbaceousVegetation": 3000,
    "Highway": 2500,
    "Industrial": 2500,
    "Pasture": 2000,
    "PermanentCrop": 2500,
    "Residential": 3000,
    "River": 2500,
    "SeaLake": 3000,
}
_EUROSAT_CITATION = (
    "Helber et al., EuroSAT: A novel dataset and deep learning benchmark for land use and land "
    "cover classification, IEEE JSTARS 12(7), 2019, doi:10.1109/JSTARS.2019.2918242"
)

_CIFAR_CITATION = (
    "Krizhevsky, Learning multiple layers of features from tiny images, University of Toronto, 2009"
)
_CIFAR100 = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus "
    "butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch "
    "crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo "
    "keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse "
    "mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy "
    "porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television "
    "tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
_PHOTOGRAPHS = "none"

_ENTRIES = (
    Entry(
        name="eurosat",
        title="EuroSAT (RGB)",
        counts=_EUROSAT_COUNTS,
        size=64,
        resolution="10",
        licence="MIT",
        citation=_EUROSAT_CITATION,
        folders=("2750", "EuroSAT_RGB", "EuroSAT/2750", "eurosat/2750", "EuroSAT"),
        known_as=("eurosat", "2750"),
        suffixes=(".jpg", ".jpeg", ".png"),
        files="<Class>/<Class>_N.jpg",
        obtain=_download("eurosat", "EuroSAT_RGB.zip (95 MB) from zenodo.org/records/7711810"),
        dataset="EuroSATRGB",
        downloads="95 MB",
    ),
    Entry(
        name="eurosat-ms",
        title="EuroSAT (13 bands)",
        counts=_EUROSAT_COUNTS,
        size=64,
        bands=(
            *("B01", "B02", "B03", "B04", "B05", "B06", "B07"),
            *("B08", "B09", "B10", "B11", "B12", "B8A"),
        ),
        units="Sentinel-2 L1C top-of-atmosphere reflectance x 10,000",
        scale=10_000,
        quantity=Quantity.TOA,
        resolution="10",
        licence="MIT",
        citation=_EUROSAT_CITATION,
        folders=("ds/images/remote_sensing/otherDatasets/sentinel_2/tif", "EuroSAT_MS"),
        known_as=("eurosat", "ds"),
        suffixes=(".tif", ".tiff"),
        files="<Class>/<Class>_N.tif",
        obtain=_download("eurosat-ms", "EuroSAT_MS.zip (2.1 GB) from zenodo.org/records/7711810"),
        dataset="EuroSAT",
        downloads="2.1 GB",
        mean=None,
        std=None,
    ),
    Entry(
        name="ucmerced",
        title="UC Merced Land Use",
        counts=_equal(
            100,
            "agricultural airplane baseballdiamond beach buildings chaparral denseresidential "
            "forest freeway golfcourse harbor intersection mediumresidential mobilehomepark "
            "overpass parkinglot river runway sparseresidential storagetanks tenniscourt",
        ),
        size=256,
        resolution="0.3",
        licence="public domain imagery (USGS National Map)",
        citation="Yang and Newsam, Bag-of-visual-words and spatial extensions for land-use "
        "classification, ACM SIGSPATIAL 2010, doi:10.1145/1869790.1869829",
        folders=("UCMerced_LandUse/Images",),
        known_as=("ucm", "merced"),
        files="<class>/<class>NN.tif",
        obtain=_download(
            "ucmerced", "UCMerced_LandUse.zip (330 MB) from weegee.vision.ucmerced.edu"
        ),
        dataset="UCMerced",
        downloads="330 MB",
    ),
    Entry(
        name="patternnet",
        title="PatternNet",
        counts=_equal(
            800,
            "airplane baseball_field basketball_court beach bridge cemetery chaparral "
            "christmas_tree_farm closed_road coastal_mansion crosswalk dense_residential "
            "ferry_terminal football_field forest freeway golf_course harbor intersection "
            "mobile_home_park nursing_home oil_gas_field oil_well overpass parking_lot "
            "parking_space railway river runway runway_marking shipping_yard solar_panel "
            "sparse_residential storage_tank swimming_pool tennis_court transformer_station "
            "wastewater_treatment_plant",
        ),
        size=256,
        resolution="0.062-4.693",
        licence=_NO_LICENCE,
        citation="Zhou et al., PatternNet: A benchmark dataset for performance evaluation of "
        "remote sensing image retrieval, ISPRS Journal 145, 2018, "
        "doi:10.1016/j.isprsjprs.2018.01.004",
        folders=("PatternNet/images",),
        known_as=("patternnet",),
        files="<class>/<class>NNN.jpg",
        obtain=_download("patternnet", "PatternNet.zip (1.4 GB) from sites.google.com/view/zhouwx"),
        dataset="PatternNet",
        downloads="1.4 GB",
    ),
    Entry(
        name="resisc45",
        title="NWPU-RESISC45",
        counts=_equal(
            700,
            "airplane airport baseball_diamond basketball_court beach bridge chaparral church "
            "circular_farmland cloud commercial_area dense_residential desert forest freeway "
            "golf_course ground_track_field harbor industrial_area intersection island lake "
            "meadow medium_residential mobile_home_park mountain overpass palace parking_lot "
            "railway railway_station rectangular_farmland river roundabout runway sea_ice ship "
            "snowberg sparse_residential stadium storage_tank tennis_court terrace "
            "thermal_power_station wetland",
        ),
        size=256,
        resolution="0.2-30",
        licence=_NO_LICENCE,
        citation="Cheng et al., Remote sensing image scene classification: Benchmark and state "
        "of the art, Proceedings of the IEEE 105(10), 2017, doi:10.1109/JPROC.2017.2675998",
        folders=("NWPU-RESISC45",),
        known_as=("nwpu", "resisc"),
        files="<class>/<class>_NNN.jpg",
        obtain=_download("resisc45", "NWPU-RESISC45 (0.4 GB) from gcheng-nwpu.github.io"),
        dataset="RESISC45",
        downloads="0.4 GB",
    ),
    Entry(
        name="aid",
        title="AID",
        counts={
            "Airport": 360,
            "BareLand": 310,
            "BaseballField": 220,
            "Beach": 400,
            "Bridge": 360,
            "Center": 260,
            "Church": 240,
            "Commercial": 350,
            "DenseResidential": 410,
            "Desert": 300,
            "Farmland": 370,
            "Forest": 250,
            "Industrial": 390,
            "Meadow": 280,
            "MediumResidential": 290,
            "Mountain": 340,
            "Park": 350,
            "Parking": 390,
            "Playground": 370,
            "Pond": 420,
            "Port": 380,
            "RailwayStation": 260,
            "Resort": 290,
            "River": 410,
            "School": 300,
            "SparseResidential": 300,
            "Square": 330,
            "Stadium": 290,
            "StorageTanks": 360,
            "Viaduct": 420,
        },
        size=600,
        resolution="0.5-8",
        licence=_NO_LICENCE,
        citation="Xia et al., AID: A benchmark data set for performance evaluation of aerial "
        "scene classification, IEEE TGRS 55(7), 2017, doi:10.1109/TGRS.2017.2685945",
        folders=("AID",),
        known_as=("aid", "aerialimagedataset"),
        files="<Class>/<class>_N.jpg",
        obtain=_download(
            "aid",
            "the class folders of AID.zip (about 2.5 GB) from its authors (Wuhan University, "
            "captain-whu.github.io/AID)",
        ),
        dataset="AID",
        downloads="about 2.5 GB",
    ),
    Entry(
        name="siri-whu",
        title="SIRI-WHU Google",
        counts=_equal(
            200,
            "agriculture commercial harbor idle_land industrial meadow overpass park pond "
            "residential river water",
        ),
        size=200,
        resolution="2",
        licence=_NO_LICENCE,
        citation="Zhao et al., Dirichlet-derived multiple topic scene classification model for "
        "high spatial resolution remote sensing imagery, IEEE TGRS 54(4), 2016, "
        "doi:10.1109/TGRS.2015.2496185",
        folders=("Google dataset of SIRI-WHU_earth_im_tiff/12class_tif",),
        known_as=("siri", "googledatasetofsiri", "12class"),
        files="<class>/NNNN.tif",
        obtain="Ask for the Google data set of SIRI-WHU from its authors (RSIDEA group, Wuhan "
        "University) and unpack the archive there under its own name",
        dataset="SIRIWHU",
    ),
    Entry(
        name="hmhr",
        title="HMHR (How to Make High Resolution Remote Sensing Image dataset)",
        counts={
            "Buildings": 121,
            "Farmland": 106,
            "Greenbelt": 112,
            "Wasteland": 93,
            "Water": 101,
        },
        size=256,
        resolution="2.39",
        licence=_NO_LICENCE,
        citation="leeguandong, How to make high resolution remote sensing image dataset, "
        "github.com/leeguandong/How-to-make-high-resolution-remote-sensing-image-dataset",
        folders=("HMHR/RS Image Dataset",),
        known_as=("hmhr", "howtomakehighresolution", "rsimagedataset"),
        files="<Class>/<Class>NN.jpg",
        obtain="Clone github.com/leeguandong/"
        "How-to-make-high-resolution-remote-sensing-image-dataset and put its folder "
        "'RS Image Dataset' there",
        dataset="HMHR",
    ),
    Entry(
        name="cifar10",
        title="CIFAR-10",
        counts=_equal(6_000, "airplane automobile bird cat deer dog frog horse ship truck"),
        size=32,
        resolution=_PHOTOGRAPHS,
        licence=_NO_LICENCE,
        citation=_CIFAR_CITATION,
        folders=("cifar10",),
        known_as=("cifar10",),
        files="train/<class>/* and test/<class>/*",
        obtain=_download(
            "cifar10", "cifar-10-python.tar.gz (163 MB) from www.cs.toronto.edu/~kriz/cifar.html"
        ),
        dataset="CIFAR10",
        downloads="163 MB",
        splits=("train", "test"),
        packed=(
            *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
            "cifar-10-batches-py/test_batch",
            "cifar-10-batches-py/batches.meta",
        ),
        training=50_000,
    ),
    Entry(
        name="cifar100",
        title="CIFAR-100",
        counts=_equal(600, _CIFAR100),
        size=32,
        resolution=_PHOTOGRAPHS,
        licence=_NO_LICENCE,
        citation=_CIFAR_CITATION,
        folders=("cifar100",),
        known_as=("cifar100",),
        files="train/<class>/* and test/<class>/*",
        obtain=_download(
            "cifar100", "cifar-100-python.tar.gz (161 MB) from www.cs.toronto.edu/~kriz/cifar.html"
        ),
        dataset="CIFAR100",
        downloads="161 MB",
        splits=("train", "test"),
        packed=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        training=50_000,
    ),
    Entry(
        name="svhn",
        title="SVHN (Street View House Numbers, cropped digits)",
        counts=dict(
            zip(
                "0123456789",
                (6_692, 18_960, 14_734, 11_379, 9_981, 9_266, 7_704, 7_614, 6_705, 6_254),
                strict=True,
            )
        ),
        size=32,
        resolution=_PHOTOGRAPHS,
        licence="non-commercial use",
        citation="Netzer et al., Reading digits in natural images with unsupervised feature "
        "learning, NIPS workshop 2011",
        folders=("svhn",),
        known_as=("svhn",),
        files="train/<digit>/* and test/<digit>/*",
        obtain=_download(
            "svhn",
            "train_32x32.mat and test_32x32.mat (246 MB) from ufldl.stanford.edu/housenumbers",
        ),
        dataset="SVHN",
        downloads="246 MB",
        splits=("train", "test"),
        packed=("train_32x32.mat", "test_32x32.mat"),
        training=73_257,
    ),
    Entry(
        name="imagenet",
        title="ImageNet (ILSVRC 2012)",
        counts=dict.fromkeys(
            Path(__file__).with_name("imagenet_classes.txt").read_text("ascii").split(), 0
        ),
        size=500,
        resolution=_PHOTOGRAPHS,
        licence="non-commercial research",
        citation="Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV "
        "115(3), 2015, doi:10.1007/s11263-015-0816-y",
        folders=("imagenet", "ImageNet", "ILSVRC2012"),
        known_as=("imagenet", "ilsvrc"),
        files="train/<nNNNNNNNN>/*.JPEG and val/<nNNNNNNNN>/*.JPEG",
        obtain="Get ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and "
        "ILSVRC2012_devkit_t12.tar.gz (154 GB) from image-net.org and unpack them there with "
        "torchvision.datasets.ImageNet",
        dataset="ImageNet",
        splits=("train", "val"),
        training=1_281_167,
        total=1_331_167,
    ),
    Entry(
        name="synthetic",
        title="Synthetic scenes",
        counts=_equal(
            160,
            "bare fields forest industrial meadow orchard residential river road water",
        ),
        size=64,
        bands=(*RGB, "nir"),
        resolution="2-4",
        licence="MIT, as this package",
        citation="drawn by rs-otl",
        folders=(),
        files="",
        obtain="Nothing to get: it is drawn by this package",
        dataset="Synthetic",
        mean=None,
        std=None,
    ),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def entry_named(name: str) -> Entry:
    """Look up a data set.

    Raises:
        InputError: No data set has that name; the message has the nearest name.
    """
    name = base_name(name)
    if name not in CATALOGUE:
        close = difflib.get_close_matches(name.lower(), CATALOGUE, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(CATALOGUE)}"
        raise InputError(f"no data set or folder is named {name!r}: {hint}")
    return CATALOGUE[name]
