"""Where Lightning's defaults do not keep the project's promises."""

import sys
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm

from rs_otl.files import atomic_write, write_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, whenever the process is killed.

    Lightning writes to the system's temporary folder and moves, which across file systems is
    a copy that a kill can cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint beside ``path`` and rename it into place."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as aside:
            write_checkpoint(checkpoint, aside)


class StderrProgressBar(TQDMProgressBar):
    """Lightning's bar on stderr: stdout is for results."""

    def init_train_tqdm(self) -> Tqdm:
        """Return the bar of an epoch, which makes room for the next one's when it is done."""
        return Tqdm(
            desc=self.train_description,
            disable=self.is_disabled,
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )
