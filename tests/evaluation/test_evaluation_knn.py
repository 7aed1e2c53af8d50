import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier

from rs_otl.errors import InputError
from rs_otl.evaluation import knn_predict

SIZES = st.tuples(
    st.integers(1, 60), st.integers(1, 30), st.integers(2, 8), st.integers(1, 5), st.integers(0, 99)
)


def draw(n, m, dimensions, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    train = torch.randn(n, dimensions, generator=generator)
    labels = torch.randint(0, classes, (n,), generator=generator)
    return train, labels, torch.randn(m, dimensions, generator=generator)


def reference_votes(train, labels, test, k, sigma):
    """Votes (m, classes) straight from the definition, in float64."""
    train, test = train.double().numpy(), test.double().numpy()
    similarities = (test / np.linalg.norm(test, axis=1, keepdims=True)) @ (
        train / np.linalg.norm(train, axis=1, keepdims=True)
    ).T
    votes = np.zeros((len(test), int(labels.max()) + 1))
    for row, similarity in enumerate(similarities):
        for index in np.argsort(-similarity, kind="stable")[:k]:
            votes[row, labels[index]] += np.exp(similarity[index] / sigma)
    return votes


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 80), st.sampled_from([0.07, 0.1, 1.0]))
def test_the_label_with_most_votes_wins(sizes, k, sigma):
    train, labels, test = draw(*sizes)
    predicted = knn_predict(train, labels, test, k=[k], sigma=sigma)[k].numpy()
    votes = reference_votes(train, labels, test, k, sigma)
    assert predicted.dtype == np.int64
    # Equal up to rounding: of two labels with practically equal votes either may win.
    won = votes[np.arange(len(test)), predicted]
    np.testing.assert_allclose(won, votes.max(1), rtol=1e-3)


def test_it_agrees_with_scikit_learn():
    train, labels, test = draw(500, 200, 16, 10, 0)
    for k, predicted in knn_predict(train, labels, test, k=(1, 10, 50)).items():
        other = KNeighborsClassifier(
            k, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / 0.1)
        ).fit(train.double().numpy(), labels.numpy())
        np.testing.assert_array_equal(predicted.numpy(), other.predict(test.double().numpy()))


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 70))
def test_blocks_of_any_size_give_the_same(sizes, chunk):
    data = draw(*sizes)
    whole, parts = knn_predict(*data, k=(3, 10)), knn_predict(*data, k=(3, 10), chunk=chunk)
    for k, predicted in whole.items():
        assert torch.equal(predicted, parts[k])


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(-8, 8))
def test_the_scale_of_features_does_not_count(sizes, power):
    train, labels, test = draw(*sizes)
    scaled = knn_predict(train * 2.0**power, labels, test / 2.0**power, k=[5])[5]
    assert torch.equal(knn_predict(train, labels, test, k=[5])[5], scaled)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(0, 99))
def test_test_rows_are_predicted_independently(sizes, seed):
    train, labels, test = draw(*sizes)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    predicted = knn_predict(train, labels, test, k=[5])[5]
    assert torch.equal(knn_predict(train, labels, test[order], k=[5])[5], predicted[order])


def test_k_above_the_number_of_rows_works_as_that_number():
    data = draw(30, 10, 4, 3, 0)
    predicted = knn_predict(*data, k=(30, 200))
    assert list(predicted) == [30, 200]
    assert torch.equal(predicted[30], predicted[200])


def test_the_order_of_k_and_repeats_do_not_matter():
    data = draw(50, 10, 4, 3, 0)
    one, other = knn_predict(*data, k=(20, 1, 20)), knn_predict(*data, k=(1, 20))
    assert all(torch.equal(one[k], other[k]) for k in (1, 20))
    assert len(one[20]) == 10


def test_one_class_is_always_predicted():
    train, _, test = draw(20, 5, 4, 1, 0)
    assert knn_predict(train, torch.full((20,), 3), test, k=[10])[10].tolist() == [3] * 5


def test_a_single_test_row_and_none():
    train, labels, test = draw(20, 1, 4, 3, 0)
    assert knn_predict(train, labels, test)[200].shape == (1,)
    assert knn_predict(train, labels, test[:0])[200].shape == (0,)


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_of_equal_rows_the_first_is_nearest(chunk):
    train = torch.randn(1, 37, generator=torch.Generator().manual_seed(0)).repeat(7, 1)
    labels = torch.tensor([4, 2, 2, 2, 0, 0, 0])
    predicted = knn_predict(train, labels, train[:2], k=(1, 3, 7), chunk=chunk)
    assert predicted[1].tolist() == [4, 4]
    assert predicted[3].tolist() == [2, 2]
    # Three votes each for 0 and 2: the lower label.
    assert predicted[7].tolist() == [0, 0]


def test_a_tiny_sigma_leaves_the_nearest():
    train, labels, test = draw(100, 40, 8, 5, 0)
    predicted = knn_predict(train, labels, test, k=(1, 50), sigma=1e-6)
    assert torch.equal(predicted[1], predicted[50])


def test_a_zero_feature_is_no_fault():
    train, labels, _ = draw(20, 1, 4, 3, 0)
    assert 0 <= knn_predict(train, labels, torch.zeros(1, 4), k=[5])[5].item() < 3


def test_memory_is_bounded_by_the_chunk(monkeypatch):
    largest = 0
    topk = torch.Tensor.topk

    def watched(self, *args, **kwargs):
        nonlocal largest
        largest = max(largest, self.numel())
        return topk(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "topk", watched)
    train, labels, test = draw(1000, 300, 4, 3, 0)
    knn_predict(train, labels, test, k=[10], chunk=50)
    assert largest == 50 * (50 + 10)


def test_inputs_are_left_as_they_were_and_no_seed_is_used():
    data = draw(50, 10, 4, 3, 0)
    copies = [tensor.clone() for tensor in data]
    random_state = torch.get_rng_state()
    knn_predict(*data)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(one, other) for one, other in zip(data, copies, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": [0]}, "k ="),
        ({"k": []}, "k ="),
        ({"sigma": 0}, "sigma = 0"),
        ({"chunk": 0}, "chunk = 0"),
        ({"train_labels": torch.zeros(4, dtype=torch.int64)}, r"\(n, D\), \(n,\) and \(m, D\)"),
        ({"test_features": torch.zeros(3, 5)}, r"\(n, D\), \(n,\) and \(m, D\)"),
        ({"train_labels": -torch.ones(20, dtype=torch.int64)}, "at least 0"),
        ({"train_labels": torch.zeros(20)}, "integers"),
    ],
)
def test_wrong_use_is_refused(change, message):
    train, labels, test = draw(20, 5, 4, 3, 0)
    arguments = {"train_features": train, "train_labels": labels, "test_features": test} | change
    with pytest.raises(InputError, match=message):
        knn_predict(**arguments)
