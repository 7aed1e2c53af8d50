import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rs_otl.errors import InputError
from rs_otl.evaluation import bootstrap_interval

OUTCOMES = st.lists(st.booleans(), min_size=1, max_size=300).map(np.array)
SEEDS = st.integers(0, 1000)


@given(OUTCOMES, SEEDS)
def test_it_holds_the_accuracy_and_stays_in_range(correct, seed):
    low, high = bootstrap_interval(correct, seed)
    assert 0 <= low <= correct.mean() <= high <= 1


@given(OUTCOMES, SEEDS)
def test_only_the_number_of_hits_counts(correct, seed):
    assert bootstrap_interval(correct, seed) == bootstrap_interval(np.sort(correct), seed)


@given(OUTCOMES, SEEDS)
def test_a_higher_level_is_no_narrower(correct, seed):
    low, high = bootstrap_interval(correct, seed, level=0.8)
    wider_low, wider_high = bootstrap_interval(correct, seed, level=0.99)
    assert wider_low <= low
    assert high <= wider_high


@given(st.integers(1, 100), st.booleans(), SEEDS)
def test_certainty_is_a_point(count, value, seed):
    assert bootstrap_interval(np.full(count, value), seed) == (value, value)


def test_it_is_what_drawing_images_gives():
    correct = np.arange(150) < 60
    generator = np.random.default_rng(1)
    drawn = generator.choice(correct, (20_000, 150)).mean(1)
    expected = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose(
        bootstrap_interval(correct, resamples=20_000), expected, atol=1.01 / 150
    )


def test_more_images_make_it_narrower():
    few, many = (np.arange(count) % 2 == 0 for count in (40, 4000))
    widths = [high - low for low, high in map(bootstrap_interval, (few, many))]
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.2)


@pytest.mark.parametrize("correct", [np.array([], bool), np.zeros((2, 2), bool), np.zeros(3)])
def test_other_outcomes_are_refused(correct):
    with pytest.raises(InputError, match="expected"):
        bootstrap_interval(correct)


def test_a_level_of_one_is_refused():
    with pytest.raises(InputError, match="level"):
        bootstrap_interval(np.array([True]), level=1)
