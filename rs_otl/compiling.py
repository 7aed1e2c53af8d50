"""Compile functions with numba, also without a writable cache, without TBB and after a fork."""

import functools
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import numba
from numba import njit

_forked = False


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with ``numba.njit``, cached on disk where a cache can be written.

    Where none can (a read-only installation without a writable home), the function is compiled
    in each process, and one line on stderr says so. A parallel function runs on one thread in a
    process that was forked after numba had started OpenMP threads: GNU OpenMP would end it.

    Args:
        **options: Of ``numba.njit``, without ``cache``. A function with ``parallel=True`` can be
            called from Python only, not from another compiled function.

    Returns:
        A decorator.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = _cached(function, options)
        if not options.get("parallel"):
            return dispatcher
        # Not cached: numba's cache does not tell the two apart and would return the parallel one.
        serial = njit(**options | {"parallel": False})(function)

        @functools.wraps(function)
        def call(*arguments: Any) -> Any:
            return (serial if _forked else dispatcher)(*arguments)

        return call

    return decorate


def _cached(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError as error:
        if "cannot cache function" not in str(error):
            raise
    _say_no_cache()
    return njit(**options)(function)


@functools.cache
def _say_no_cache() -> None:
    print(
        "rs-otl: numba has no writable folder for its cache, so functions are compiled in each "
        "process, which takes some seconds; set NUMBA_CACHE_DIR to a writable folder",
        file=sys.stderr,
    )


@functools.cache
def _use_installed_threading_layer() -> None:
    """Replace a threading layer that needs TBB by numba's default where TBB is not installed."""
    layer = numba.config.THREADING_LAYER  # type: ignore[attr-defined]
    if layer not in ("tbb", "safe", "forksafe"):
        return
    try:
        importlib.import_module("numba.np.ufunc.tbbpool")
    except ImportError:
        numba.config.THREADING_LAYER = "default"  # type: ignore[attr-defined]
        print(
            f"rs-otl: NUMBA_THREADING_LAYER={layer} needs TBB, which is not installed: numba's "
            "default is used; pip install tbb",
            file=sys.stderr,
        )


def _after_fork() -> None:
    global _forked
    try:
        _forked = _forked or numba.threading_layer() == "omp"  # type: ignore[attr-defined]
    except ValueError:  # no threads had been started
        return


_use_installed_threading_layer()
os.register_at_fork(after_in_child=_after_fork)
