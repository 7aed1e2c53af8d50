"""A process that has imported the program once, and forks for every command line.

It reads a request a line on stdin (JSON) and answers with a line on stdout. A forked child costs
tens of milliseconds where a new process costs the seconds that PyTorch takes to import; it can be
killed when it hangs, and its memory, environment and user are its own.
"""

import atexit
import contextlib
import ctypes
import io
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

# How often a child's memory is looked at, in seconds.
_TICK = 0.05
# Of what a child writes to a stream, in bytes.
_LONGEST_OUTPUT = 200_000
# Beyond the limit on resident memory, so that one large allocation cannot take the machine down.
_ADDRESS_SPACE = 12 * 2**30


def main() -> None:
    """Serve requests until stdin ends."""
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(null, stream)
    _import_program()
    print(json.dumps(_describe_program()), file=answers, flush=True)
    for line in requests:
        print(json.dumps(_serve(json.loads(line))), file=answers, flush=True)


def _import_program() -> None:
    import torch

    torch.set_num_threads(1)
    import geopandas  # noqa: F401
    import lightning.pytorch  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import tensorboard.summary.writer.event_file_writer  # noqa: F401
    import torchgeo.models  # noqa: F401

    import rs_otl.bench
    import rs_otl.cli
    import rs_otl.export
    import rs_otl.geo
    import rs_otl.runs

    for name in rs_otl.runs.__all__:  # which are imported when used
        getattr(rs_otl.runs, name)

    # Fonts and compiled views are loaded once. Nothing here may start threads: no gradients.
    folder = tempfile.mkdtemp(prefix="rs-otl-server-")
    try:
        Image.new("RGB", (40, 40)).save(f"{folder}/image.png")
        sys.argv = ["rs-otl", "augmentations", f"{folder}/image.png", "-o", f"{folder}/views.png"]
        with contextlib.suppress(SystemExit):
            rs_otl.cli.main()
    finally:
        shutil.rmtree(folder)


def _describe_program() -> dict[str, Any]:
    """List the options of every command and the keys of a recipe."""
    import typer.main

    from rs_otl.cli import app
    from rs_otl.recipe import Recipe

    options = {}
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        options[name] = [
            {"names": parameter.opts, "flag": getattr(parameter, "is_flag", False)}
            for parameter in command.params
            if parameter.param_type_name == "option"
        ]
    keys = {name: str(field.annotation) for name, field in Recipe.model_fields.items()}
    return {"options": options, "recipe": keys}


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    """Run a command line in a child."""
    # Pipes, since files would be cut by the limit on their size that stands for a full disk.
    pipes = {name: os.pipe() for name in ("stdout", "stderr", "fault")}
    baseline = _resident(os.getpid())
    begun = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _run(request, {name: write for name, (_, write) in pipes.items()})
    for _, write in pipes.values():
        os.close(write)
    streams = {read: bytearray() for read, _ in pipes.values()}
    ended = _watch(pid, streams, begun + request["seconds"], baseline + request["memory"])
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - begun
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # what the child has started, such as image decoders
    _drain(streams)
    texts = {
        name: bytes(streams[read]).decode("utf-8", "surrogateescape")
        for name, (read, _) in pipes.items()
    }
    for read in streams:
        os.close(read)
    return texts | {
        "code": os.waitstatus_to_exitcode(status),
        "ended": ended,
        "seconds": seconds,
        "memory": max(0, usage.ru_maxrss * 1024 - baseline),
    }


def _watch(pid: int, streams: dict[int, bytearray], deadline: float, most_memory: int) -> str:
    """Wait for a child; kill it when it takes too long or too much memory. Say how it ended."""
    child = os.pidfd_open(pid)
    try:
        while not select.select([child], [], [], _TICK)[0]:
            _drain(streams)
            ended = ""
            if time.monotonic() > deadline:
                ended = "hang"
            elif _resident(pid) > most_memory:
                ended = "memory"
            if ended:
                os.kill(pid, signal.SIGUSR2)  # faulthandler writes where it is
                time.sleep(_TICK)
                os.kill(pid, signal.SIGKILL)
                return ended
        return "exit"
    finally:
        os.close(child)


def _drain(streams: dict[int, bytearray]) -> None:
    """Read what there is, and keep the beginning."""
    while ready := select.select(list(streams), [], [], 0)[0]:
        ended = True
        for stream in ready:
            content = os.read(stream, 2**16)
            ended = ended and not content
            streams[stream] += content[: max(0, _LONGEST_OUTPUT - len(streams[stream]))]
        if ended:
            return


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has ended
        return 0
    return pages * resource.getpagesize()


def _run(request: dict[str, Any], streams: dict[str, int]) -> None:
    """Be the command: leave with its exit code."""
    code = 70
    fault = open(streams["fault"], "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    try:
        _prepare(request, streams, fault)
        code = _call(fault)
    except BaseException:
        traceback.print_exc(file=fault)
    finally:
        with contextlib.suppress(OSError):
            fault.flush()
        os._exit(code)


def _prepare(request: dict[str, Any], streams: dict[str, int], fault: io.TextIOWrapper) -> None:
    import faulthandler

    os.setsid()
    faulthandler.register(signal.SIGUSR2, fault, all_threads=False)
    os.dup2(streams["stderr"], 2)
    os.dup2(os.open(request["stdout"], os.O_WRONLY) if request["stdout"] else streams["stdout"], 1)
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    os.chdir(request["cwd"])
    encoding = request.get("encoding", "utf-8")
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False
    )
    sys.argv = ["rs-otl", *request["words"]]
    # Not of a test that may have started this process.
    warnings.filters[:] = [entry for entry in warnings.filters if entry[0] != "error"]
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if request.get("file_bytes") is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_bytes"],) * 2)
    if request.get("unprivileged"):
        _drop_capabilities()


def _drop_capabilities() -> None:
    """Have the permissions of files hold for root too."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def _call(fault: io.TextIOWrapper) -> int:
    from rs_otl.cli import main

    code: Any = 0
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
        if leaving.__context__ is not None and code not in (0, 2, None):
            traceback.print_exception(leaving.__context__, file=fault)
    except BaseException:  # what Python would print, with exit code 1
        traceback.print_exc()
        traceback.print_exc(file=fault)
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    atexit._run_exitfuncs()
    fault.flush()
    try:
        if not sys.stdout.closed:  # by the program, which could not write to it
            sys.stdout.flush()
    except OSError as error:
        print(f"Exception ignored in: {error!r}", file=sys.stderr)
        return 120
    sys.stderr.flush()
    return 0 if code is None else int(code)


if __name__ == "__main__":
    main()
