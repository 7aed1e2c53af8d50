"""Replacements for defaults of Lightning: atomic checkpoints, a progress bar on stderr."""

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor

from rs_otl.files import atomic_write, write_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, whenever the process is killed.

    Lightning writes to the system's temporary folder and moves the file, which across file
    systems is a copy that can be interrupted. Each holds its :func:`checkpoint_digest` as
    ``digest``.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside ``path`` and rename it into place."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            digest = checkpoint_digest(checkpoint)
            write_checkpoint({**checkpoint, "digest": digest}, temporary)


def checkpoint_digest(checkpoint: Mapping[str, Any]) -> str:
    """Return a hash of all values of a checkpoint but ``digest``.

    PyTorch does not see when bits of a tensor have been changed.

    Args:
        checkpoint: Dictionaries and sequences of tensors and plain values.

    Returns:
        32 hexadecimal digits.
    """
    hashed = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            hashed.update(f"{value.dtype} {tuple(value.shape)}".encode())
            bits = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            hashed.update(bits.numpy().data)
        elif isinstance(value, Mapping):
            hashed.update(f"{len(value)} keys".encode())
            for key, inner in value.items():
                add(key)
                add(inner)
        elif isinstance(value, list | tuple):
            hashed.update(f"{len(value)} values".encode())
            for inner in value:
                add(inner)
        else:
            hashed.update(f"{value!r} ".encode())

    add({key: value for key, value in checkpoint.items() if key != "digest"})
    return hashed.hexdigest()


class StderrProgressBar(TQDMProgressBar):
    """Lightning's bar on stderr: stdout is for results."""

    def init_train_tqdm(self) -> Tqdm:
        """Return the bar of an epoch, which is cleared when the epoch is done."""
        return Tqdm(
            desc=self.train_description,
            disable=self.is_disabled,
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )
