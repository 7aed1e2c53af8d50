"""A collapse is called by name in the epoch that it begins, with what to change."""

import math

from command_line import draw_folder, rs_otl_here, settings, undrawn

from rs_otl.trainers.history import collapses


def _run(*losses, rank=20.0, std=0.5):
    return [
        {"epoch": n + 1, "loss": loss, "ln_k": math.log(8), "rank": rank, "feature_std": std}
        for n, loss in enumerate(losses)
    ]


def test_a_loss_that_stays_at_ln_k_is_named_once():
    guess = math.log(8)
    assert not collapses(_run(guess, guess), 20)
    (said,) = collapses(_run(guess, guess, guess), 20)
    assert said.startswith("collapse: the loss has stayed at ln k (2.079) for 3 epochs: ")
    assert "the network only guesses; lower lr" in said
    assert not collapses(_run(guess, guess, guess, guess), 20)
    assert not collapses(_run(guess, guess, 1.9), 20)
    # A long run may take longer.
    assert not collapses(_run(*[guess] * 3), 300)
    assert collapses(_run(*[guess] * 30), 300)


def test_features_on_a_line_or_in_one_place_are_named_when_it_begins():
    healthy = _run(1.5, 1.4)
    line = [*healthy, *_run(1.3, rank=1.2)]
    (said,) = collapses(line, 20)
    assert "lie on a line (rank 1.2, feature std 0.5000); lower lr" in said
    # Neither the same figure nor another one is a new collapse; another kind is.
    for rank in (1.2, 1.4, 1.9):
        assert not collapses([*line, *_run(1.2, rank=rank)], 20)
    assert collapses([*line, *_run(1.2, rank=1.0, std=0.0001)], 20)
    assert collapses([*line, *_run(1.2), *_run(1.2, rank=1.4)], 20)
    point = _run(1.5, rank=1.0, std=0.0001)
    assert not collapses([*point, *_run(1.5, rank=1.0, std=0.0002)], 20)
    (said,) = collapses(point, 20)
    assert "point the same way" in said
    assert not collapses([*line, {"epoch": 4, "loss": 1.0, "ln_k": 2.0}], 20)


def test_a_loss_by_contrast_that_stays_at_a_guess_is_told():
    guessing = [{"epoch": epoch, "loss": 4.8, "guess": 4.8} for epoch in (1, 2, 3)]
    (said,) = collapses(guessing, 20)
    assert said.startswith("collapse: the loss has stayed at guessing (4.800) for 3 epochs")
    assert "clusters" not in said
    (said,) = collapses([epoch | {"std": 0.5} for epoch in guessing], 20)
    assert "fewer clusters" in said
    assert not collapses([*guessing[:2], {"epoch": 3, "loss": 4.0, "guess": 4.8}], 20)


def test_a_run_that_collapses_says_so(tmp_path):
    folder = draw_folder(tmp_path / "images")
    words = ["pretrain", folder, "--recipe", "otl", "--out", tmp_path / "run"]
    # So small a rate learns nothing: the loss stays that of a network that guesses.
    small = settings("epochs=3", "lr=1e-9", "knn_every=1", "encoder=resnet10t", "clusters=2")
    with undrawn():
        stderr = rs_otl_here(*words, *small).stderr
    assert "rank " in stderr
    assert "feature std" in stderr
    assert "views agree" in stderr
    assert "collapse: the loss has stayed at ln k (0.693) for 3 epochs" in stderr
