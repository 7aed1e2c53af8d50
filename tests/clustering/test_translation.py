"""The exact solver: even, optimal, and the same however it is run."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from rs_otl.clustering import balanced_labels, power_law, translation
from rs_otl.clustering.entries import near_entries


@st.composite
def matrices(draw, largest=12):
    """Outputs of many magnitudes, correlated or not, some columns constant, some rows alike."""
    clusters = draw(st.integers(2, largest))
    rows = draw(st.integers(clusters, 150))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    outputs = torch.randn(rows, clusters, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        outputs = torch.randn(rows, 2, generator=generator, dtype=torch.float64) @ torch.randn(
            2, clusters, generator=generator, dtype=torch.float64
        ) + 3 * torch.randn(clusters, generator=generator, dtype=torch.float64)
    return outputs * draw(st.sampled_from([1e-200, 1e-30, 1e-3, 1.0, 1e6, 1e30, 1e200]))


@st.composite
def awkward(draw):
    """Outputs with ties: few levels, constant columns, repeated rows."""
    clusters = draw(st.integers(2, 8))
    rows = draw(st.integers(clusters, 80))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    outputs = torch.randint(0, draw(st.integers(1, 5)), (rows, clusters), generator=generator)
    outputs = outputs.double() + draw(st.sampled_from([0.0, 0.1])) * torch.randn(
        rows, clusters, generator=generator
    )
    if draw(st.booleans()):
        outputs[:, draw(st.integers(0, clusters - 1))] = round(draw(st.floats(-2, 2)), 6)
    if draw(st.booleans()):
        outputs = outputs[:1].repeat(rows, 1)
    return outputs


def best_sum(outputs, sizes):
    """Greatest sum of chosen outputs with clusters of these sizes, by another's solver."""
    columns = np.repeat(np.arange(outputs.shape[1]), sizes)
    scores = outputs.numpy()[:, columns]
    return scores[linear_sum_assignment(scores, maximize=True)].sum()


def best_even_sum(outputs):
    """The same with each cluster at floor or ceil of N / k."""
    rows, clusters = outputs.shape
    least, more = divmod(rows, clusters)
    scores = outputs.numpy()[:, np.repeat(np.arange(clusters), least + (more > 0))]
    # A row of nobody for each place that stays free; only a cluster's last place may.
    free = np.full((scores.shape[1] - rows, scores.shape[1]), -1e4 * np.abs(scores).max())
    free[:, least :: least + 1] = 0
    scores = np.vstack([scores, free])
    return scores[linear_sum_assignment(scores, maximize=True)][:].sum()


def chosen_sum(outputs, found):
    return float(outputs.gather(1, found.labels[:, None]).sum())


def assert_by_translation(outputs, found):
    """In general position the shift alone makes the labels."""
    shifted = outputs.double() - found.translation
    assert torch.equal(found.labels, shifted.argmax(1))
    assert found.ties == 0
    assert torch.equal(found.counts, found.labels.bincount(minlength=outputs.shape[1]))


def assert_optimal(outputs, found):
    """Complementary slackness: at these prices every row is in its best cluster, up to rounding."""
    shifted = outputs.double() - found.translation
    best = shifted.max(1).values
    at_label = shifted.gather(1, found.labels[:, None])[:, 0]
    assert float((best - at_label).max()) <= 1e-12 * max(float(outputs.abs().max()), 1e-290)
    assert found.ties == int((found.labels != shifted.argmax(1)).sum())
    assert torch.equal(found.counts, found.labels.bincount(minlength=outputs.shape[1]))
    assert found.counts.max() - found.counts.min() <= 1


@settings(max_examples=60)
@given(matrices())
def test_every_cluster_is_even_and_the_sum_is_the_greatest(outputs):
    found = balanced_labels(outputs)
    assert_by_translation(outputs, found)
    assert found.counts.max() - found.counts.min() <= 1
    scale = float(outputs.abs().max()) * len(outputs)
    assert chosen_sum(outputs, found) == pytest.approx(best_even_sum(outputs), abs=1e-9 * scale)


