import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rs_otl.errors import InputError
from rs_otl.evaluation import class_mean_predict, draw_shots, few_shot
from rs_otl.evaluation.report import Difference

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=60).map(lambda it: np.array(it, np.int64))


@given(LABELS, st.integers(1, 8), st.integers(0, 9), st.integers(0, 99))
def test_a_draw_takes_k_of_each_class_or_all_there_are(labels, shots, draw, seed):
    rows = draw_shots(labels, shots, draw, seed).numpy()
    assert len(set(rows.tolist())) == len(rows)
    counts = np.bincount(labels, minlength=6)
    np.testing.assert_array_equal(np.bincount(labels[rows], minlength=6), np.minimum(counts, shots))


@given(LABELS, st.integers(1, 8), st.integers(0, 9), st.integers(0, 99))
def test_a_larger_k_holds_the_smaller_and_draws_repeat(labels, shots, draw, seed):
    fewer = draw_shots(labels, shots, draw, seed)
    assert set(fewer.tolist()) <= set(draw_shots(labels, shots + 1, draw, seed).tolist())
    assert torch.equal(fewer, draw_shots(labels, shots, draw, seed))


def test_draws_differ():
    labels = np.arange(90) % 3
    assert len({tuple(draw_shots(labels, 5, draw).tolist()) for draw in range(10)}) == 10


def test_the_class_mean_is_of_directions():
    train = torch.tensor([[10.0, 0], [0, 1], [0.1, 0.1], [-1, 0]])
    labels = torch.tensor([4, 4, 4, 7])
    test = torch.tensor([[1.0, 1], [3, 4], [-5, 1]])
    assert class_mean_predict(train, labels, test).tolist() == [4, 4, 7]
    scaled = train * torch.tensor([[3.0], [9], [0.5], [2]])
    assert torch.equal(
        class_mean_predict(scaled, labels, test), class_mean_predict(train, labels, test)
    )


def _clusters(noise, rows=120):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % 4
    centres = torch.randn(4, 16, generator=generator)
    return centres[labels] + noise * torch.randn(rows, 16, generator=generator), labels


def _judge(features, labels, shots, **settings):
    names = [f"class {label}" for label in range(4)]
    return few_shot(
        features[:80], labels[:80], features[80:], labels[80:], names, shots, **settings
    )


def test_more_labelled_images_help_and_the_interval_is_of_the_draws():
    one, twenty = _judge(*_clusters(1.2), [20, 1])
    assert (one.shots, twenty.shots) == (1, 20)
    for classifier in ("knn", "class_mean", "linear"):
        few, many = one.scores[classifier], twenty.scores[classifier]
        assert few.accuracy < many.accuracy
        assert few.low <= few.accuracy <= few.high
        assert few.accuracy == pytest.approx(np.mean(one.draws[classifier]))
        assert len(one.draws[classifier]) == 10


def test_a_short_class_is_used_whole_and_named():
    features, labels = _clusters(0.1)
    (found,) = _judge(features, labels, [21])
    assert found.short == ("class 0", "class 1", "class 2", "class 3")
    assert found.scores["class_mean"].accuracy == 1
    (enough,) = _judge(features, labels, [20])
    assert enough.short == ()


def test_an_interval_of_draws_that_are_all_the_same_is_no_evidence():
    assert not Difference(difference=0.2, low=0.2, high=0.2).beyond_noise
    assert Difference(difference=0.2, low=0.1, high=0.3).beyond_noise
    assert Difference(difference=-0.2, low=-0.3, high=-0.1).beyond_noise


def test_it_repeats_and_leaves_the_global_state_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    data = _clusters(1.0)
    assert _judge(*data, [2], seed=3) == _judge(*data, [2], seed=3) != _judge(*data, [2], seed=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_no_image_a_class_and_single_draws_are_refused():
    with pytest.raises(InputError, match="at least 1 image per class"):
        _judge(*_clusters(1.0), [0])
    with pytest.raises(InputError, match="at least 2 draws"):
        _judge(*_clusters(1.0), [1], draws=1)
