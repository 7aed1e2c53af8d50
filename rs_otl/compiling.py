"""Compile functions with numba, also without a writable cache, without TBB and after a fork."""

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from typing import Any

from rs_otl.errors import InputError, note

_LAYERS = ("default", "omp", "tbb", "workqueue", "safe", "threadsafe", "forksafe")


def _import_numba() -> None:
    """Import numba, or raise an error that names the environment variable that stops it.

    Raises:
        InputError: If numba refuses an environment variable. Without this check it would print many
            lines, fail at the first call, or end the process.
    """
    given = {name: value for name, value in os.environ.items() if name.startswith("NUMBA_")}
    features = given.get("NUMBA_CPU_FEATURES", "")
    if not all(feature.strip()[0] in "+-" for feature in features.split(",") if feature.strip()):
        raise _refused("NUMBA_CPU_FEATURES", "expected features with + or - in front")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Environment variable", RuntimeWarning)
        try:
            config = importlib.import_module("numba.core.config")
            importlib.import_module("numba.np.ufunc.parallel")
        except RuntimeWarning as error:  # a value of the wrong type
            name = next((name for name in given if f"'{name}'" in str(error)), "NUMBA_...")
            raise _refused(name, "expected a value that numba can read") from None
        except ValueError as error:
            name = next((name for name in given if "THREADS" in name), "NUMBA_...")
            raise _refused(name, str(error)) from None
    if str(config.THREADING_LAYER).lower() not in _LAYERS:
        raise _refused("NUMBA_THREADING_LAYER", f"expected one of {', '.join(_LAYERS)}")
    if sorted(config.THREADING_LAYER_PRIORITY) != ["omp", "tbb", "workqueue"]:
        raise _refused("NUMBA_THREADING_LAYER_PRIORITY", "expected tbb, omp and workqueue")


def _refused(name: str, reason: str) -> InputError:
    value = os.environ.get(name, "")
    return InputError(f"environment variable {name}={value}: {reason}; unset it")


_import_numba()

import numba  # noqa: E402 - only now can it be imported without a traceback
from numba import njit  # noqa: E402

_forked = False


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function with ``numba.njit``, cached on disk where a cache can be written.

    Without a writable cache (a read-only installation without a writable home), the function is
    compiled in each process, and one line on stderr says so. A parallel function runs on one thread
    in a process that was forked after numba had started OpenMP threads: otherwise GNU OpenMP would
    end the process.

    Args:
        **options: Options of ``numba.njit``, except ``cache``. With ``parallel=True`` the function
            can be called from Python only, not from another compiled function.

    Returns:
        A decorator.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        dispatcher = _cached(function, options)
        if not options.get("parallel"):
            return dispatcher
        # Not cached: numba's cache mixes up the two versions and would return the parallel one.
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
    note(
        "rs-otl: numba has no writable folder for its cache, so functions are compiled in each "
        "process, which takes some seconds; set NUMBA_CACHE_DIR to a writable folder"
    )


@functools.cache
def _use_installed_threading_layer() -> None:
    """Replace a threading layer that needs TBB by numba's default where TBB is not installed."""
    layer = str(numba.config.THREADING_LAYER).lower()  # type: ignore[attr-defined]
    if layer not in ("tbb", "safe", "forksafe"):
        return
    try:
        importlib.import_module("numba.np.ufunc.tbbpool")
    except ImportError:
        numba.config.THREADING_LAYER = "default"  # type: ignore[attr-defined]
        note(
            f"rs-otl: NUMBA_THREADING_LAYER={layer} needs TBB, which is not installed: numba's "
            "default is used; pip install tbb"
        )


def _after_fork() -> None:
    global _forked
    try:
        _forked = _forked or numba.threading_layer() == "omp"  # type: ignore[attr-defined]
    except ValueError:  # no threads had been started
        return


_use_installed_threading_layer()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
