"""Other labellers behind the same call, targets, and what labels tell apart."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_otl.clustering import (
    METHODS,
    balanced_labels,
    discriminativeness,
    power_law,
    target_sizes,
    whole_sizes,
)
from rs_otl.errors import InputError


def _outputs(rows=2000, clusters=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    offsets = 2 * torch.randn(clusters, generator=generator)
    return torch.randn(rows, clusters, generator=generator) + offsets


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"instance"}))
def test_all_have_one_signature_and_are_evener_than_the_outputs(method):
    outputs = _outputs()
    found = balanced_labels(outputs, method=method)
    assert found.labels.shape == (2000,)
    assert found.labels.dtype == torch.int64
    assert int(found.counts.sum()) == 2000
    assert found.std < found.initial_std / 2
    if found.translation is not None:
        shifted = outputs.to(found.translation.dtype) - found.translation
        assert torch.equal(found.labels, shifted.argmax(1))


@pytest.mark.parametrize("sharpness", [1e-3, 1.0, 25.0, 1e3, 1e8])
def test_sinkhorn_is_stable_for_any_sharpness(sharpness):
    found = balanced_labels(_outputs(300), method="sinkhorn", sharpness=sharpness)
    assert torch.isfinite(found.translation).all()
    assert found.std < found.initial_std


def test_the_scaled_plan_fills_clusters_as_wanted():
    outputs = _outputs(500).double()
    found = balanced_labels(outputs, method="sinkhorn", sharpness=5.0)
    plan = torch.softmax(5.0 * (outputs - found.translation), 1)
    torch.testing.assert_close(plan.sum(0), torch.full((20,), 25.0).double(), rtol=0.1, atol=0)


def test_instance_labels_are_the_rows():
    assert balanced_labels(torch.eye(7), method="instance").labels.tolist() == list(range(7))
    with pytest.raises(InputError, match="as many clusters as rows"):
        balanced_labels(_outputs(30, 20), method="instance")


@pytest.mark.parametrize("method", ["kmeans", "instance"])
def test_labellers_that_take_no_targets_say_so(method):
    with pytest.raises(InputError, match="takes no targets"):
        balanced_labels(torch.eye(4), targets=torch.ones(4), method=method)


@given(
    st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=30),
    st.integers(1, 10_000),
)
@settings(max_examples=60)
def test_whole_sizes_are_rounded_and_sum_to_the_same(weights, rows):
    weights = torch.tensor(weights, dtype=torch.float64) + 1e-3
    exact = rows * weights / weights.sum()
    found = whole_sizes(exact)
    assert int(found.sum()) == rows
    assert ((found - exact).abs() < 1).all()
    # None that was rounded down has a larger remainder than one that was rounded up.
    rest = exact - exact.floor()
    up = found > exact
    if up.any() and not up.all():
        assert rest[up].min() >= rest[~up].max() - 1e-6 or rest[~up].max() > 1 - 1e-6


@pytest.mark.parametrize("exponent", [0, 2, 4, 6, 8, 10])
def test_power_law_follows_equation_27(exponent):
    sizes = power_law(50_000, 128, exponent)
    assert int(sizes.sum()) == 50_000
    assert (sizes[1:] >= sizes[:-1]).all()
    weights = torch.arange(1, 129).double() ** exponent
    assert (sizes - 50_000 * weights / weights.sum()).abs().max() < 1
    if exponent == 0:
        assert set(sizes.tolist()) == {390, 391}


# By data set: clusters, and the standard deviations of table 4. The paper prints 654.3, the
# third again, as the fourth for CIFAR-10.
TABLE_4 = {128: [352.3, 524.4, 654.4, 762.6, 857.5], 512: [87.5, 130.4, 162.8, 189.8, 213.4]}


@pytest.mark.parametrize("clusters", TABLE_4)
def test_from_zero_it_has_the_standard_deviations_of_table_4(clusters):
    for exponent, std in zip((2, 4, 6, 8, 10), TABLE_4[clusters], strict=True):
        sizes = target_sizes(f"power-law {exponent} from 0", 50_000, clusters).double()
        assert float(sizes.std()) == pytest.approx(std, abs=0.2)
        from_one = target_sizes(f"power-law {exponent}", 50_000, clusters).double()
        assert float(from_one.std()) != pytest.approx(std, abs=0.1)


@pytest.mark.parametrize(
    "text", ["", "odd", "power-law", "power-law -1", "power-law 1.2.3", "power-law 2 from 1"]
)
def test_other_targets_are_refused(text):
    with pytest.raises(InputError, match="expected even, or power-law X"):
        target_sizes(text, 10, 2)
    assert target_sizes("even", 10, 2) is None


@pytest.mark.parametrize("exponent", [-1, float("nan")])
def test_a_falling_power_law_is_refused(exponent):
    with pytest.raises(InputError, match=f"exponent = {exponent}: expected at least 0"):
        power_law(10, 2, exponent)


# Sizes, N_ind and N_dis as tables 16, 17 and 18 print them. The third rows of the first two
# place six images, where the text and both sums speak of four: they are meant to be 2, 2 and
# none, as the third row of table 18 has it.
TABLES = {
    16: [((4, 0, 0, 0), 6, 0), ((3, 1, 0, 0), 3, 3), ((2, 2, 0, 2), 2, 4), ((2, 1, 1, 0), 1, 5),
         ((1, 1, 1, 1), 0, 6)],
    17: [((4, 0, 0), 6, 0), ((3, 1, 0), 3, 3), ((2, 2, 2), 2, 4), ((2, 1, 1), 1, 5)],
    18: [((4, 0), 6, 0), ((3, 1), 3, 3), ((2, 2), 2, 4)],
}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_pairs_are_counted_as_in_the_papers_tables(table):
    misprinted = []
    for number, (sizes, within, across) in enumerate(TABLES[table], 1):
        labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        found = discriminativeness(labels)
        # Equations 1 and 2 hold for whatever is printed.
        assert found.indistinguishable == sum(n * (n - 1) // 2 for n in sizes)
        assert found.distinguishable == sum(
            n * m for i, n in enumerate(sizes) for m in sizes[i + 1 :]
        )
        if sum(sizes) == 4:
            assert (found.indistinguishable, found.distinguishable) == (within, across)
        else:
            misprinted.append(number)
            assert (found.indistinguishable, found.distinguishable) == (3, 12)
            four = discriminativeness(torch.tensor([0, 0, 1, 1]))
            assert (four.indistinguishable, four.distinguishable) == (within, across)
    assert misprinted == ([3] if table in (16, 17) else [])


def test_even_labels_tell_most_pairs_apart():
    # Remark 1 and appendix B, on an N that k does not divide.
    outputs = _outputs(101, 7)
    even = discriminativeness(balanced_labels(outputs).labels)
    raw = discriminativeness(outputs.argmax(1))
    assert even.distinguishable > raw.distinguishable
    assert even.indistinguishable == 4 * 14 * 13 // 2 + 3 * 15 * 14 // 2
