"""What embeddings lose as float16 and int8: neighbours, kNN and the accuracy of a map.

    python benchmarks/storage.py ../shared/data/HMHR

It measures the images of a folder of classes, half of them for training, and a map of the drawn
scene, made from three labels of each class and compared with the drawn classes.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import torch
from PIL import Image

from rs_otl import geo
from rs_otl.datasets.landscape import draw_landscape
from rs_otl.evaluation.knn import knn_predict
from rs_otl.geo.storage import DTYPES, fit_storage, read_stored
from rs_otl.models import Encoder, load_encoder

STRIDE = 32


def images_of(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the images of a folder of classes, all of one size, and their labels."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg", ".tif"))
    names = sorted({path.parent.name for path in paths})
    pixels = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    labels = torch.tensor([names.index(path.parent.name) for path in paths])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), labels


def knn(features: torch.Tensor, labels: torch.Tensor) -> dict[str, tuple[float, float]]:
    """Return kNN accuracy, and the share of the ten nearest images that stay the same."""
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    train, test = order[::2], order[1::2]
    found, nearest = {}, {}
    for dtype in DTYPES:
        storage = fit_storage([features.numpy()], dtype)
        stored = storage.store(features.numpy())
        kept = torch.from_numpy(read_stored(stored.T, storage.scales).T.copy())
        voted = knn_predict(kept[train], labels[train], kept[test], k=(10,))[10]
        unit = torch.nn.functional.normalize(kept)
        nearest[dtype] = (unit[test] @ unit[train].T).topk(10).indices
        same = [
            len(set(a.tolist()) & set(b.tolist())) / 10
            for a, b in zip(nearest[dtype], nearest["float32"], strict=True)
        ]
        accuracy = (voted == labels[test]).double().mean().item()
        found[dtype] = (100 * accuracy, 100 * float(np.mean(same)))
    return found


def maps(encoder: Encoder) -> dict[str, tuple[float, float]]:
    """Return the accuracy of a map in cells of one class, and the embedding file's size in MB."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        demo = geo.demo(Path(folder, "demo"))
        for dtype in DTYPES:
            made, mapped = Path(folder, f"{dtype}.tif"), Path(folder, f"{dtype}-map.tif")
            geo.embed(demo / "scene.tif", encoder, made, tile=64, stride=STRIDE, dtype=dtype)
            geo.map(made, demo / "labels.geojson", mapped)
            with rasterio.open(mapped) as file:
                classes = file.read(1)
            _, cover = draw_landscape(STRIDE * len(classes))
            cells = cover.reshape(len(classes), STRIDE, -1, STRIDE)
            counts = np.stack([(cells == k).mean((1, 3)) for k in range(cover.max() + 1)])
            pure = counts.max(0) == 1
            right = (classes == 1 + counts.argmax(0))[pure].mean()
            found[dtype] = (100 * float(right), made.stat().st_size / 1e6)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="timm/tf_efficientnet_lite0")
    given = parser.parse_args()
    encoder = load_encoder(given.encoder, image_size=64)
    images, labels = images_of(given.folder)
    scores, mapped = knn(encoder.embed(images), labels), maps(encoder)
    print("dtype, kNN(10) %, the same ten neighbours %, map %, GeoTIFF MB")
    for dtype in DTYPES:
        print(f"{dtype}, {', '.join(f'{x:.1f}' for x in (*scores[dtype], *mapped[dtype]))}")
