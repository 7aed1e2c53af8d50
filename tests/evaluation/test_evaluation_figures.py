import numpy as np
import pytest
from PIL import Image

from rs_otl.evaluation import (
    Evaluation,
    EvaluationReport,
    FewShot,
    Score,
    draw_confusion,
    draw_few_shot,
    draw_mistakes,
    draw_per_class,
)

SCORE = Score(accuracy=0.5, low=0.4, high=0.6)


def few(shots):
    classifiers = ("knn", "class_mean", "linear")
    return FewShot(
        shots=shots,
        scores=dict.fromkeys(classifiers, SCORE),
        draws=dict.fromkeys(classifiers, (0.4, 0.6)),
        short=(),
    )


def report_of(names):
    counts = np.random.default_rng(0).integers(0, 9, (len(names), len(names)))
    counts[-1] = 0
    one = Evaluation(
        encoder="an encoder on $5 of _images_",
        dataset="pile",
        division=1,
        image_size=8,
        seed=0,
        n_train=80,
        n_test=20,
        classes=names,
        knn={10: SCORE},
        linear=SCORE,
        linear_standardised=SCORE,
        images=tuple(f"{number}.png" for number in range(20)),
        truth=(1,) * 20,
        predicted=dict.fromkeys(("knn", "linear", "linear_standardised"), (0, 1) * 10),
        few_shot=tuple(few(shots) for shots in (1, 5, 10)),
        per_class={
            name: counts[row, row] / counts[row].sum() if counts[row].sum() else None
            for row, name in enumerate(names)
        },
        confusion=tuple(map(tuple, counts.tolist())),
        notes=(),
    )
    others = (one.model_copy(update={"encoder": name}) for name in ("other", "untrained"))
    return EvaluationReport(encoders=(one, *others))


@pytest.mark.parametrize("classes", [2, 5, 45])
def test_pictures_are_drawn(classes, tmp_path):
    names = tuple(f"a $class_{row}^$ with a long name, number {row}" for row in range(classes))
    report = report_of(names)
    draw_confusion(report.encoders[0], tmp_path / "confusion.png")
    draw_per_class(report, tmp_path / "classes.png")
    draw_few_shot(report, tmp_path / "few_shot.png")
    for name in ("confusion.png", "classes.png", "few_shot.png"):
        with Image.open(tmp_path / name) as picture:
            extrema = picture.convert("L").getextrema()
            assert max(picture.size) < 2500
        assert extrema[0] < 128 < extrema[1]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("bands", [("red", "green", "blue"), ("nir",)])
def test_mistakes_are_drawn_with_what_they_were_taken_for(bands, tmp_path, pile):
    dataset = pile()
    dataset.spec = dataset.spec.model_copy(
        update={"bands": bands, "mean": (0.5,) * len(bands), "std": (0.2,) * len(bands)}
    )
    one = report_of(("bare", "$water_")).encoders[0]
    for wrong in (True, False):
        predicted = dict.fromkeys(one.predicted, (0, 1) * 10 if wrong else one.truth)
        images = tuple(dataset.paths[:20])
        shown = one.model_copy(update={"images": images, "predicted": predicted})
        draw_mistakes(shown, dataset, tmp_path / "mistakes.png")
        with Image.open(tmp_path / "mistakes.png") as picture:
            assert picture.width > 1000
            assert picture.height > (500 if wrong else 200)
            white = (np.asarray(picture.convert("L")) > 250).mean()
            assert white < 0.7 if wrong else white > 0.9


def test_names_that_do_not_print_are_drawn_escaped(tmp_path):
    report = report_of(("caf\udce9", "a\x1b[31m"))
    draw_confusion(report.encoders[0], tmp_path / "confusion.png")
    draw_per_class(report, tmp_path / "classes.png")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("classes", [5, 12, 30, 45])
def test_nothing_is_clipped(classes, tmp_path):
    """The border stays white: no label reaches past it."""
    report = report_of(tuple(f"MediumResidentialArea {row}" for row in range(classes)))
    draw_confusion(report.encoders[0], tmp_path / "confusion.png")
    draw_per_class(report, tmp_path / "classes.png")
    draw_few_shot(report, tmp_path / "few_shot.png")
    for name in ("confusion.png", "classes.png", "few_shot.png"):
        with Image.open(tmp_path / name) as picture:
            pixels = np.asarray(picture.convert("L"))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert border.min() == 255, name
