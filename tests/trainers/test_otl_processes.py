"""A run on two processes is the run on one."""

import os
import subprocess
import sys

import pytest
import torch
import two_processes


def test_two_processes_make_the_labels_and_the_weights_of_one(tmp_path):
    two_processes.main(tmp_path, 1)
    subprocess.run(
        [sys.executable, two_processes.__file__, tmp_path, "2"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=600,
    )
    one, two, too = (torch.load(tmp_path / f"{name}.pt") for name in ("1-0", "2-0", "2-1"))
    for run in one:
        alone, first, second = one[run], two[run], too[run]
        assert alone["labels"].shape[-1] == 45  # all images, of which the steps drop some
        assert torch.equal(first["labels"], second["labels"])
        for epoch in range(3):
            agree = (first["labels"][epoch] == alone["labels"][epoch]).float().mean()
            # Weights are averaged in another order, which can move a row that stood on the edge.
            assert agree == 1 if epoch == 0 else agree > 0.95, run
        for name, weights in alone["weights"].items():
            torch.testing.assert_close(first["weights"][name], second["weights"][name])
            torch.testing.assert_close(first["weights"][name], weights, rtol=1e-2, atol=1e-3)
        assert float(first["std"]) < 0.5
        assert float(first["std"]) == pytest.approx(float(alone["std"]), abs=0.2)
