"""A run that is killed loses nothing."""

import csv
import hashlib
import os
import signal
import time
from unittest import mock

import pytest
from command_line import ENVIRONMENT, draw_folder, rs_otl, rs_otl_here, settings, start

from rs_otl.files import locked


@pytest.mark.parametrize("labels", [("relabel_every=2",), ("relabel=reuse", "cache=disk")])
def test_killed_and_resumed_is_bit_for_bit_the_run_left_alone(tmp_path, labels):
    folder = draw_folder(tmp_path / "images")
    arguments = [folder, *settings("epochs=5", *labels)]
    rs_otl("pretrain", *arguments, "--out", tmp_path / "alone")

    killed = tmp_path / "killed"
    process = start("pretrain", *arguments, "--out", killed)
    # In the third epoch, or soon after: its labels are those of the checkpoint's second pair.
    while not _epochs(killed) >= 2:
        assert process.is_alive()
        time.sleep(0.02)
    time.sleep(0.3)
    process.kill()
    process.join()
    assert not (killed / "encoder").exists()

    added = folder / "class0" / "added.png"
    added.write_bytes((folder / "class0" / "00.png").read_bytes())
    refused = rs_otl_here("pretrain", folder, "--resume", "--out", killed, check=2)
    assert "not the images" in refused.stderr.splitlines()[-1]
    added.unlink()

    rs_otl("pretrain", folder, "--resume", "--out", killed)

    weights = [
        (path / "encoder" / "model.safetensors").read_bytes()
        for path in (tmp_path / "alone", killed)
    ]
    assert hashlib.sha256(weights[0]).digest() == hashlib.sha256(weights[1]).digest()
    untimed = [
        [
            {key: value for key, value in row.items() if "second" not in key}
            for row in csv.DictReader((path / "metrics.csv").read_text().splitlines())
        ]
        for path in (tmp_path / "alone", killed)
    ]
    assert untimed[0] == untimed[1]


def test_a_run_that_is_still_going_is_not_resumed(tmp_path):
    folder = draw_folder(tmp_path / "images")
    run = tmp_path / "run"
    process = start("pretrain", folder, *settings("epochs=500"), "--out", run)
    while not _epochs(run) >= 1:
        assert process.is_alive()
        time.sleep(0.02)
    refused = rs_otl_here("pretrain", folder, "--resume", "--out", run, check=2)
    assert f"still being written by process {process.pid} on " in refused.stderr.splitlines()[-1]
    process.kill()
    process.join()
    # The lock that it leaves behind is stale: nobody holds it.
    assert (run / ".lock").exists()
    with locked(run):
        pass


def test_under_slurm_a_run_starts_from_no_other_runs_weights(tmp_path):
    """Lightning would save a checkpoint in the working folder, and start the next run from it."""
    slurm = {
        "SLURM_JOB_ID": "77",
        "SLURM_JOB_NAME": "job",
        "SLURM_NTASKS": "1",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "1",
        "SLURM_NODELIST": "n1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": "0",
    }
    folder = draw_folder(tmp_path / "images")
    words = ["pretrain", folder, *settings("epochs=500"), "--out", "one"]
    process = start(*words, cwd=tmp_path, environment=ENVIRONMENT | slurm)
    while not _epochs(tmp_path / "one") >= 2:  # the first checkpoint is there
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGUSR1)
    time.sleep(2)
    process.kill()
    process.join()
    assert not list(tmp_path.rglob("hpc_ckpt_*"))

    # Even one that something else has left in the working folder.
    last = tmp_path / "one" / "checkpoints" / "last.ckpt"
    (tmp_path / "hpc_ckpt_1.ckpt").write_bytes(last.read_bytes())
    two = tmp_path / "two"
    with mock.patch.dict(os.environ, slurm):
        rs_otl_here("pretrain", folder, *settings("epochs=2"), "--out", two, cwd=tmp_path)
    assert _epochs(two) == 2


def test_control_c_stops_in_one_line(tmp_path):
    folder = draw_folder(tmp_path / "images")
    streams = tmp_path / "out", tmp_path / "err"
    words = ["pretrain", folder, *settings("epochs=500"), "--out", tmp_path / "run"]
    process = start(*words, streams=streams)
    while not _epochs(tmp_path / "run") >= 1:
        assert process.is_alive()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.join(100)
    assert process.exitcode == 130
    stdout, stderr = (path.read_text() for path in streams)
    assert not stdout
    assert stderr.splitlines()[-1].startswith("rs-otl: interrupted")
    assert "Traceback" not in stderr


def _epochs(directory):
    try:
        return len((directory / "metrics.csv").read_text().splitlines()) - 1
    except FileNotFoundError:
        return 0