@settings(max_examples=40)
@given(matrices(), st.data())
def test_any_sizes_are_met_with_the_greatest_sum(outputs, data):
    rows, clusters = outputs.shape
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), min_size=clusters - 1,
                                     max_size=clusters - 1)))  # fmt: skip
    sizes = np.diff([0, *cuts, rows])
    found = balanced_labels(outputs, targets=torch.from_numpy(sizes))
    assert_by_translation(outputs, found)
    assert found.counts.tolist() == sizes.tolist()
    scale = float(outputs.abs().max()) * rows
    assert chosen_sum(outputs, found) == pytest.approx(best_sum(outputs, sizes), abs=1e-9 * scale)


@pytest.fixture
def never_whole(monkeypatch):
    """Small matrices go the way of large ones: by a sample, and by entries near the best."""
    monkeypatch.setattr(translation, "_SMALL", 0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.usefixtures("never_whole")
def test_the_way_of_large_matrices_finds_the_same(seed, rank):
    generator = torch.Generator().manual_seed(seed)
    rows, clusters = 90 + 31 * seed, 3 + 3 * seed
    outputs = torch.randn(rows, clusters, generator=generator).double()
    if rank:
        outputs = torch.randn(rows, rank, generator=generator).double() @ torch.randn(
            rank, clusters, generator=generator
        ).double() + 3 * torch.randn(clusters, generator=generator)
    found = balanced_labels(outputs)
    assert_by_translation(outputs, found)
    assert found.counts.max() - found.counts.min() <= 1
    assert chosen_sum(outputs, found) == pytest.approx(best_even_sum(outputs), rel=1e-9)


@settings(max_examples=150)
@given(awkward())
def test_rows_that_are_tied_are_spread_evenly_with_the_greatest_sum(outputs):
    found = balanced_labels(outputs)
    assert_optimal(outputs, found)
    scale = float(outputs.abs().max()) * len(outputs)
    assert chosen_sum(outputs, found) == pytest.approx(best_even_sum(outputs), abs=1e-9 * scale)


@settings(max_examples=60)
@given(awkward(), st.data())
def test_tied_rows_meet_any_sizes(outputs, data):
    rows, clusters = outputs.shape
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), min_size=clusters - 1,
                                     max_size=clusters - 1)))  # fmt: skip
    sizes = np.diff([0, *cuts, rows])
    found = balanced_labels(outputs, targets=torch.from_numpy(sizes))
    assert found.counts.tolist() == sizes.tolist()
    scale = float(outputs.abs().max()) * rows
    assert chosen_sum(outputs, found) == pytest.approx(best_sum(outputs, sizes), abs=1e-9 * scale)


