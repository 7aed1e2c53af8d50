import io

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from rich.console import Console

from rs_otl.datasets import Duplicates, divide, load_dataset
from rs_otl.errors import InputError
from rs_otl.evaluation import (
    EvaluationReport,
    bootstrap_interval,
    evaluate,
    extract_features,
    knn_predict,
    linear_predict,
)
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import EncoderConfig, load_size


@pytest.fixture
def half(division):
    return division(range(80), range(80, 120))


def test_what_it_says(encoder, pile, half):
    found = evaluate(encoder, pile(), half, name="tiny")
    assert (found.encoder, found.dataset, found.division) == ("tiny", "pile", 1)
    assert (found.image_size, found.n_train, found.n_test) == (8, 80, 40)
    assert list(found.knn) == [10, 50, 100, 200]
    assert found.notes == ("k = 100, 200 cut to 80, the number of training images",)
    for score in (*found.knn.values(), found.linear, found.linear_standardised):
        assert 0 <= score.low <= score.accuracy <= score.high <= 1
    assert found.knn[10].accuracy > 0.9


def test_it_names_images_truth_and_predictions(encoder, pile, half):
    dataset = pile(noise=1.0)
    found = evaluate(encoder, dataset, half, name="tiny")
    assert list(found.images) == [dataset.paths[i] for i in half.test]
    assert list(found.truth) == dataset.labels[half.test].tolist()
    for score, accuracy in (
        ("knn", found.knn[10]),
        ("linear", found.linear),
        ("linear_standardised", found.linear_standardised),
    ):
        assert found.correct(score).mean() == pytest.approx(accuracy.accuracy)
    for truth, predicted in zip(found.truth, found.predicted["linear_standardised"], strict=True):
        assert found.confusion[truth][predicted] > 0


def test_a_report_is_a_data_frame_and_a_table_in_a_notebook(report):
    frame = report.to_frame()
    first = report.encoders[0]
    row = frame[(frame.encoder == first.encoder) & (frame.score == "knn, k = 10")].iloc[0]
    assert (row.accuracy, row.low, row.high) == tuple(first.knn[10].model_dump().values())
    assert "class_mean, K = 30" in set(frame.score)
    assert len(frame) == len(report.encoders) * (4 + 2 + 3 * len(first.few_shot))
    html = report._repr_html_()
    assert "<table" in html
    assert str(first.linear) in html


def test_matrix_classes_and_score_agree(encoder, pile, half):
    dataset = pile(noise=1.0)
    found = evaluate(encoder, dataset, half, name="tiny")
    confusion = np.array(found.confusion)
    truth = np.bincount(dataset.labels[80:], minlength=3)
    np.testing.assert_array_equal(confusion.sum(1), truth)
    assert confusion.trace() / 40 == pytest.approx(found.linear_standardised.accuracy)
    np.testing.assert_allclose(list(found.per_class.values()), confusion.diagonal() / truth)


def test_scores_are_those_of_the_classifiers(encoder, pile, half):
    dataset = pile(noise=1.0)
    found = evaluate(encoder, dataset, half, name="tiny", seed=3)
    labels = torch.from_numpy(dataset.labels)
    data = (
        extract_features(encoder, dataset, half.train),
        labels[half.train],
        extract_features(encoder, dataset, half.test),
    )
    neighbours = knn_predict(*data)
    for score, predicted in (
        *((found.knn[k], neighbours[k]) for k in neighbours),
        (found.linear, linear_predict(*data, seed=3)),
        (found.linear_standardised, linear_predict(*data, standardise=True, seed=3)),
    ):
        correct = (predicted == labels[half.test]).numpy()
        assert score.accuracy == correct.mean()
        assert (score.low, score.high) == bootstrap_interval(correct, 3)
    assert found.linear != found.linear_standardised


def test_the_same_seed_gives_the_same(encoder, pile, half):
    first = evaluate(encoder, pile(noise=1.0), half, name="tiny", seed=5)
    torch.manual_seed(99)
    assert evaluate(encoder, pile(noise=1.0), half, name="tiny", seed=5) == first


def test_test_labels_do_not_reach_the_classifiers(encoder, pile, half):
    """Predictions stand whatever the test labels: shuffling them moves columns only."""
    honest, shuffled = pile(), pile()
    shuffled.labels = shuffled.labels.copy()
    shuffled.labels[80:] = (shuffled.labels[80:] + 1) % 3
    one, other = (
        np.array(evaluate(encoder, dataset, half, name="tiny").confusion)
        for dataset in (honest, shuffled)
    )
    np.testing.assert_array_equal(np.roll(one, 1, axis=0), other)


def test_classes_missing_from_a_side_are_named(encoder, pile, division):
    dataset = pile()
    train = np.flatnonzero(dataset.labels != 2)[:60]
    test = np.flatnonzero(dataset.labels != 0)[-40:]
    found = evaluate(encoder, dataset, division(train, test), name="tiny")
    assert found.per_class["class 0"] is None
    assert found.per_class["class 2"] == 0
    assert any(note.startswith("Classes without a training") for note in found.notes)
    assert any("class 0" in note and "test image" in note for note in found.notes)


