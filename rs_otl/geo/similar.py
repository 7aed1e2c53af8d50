"""Find the rows of a block that are most similar to a query, exactly."""

import importlib.util

import numpy as np
from numpy.typing import NDArray


def most_similar(
    rows: NDArray[np.float32], query: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Find the rows of a block whose direction is nearest to a query's.

    FAISS is used if it is installed, else PyTorch; both are exact.

    Args:
        rows: (n, D), finite.
        query: (D,).
        count: Rows wanted.

    Returns:
        Cosine similarities and positions, best first, at most n.
    """
    count = min(count, len(rows))
    if not count:
        return np.zeros(0, np.float32), np.zeros(0, np.int64)
    block, one = unit(rows), unit(query[None])
    if importlib.util.find_spec("faiss"):
        import faiss

        index = faiss.IndexFlatIP(block.shape[1])
        index.add(block)
        scores, positions = index.search(one, count)
        return scores[0], positions[0]
    import torch  # takes seconds; maps and pages do not need it

    best = (torch.from_numpy(block) @ torch.from_numpy(one[0])).topk(count)
    return best.values.numpy(), best.indices.numpy()


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(lengths, np.float32(1e-12)))
