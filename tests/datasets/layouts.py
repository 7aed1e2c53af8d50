"""The official layouts of the catalogue, with two images each."""

from pathlib import Path

from rasterio import Affine

from rs_otl.datasets import CATALOGUE

# A file of the first class in the official layout, and how many bands it has.
OFFICIAL = {
    "eurosat": ("2750/AnnualCrop/AnnualCrop_1.jpg", 3),
    "eurosat-ms": (
        "ds/images/remote_sensing/otherDatasets/sentinel_2/tif/AnnualCrop/AnnualCrop_1.tif",
        13,
    ),
    "ucmerced": ("UCMerced_LandUse/Images/agricultural/agricultural00.tif", 3),
    "patternnet": ("PatternNet/images/airplane/airplane001.jpg", 3),
    "resisc45": ("NWPU-RESISC45/airplane/airplane_001.jpg", 3),
    "aid": ("AID/Airport/airport_1.jpg", 3),
    "siri-whu": ("Google dataset of SIRI-WHU_earth_im_tiff/12class_tif/agriculture/0001.tif", 3),
    "hmhr": ("HMHR/RS Image Dataset/Buildings/Buildings01.jpg", 3),
}


def write_official(root: Path, name: str, write_image, copies: int = 1) -> None:
    """Write images of the first and the last class: labels must not depend on what is there."""
    path, bands = OFFICIAL[name]
    classes = CATALOGUE[name].classes
    for image_class in (classes[0], classes[-1]):
        file = root / path.replace(classes[0], image_class)
        for number in range(copies):
            options = {"seed": number + 10 * (image_class == classes[0])}
            if bands == 13:
                # Georeferenced, as the real ones are.
                place = Affine(10, 0, 0, 0, -10, 0)
                options |= {"bands": 13, "dtype": "uint16", "high": 3000, "transform": place}
            copy = file.with_stem(f"{file.stem}{number}") if number else file
            write_image(copy, **options)