@pytest.mark.parametrize("clusters", [2, 3, 8])
def test_identical_rows_are_spread_evenly_and_said_to_be_tied(clusters):
    found = balanced_labels(torch.full((24, clusters), 0.3))
    assert found.counts.tolist() == [24 // clusters] * clusters
    assert found.std == 0
    # All rows are as good in any cluster; the arg-max gives them all to one.
    assert found.ties == 24 - 24 // clusters


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("distinct", [1, 7])
def test_a_network_that_has_collapsed_still_gives_even_labels(distinct, dtype):
    """Few distinct rows, more clusters than entries are kept of a row."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randn(distinct, 300, generator=generator).to(dtype)
    outputs = patterns[torch.randint(distinct, (8_000,), generator=generator)]
    found = balanced_labels(outputs)
    assert_optimal(outputs, found)
    assert found.ties > 4_000


def test_clusters_are_even_even_when_the_passes_run_out(monkeypatch):
    monkeypatch.setattr(translation, "_MOST_PASSES", 1)
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(5_003, 40, generator=generator) + 2 * torch.randn(40, generator=generator)
    found = balanced_labels(outputs)
    assert found.counts.max() - found.counts.min() <= 1
    assert found.ties > 0


def test_outputs_that_are_all_zero_give_even_labels():
    found = balanced_labels(torch.zeros(5_000, 40))
    assert found.counts.tolist() == [125] * 40


def test_groups_of_rows_that_are_alike_are_split():
    # Ten rows in groups of 3, 4 and 3 along a line: no shift makes five and five.
    places = torch.tensor([0.0] * 3 + [1.0] * 4 + [2.0] * 3)
    found = balanced_labels(torch.stack([places, -places], 1))
    assert found.counts.tolist() == [5, 5]
    assert found.labels[:3].tolist() == [1] * 3
    assert found.labels[7:].tolist() == [0] * 3


def test_as_many_clusters_as_rows_get_a_row_each():
    outputs = torch.randn(300, 300, generator=torch.Generator().manual_seed(0)).double()
    found = balanced_labels(outputs)
    assert found.counts.tolist() == [1] * 300
    assert chosen_sum(outputs, found) == pytest.approx(best_even_sum(outputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "clusters"), [(24_320, 128), (10_007, 300), (20_001, 2)])
def test_large_matrices_end_exactly_even(rows, clusters, dtype):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(rows, clusters, generator=generator, dtype=dtype)
    outputs += 2 * torch.randn(clusters, generator=generator, dtype=dtype)
    before = outputs.clone()
    found = balanced_labels(outputs)
    assert torch.equal(outputs, before)
    assert_by_translation(outputs, found)
    assert found.counts.max() - found.counts.min() <= 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "clusters"), [(20_000, 100), (24_320, 128), (6_000, 1_000)])
def test_halves_end_exactly_even(rows, clusters, dtype):
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(rows, clusters, generator=generator).to(dtype)
    found = balanced_labels(outputs)
    assert_optimal(outputs, found)
    assert found.ties < rows / 4


def test_rows_that_are_no_neighbours_in_memory_are_taken_as_they_are():
    outputs = torch.randn(64, 3000, generator=torch.Generator().manual_seed(0))
    found = balanced_labels(outputs.T)
    assert torch.equal(found.labels, balanced_labels(outputs.T.contiguous()).labels)


def test_uneven_sizes_of_the_paper_are_met():
    outputs = torch.randn(5000, 128, generator=torch.Generator().manual_seed(0))
    for exponent in (0, 2, 4, 6, 8, 10):
        sizes = power_law(5000, 128, exponent)
        assert torch.equal(balanced_labels(outputs, targets=sizes).counts, sizes)


@settings(max_examples=40)
@given(
    st.integers(0, 1000),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0.0, 0.3, 1.5, 1e9]),
    st.integers(2, 9),
)
def test_the_compiled_pass_keeps_what_the_plain_one_keeps(seed, dtype, reach, width):
    generator = torch.Generator().manual_seed(seed)
    rows, clusters = 1 + seed % 90, 2 + seed % 70
    outputs = torch.randn(rows, clusters, generator=generator, dtype=dtype)
    shift = torch.randn(clusters, generator=generator).double().numpy()
    fast, plain = (
        near_entries(outputs, shift, reach, width, float(outputs.abs().max()), compiled=compiled)
        for compiled in (True, False)
    )
    assert fast.labels.tolist() == plain.labels.tolist()
    assert fast.labels.tolist() == (outputs.double() - torch.from_numpy(shift)).argmax(1).tolist()
    assert fast.rows.tolist() == plain.rows.tolist()
    assert fast.starts.tolist() == plain.starts.tolist()
    for start, end in zip(fast.starts[:-1], fast.starts[1:], strict=True):
        kept = [
            sorted(zip(e.clusters[start:end], e.values[start:end], strict=True))
            for e in (fast, plain)
        ]
        assert kept[0] == kept[1]


def test_it_runs_uncompiled_where_nothing_compiles():
    program = (
        "import torch; from rs_otl.clustering import balanced_labels; "
        "o = torch.randn(60, 7, generator=torch.Generator().manual_seed(3)); "
        "print(balanced_labels(o).labels.tolist())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in "01"
    ]
    assert runs[0] == runs[1]


def test_torch_keeps_the_threads_that_it_was_given():
    # In a process of its own: numba starts its threads once.
    program = (
        "import torch; from rs_otl.clustering import balanced_labels;"
        "balanced_labels(torch.randn(64, 4)); print(torch.get_num_threads())"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment)
    assert printed == b"1\n"


def test_a_forked_process_labels_as_its_parent_does():
    program = """
import multiprocessing, torch
from rs_otl.clustering import balanced_labels
outputs = torch.randn(3000, 30, generator=torch.Generator().manual_seed(0))
labels = balanced_labels(outputs).labels
def child(queue):
    torch.set_num_threads(1)
    queue.put(balanced_labels(outputs).labels.tolist())
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
print(queue.get(timeout=100) == labels.tolist())
process.join()
"""
    environment = os.environ | {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout == "True\n", done.stderr
