"""Process rows of work in this process, in several, or on Dask's workers."""

import itertools
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from rs_otl.errors import InputError, note
from rs_otl.extras import require_extra

Row = TypeVar("Row")
Result = TypeVar("Result")

# A row that has lost so many workers is given up: it may be what kills them.
_LOSSES = 3
# Seconds to wait for a scheduler.
_PATIENCE = 10
# Rows that Dask's scheduler knows at once.
_KNOWN = 2000
# Number of this process in a pool.
_number: int | None = None


def work_off(
    function: Callable[[Row], Result],
    rows: Iterable[Row],
    lost: Callable[[Row], Result],
    *,
    workers: int = 1,
    dask: str | None = None,
) -> Iterator[Result]:
    """Call a function with each row, in this process or in workers.

    The rows of a lost worker are given to another one. An error of the function stops all.

    Args:
        function: What to do; with ``workers`` or ``dask`` it is pickled.
        rows: The rows; with ``workers`` or ``dask`` they are pickled.
        lost: Makes the result of a row that has lost three workers.
        workers: Processes to start on this machine; with 1 this process does all.
        dask: Address of a Dask scheduler, such as ``tcp://10.0.0.1:8786``.

    Yields:
        The results, in the order in which they come.

    Raises:
        InputError: The scheduler cannot be reached.
    """
    if dask is not None:
        yield from _on_dask(function, rows, lost, dask)
    elif workers > 1:
        yield from _on_processes(function, rows, lost, workers)
    else:
        yield from map(function, rows)


def _on_processes(
    function: Callable[[Row], Result],
    rows: Iterable[Row],
    lost: Callable[[Row], Result],
    workers: int,
) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")  # threads and a GPU do not survive a fork
    fresh, again = enumerate(rows), deque[tuple[int, Row]]()
    losses: Counter[int] = Counter()
    ended = False
    while not ended:
        running: dict[Future[Result], tuple[int, Row]] = {}
        pool = ProcessPoolExecutor(
            workers, context, initializer=_begin, initargs=(context.Value("i", 0), workers)
        )
        try:
            while not ended:
                while len(running) < 2 * workers:
                    row = next(fresh, None)
                    if row is None and again and not running:
                        row = again.popleft()  # alone: it may be what kills workers
                    if row is None:
                        break
                    again.append(row)  # until the pool has it
                    future = pool.submit(function, row[1])
                    running[future] = again.pop()
                ended = not running
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    del running[future]
                    yield result
        except BrokenProcessPool:  # it does not say which row broke the pool
            losses.update(number for number, _ in running.values())
            for number, given in running.values():
                if losses[number] < _LOSSES:
                    again.append((number, given))
                else:
                    yield lost(given)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(started: Any, workers: int) -> None:
    """Share the processor among the processes of a pool, before any of them imports torch."""
    global _number
    with started.get_lock():
        _number, started.value = started.value, started.value + 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))


def take_gpu() -> None:
    """Let a process of a pool see only one of several GPUs; call it before CUDA is started."""
    if _number is None:
        return
    import torch

    # Counting them does not start CUDA.
    gpus = [str(number) for number in range(torch.cuda.device_count())]
    if gpus and os.environ.get("CUDA_VISIBLE_DEVICES"):
        gpus = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[_number % len(gpus)]


def _on_dask(
    function: Callable[[Row], Result],
    rows: Iterable[Row],
    lost: Callable[[Row], Result],
    address: str,
) -> Iterator[Result]:
    require_extra("dask", f"--dask {address}")
    import distributed

    try:
        client = distributed.Client(address, timeout=_PATIENCE)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"--dask {address}: no scheduler answers ({reason:.200}); expected the address that "
            "`dask scheduler` prints, such as tcp://10.0.0.1:8786"
        ) from None
    with client:
        if not client.scheduler_info(n_workers=1)["workers"]:
            note(f"{address}: no workers yet; waiting for some (`dask worker {address}`)")
        fresh = iter(rows)
        running: dict[Any, Row] = {}

        def submitted(row: Row) -> Any:
            future = client.submit(function, row, pure=False)
            running[future] = row
            return future

        coming = distributed.as_completed(map(submitted, itertools.islice(fresh, _KNOWN)))
        try:
            for future in coming:
                row = running.pop(future)
                try:
                    yield future.result()
                except distributed.KilledWorker:
                    yield lost(row)
                for row in itertools.islice(fresh, 1):
                    coming.add(submitted(row))
        except (CancelledError, OSError) as error:
            raise InputError(
                f"{address}: the scheduler is gone ({type(error).__name__}); start it again and "
                "repeat the command, which continues where it was"
            ) from None
