import dataclasses
import time

import numpy as np
import pytest
import torch

from rs_otl.datasets import load_dataset
from rs_otl.datasets.catalogue import CATALOGUE
from rs_otl.datasets.landscape import draw_scene
from rs_otl.datasets.synthetic import Synthetic

CLASSES = CATALOGUE["synthetic"].classes


@pytest.mark.parametrize("name", CLASSES)
def test_scenes_are_reproducible_and_varied(name):
    scenes = [draw_scene(f"{name}/{number:04}") for number in range(6)]
    assert all(scene.shape == (4, 64, 64) and scene.dtype == np.uint8 for scene in scenes)
    np.testing.assert_array_equal(scenes[0], draw_scene(f"{name}/0000"))
    assert all(scene.std() > 3 for scene in scenes)
    assert len({scene.tobytes() for scene in scenes}) == 6


def test_vegetation_is_bright_in_the_near_infrared_and_water_dark():
    forest = np.mean([draw_scene(f"forest/{n:04}").mean((1, 2)) for n in range(20)], axis=0)
    water = np.mean([draw_scene(f"water/{n:04}").mean((1, 2)) for n in range(20)], axis=0)
    assert forest[3] > 1.5 * forest[:3].max()
    assert water[3] < water[:3].max()


def test_samples_are_in_the_manner_of_torchgeo():
    dataset = Synthetic(transforms=lambda sample: {**sample, "seen": True})
    assert len(dataset) == 1600
    assert np.bincount(dataset.targets).tolist() == [160] * 10
    sample = dataset[-1]
    assert sample["image"].dtype == torch.float32
    assert sample["image"].max() > 1
    assert sample["label"] == len(CLASSES) - 1
    assert sample["seen"]


@pytest.fixture(scope="module")
def loaded():
    """A quarter of the scenes."""
    entry = CATALOGUE["synthetic"]
    few = dataclasses.replace(entry, counts=dict.fromkeys(CLASSES, 40))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CATALOGUE, "synthetic", few)
        start = time.process_time()
        yield load_dataset("synthetic", 64), time.process_time() - start


def test_the_set_needs_no_files_and_little_time(loaded):
    imagery, seconds = loaded
    assert (len(imagery), imagery.missing, imagery.left_out) == (400, None, [])
    assert imagery.classes == CLASSES
    assert np.bincount(imagery.labels).tolist() == [40] * 10
    assert len(np.unique(imagery.hashes)) == 400
    assert imagery.spec.bands == ("red", "green", "blue", "nir")
    assert min(imagery.spec.std) > 0.05
    assert seconds < 15
    scene = torch.from_numpy(draw_scene(imagery.paths[7])).float() / 255
    assert torch.equal(imagery[7]["image"], scene)


def test_colour_alone_does_not_tell_the_classes_apart(loaded):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    imagery, _ = loaded
    images = imagery.images(range(400))
    colour = torch.cat([images.mean((2, 3)), images.std((2, 3))], dim=1).numpy()
    colour = StandardScaler().fit_transform(colour)
    test = np.arange(400) % 5 == 0
    model = LogisticRegression(max_iter=300).fit(colour[~test], imagery.labels[~test])
    assert 0.2 < model.score(colour[test], imagery.labels[test]) < 0.8
