"""Run small inputs that once went wrong, and say of each whether it comes out right.

    python tests/reliability/shared_cases.py [--only NAME ...]

The inputs are not part of the project. They are looked for in $RS_OTL_CASES, or else in
../shared/cases beside the repository; their README says what each is.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from campaign import SECONDS
from harness import REPOSITORY, Case, Outcome, Worker, case_folder, environment_of, run_case
from hostile_scenes import geojson_is_on_earth
from materials import settings

CASES = Path(os.environ.get("RS_OTL_CASES", REPOSITORY.parent / "shared" / "cases"))
_TILES = ("--tile", "32", "--stride", "32", "--precision", "float32")
_ENCODERS = """
import sys
from pathlib import Path
from rs_otl.export import export_encoder
from rs_otl.models import Encoder, create_encoder
from rs_otl.spec import EncoderConfig, ImageSpec
rgb = ("red", "green", "blue")
for name, bands, units, scale in (
    ("rgb8", rgb, "8-bit counts", 255),
    ("gray8", ("band-1",), "8-bit counts", 255),
    ("gray16", ("band-1",), "16-bit counts", 10000),
    ("rgbn16", (*rgb, "nir"), "16-bit counts", 10000),
):
    n = len(bands)
    spec = ImageSpec(bands=bands, units=units, scale=scale, resolution=None,
                     mean=(0.3,) * n, std=(0.2,) * n)
    config = EncoderConfig(encoder="test_resnet", image_size=32, spec=spec, dataset="none",
                           epochs=0)
    encoder = Encoder(create_encoder("test_resnet", n, seed=1), config)
    export_encoder(encoder, Path(sys.argv[1], name))
