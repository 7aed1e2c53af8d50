"""Run hostile command lines by the thousand, and say which of them break the promise.

    python tests/reliability/campaign.py --cases 3000 --seed 0
    python tests/reliability/campaign.py --only scenes:17

The promise: exit code 0, or 2 with one line; nothing lost, half-written or overwritten; no hang, no
memory without bound. It is not kept yet everywhere: the campaign is how the rest is found.
"""

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import hostile_encoders
import hostile_environments
import hostile_folders
import hostile_images
import hostile_labels
import hostile_recipes
import hostile_runs
import hostile_scenes
import hostile_words
from harness import Case, Outcome, Worker, case_folder, run_case
from materials import Materials, make_materials

# What draws a case: from a source of random numbers, sound inputs and the folder to work in.
Draw = Callable[[random.Random, Materials, Path], Case]

KINDS: dict[str, Sequence[Draw]] = {
    "words": hostile_words.DRAWS,
    "recipes": hostile_recipes.DRAWS,
    "images": hostile_images.DRAWS,
    "folders": hostile_folders.DRAWS,
    "scenes": hostile_scenes.DRAWS,
    "labels": hostile_labels.DRAWS,
    "encoders": hostile_encoders.DRAWS,
    "runs": hostile_runs.DRAWS,
    "environments": hostile_environments.DRAWS,
}
SECONDS = 60.0


@dataclass(frozen=True)
class Result:
    """A case that was run.

    Attributes:
        kind: Kind of hostile input.
        seed: With the kind, what it was drawn from.
        drawn_by: The function that drew it.
        case: What was run.
        outcome: What came of it.
        wrong: How it broke the promise; empty if it kept it.
    """

    kind: str
    seed: int
    drawn_by: str
    case: Case
    outcome: Outcome
    wrong: list[str]

    @property
    def verdict(self) -> str:
        """``exit 0``, ``exit 2`` and so on, or ``failed``."""
        return "failed" if self.wrong else f"exit {self.outcome.code}"

    def line(self) -> str:
        """Describe a failure."""
        words = " ".join(word if word.isprintable() else repr(word) for word in self.case.words)
        return (
            f"{self.kind}:{self.seed} {self.drawn_by}: {self.case.note}: {'; '.join(self.wrong)}"
            f"  ({words[:300]})"
        )


def run_one(
    kind: str, seed: int, materials: Materials, worker: Worker, seconds: float, fresh: bool = True
) -> Result | None:
    """Draw a case and run it; nothing if it would need a new process and ``fresh`` is false."""
    draws = KINDS[kind]
    draw = draws[seed % len(draws)]
    # Of writing and checking hostile files here; the program's own warnings are on its stderr.
    with case_folder() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = draw(random.Random(f"{kind}:{seed}"), materials, folder / "work")
        if case.fresh and not fresh:
            return None
        outcome, wrong = run_case(worker, case, folder, seconds)
    return Result(kind, seed, draw.__name__, case, outcome, wrong)


def run_many(
    chosen: Sequence[tuple[str, int]],
    seconds: float = SECONDS,
    jobs: int = 1,
    fresh: bool = True,
    say: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Run cases, in as many processes as there are jobs."""
    local = threading.local()
    with _workers(jobs) as workers, _folder() as folder:
        materials = make_materials(workers[0], folder)
        free = list(workers)
        results: list[Result] = []

        def run(item: tuple[str, int]) -> None:
            if not hasattr(local, "worker"):
                local.worker = free.pop()
            result = run_one(*item, materials, local.worker, seconds, fresh)
            if result is not None:
                results.append(result)
                say(result)

        with ThreadPoolExecutor(jobs) as pool:
            for _ in pool.map(run, chosen):
                pass
    order = {item: number for number, item in enumerate(chosen)}
    return sorted(results, key=lambda result: order[result.kind, result.seed])


@contextlib.contextmanager
def _workers(jobs: int) -> Iterator[list[Worker]]:
    workers = [Worker() for _ in range(jobs)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="rs-otl-materials-")).resolve()
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def choose(cases: int, seed: int, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """Choose as many cases, of all kinds alike."""
    return [(kinds[number % len(kinds)], seed + number // len(kinds)) for number in range(cases)]


def table(results: Sequence[Result]) -> str:
    """Count cases by kind and outcome."""
    counts = Counter((result.kind, result.verdict) for result in results)
    verdicts = sorted({verdict for _, verdict in counts})
    lines = [f"{'kind':<14}{'cases':>7}" + "".join(f"{verdict:>9}" for verdict in verdicts)]
    for kind in KINDS:
        total = sum(result.kind == kind for result in results)
        if total:
            row = "".join(f"{counts[kind, verdict]:>9}" for verdict in verdicts)
            lines.append(f"{kind:<14}{total:>7}{row}")
    row = "".join(f"{sum(counts[kind, verdict] for kind in KINDS):>9}" for verdict in verdicts)
    return "\n".join([*lines, f"{'all':<14}{len(results):>7}{row}"])


def main() -> None:
    """Run the campaign; exit 1 if a case fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=300, help="cases, of all kinds alike")
    parser.add_argument("--seed", type=int, default=0, help="seed of each kind's first case")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--only", nargs="+", metavar="KIND:SEED", help="repeat these, and show all")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit of a case")
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    arguments = parser.parse_args()
    if arguments.only:
        pairs = [item.rpartition(":") for item in arguments.only]
        chosen = [(kind, int(seed)) for kind, _, seed in pairs]
    else:
        chosen = choose(arguments.cases, arguments.seed, arguments.kinds)

    def say(result: Result) -> None:
        if result.wrong or arguments.only:
            print(result.line(), flush=True)
        if arguments.only:
            print(f"{result.outcome.stdout}{result.outcome.stderr}{result.outcome.fault}")

    begun = time.monotonic()
    results = run_many(chosen, arguments.seconds, arguments.jobs, say=say)
    took = time.monotonic() - begun
    print(f"\n{table(results)}\n{took:.0f} s, {len(results) / took:.1f} cases a second")
    if arguments.json:
        rows = [
            {
                "case": f"{result.kind}:{result.seed}",
                "drawn by": result.drawn_by,
                "note": result.case.note,
                "words": result.case.words,
                "code": result.outcome.code,
                "seconds": result.outcome.seconds,
                "memory": result.outcome.memory,
                "stderr": result.outcome.stderr[-2000:],
                "fault": result.outcome.fault[-4000:],
                "wrong": result.wrong,
            }
            for result in results
        ]
        arguments.json.write_text(json.dumps(rows, indent=1))
    sys.exit(1 if any(result.wrong for result in results) else 0)


if __name__ == "__main__":
    main()
