import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_otl.clustering import balanced_labels, labels
from rs_otl.errors import InputError


@st.composite
def matrices(draw):
    clusters = draw(st.integers(2, 12))
    rows = draw(st.integers(clusters, 200))
    seed = draw(st.integers(0, 2**31 - 1))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    generator = torch.Generator().manual_seed(seed)
    offsets = 3 * torch.randn(clusters, generator=generator)
    return scale * (torch.randn(rows, clusters, generator=generator) + offsets)


@given(matrices())
def test_labels_are_the_argmax_after_one_shift_of_all_rows(outputs):
    found = balanced_labels(outputs)
    shifted = outputs.double() - found.translation
    torch.testing.assert_close(found.labels, shifted.argmax(1))
    # One vector for all rows: differences between rows stay as they were.
    torch.testing.assert_close(
        shifted[0] - shifted[-1],
        outputs.double()[0] - outputs.double()[-1],
        rtol=1e-6,
        atol=1e-6 * float(outputs.abs().max()),
    )


@given(matrices())
def test_counts_are_those_of_the_labels_and_sum_to_n(outputs):
    found = balanced_labels(outputs)
    counts = torch.bincount(found.labels, minlength=outputs.shape[1])
    torch.testing.assert_close(found.counts, counts)
    assert int(counts.sum()) == len(outputs)
    mean = len(outputs) / outputs.shape[1]
    assert found.std == pytest.approx(
        float((counts.double() - mean).square().mean().sqrt()), abs=1e-9
    )


@given(matrices())
def test_std_never_rises(outputs):
    stds = list(balanced_labels(outputs, method="translation-paper").stds)
    assert stds == sorted(stds, reverse=True)


@given(matrices(), st.integers(-40, 40))
def test_a_constant_added_to_all_outputs_changes_nothing(outputs, constant):
    outputs = outputs.double()
    before, after = balanced_labels(outputs), balanced_labels(outputs + constant)
    assert after.std == before.std
    assert torch.equal(after.labels, before.labels)


@given(matrices(), st.integers(0, 2**31 - 1))
def test_a_constant_added_to_a_row_does_not_move_it(outputs, seed):
    outputs = outputs.double()
    found = balanced_labels(outputs)
    shifts = torch.randn(len(outputs), 1, generator=torch.Generator().manual_seed(seed))
    # Rows on a tie are left out: there rounding decides.
    top = (outputs - found.translation).topk(2).values
    clear = top[:, 0] - top[:, 1] > 1e-9 * outputs.abs().max()
    again = (outputs + shifts - found.translation).argmax(1)
    assert torch.equal(again[clear], found.labels[clear])


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_large_matrices_end_nearly_even(correlated, dtype):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(24_320, 128, generator=generator)
    if correlated:
        outputs = torch.randn(24_320, 16, generator=generator) @ torch.randn(
            16, 128, generator=generator
        ) + 3 * torch.randn(128, generator=generator)
    outputs = outputs.to(dtype)
    before = outputs.clone()
    found = balanced_labels(outputs)
    assert torch.equal(outputs, before)
    assert found.initial_std > 10
    # bfloat16 outputs are coarse: many rows lie on ties that no translation splits.
    assert found.std < (1 if dtype == torch.float32 else 3)
    assert found.iterations < 150


def test_even_outputs_are_left_as_they_are():
    found = balanced_labels(torch.eye(6).repeat(3, 1))
    assert (found.std, found.iterations) == (0, 0)
    assert not found.translation.any()


def test_targets_are_met():
    outputs = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1))
    found = balanced_labels(outputs, targets=torch.tensor([700, 200, 100, 0]))
    np.testing.assert_allclose(found.counts.numpy(), [700, 200, 100, 0], atol=2)


@settings(max_examples=10)
@given(st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.integers(0, 19))
def test_outputs_that_are_not_finite_are_refused(value, place):
    outputs = torch.zeros(5, 4)
    outputs.view(-1)[place] = value
    with pytest.raises(InputError, match="not finite"):
        balanced_labels(outputs)


@pytest.mark.parametrize(
    ("outputs", "arguments", "message"),
    [
        (torch.zeros(5), {}, r"\(5,\)"),
        (torch.zeros(5, 2, dtype=torch.int64), {}, "int64"),
        (torch.zeros(5, 1), {}, "k = 1"),
        (torch.zeros(3, 4), {}, "4 clusters for 3 rows"),
        (torch.zeros(1, 2), {}, "2 clusters for 1 rows"),
        (torch.zeros(0, 2), {}, "2 clusters for 0 rows"),
        (torch.zeros(5, 2), {"decay": 1.0}, "decay"),
        (torch.zeros(5, 2), {"decay": float("nan"), "method": "translation-paper"}, "decay = nan"),
        (torch.zeros(5, 2), {"decay": float("inf"), "method": "translation-paper"}, "decay = inf"),
        (torch.zeros(5, 2), {"sharpness": 0.0, "method": "sinkhorn"}, "sharpness = 0"),
        (torch.zeros(5, 2), {"sharpness": float("nan"), "method": "sinkhorn"}, "sharpness = nan"),
        (torch.zeros(5, 2), {"sharpness": float("inf"), "method": "sinkhorn"}, "sharpness = inf"),
        (torch.zeros(5, 2), {"method": "magic"}, "magic"),
        (torch.zeros(5, 2), {"targets": torch.tensor([1, 2, 2])}, r"\(3,\)"),
        (torch.zeros(5, 2), {"targets": torch.tensor([1, 2])}, "sum"),
        (torch.zeros(5, 2), {"targets": torch.tensor([6, -1])}, "at least 0"),
        (torch.zeros(5, 2), {"targets": torch.tensor([float("nan"), 5.0])}, "summing to nan"),
        (torch.zeros(5, 2), {"targets": torch.tensor([float("inf"), 5.0])}, "summing to inf"),
    ],
)
def test_wrong_input_is_named(outputs, arguments, message):
    with pytest.raises(InputError, match=message):
        balanced_labels(outputs, **arguments)


def test_labels_are_made_on_the_cpu_for_a_device_without_float64(monkeypatch):
    class Outputs(torch.Tensor):
        """Says that it lies on a device of which nothing can be read."""

        device = torch.device("meta")

        def cpu(self):
            return self.as_subclass(torch.Tensor)

    monkeypatch.setattr(labels, "_WITHOUT_FLOAT64", ("meta",))
    outputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
    there = balanced_labels(outputs.as_subclass(Outputs))
    assert there.labels.device.type == there.counts.device.type == "meta"
    assert torch.equal(there.translation, balanced_labels(outputs).translation)