"""


@dataclass
class Trial:
    """One command on the inputs.

    Attributes:
        outcome: What came of it.
        wrong: How it broke what is promised of every command.
        work: Where it ran.
    """

    outcome: Outcome
    wrong: list[str]
    work: Path

    @property
    def refused(self) -> bool:
        """Whether it ended in exit code 2."""
        return self.outcome.code == 2

    @property
    def said(self) -> str:
        """Everything it printed, in lower case."""
        return (self.outcome.stdout + self.outcome.stderr).lower()

    def json(self) -> Any:
        """What it printed as JSON."""
        return json.loads(self.outcome.stdout)


class Inputs:
    """A copy of the inputs, with encoders beside them."""

    def __init__(self, worker: Worker, folder: Path) -> None:
        self._worker = worker
        self._folder = folder

    @property
    def work(self) -> Path:
        """Where commands run."""
        return self._folder / "work"

    def run(self, *words: str, seconds: float = SECONDS) -> Trial:
        """Run a command; output folders of an earlier one are not cleared."""
        case = Case(list(map(str, words)), "", changes=("run*", "new*"), leaves=("run*", "new*"))
        return Trial(*run_case(self._worker, case, self._folder, seconds), self.work)

    def script(self, name: str, *words: str, seconds: float = 600) -> subprocess.CompletedProcess:
        """Run a shell script of the inputs in an empty folder, without the real program's name."""
        program = self._folder / "bin" / "rs-otl"
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f"#!/bin/sh\nexec {sys.executable} -c 'from rs_otl.cli import main; main()' \"$@\"\n"
        )
        program.chmod(0o755)
        python = program.with_name("python")
        python.unlink(missing_ok=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        empty = self._folder / "empty"
        empty.mkdir()
        environment = environment_of(Case([], ""), self._folder)
        environment["PATH"] = f"{program.parent}:{environment['PATH']}"
        environment["PYTHONPATH"] = str(REPOSITORY)
        return subprocess.run(
            ["sh", str(CASES / name), *words],
            cwd=empty,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )


Check = Callable[[Inputs], str | None]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Register what is right for an input; it returns what is wrong, or nothing."""

    def register(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return register


def _promise(trial: Trial) -> str | None:
    return "; ".join(trial.wrong) or None


def _chips_keep(inputs: Inputs, name: str, what: Callable[[Any], Any]) -> str | None:
    trial = inputs.run("tile", name, "-o", "new", "--tile", "64")
    if trial.wrong or trial.refused:
        return _promise(trial)
    chips = sorted((inputs.work / "new").glob("*.tif"))
    with rasterio.open(inputs.work / name) as scene, rasterio.open(chips[0]) as chip:
        if what(scene) != what(chip):
            return f"chips have {what(chip)!s:.80}, the scene {what(scene)!s:.80}"
    return None


def _embeds(inputs: Inputs, name: str, encoder: str) -> Trial:
    return inputs.run("embed", name, "--encoder", encoder, *_TILES, "-o", "e.tif")


@check("alpha.tif")
def _alpha(inputs: Inputs) -> str | None:
    return _chips_keep(
        inputs, "alpha.tif", lambda file: (file.count, file.colorinterp, file.mask_flag_enums)
    ) or _promise(_embeds(inputs, "alpha.tif", "rgb8"))


@check("gcps.tif")
def _gcps(inputs: Inputs) -> str | None:
    trial = _embeds(inputs, "gcps.tif", "gray16")
    if trial.wrong or trial.refused:
        return _promise(trial)
    with rasterio.open(inputs.work / "e.tif") as file:
        if not file.gcps[0] and not file.crs:
            return "the embedding has neither points nor CRS"
    if "ground control" not in trial.said and "gcp" not in trial.said:
        return "nothing is said of the ground control points"
    return _chips_keep(inputs, "gcps.tif", lambda file: bool(file.gcps[0] or file.crs))


@check("palette.tif")
def _palette(inputs: Inputs) -> str | None:
    trial = _embeds(inputs, "palette.tif", "rgb8")
    grey = inputs.run("embed", "palette.tif", "--encoder", "gray8", *_TILES, "-o", "grey.tif")
    if trial.wrong or grey.wrong:
        return _promise(trial) or _promise(grey)
    if not grey.refused:
        return "an encoder of grey values takes the indices of colours"
    return _chips_keep(inputs, "palette.tif", lambda file: file.colorinterp)


@check("scale-offset.tif")
def _scale_offset(inputs: Inputs) -> str | None:
    trial = _embeds(inputs, "scale-offset.tif", "gray16")
    if trial.wrong:
        return _promise(trial)
    if not trial.refused and "scale" not in trial.said:
        return "stored values are taken for those that scale and offset make of them"
    return _chips_keep(inputs, "scale-offset.tif", lambda file: (file.scales, file.offsets))


def _pretrained(inputs: Inputs, folder: str, *more: str) -> Trial:
    return inputs.run("pretrain", folder, "--out", "run", *settings(*more), seconds=300)


def _spec(inputs: Inputs) -> dict[str, Any]:
    text = (inputs.work / "run" / "encoder" / "config.json").read_text()
    return json.loads(text)["rs_otl"]["spec"]


@check("sar-db")
def _decibels(inputs: Inputs) -> str | None:
    trial = _pretrained(inputs, "sar-db")
    if trial.wrong or trial.refused:
        return _promise(trial)
    spec = _spec(inputs)
    return f"flat: std {spec['std']}" if min(spec["std"]) < 0.01 else None


@check("units-mixed")
def _units(inputs: Inputs) -> str | None:
    trial = _pretrained(inputs, "units-mixed")
    if trial.wrong:
        return _promise(trial)
    named = "reflectance0" in trial.said or "dn0" in trial.said
    return None if named else "trained without naming the files of another unit"


@check("landsat-band-a-file")
def _landsat(inputs: Inputs) -> str | None:
    trial = inputs.run("datasets", "--check", "landsat-band-a-file", "--json")
    if trial.wrong or trial.refused:
        return _promise(trial)
    bands = trial.json()["bands"]
    if len(bands) < 2:
        return f"scenes of bands {bands}"
    return "QA is a band" if any("QA" in band.upper() for band in bands) else None


def _on_earth(scene: str, query: str) -> Check:
    def run(inputs: Inputs) -> str | None:
        trial = inputs.run(
            "search", scene, "--encoder", "rgb8", *_TILES, f"--query={query}", "-o", "s.geojson",
        )  # fmt: skip
        if trial.wrong or trial.refused:
            return _promise(trial)
        return geojson_is_on_earth(inputs.work, trial.outcome.stderr)

    return run


for _scene, _query in {
    "dateline-utm60.tif": "828000,8072000",
    "dateline-polar.tif": "0,0",
    "crs-geostationary.tif": "0,0",
    "crs-site-grid.tif": "500640,4999360",
    "no-georeference.tif": "64,64",
}.items():
    CHECKS[_scene] = _on_earth(_scene, _query)


@check("longitudes-0-360.tif")
def _longitudes(inputs: Inputs) -> str | None:
    wrong = _on_earth("longitudes-0-360.tif", "190,10")(inputs)
    if wrong:
        return wrong
    (inputs.work / "s.geojson").unlink(missing_ok=True)
    trial = inputs.run(
        "search", "longitudes-0-360.tif", "--encoder", "rgb8", *_TILES, "--query=-160,10",
        "-o", "s.geojson",
    )  # fmt: skip
    return "a query of -160 is refused" if trial.refused else _promise(trial)


def _mapped(inputs: Inputs, labels: str, *more: str, scene: str = "scene.tif") -> Trial:
    words = ["map", scene, "--encoder", "rgb8", "--labels", labels, "-o", "m.tif", *_TILES, *more]
    return inputs.run(*words)


@check("labels-no-georeference-qgis.geojson")
def _clicked(inputs: Inputs) -> str | None:
    trial = _mapped(inputs, "labels-no-georeference-qgis.geojson", scene="no-georeference.tif")
    if trial.wrong or trial.refused:
        return _promise(trial) or f"refused: {trial.said[-200:]}"
    return None if "y" in trial.outcome.stderr else "nothing is said of rows that go up"


@check("labels-lonlat-for-crs.geojson")
def _other_crs(inputs: Inputs) -> str | None:
    trial = _mapped(inputs, "labels-lonlat-for-crs.geojson")
    if trial.wrong:
        return _promise(trial)
    # They lie outside, also where the file says that they are longitudes; so the message can only
    # say where the scene is. Inside it, in a file that names another CRS, it can say which fits.
    values = json.loads((inputs.work / "labels-lonlat-for-crs.geojson").read_text())
    values["crs"] = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    for entry in values["features"]:
        x, y = entry["geometry"]["coordinates"]
        entry["geometry"]["coordinates"] = [x + 0.002, y + 0.147]
    (inputs.work / "wrong-crs.geojson").write_text(json.dumps(values))
    trial = _mapped(inputs, "wrong-crs.geojson")
    if trial.wrong or not trial.refused:
        return _promise(trial)
    fits = any(word in trial.said for word in ("4326", "crs84", "longitude"))
    return None if fits else f"refused without the CRS that fits: {trial.said[-300:]}"


@check("labels-bowtie.geojson")
def _bow_tie(inputs: Inputs) -> str | None:
    trial = _mapped(inputs, "labels-bowtie.geojson")
    if trial.wrong or trial.refused:
        return _promise(trial) or f"refused: {trial.said[-200:]}"
    return None if "repair" in trial.said else "nothing is said of a repair"


@check("labels-list.geojson")
def _list(inputs: Inputs) -> str | None:
    return _promise(_mapped(inputs, "labels-list.geojson"))


@check("labels-table.gpkg")
def _table(inputs: Inputs) -> str | None:
    trial = _mapped(inputs, "labels-table.gpkg")
    return _promise(trial) or (None if trial.refused else "a table without geometry is accepted")


@check("labels-two-layers.gpkg")
def _layers(inputs: Inputs) -> str | None:
    trial = _mapped(inputs, "labels-two-layers.gpkg")
    if trial.wrong or not (
        trial.refused and "training" in trial.said and "districts" in trial.said
    ):
        return _promise(trial) or "the layers are not named"
    trial = _mapped(inputs, "labels-two-layers.gpkg", "--layer", "training")
    return _promise(trial) or ("--layer training is refused" if trial.refused else None)


@check("labels.csv")
def _csv(inputs: Inputs) -> str | None:
    trial = _mapped(inputs, "labels.csv")
    return _promise(trial) or (f"refused: {trial.said[-200:]}" if trial.refused else None)


@check("labels-neighbours.geojson")
def _neighbours(inputs: Inputs) -> str | None:
    trial = _mapped(inputs, "labels-neighbours.geojson", "--json")
    if trial.wrong or trial.refused:
        return _promise(trial)
    return "water beside the scene is a class" if "water" in trial.json()["classes"] else None


def _unpacked(inputs: Inputs, name: str) -> Path:
    folder = inputs.work / "unpacked"
    if name.endswith(".zip"):
        zipfile.ZipFile(CASES / name).extractall(folder)
    else:
        with tarfile.open(CASES / name) as archive:
            archive.extractall(os.fsencode(folder).decode(), filter="data")
    return folder


def _catalogue_finds(archive: str, name: str, classes: set[str]) -> Check:
    def run(inputs: Inputs) -> str | None:
        folder = _unpacked(inputs, archive)
        trial = inputs.run("datasets", name, "--root", "unpacked", "--json")
        if trial.wrong or trial.refused:
            return _promise(trial)
        if trial.json()["on disk"] == "no":
            return f"{name} is not found in {', '.join(path.name for path in folder.iterdir())}"
        (top,) = folder.iterdir()
        trial = inputs.run("datasets", "--check", str(top.relative_to(inputs.work)), "--json")
        if trial.wrong or trial.refused:
            return _promise(trial)
        there = set(trial.json()["classes"] or ())
        return None if there == classes else f"classes {there}, expected {classes}"

    return run


CHECKS["eurosat-zenodo.zip"] = _catalogue_finds(
    "eurosat-zenodo.zip", "eurosat", {"Forest", "River", "SeaLake"}
)
CHECKS["split-folders.zip"] = _catalogue_finds(
    "split-folders.zip", "resisc45", {"airplane", "beach", "forest"}
)
CHECKS["wrapped-once.zip"] = _catalogue_finds("wrapped-once.zip", "ucmerced", {"beach", "forest"})


@check("names-not-utf8.tar.gz")
def _names(inputs: Inputs) -> str | None:
    folder = _unpacked(inputs, "names-not-utf8.tar.gz")
    (scene,) = (path for path in (folder / "scenes").iterdir() if path.name != "plain.tif")
    trials = [
        inputs.run("embed", str(scene), "--encoder", "rgb8", *_TILES, "-o", "e.tif"),
        inputs.run("datasets", "--check", "unpacked/classes", "--json"),
        _pretrained(inputs, "unpacked/classes"),
    ]
    return "; ".join(filter(None, map(_promise, trials))) or next(
        (f"refused: {trial.said[-200:]}" for trial in trials if trial.refused), None
    )


@check("uneven-last-batch.zip")
def _uneven(inputs: Inputs) -> str | None:
    _unpacked(inputs, "uneven-last-batch.zip")
    trial = _pretrained(inputs, "unpacked/n41", "clusters=4")
    return _promise(trial) or (f"refused: {trial.said[-200:]}" if trial.refused else None)


@check("years")
def _years(inputs: Inputs) -> str | None:
    trial = inputs.run("datasets", "--check", "years", "--json")
    if trial.wrong or trial.refused:
        return _promise(trial)
    classes = trial.json()["classes"]
    return f"classes {classes}" if classes else None


@check("search")
def _chip(inputs: Inputs) -> str | None:
    for name, encoder in (("bgr8", "rgb8"), ("bgrn16", "rgbn16")):
        trial = inputs.run(
            "search", f"search/{name}.tif", "--encoder", encoder, "--tile", "64", "--stride", "64",
            "--precision", "float32", "--query", f"search/{name}_chip_r64_c128.tif",
            "-o", f"{name}.geojson", "--json",
        )  # fmt: skip
        if trial.wrong or trial.refused:
            return _promise(trial) or f"{name}: refused: {trial.said[-200:]}"
        best = trial.json()[0]
        if best["score"] < 0.999 or (best["row"], best["column"]) != (64, 128):
            return f"{name}: the chip's own place is not first, best {best['score']:.3f}"
    return None


@check("folders.sh")
def _folders(inputs: Inputs) -> str | None:
    done = inputs.script("folders.sh")
    counts = [line for line in done.stdout.splitlines() if '"images"' in line]
    return None if len(counts) == 2 and all(" 40," in line for line in counts) else f"{counts}"


@check("slurm-requeue.sh")
def _slurm(inputs: Inputs) -> str | None:
    done = inputs.script("slurm-requeue.sh")
    left = [path.name for path in (inputs.work.parent / "empty").glob("*.ckpt")]
    if left:
        return f"a checkpoint beside the runs: {left}"
    return "a fault" if "fault:" in done.stdout + done.stderr else None


@check("numba-nothing-writable.sh")
def _numba(inputs: Inputs) -> str | None:
    if os.getuid():
        return None
    done = inputs.script("numba-nothing-writable.sh")
    text = done.stdout + done.stderr
    return text[-200:] if "cannot cache" in text or "no problems" not in text else None


@check("embed-resume-other-scene.sh")
def _other_scene(inputs: Inputs) -> str | None:
    done = inputs.script("embed-resume-other-scene.sh", str(inputs.work / "rgb8"))
    return None if done.returncode == 2 else f"exit {done.returncode}: {done.stderr[-200:]}"


def _run_all(names: list[str]) -> Iterator[tuple[str, str | None, float]]:
    worker = Worker()
    encoders = Path(tempfile.mkdtemp(prefix="rs-otl-encoders-"))
    try:
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _ENCODERS, str(encoders)],
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            check=True,
        )
        worker.start()
        for name in names:
            begun = time.monotonic()
            with case_folder() as folder:
                (folder / "work").rmdir()
                shutil.copytree(
                    CASES, folder / "work", ignore=shutil.ignore_patterns("*.sh", "*.zip", "*.gz")
                )
                for path in (folder / "work").rglob("*"):
                    path.chmod(0o755 if path.is_dir() else 0o644)
                (folder / "work").chmod(0o755)
                for path in encoders.iterdir():
                    shutil.copytree(path, folder / "work" / path.name)
                try:
                    wrong = CHECKS[name](Inputs(worker, folder))
                except Exception as error:
                    wrong = f"cannot be checked: {type(error).__name__}: {error}"
            yield name, wrong, time.monotonic() - begun
    finally:
        worker.stop()
        shutil.rmtree(encoders, ignore_errors=True)


def main() -> None:
    """Run all inputs; exit 1 if one goes wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CHECKS, default=list(CHECKS))
    names = parser.parse_args().only
    if not CASES.is_dir():
        sys.exit(f"no inputs at {CASES}: set RS_OTL_CASES to the folder that holds them")
    unchecked = {path.name for path in CASES.iterdir()} - set(CHECKS)
    unchecked -= {"README.md", "make_encoder.py", "scene.tif"}
    right = 0
    for name, wrong, seconds in _run_all(names):
        right += wrong is None
        print(f"{name:<36} {'right' if wrong is None else f'WRONG  {wrong}'}  ({seconds:.0f} s)")
        sys.stdout.flush()
    print(f"{right} of {len(names)} right" + (f"; no check for {unchecked}" if unchecked else ""))
    sys.exit(0 if right == len(names) else 1)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
