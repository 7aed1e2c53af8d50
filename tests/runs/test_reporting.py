"""One page says what came of runs."""

import re
import shutil

import pytest
from command_line import draw_folder, rs_otl_here, settings, undrawn


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs on the same images, one of them evaluated, and a third that was stopped."""
    folder = tmp_path_factory.mktemp("reports")
    draw_folder(folder / "images", images=8)
    for name, more in (("first", ()), ("second", ("lr=0.01",))):
        rs_otl_here("pretrain", "images", *settings("epochs=1", *more), "--out", name, cwd=folder)
    with undrawn():
        rs_otl_here("evaluate", "first", "--on", "images", "--shots", "1", cwd=folder)
    shutil.copytree(folder / "first", folder / "stopped")
    shutil.rmtree(folder / "stopped" / "encoder")
    return folder


@pytest.fixture(scope="module")
def page(place):
    """The page of the first two runs."""
    done = rs_otl_here("report", "first", "second", "-o", "page.html", cwd=place)
    assert "page.html" in done.stdout
    return (place / "page.html").read_text()


def test_a_page_shows_runs_side_by_side_and_needs_no_network(page):
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|@import|<script""", page)
    assert "<h1>first</h1>" in page
    assert "<h1>second</h1>" in page
    # What differs between the two, and only that.
    assert re.search(r"<th>lr</th><td>[\d.]+</td><td>0.01</td>", page)
    assert "<th>batch_size</th>" not in page
    assert "knn, k = 10" in page
    assert "rs-otl evaluate second --on images" in page
    for says in ("Training images", "neighbours before training", "even clusters", "t-SNE", "Loss"):
        assert page.count(says) >= 2, says
    assert page.count("local-dir:") == 2


def sheets(page):
    """Return the pictures of neighbours, by when they are of."""
    found = re.findall(r'src="(data:[^"]+)" alt="[^"]*neighbours (\w+) training"', page)
    return {when: picture for picture, when in found}


def test_before_training_is_what_the_run_started_from(place, page):
    rest = settings("epochs=1", "lr=1e-12", "freeze_batch_norm=true")
    words = ("pretrain", "images", *rest, "--init", "first", "--out", "further")
    with undrawn():
        rs_otl_here(*words, cwd=place)
    rs_otl_here("report", "further", "-o", "further.html", cwd=place)
    further = sheets((place / "further.html").read_text())
    assert further["before"] == further["after"]
    first = sheets(page.partition("<h1>second</h1>")[0])
    assert first["before"] != first["after"]
    shutil.move(place / "first", place / "away")
    done = rs_otl_here("report", "further", "-o", "alone.html", cwd=place)
    shutil.move(place / "away", place / "first")
    assert "not shown before training: " in done.stderr
    assert list(sheets((place / "alone.html").read_text())) == ["after"]


def test_what_cannot_be_shown_is_said(place, tmp_path):
    done = rs_otl_here("report", "stopped", "-o", tmp_path / "page.html", cwd=place)
    assert "written" in done.stdout
    assert "no encoder yet" in (tmp_path / "page.html").read_text()

    moved = shutil.copytree(place, tmp_path / "moved")
    shutil.rmtree(moved / "images" / "class0")
    rs_otl_here("report", "first", "-o", "gone.html", cwd=moved)
    assert "no longer those" in (moved / "gone.html").read_text()
    assert (
        "exists already"
        in rs_otl_here("report", "first", "-o", "gone.html", cwd=moved, check=2).stderr
    )
    assert "no run" in rs_otl_here("report", "images", "-o", "x.html", cwd=moved, check=2).stderr
