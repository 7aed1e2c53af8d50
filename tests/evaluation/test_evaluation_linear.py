import pytest
import torch

from rs_otl.errors import InputError
from rs_otl.evaluation import linear_predict


def blobs(count, dimensions=16, classes=4, spread=1.0, seed=0):
    """Overlapping clouds round the corners of a simplex, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    centres = 4 * torch.eye(dimensions)[:classes]
    noise = torch.randn(count, dimensions, generator=generator)
    return spread * (centres[labels] + noise), labels


def accuracy(train, labels, test, truth, **options):
    return (linear_predict(train, labels, test, **options) == truth).float().mean().item()


def test_clouds_are_told_apart():
    assert accuracy(*blobs(600), *blobs(200, seed=1)) > 0.95


def test_a_seed_gives_a_result_whatever_the_global_state():
    (train, labels), (test, _) = blobs(300, spread=0.1), blobs(200, seed=1, spread=0.1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = linear_predict(train, labels, test, epochs=2, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(linear_predict(train, labels, test, epochs=2, seed=3), one)
    assert not torch.equal(linear_predict(train, labels, test, epochs=2, seed=4), one)


def test_standardised_features_are_fitted_at_any_scale_and_offset():
    (train, labels), (test, _) = blobs(300), blobs(200, seed=1)
    plain = linear_predict(train, labels, test, standardise=True)
    moved = linear_predict(train / 1024 + 1, labels, test / 1024 + 1, standardise=True)
    assert (plain == moved).float().mean() > 0.98


def test_features_of_small_spread_are_not_fitted_as_they_come():
    """The handicap that standardising takes away, and the reason why both are reported."""
    (train, labels), (test, truth) = blobs(300, spread=1e-2), blobs(200, seed=1, spread=1e-2)
    assert accuracy(train, labels, test, truth) < 0.5
    assert accuracy(train, labels, test, truth, standardise=True) > 0.8


def test_test_rows_are_predicted_independently():
    """Nothing is learnt from the test features, their mean and deviation included."""
    (train, labels), (test, _) = blobs(300), blobs(200, seed=1)
    test += torch.linspace(-9, 9, 200)[:, None]
    for standardise in (False, True):
        whole = linear_predict(train, labels, test, standardise=standardise)
        part = linear_predict(train, labels, test[:20], standardise=standardise)
        assert torch.equal(whole[:20], part)


def test_a_constant_feature_is_no_fault():
    (train, labels), (test, truth) = blobs(300), blobs(200, seed=1)
    train[:, 0], test[:, 0] = 7, 8
    assert accuracy(train, labels, test, truth, standardise=True) > 0.7


def test_a_label_without_training_rows_is_not_predicted():
    (train, labels), (test, _) = blobs(300), blobs(200, seed=1)
    rest = labels != 1
    assert 1 not in linear_predict(train[rest], labels[rest], test).tolist()


def test_one_row_and_one_class():
    features = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0])
    for standardise in (False, True):
        predicted = linear_predict(features, labels, features, standardise=standardise)
        assert predicted.tolist() == [0]


def test_half_precision_features_are_taken():
    (train, labels), (test, _) = blobs(50), blobs(10)
    assert linear_predict(train.half(), labels, test.half(), epochs=1).dtype == torch.int64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"lr": 0}, "lr = 0"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"test_features": torch.zeros(3, 5)}, r"\(n, D\), \(n,\) and \(m, D\)"),
    ],
)
def test_wrong_use_is_refused(change, message):
    train, labels = blobs(20)
    arguments = {"train_features": train, "train_labels": labels, "test_features": train} | change
    with pytest.raises(InputError, match=message):
        linear_predict(**arguments)
