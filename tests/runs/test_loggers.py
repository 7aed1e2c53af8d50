"""Lightning's loggers write into the run, and to nowhere else unasked."""

import csv
import importlib.util
import sys

import pytest
from command_line import draw_folder, rs_otl_here, settings, undrawn
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rs_otl.runs.loggers import LOGGERS

TINY = settings("epochs=1")


def test_loggers_write_the_metrics_into_the_run(tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    draw_folder(tmp_path / "images", images=8)
    names = ",".join(name for name in LOGGERS if _installed(name))
    with undrawn():
        rs_otl_here("pretrain", "images", "--out", "run", "--logger", names, *TINY, cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"images", "run"}
    logs = tmp_path / "run" / "logs"
    with (logs / "csv" / "metrics.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["loss"]]
    with (tmp_path / "run" / "metrics.csv").open() as file:
        (own,) = csv.DictReader(file)
    assert float(row["loss"]) == pytest.approx(float(own["loss"]), rel=1e-4)
    events = EventAccumulator(str(logs / "tensorboard"))
    events.Reload()
    assert events.Scalars("loss")[0].value == pytest.approx(float(own["loss"]), rel=1e-4)
    assert not _installed("wandb") or list((logs / "wandb").rglob("*.wandb"))
    assert not _installed("mlflow") or (logs / "mlflow" / "mlflow.db").is_file()


def _installed(name):
    return name in ("tensorboard", "csv") or importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_that_is_not_installed_is_refused_before_any_work(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    draw_folder(tmp_path / "images", images=4)
    words = ["pretrain", "images", "--logger", name]
    stderr = rs_otl_here(*words, check=2, cwd=tmp_path).stderr
    assert stderr.splitlines()[-1].startswith(f"rs-otl: --logger {name} needs {name}: run pip")
    assert f"'.[{name}]'" in stderr
    assert not (tmp_path / "runs").exists()


def test_other_loggers_are_refused(tmp_path):
    draw_folder(tmp_path / "images", images=4)
    stderr = rs_otl_here("pretrain", "images", "--logger", "comet", check=2, cwd=tmp_path).stderr
    assert "expected some of tensorboard,csv,wandb,mlflow" in stderr
