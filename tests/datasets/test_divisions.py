from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rs_otl.datasets import divide, find_duplicates, load_dataset
from rs_otl.errors import InputError


class _Images(SimpleNamespace):
    """What a division needs of imagery."""

    def __len__(self):
        return len(self.hashes)


def _made(hashes, labels=None):
    return _Images(
        name="made up",
        hashes=np.array(hashes, np.uint64),
        labels=None if labels is None else np.array(labels),
        paths=[f"{number}.jpg" for number in range(len(hashes))],
        in_test=None,
        left_out=[],
    )


# Few different hashes, so that there are groups of identical images.
_hashes = st.lists(st.integers(0, 40), min_size=2, max_size=120).filter(lambda h: len(set(h)) > 1)
_numbers = st.integers(1, 1000)
_fractions = st.floats(0.001, 0.999)


def _wanted(fraction, count):
    return min(max(1, round(fraction * count)), count - 1)


@given(_hashes, _numbers, _fractions, st.booleans())
def test_sides_are_disjoint_and_cover_all(hashes, number, fraction, together):
    division = divide(_made(hashes), number, together, fraction)
    assert len(division.test) > 0
    assert len(division.train) > 0
    both = np.concatenate([division.train, division.test])
    assert sorted(both.tolist()) == list(range(len(hashes)))
    assert (np.diff(division.train) > 0).all()
    assert (np.diff(division.test) > 0).all()


@given(_hashes, _numbers, _fractions)
def test_the_fraction_is_exact_without_groups(hashes, number, fraction):
    division = divide(_made(hashes), number, False, fraction)
    assert len(division.test) == _wanted(fraction, len(hashes))


@given(_hashes, _numbers, _fractions)
def test_the_fraction_is_near_with_groups(hashes, number, fraction):
    division = divide(_made(hashes), number, True, fraction)
    wanted = _wanted(fraction, len(hashes))
    sizes = np.unique(hashes, return_counts=True)[1]
    if wanted < sizes.min():
        assert len(division.test) == sizes.min()
    else:
        assert wanted - sizes.max() < len(division.test) <= wanted


@given(_hashes, _numbers)
def test_identical_images_stay_together(hashes, number):
    division = divide(_made(hashes), number)
    hashes = np.array(hashes)
    assert not set(hashes[division.train]) & set(hashes[division.test])
    assert division.duplicates.leaks == 0


@given(_hashes, _numbers)
def test_leaks_are_counted_where_they_are_let(hashes, number):
    division = divide(_made(hashes), number, keep_duplicates_together=False)
    training = {hashes[position] for position in division.train}
    leaks = sum(hashes[position] in training for position in division.test)
    assert division.duplicates.leaks == leaks


@given(_hashes, _numbers)
def test_the_same_number_gives_the_same_division(hashes, number):
    one, two = divide(_made(hashes), number), divide(_made(hashes), number)
    np.testing.assert_array_equal(one.test, two.test)


@pytest.mark.parametrize("together", [True, False])
def test_an_image_is_left_to_train_on(together):
    division = divide(_made(range(10)), 1, together, test_fraction=0.99)
    assert (len(division.train), len(division.test)) == (1, 9)


def test_numbers_and_labels():
    images = _made(range(100))
    tests = [set(divide(images, number).test.tolist()) for number in range(1, 6)]
    assert all(len(test) == 20 for test in tests)
    assert len({frozenset(test) for test in tests}) == 5
    labelled = divide(_made(range(100), [0] * 50 + [1] * 50))
    np.testing.assert_array_equal(labelled.test, divide(images).test)


def test_duplicates_are_reported_by_path():
    images = _made([7, 8, 7, 9, 8, 7], labels=[0, 1, 0, 1, 1, 1])
    for duplicates in (divide(images).duplicates, find_duplicates(images)):
        assert duplicates.groups == (("0.jpg", "2.jpg", "5.jpg"), ("1.jpg", "4.jpg"))
        assert duplicates.conflicts == (("0.jpg", "5.jpg"), ("2.jpg", "5.jpg"))
        assert duplicates.leaks == 0


def test_images_without_labels_conflict_with_none():
    assert find_duplicates(_made([7, 7])).conflicts == ()


def test_errors():
    with pytest.raises(InputError, match="numbered from 1, not 0"):
        divide(_made([1, 2]), 0)
    with pytest.raises(InputError, match="test fraction"):
        divide(_made([1, 2]), test_fraction=1)
    with pytest.raises(InputError, match="made up: 1 different images, expected at least two"):
        divide(_made([1, 1, 1]))
    with pytest.raises(InputError, match="at least two"):
        divide(_made([1]), keep_duplicates_together=False)


def test_of_too_few_images_the_broken_one_is_named(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    (tmp_path / "two.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(
        InputError, match=r"1 different images \(two.jpg: .*, expected at least two"
    ):
        divide(load_dataset(str(tmp_path), 8))


def test_hmhr_has_its_known_duplicates(real_data):
    imagery = load_dataset("hmhr", 8, root=real_data)
    division = divide(imagery)
    assert len(division.duplicates.groups) == 37
    assert set(division.duplicates.conflicts) == {
        ("Greenbelt/Greenbelt24.jpg", "Water/Water15.jpg"),
        ("Greenbelt/Greenbelt28.jpg", "Water/Water24.jpg"),
        ("Greenbelt/Greenbelt27.jpg", "Water/Water21.jpg"),
        ("Greenbelt/Greenbelt110.jpg", "Water/Water91.jpg"),
    }
    assert len(np.unique(imagery.hashes)) == 496
    assert len(division.test) == 107
    assert divide(imagery, keep_duplicates_together=False).duplicates.leaks > 0
