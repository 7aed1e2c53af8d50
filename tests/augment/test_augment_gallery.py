"""The picture of every operation."""

import io
import subprocess
import sys

import numpy as np
import pytest
import torch

from rs_otl.augment import operations_gallery
from rs_otl.augment.operations import OPERATIONS


@pytest.mark.parametrize(("bands", "rgb"), [(1, False), (3, True), (5, False)])
def test_every_operation_and_whole_views_are_drawn(bands, rgb):
    figure = operations_gallery(torch.rand(bands, 18, 18), size=16, rgb=rgb)
    titles = [axes.get_title() for axes in figure.axes]
    for name, (low, high) in OPERATIONS.items():
        spoken = name.replace("_", " ")
        assert len([t for t in titles if t.startswith(spoken)]) == (1 if low == high else 3)
    assert titles.count("simple view") == titles.count("strong view") == 6
    file = io.BytesIO()
    figure.savefig(file)
    assert file.getvalue().startswith(b"\x89PNG")


def test_rgb_is_shown_as_it_is_and_dark_bands_brightened():
    image = torch.full((3, 16, 16), 0.1)

    def first(rgb):
        return np.asarray(operations_gallery(image, 16, rgb).axes[0].images[0].get_array())

    np.testing.assert_allclose(first(rgb=True), 0.1, rtol=1e-5)
    np.testing.assert_allclose(first(rgb=False), 0.5, rtol=1e-5)


def test_matplotlib_is_imported_on_use_alone():
    code = "import sys, rs_otl.augment; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
