"""Rows of work go to other processes, and a process that is lost costs none of them."""

import os
import signal

import pytest

from rs_otl.errors import InputError
from rs_otl.geo.workers import work_off


def _one_dies(row):
    """Kill this worker: always for row 3, and the first time for row 5."""
    number, mark = row
    if number == 3 or (number == 5 and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_the_rows_of_a_lost_worker_run_elsewhere_unless_they_kill_it(tmp_path):
    rows = [(number, tmp_path / str(number)) for number in range(8)]
    results = list(work_off(_one_dies, rows, lambda row: -row[0], workers=2))
    assert sorted(results) == [-3, 0, 1, 2, 4, 5, 6, 7]


def _refused(row):
    raise InputError(f"no room for {row}")


def test_an_error_of_the_function_stops_all():
    def rows():
        yield from range(100)
        raise AssertionError("more rows were asked for")

    with pytest.raises(InputError, match=r"^no room for \d$"):
        list(work_off(_refused, rows(), lambda row: row, workers=2))


def test_a_scheduler_that_is_not_there_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("rs_otl.geo.workers._PATIENCE", 0.2)
    with pytest.raises(InputError, match=r"--dask tcp://127\.0\.0\.1:9: no scheduler answers"):
        list(work_off(abs, [1], abs, dask="tcp://127.0.0.1:9"))
