"""Replacements for defaults of Lightning: atomic checkpoints, a progress bar on stderr."""

import sys
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from rs_otl.files import atomic_write, write_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, whenever the process is killed.

    Lightning writes to the system's temporary folder and moves the file, which across file
    systems is a copy that can be interrupted.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside ``path`` and rename it into place."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            write_checkpoint(checkpoint, temporary)


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
