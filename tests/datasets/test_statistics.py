import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_otl.datasets import estimate_statistics, load_dataset


def _imagery(folder, write_image, pixels):
    for number, image in enumerate(pixels):
        write_image(folder / f"{number}.tif", pixels=image)
    return load_dataset(str(folder), pixels.shape[-1])


def test_mean_and_deviation_of_each_band(tmp_path, write_image):
    rng = np.random.default_rng(0)
    scale = np.array([20, 60, 5, 30])[:, None, None]
    pixels = np.clip(
        rng.normal(110, 1, (8, 4, 32, 32)) + scale * rng.normal(0, 1, (8, 4, 32, 32)), 0, 255
    )
    pixels = pixels.astype(np.uint8)
    mean, std = estimate_statistics(_imagery(tmp_path, write_image, pixels), np.arange(8))
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)) / 255, atol=2e-3)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)) / 255, rtol=0.02)


def test_a_few_extreme_pixels_move_nothing(tmp_path, write_image):
    pixels = np.random.default_rng(0).integers(90, 110, (4, 1, 64, 64)).astype(np.uint8)
    mean, std = estimate_statistics(_imagery(tmp_path / "a", write_image, pixels), np.arange(4))
    pixels[0, 0, 0, :8] = 255
    spoilt = estimate_statistics(_imagery(tmp_path / "b", write_image, pixels), np.arange(4))
    np.testing.assert_allclose(spoilt[0], mean, atol=1e-3)
    np.testing.assert_allclose(spoilt[1], std, rtol=0.05)


def test_only_the_images_asked_for_count(tmp_path, write_image):
    pixels = np.stack([np.full((1, 4, 4), value, np.uint8) for value in (0, 51, 255)])
    imagery = _imagery(tmp_path, write_image, pixels)
    mean, std = estimate_statistics(imagery, np.array([1]))
    assert mean == pytest.approx([0.2])
    assert std == (1e-4,)  # never 0, which nothing can be divided by


@settings(max_examples=5)
@given(st.integers(1, 3000))
def test_large_sets_are_sampled_evenly(count):
    class Images:
        spec = type("Spec", (), {"bands": ("band-1",)})
        asked = 0

        def images(self, indices):
            self.asked += len(indices)
            import torch

            return torch.from_numpy(indices / 3000).float().view(-1, 1, 1, 1)

    images = Images()
    mean, _ = estimate_statistics(images, np.arange(count))
    assert images.asked == min(count, 1024)
    assert mean[0] == pytest.approx((count - 1) / 2 / 3000, abs=1e-3)
