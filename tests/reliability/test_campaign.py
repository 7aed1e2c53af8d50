"""Hostile inputs end in exit code 0 or 2, in one line, with nothing lost: a small campaign."""

import os
import random
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from campaign import KINDS, run_one
from harness import Case, Worker, case_folder, run_case
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from materials import QUICK, make_materials
from materials import settings as recipe_settings

_SECONDS = 60.0
# Cases of each kind; the campaign itself runs thousands (docs/reliability.md).
_CASES = 8


@pytest.fixture(scope="module")
def worker():
    process = Worker()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def materials(worker):
    folder = Path(tempfile.mkdtemp(prefix="rs-otl-materials-")).resolve()
    folder.chmod(0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield make_materials(worker, folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_inputs_keep_the_promise(kind, worker, materials):
    step = max(1, len(KINDS[kind]) // _CASES)  # of functions that draw
    results = (
        run_one(kind, seed * step, materials, worker, _SECONDS, fresh=False)
        for seed in range(_CASES)
    )
    failures = [result.line() for result in results if result is not None and result.wrong]
    assert not failures, "\n".join(["", *failures])


# Files that the program reads: where they come from, and a command that reads them.
_ENCODER = ("embed", "scene.tif", "--encoder", "run", *QUICK, "-o", "e.tif")
_RESUME = ("pretrain", "images", "--out", "stopped", "--resume")
_READS: dict[str, tuple[str, ...]] = {
    "images/class0/00.png": ("datasets", "--check", "images", "--json"),
    "scene.tif": ("embed", "scene.tif", "--encoder", "run", *QUICK, "-o", "e.tif"),
    "labels.geojson": ("map", "embeddings.tif", "--labels", "labels.geojson", "-o", "m.tif"),
    "embeddings.tif": ("view", "embeddings.tif", "-o", "v.html"),
    "map.tif": (
        *("view", "scene.tif", "--embeddings", "embeddings.tif", "--map", "map.tif"),
        *("-o", "v.html"),
    ),
    "run/encoder/config.json": _ENCODER,
    "run/encoder/model.safetensors": _ENCODER,
    "run/checkpoints/last.ckpt": (
        *("embed", "scene.tif", "--encoder", "run/checkpoints/last.ckpt", *QUICK, "-o", "e.tif"),
    ),
    "run/recipe.yaml": (
        *("pretrain", "images", "--recipe", "run/recipe.yaml", "--out", "new"),
        *recipe_settings(),
    ),
    "stopped/recipe.yaml": _RESUME,
    "stopped/imagery.json": _RESUME,
    "stopped/checkpoints/last.ckpt": _RESUME,
    "stopped/metrics.csv": _RESUME,
}


@st.composite
def _damages(draw):
    """Draw a function that damages bytes: random ones, a truncation, or bits turned over."""
    how = draw(st.sampled_from(("random", "truncated", "bits", "inserted")))
    if how == "random":
        content = draw(st.binary(max_size=300))
        return lambda sound: content
    where = draw(st.floats(0, 1, exclude_max=True))
    if how == "truncated":
        return lambda sound: sound[: int(where * len(sound))]
    if how == "inserted":
        more = draw(st.binary(min_size=1, max_size=20))
        return lambda sound: (
            sound[: int(where * len(sound))] + more + sound[int(where * len(sound)) :]
        )
    bits = draw(st.lists(st.integers(0, 8 * 400 - 1), min_size=1, max_size=8))

    def turn(sound):
        changed = bytearray(sound)
        for bit in bits:
            changed[(int(where * len(sound)) + bit // 8) % len(sound)] ^= 1 << bit % 8
        return bytes(changed)

    return turn


@pytest.mark.parametrize("name", _READS)
@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(damage=_damages())
def test_any_bytes_in_any_file_keep_the_promise(name, worker, materials, damage):
    words = _READS[name]
    with case_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        work = folder / "work"
        for other in ("images", "run", "stopped", "scene.tif", "embeddings.tif", "map.tif"):
            materials.copy(other, work)
        materials.copy("labels.geojson", work)
        path = work / name
        path.write_bytes(damage(path.read_bytes()))
        changes = ("stopped", "stopped/*", "run/.lock")
        case = Case(list(words), name, changes=changes, leaves=("stopped/tensorboard/*",))
        outcome, wrong = run_case(worker, case, folder, _SECONDS)
    assert not wrong, f"{name}: {'; '.join(wrong)}\n{outcome.stderr}{outcome.fault}"


def test_the_harness_sees_a_fault(worker, materials):
    """A promise that is broken on purpose is reported."""
    with case_folder() as folder:
        (folder / "work" / "kept").write_text("x")
        case = Case(["datasets", "--check", "missing"], "", codes=(0,))
        outcome, wrong = run_case(worker, case, folder, _SECONDS)
    assert outcome.code == 2
    assert wrong
    assert wrong[0].startswith("exit 2: rs-otl: ")


def test_the_harness_ends_a_hang(worker, materials):
    with case_folder() as folder:
        os.mkfifo(folder / "work" / "labels.geojson")
        case = Case(["bench", "labels", "--rows", "100000", "--rounds", "99"], "")
        outcome, wrong = run_case(worker, case, folder, 1.0)
    assert outcome.ended == "hang"
    assert wrong[0].startswith("no end after 1 s")


def test_the_same_seed_draws_the_same_case(materials, tmp_path):
    words = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for kind, draws in KINDS.items():
            for draw in dict.fromkeys(draws):
                work = tmp_path / name / kind / draw.__name__
                work.mkdir(parents=True)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    words.append(draw(random.Random("x"), materials, work).note)
    assert words[: len(words) // 2] == words[len(words) // 2 :]
