import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rs_otl.errors import InputError
from rs_otl.evaluation import bootstrap_interval, paired_interval, t_interval

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


@pytest.mark.parametrize("level", [0, 1, 95, float("nan")])
@pytest.mark.parametrize(
    ("interval", "values"),
    [
        (bootstrap_interval, [[True, False]]),
        (paired_interval, [[True, False], [False, False]]),
        (t_interval, [[0.5, 0.6]]),
    ],
)
def test_a_level_that_is_no_share_is_refused(interval, values, level):
    with pytest.raises(InputError, match=f"level {level}: expected .*between 0 and 1"):
        interval(*map(np.array, values), level=level)


PAIRS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300).map(np.array)


@given(PAIRS, SEEDS)
def test_a_paired_interval_holds_the_difference(pairs, seed):
    one, other = pairs.T
    low, high = paired_interval(one, other, seed)
    assert -1 <= low <= one.mean() - other.mean() + 1e-12
    assert one.mean() - other.mean() - 1e-12 <= high <= 1


@given(PAIRS, SEEDS)
def test_it_is_a_point_at_0_against_itself(pairs, seed):
    assert paired_interval(pairs[:, 0], pairs[:, 0], seed) == (0, 0)


def test_it_turns_round_with_its_arguments():
    random = np.random.default_rng(0)
    one, other = random.random((2, 2000)) < [[0.7], [0.6]]
    low, high = paired_interval(one, other, resamples=20_000)
    assert paired_interval(other, one, resamples=20_000) == pytest.approx((-high, -low), abs=2e-3)


def test_it_is_narrower_the_more_the_predictions_agree():
    one = np.arange(400) < 240
    alike, apart = one.copy(), np.roll(one, 130)
    alike[:20] = False
    widths = [np.ptp(paired_interval(one, other)) for other in (alike, apart)]
    assert widths[0] < widths[1] / 2


def test_it_is_what_drawing_pairs_gives():
    random = np.random.default_rng(2)
    one, other = random.random((2, 150)) < [[0.7], [0.5]]
    rows = random.integers(0, 150, (20_000, 150))
    expected = np.quantile((one[rows].mean(1) - other[rows].mean(1)), [0.025, 0.975])
    assert paired_interval(one, other) == pytest.approx(tuple(expected), abs=0.011)


@pytest.mark.parametrize(
    ("one", "other"),
    [([True], [True, False]), ([1.0], [0.0]), ([], []), ([[True, False]], [[True, True]])],
)
def test_predictions_that_are_no_pairs_are_refused(one, other):
    with pytest.raises(InputError, match="expected the same"):
        paired_interval(np.array(one), np.array(other))


def test_the_t_interval_is_students():
    # From a table: t = 2.262 at 9 degrees of freedom.
    values = np.arange(10.0)
    half = 2.262157 * values.std(ddof=1) / np.sqrt(10)
    assert t_interval(values) == pytest.approx((4.5 - half, 4.5 + half), rel=1e-6)
    with pytest.raises(InputError, match="at least 2"):
        t_interval(np.array([0.5]))