def test_a_last_class_without_training_images(encoder, pile, division):
    """The classifiers then know fewer labels than there are classes."""
    dataset = pile()
    train = np.flatnonzero(dataset.labels == 0)[:20]
    found = evaluate(encoder, dataset, division(train, range(100, 120)), name="tiny")
    assert np.array(found.confusion).shape == (3, 3)
    assert found.per_class == {"class 0": 1, "class 1": 0, "class 2": 0}


def test_limits_of_the_data_are_noted(encoder, pile, division):
    dataset = pile()
    dataset.missing = "120 of 200 images: class 0 lacks 80"
    dataset.left_out = ["a", "b"]
    duplicates = Duplicates((("a", "b"),), (("x/a.jpg", "y/b.jpg"),), leaks=3)
    sides = division(range(80), range(80, 120), duplicates)
    notes = " | ".join(evaluate(encoder, dataset, sides, name="tiny").notes)
    assert "120 of 200" in notes
    assert "could not be used: 2" in notes
    assert "identical training image: 3" in notes
    assert "x/a.jpg = y/b.jpg" in notes


def test_what_cannot_be_evaluated_is_refused(encoder, pile, half, division):
    flat = pile()
    flat.labels = flat.classes = None
    with pytest.raises(InputError, match=r"pile has no labels.*sub-folder"):
        evaluate(encoder, flat, half, name="tiny")
    with pytest.raises(InputError, match="only the class class 0"):
        evaluate(encoder, pile(classes=1), half, name="tiny")
    with pytest.raises(InputError, match="0 test"):
        evaluate(encoder, pile(), division(range(80), []), name="tiny")


@pytest.fixture
def report(encoder, pile, half):
    found = evaluate(encoder, pile(noise=1.0), half, name="tiny [run]", shots=[1, 30])
    return EvaluationReport(
        encoders=(found, found.model_copy(update={"encoder": "untrained"})),
        skipped={"timm/none": "weights not on this disk"},
    )


def test_a_report_is_written_and_read_back(report, tmp_path):
    path = tmp_path / "evaluation.json"
    report.write(path)
    assert EvaluationReport.model_validate_json(path.read_text()) == report
    assert [file.name for file in tmp_path.iterdir()] == ["evaluation.json"]


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_show_all_in_percent(report, width):
    text = io.StringIO()
    report.table(Console(file=text, width=width))
    shown = text.getvalue()
    for part in ("pile", "tiny [run]", "untrained", "k = 200", "linear", "K = 30", "cut to 80"):
        assert part in shown
    for part in ("nearest class mean", "minus each of the", "timm/none: weights not on this disk"):
        assert part in shown
    assert "Fewer than 30 training images in every class" in shown
    score = report.encoders[0].linear
    assert shown.count(f"{100 * score.accuracy:.1f}") >= 2
    assert max(map(len, shown.splitlines())) <= width


def test_an_encoder_differs_from_itself_by_nothing(report):
    for found in (
        *(report.difference(1, score) for score in ("knn", "linear", "linear_standardised")),
        report.few_shot_difference(1, 30, "class_mean"),
    ):
        assert (found.difference, found.low, found.high) == (0, 0, 0)
        assert not found.beyond_noise


def test_a_difference_is_that_of_the_accuracies_on_the_same_images(report):
    one = report.encoders[0]
    never = tuple(-1 for _ in one.truth)
    wrong = one.model_copy(update={"predicted": dict.fromkeys(one.predicted, never)})
    found = EvaluationReport(encoders=(one, wrong)).difference(1, "linear")
    assert found.difference == pytest.approx(one.linear.accuracy)
    assert found.low <= found.difference <= found.high
    assert found.beyond_noise


@pytest.mark.parametrize("change", [{"division": 2}, {"seed": 1}, {"n_test": 9}, {"few_shot": ()}])
def test_encoders_evaluated_on_different_images_make_no_report(report, change):
    one = report.encoders[0]
    with pytest.raises(ValidationError, match="evaluated on different images"):
        EvaluationReport(encoders=(one, one.model_copy(update=change)))


def test_images_of_another_kind_are_refused(encoder, pile, half):
    other = pile()
    other.spec = other.spec.model_copy(update={"units": "reflectance"})
    with pytest.raises(InputError, match=r"tiny was trained on 8-bit counts.*in reflectance"):
        evaluate(encoder, other, half)


@pytest.mark.parametrize("change", [{"scale": 100.0}, {"offset": 5.0}])
def test_images_that_are_scaled_otherwise_are_refused(change, encoder, pile, half):
    other = pile()
    other.spec = other.spec.model_copy(update=change)
    expected = r"tiny takes raw values from 0 to 255.*like=encoder\.config\.spec"
    with pytest.raises(InputError, match=expected):
        evaluate(encoder, other, half)
    with pytest.raises(InputError, match=expected):
        extract_features(encoder, other, half.test)


def test_real_images(real_data):
    dataset = load_dataset("hmhr", load_size(32), real_data)
    config = EncoderConfig(
        encoder="resnet18", image_size=32, spec=dataset.spec, dataset="nothing", epochs=0
    )
    encoder = Encoder(create_encoder("resnet18", 3), config, "untrained")
    found = evaluate(encoder, dataset, divide(dataset))
    assert found.encoder == "untrained"
    assert found.n_train + found.n_test == 533
    # Five classes: even an untrained encoder sees colours.
    assert found.linear_standardised.accuracy > 0.4
    assert any("Greenbelt/Greenbelt24.jpg" in note for note in found.notes)
