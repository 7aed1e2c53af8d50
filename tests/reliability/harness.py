"""A hostile command line, what came of it, and whether that is what is promised."""

import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MEMORY = 2 * 2**30
_LONGEST_LINE = 1500
_START_SECONDS = 300
_PREFIX = "rs-otl: "
# The file that a run's process holds its lock on.
_ALWAYS_NEW = (".lock", "*/.lock")
_TEMPORARY = re.compile(r"^\..+\.\d+(\.\w+)*$|\.part$|^tmp")
# PyTorch's cache of compiled kernels.
_CACHE = "torchinductor_"
_NOISE = re.compile(r"Traceback|Warning\b|^\s*File \"|^ERROR|Exception|[Ee]rror \d+:|^\w*png error")
# Notes that may come before the line that says what is wrong.
_NOTES = re.compile(r"rs-otl: (numba |NUMBA_)")


@dataclass(frozen=True)
class Case:
    """A command line in a folder of hostile files.

    Attributes:
        words: The arguments.
        note: What is hostile about it.
        codes: Exit codes that are right.
        makes: Files and folders, relative to the working directory, that success must leave.
        changes: Patterns of paths that success may change.
        leaves: Patterns of new paths that a refusal may leave.
        environment: Further variables; ``None`` removes one.
        file_bytes: The size at which writing a file fails, as on a full disk.
        unprivileged: Whether the permissions of files hold, as they do not for root.
        encoding: Of stdout and stderr.
        stdout: A file in place of the captured stdout.
        fresh: Whether to run in a new process, as what is read at the program's start asks for.
        verify: Takes the working directory after success, and stderr; returns what is wrong.
    """

    words: list[str]
    note: str
    codes: tuple[int, ...] = (0, 2)
    makes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    leaves: tuple[str, ...] = ()
    environment: dict[str, str | None] = field(default_factory=dict)
    file_bytes: int | None = None
    unprivileged: bool = False
    encoding: str = "utf-8"
    stdout: str | None = None
    fresh: bool = False
    verify: Callable[[Path, str], str | None] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a case.

    Attributes:
        code: The exit code, or the negative number of the signal that ended it.
        ended: ``exit``, ``hang`` or ``memory``.
        stdout: What it wrote there.
        stderr: What it wrote there.
        fault: The traceback of a fault.
        seconds: How long it took.
        memory: Bytes that it held more than the program needs when it starts.
    """

    code: int
    ended: str
    stdout: str
    stderr: str
    fault: str
    seconds: float
    memory: int


class Worker:
    """A process that runs command lines; it starts when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.program: dict[str, Any] = {}

    def start(self) -> dict[str, Any]:
        """Start the process, unless it runs. Return the program's options and recipe keys."""
        if self._process is None:
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join(
                    [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
                ),
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                "NUMBA_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
                "MPLBACKEND": "agg",
            }
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("server.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            self.program = self._answer()
        return self.program

    def run(self, case: Case, work: Path, environment: dict[str, str], seconds: float) -> Outcome:
        """Run a case in ``work``, with a time limit."""
        if case.fresh:
            return _run_fresh(case, work, environment, seconds)
        self.start()
        request = {
            "words": case.words,
            "cwd": str(work),
            "environment": environment,
            "seconds": seconds,
            "memory": MEMORY,
            "file_bytes": case.file_bytes,
            "unprivileged": case.unprivileged,
            "encoding": case.encoding,
            "stdout": case.stdout,
        }
        assert self._process is not None
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Outcome(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            self._process = None
            raise RuntimeError(f"the process that runs the cases ended with {code}")
        return json.loads(line)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            with self._process as process:  # waits for it, and closes its pipes
                assert process.stdin is not None
                process.stdin.close()
            self._process = None


def _run_fresh(case: Case, work: Path, environment: dict[str, str], seconds: float) -> Outcome:
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from rs_otl.cli import main; main()", *case.words],
            cwd=work,
            env=environment | {"PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            timeout=seconds + _START_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Outcome(-9, "hang", "", "", "", seconds, 0)
    out, err = (text.decode("utf-8", "surrogateescape") for text in (done.stdout, done.stderr))
    return Outcome(done.returncode, "exit", out, err, "", 0.0, 0)


@contextmanager
def case_folder() -> Iterator[Path]:
    """Make the folder of a case: ``work``, where it runs, its ``tmp`` and its ``home``."""
    folder = Path(tempfile.mkdtemp(prefix="rs-otl-case-")).resolve()
    try:
        folder.chmod(0o755)
        for name in ("work", "tmp", "home"):
            (folder / name).mkdir()
        (folder / "tmp").chmod(0o1777)
        (folder / "home").chmod(0o777)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment_of(case: Case, folder: Path) -> dict[str, str]:
    """Return the environment that a case runs in."""
    kept = ("PATH", "LANG", "LD_LIBRARY_PATH", "NUMBA_CACHE_DIR", "VIRTUAL_ENV")
    values: dict[str, str | None] = {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "COLUMNS": "120",
        "OMP_NUM_THREADS": "1",
        "NUMBA_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        **case.environment,
    }
    return {name: value for name, value in values.items() if value is not None}


def run_case(worker: Worker, case: Case, folder: Path, seconds: float) -> tuple[Outcome, list[str]]:
    """Run a case in its folder.

    Returns:
        What came of it, and how it broke the promise: nothing if it kept it.
    """
    work = folder / "work"
    before = snapshot(work)
    outcome = worker.run(case, work, environment_of(case, folder), seconds)
    wrong = [*_wrong_end(case, outcome)]
    if outcome.ended == "exit":
        wrong += _wrong_files(case, outcome, before, snapshot(work))
        left = sorted(path.name for path in (folder / "tmp").iterdir())
        left = [name for name in left if not name.startswith(_CACHE)]
        if left:
            wrong.append(f"left in the folder for temporary files: {', '.join(left[:3])}")
        if outcome.code == 0 and case.verify is not None:
            try:
                wrong += filter(None, [case.verify(work, outcome.stderr)])
            except Exception as error:  # of the check, not of the program
                wrong.append(f"not checked: {type(error).__name__}: {error}")
    return outcome, wrong


def snapshot(folder: Path) -> dict[str, str]:
    """Return a hash for each file below a folder, and what links and folders are."""
    entries = {}
    for where, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(where, name)
            relative = os.path.relpath(path, folder)
            if os.path.islink(path):
                entries[relative] = f"link to {os.readlink(path)}"
            elif os.path.isdir(path):
                entries[relative] = "folder"
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    entries[relative] = hashlib.file_digest(file, "blake2b").hexdigest()
            else:
                entries[relative] = "special"
    return entries


def _wrong_end(case: Case, outcome: Outcome) -> Iterator[str]:
    if outcome.ended == "hang":
        yield f"no end after {outcome.seconds:.0f} s{_where(outcome.fault)}"
        return
    if outcome.ended == "memory" or outcome.memory > MEMORY:
        yield f"{outcome.memory / 2**30:.1f} GiB more than at the start{_where(outcome.fault)}"
        return
    if outcome.code not in case.codes:
        yield f"exit {outcome.code}: {_last(outcome)}{_where(outcome.fault)}"
        return
    if outcome.code == 2:
        yield from _wrong_line(outcome.stderr)
    elif "Traceback (most recent" in outcome.stderr:
        yield f"a traceback beside exit {outcome.code}: {_last(outcome)}"


def _wrong_line(stderr: str) -> Iterator[str]:
    """Say what is not one clear line at the end of progress lines."""
    lines = stderr.removesuffix("\n").splitlines() or [""]
    errors = [line for line in lines if line.startswith(_PREFIX) and not _NOTES.match(line)]
    if not errors and "─ Error" in stderr:
        yield f"usage in a box, not one line: {_boxed(stderr)}"
    elif len(errors) != 1 or lines[-1] != errors[0]:
        yield f"not one last line for the error but {len(lines)}: {lines[-1][:200]!r}"
    elif len(errors[0]) > _LONGEST_LINE:
        yield f"a line of {len(errors[0]):,} characters"
    elif not stderr.replace("\n", "").isprintable() and not _surrogates_only(stderr):
        yield f"control characters in {errors[0][:200]!r}"
    else:
        noise = next((line for line in lines[:-1] if _NOISE.search(line)), None)
        if noise:
            yield f"noise before the error: {noise[:200]!r}"


def _surrogates_only(text: str) -> bool:
    """Whether what is not printable are bytes of a file's name that are no UTF-8."""
    return all(char.isprintable() or "\udc80" <= char <= "\udcff" or char == "\n" for char in text)


def _wrong_files(
    case: Case, outcome: Outcome, before: dict[str, str], after: dict[str, str]
) -> Iterator[str]:
    done = outcome.code == 0
    lost = sorted(path for path in before if path not in after and not _any(path, case.changes))
    if lost:
        yield f"lost {_names(lost)}"
    changed = [path for path in before if path in after and before[path] != after[path]]
    allowed = (*_ALWAYS_NEW, *(case.changes if done else ()))
    changed = [path for path in changed if not _any(path, allowed)]
    if changed:
        yield f"changed {_names(changed)}"
    new = [path for path in after if path not in before and not _any(path, _ALWAYS_NEW)]
    temporary = [path for path in new if _TEMPORARY.search(os.path.basename(path))]
    temporary = [path for path in temporary if not _any(path, case.leaves)]
    if temporary:
        yield f"left {_names(temporary)}"
    elif outcome.code == 2:
        unexpected = [path for path in new if not _any(path, case.leaves)]
        if unexpected:
            yield f"refused, yet wrote {_names(unexpected)}"
    missing = [path for path in case.makes if path not in after]
    if done and missing:
        yield f"exit 0 without {_names(missing)}"


def _any(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(path, pattern) for pattern in patterns)


def _names(paths: list[str]) -> str:
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    return ", ".join(map(repr, paths[:3])) + more


def _boxed(stderr: str) -> str:
    text = [line.strip("│ ") for line in stderr.splitlines() if line.startswith("│")]
    return " ".join(text)[:160]


def _last(outcome: Outcome) -> str:
    text = outcome.fault.strip() if outcome.ended == "exit" else ""
    lines = (text or outcome.stderr).strip().splitlines()
    return lines[-1][:200] if lines else ""


def _where(fault: str) -> str:
    """Return the last place in the package that a traceback names."""
    places = re.findall(r'File "[^"]*?/(rs_otl/[^"]+)", line (\d+)', fault)
    if "most recent call first" in fault:  # of faulthandler
        places = places[::-1]
    return f" [{places[-1][0]}:{places[-1][1]}]" if places else ""
