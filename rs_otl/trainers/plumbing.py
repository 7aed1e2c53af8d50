"""Replacements for defaults of Lightning: atomic checkpoints, a progress bar on stderr."""

import hashlib
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from torch import Tensor

from rs_otl.files import atomic_write, write_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, whenever the process is killed.

    Lightning writes to the system's temporary folder and moves the file, which across file
    systems is a copy that can be interrupted. Each checkpoint holds its
    :func:`checkpoint_digest` as ``digest``.
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

    PyTorch does not notice that bits of a stored tensor have changed.

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
    """Lightning's bar on stderr (stdout is for results), with the time left of the whole run."""

    def on_train_start(self, trainer: Trainer, *args: Any) -> None:
        """Start the clock, and note the first epoch: a resumed run has epochs behind it."""
        super().on_train_start(trainer, *args)
        self._began, self._first = time.perf_counter(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        """Name the epoch, from 1 as in the metrics; Lightning's own counts from 0."""
        bar = self.train_progress_bar
        bar.reset(total=float(self.total_train_batches))
        bar.set_description(self._run(trainer, 0))

    def on_train_batch_end(
        self, trainer: Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the time left."""
        done = (batch_idx + 1) / max(1, self.train_progress_bar.total or 1)
        self.train_progress_bar.set_description(self._run(trainer, done), refresh=False)
        super().on_train_batch_end(trainer, module, outputs, batch, batch_idx)

    def _run(self, trainer: Trainer, done: float) -> str:
        """Return the epoch, the number of epochs, and the time left at the speed so far."""
        epochs = trainer.max_epochs or 0
        words = f"epoch {trainer.current_epoch + 1}/{epochs}"
        passed = trainer.current_epoch - self._first + done
        if not passed:
            return words
        left = (time.perf_counter() - self._began) * (epochs - self._first - passed) / passed
        return f"{words}, {Tqdm.format_interval(left)} left"

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
