"""Measure search in an index of millions of drawn embeddings: recall at 50, and time to answer.

Embeddings are drawn from a mixture on a curved surface of few dimensions, like a network's. The
truth is exact search through all embeddings, which are drawn again instead of kept.

    python benchmarks/search.py --count 1000000 --count 10000000
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rs_otl.geo.similar import unit
from rs_otl.geo.vector_index import nearest, open_vectors, training_rows, write_vectors

BLOCK = 100_000
KINDS, LATENT, HIDDEN = 2_000, 24, 64
QUERIES, TOP = 200, 50


def drawn(number: int, count: int, width: int) -> np.ndarray:
    """Draw block ``number`` of embeddings, (count, width)."""
    fixed, random = np.random.default_rng(0), np.random.default_rng(number + 1)
    centres = fixed.normal(size=(KINDS, LATENT)).astype(np.float32)
    bend = fixed.normal(size=(LATENT, HIDDEN)).astype(np.float32) / LATENT**0.5
    spread = fixed.normal(size=(HIDDEN, width)).astype(np.float32) / HIDDEN**0.5
    latent = centres[random.integers(KINDS, size=count)]
    latent += 0.5 * random.standard_normal(latent.shape, np.float32)
    rows = np.tanh(1.5 * latent @ bend) @ spread
    return rows + 0.05 * random.standard_normal(rows.shape, np.float32)


def blocks(count: int, width: int) -> Iterator[np.ndarray]:
    """Draw all blocks."""
    for number, start in enumerate(range(0, count, BLOCK)):
        yield drawn(number, min(BLOCK, count - start), width)


def exact(count: int, width: int, queries: np.ndarray) -> np.ndarray:
    """Return the numbers of the most similar embeddings, by exact search, (queries, TOP)."""
    best = np.full((len(queries), TOP), -2, np.float32)
    numbers = np.zeros((len(queries), TOP), np.int64)
    for start, rows in zip(range(0, count, BLOCK), blocks(count, width), strict=True):
        scores = unit(queries) @ unit(rows).T
        top = np.argpartition(-scores, min(TOP, len(rows)) - 1, axis=1)[:, :TOP]
        best = np.concatenate([best, np.take_along_axis(scores, top, 1)], axis=1)
        numbers = np.concatenate([numbers, top + start], axis=1)
        kept = np.argsort(-best, axis=1)[:, :TOP]
        best, numbers = (np.take_along_axis(each, kept, 1) for each in (best, numbers))
    return numbers


def first_answer(path: Path, width: int) -> float:
    """Return the seconds from opening the index to the first answer, in a process of its own."""
    program = (
        "import sys, time, faiss, numpy as np\n"
        "from pathlib import Path\n"
        "from rs_otl.geo.vector_index import nearest, open_vectors\n"
        "query = np.load(sys.argv[2])\n"
        "began = time.perf_counter()\n"
        f"nearest(open_vectors(Path(sys.argv[1])), query, {TOP})\n"
        "print(time.perf_counter() - began)\n"
    )
    query = path.with_suffix(".npy")
    np.save(query, drawn(10**6, 1, width)[0])
    words = [sys.executable, "-c", program, path, query]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, and print a line for each count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, action="append", required=True)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="where to write the index")
    options = parser.parse_args()
    width = options.width
    queries = drawn(10**6 + 1, QUERIES, width)
    for count in options.count:
        with TemporaryDirectory(dir=options.folder) as folder:
            path = Path(folder) / "index.faiss"
            began = time.perf_counter()
            learnt = training_rows(count)
            some = np.concatenate(
                [rows[: -(-learnt * len(rows) // count)] for rows in blocks(count, width)]
            )
            write_vectors(path, some, blocks(count, width), count)
            built = time.perf_counter() - began
            truth = exact(count, width, queries)
            first = first_answer(path, width)
            index = open_vectors(path)
            times, found = [], 0
            for query, right in zip(queries, truth, strict=True):
                began = time.perf_counter()
                numbers = nearest(index, query, TOP)[1]
                times.append(time.perf_counter() - began)
                found += len(np.intersect1d(numbers, right))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(
                f"{count:,} embeddings of {width}: built in {built:.0f} s, "
                f"{path.stat().st_size / 2**30:.2f} GiB; recall at {TOP} {found / truth.size:.3f}; "
                f"first answer {first:.3f} s, then {np.median(times):.4f} s (median), "
                f"{np.quantile(times, 0.95):.4f} s (95 %); at most {peak:.1f} GiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
