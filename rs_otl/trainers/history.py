"""The metrics of a run so far: a table, events, curves and one line per epoch."""

import csv
import math
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from rs_otl.errors import note
from rs_otl.files import atomic_write, unwritten

# The loss of a network that guesses: of clusters alone, or with contrast.
_GUESSES = ("ln_k", "guess")
# Each figure: file name, title of the y axis, and the metrics drawn in it.
_FIGURES = (
    ("loss", "loss (nats)", ("loss", *_GUESSES)),
    ("evenness", "std of cluster sizes (images)", ("initial_std", "std")),
    ("labels", "share", ("changed", "agreement")),
    ("knn", "kNN accuracy, k = 10 (%)", ("knn",)),
    ("rank", "effective rank of the features", ("rank",)),
)
_NAMES = {
    "loss": "loss",
    "ln_k": "ln k: a network that guesses",
    "guess": "a network that guesses",
    "initial_std": "before translation",
    "std": "after translation",
    "changed": "labels that changed since the last renewal",
    "agreement": "pairs of views with the same label",
    "knn": "kNN",
    "rank": "RankMe of the centred features",
}

# A loss above this share of that of a network that guesses counts as guessing.
_GUESS = 0.99
# Epochs of guessing that give a warning; in a long run, this share of its epochs.
_GUESSING_EPOCHS = 3
_GUESSING_SHARE = 0.1
# Features lie on a line below this effective rank, and in one place below this deviation.
_LINE = 2.0
_POINT = 0.01

_PATIENCE = 100  # figures are drawn again after this many times the time that drawing took


class History(Callback):
    """Keeps every epoch's metrics, in the checkpoint too, and shows them.

    After each epoch it writes the whole of ``metrics.csv``, so that a run that was killed and
    resumed leaves the same table as one that was not, adds the epoch to a file of events in
    ``tensorboard/``, and prints a line to stderr. It also draws ``figures/*.png``, less often if
    epochs are short, so that drawing takes about a hundredth of the time at most.

    Args:
        directory: The run's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.epochs: list[dict[str, float]] = []
        self._drawn, self._cost = -math.inf, 0.0
        self._events: Path | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the metrics so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the metrics up to the checkpoint."""
        self.epochs = list(state_dict["epochs"])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch's metrics, so that only newly logged ones are kept."""
        trainer.callback_metrics.clear()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the epoch, write the table and the figures, print the line."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append({"epoch": trainer.current_epoch + 1} | metrics)
        if not trainer.is_global_zero:
            return
        columns = sorted({name for epoch in self.epochs for name in epoch} - {"epoch"})
        with (
            atomic_write(self.directory / "metrics.csv") as temporary,
            temporary.open("w", newline="") as file,
        ):
            writer = csv.DictWriter(file, ["epoch", *columns])
            writer.writeheader()
            writer.writerows(self.epochs)
        self._add_events(trainer.current_epoch + 1, metrics)
        began = time.perf_counter()
        last = trainer.current_epoch + 1 == trainer.max_epochs
        if last or began - self._drawn >= _PATIENCE * self._cost:
            self._draw()
            self._drawn = time.perf_counter()
            self._cost = self._drawn - began
        note(_line(self.epochs[-1], trainer.max_epochs))
        for warning in collapses(self.epochs, trainer.max_epochs or 1):
            note(warning)

    def _add_events(self, epoch: int, metrics: dict[str, float]) -> None:
        """Add an epoch to this process's file of events.

        TensorBoard's own writer does it in a thread, which dies with a traceback on a full disk.
        """
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()]
        events = [Event(wall_time=time.time(), step=epoch, summary=Summary(value=values))]
        if self._events is None:
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
            self._events = self.directory / "tensorboard" / name
            events.insert(0, Event(wall_time=time.time(), file_version="brain.Event:2"))
        try:
            self._events.parent.mkdir(exist_ok=True)
            with self._events.open("ab") as file:
                for event in events:
                    RecordWriter(file).write(event.SerializeToString())
        except OSError as error:
            raise unwritten(self._events, error) from error

    def _draw(self) -> None:
        folder = self.directory / "figures"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise unwritten(folder, error) from error
        for name, title, metrics in _FIGURES:
            curves = {
                metric: [
                    (epoch["epoch"], epoch[metric] * (100 if metric == "knn" else 1))
                    for epoch in self.epochs
                    if metric in epoch
                ]
                for metric in metrics
            }
            if not any(curves.values()):
                continue
            figure = Figure(figsize=(7, 4), layout="constrained")
            axes = figure.add_subplot()
            for metric, points in curves.items():
                if points:
                    style = "--" if metric in _GUESSES else ".-"
                    axes.plot(*zip(*points, strict=True), style, label=_NAMES[metric])
            if name == "evenness":
                axes.set_yscale("symlog", linthresh=1)
                axes.set_ylim(bottom=0)
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_xlim(0.5, self.epochs[-1]["epoch"] + 0.5)
            axes.set_ylabel(title)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False)
            with atomic_write(folder / f"{name}.png") as temporary:
                figure.savefig(temporary, dpi=120)


def collapses(epochs: Sequence[dict[str, float]], of: int) -> list[str]:
    """Return warnings about what has collapsed in the last epoch, and what to change.

    Args:
        epochs: The metrics of the run's epochs so far, at least one.
        of: Number of epochs of the whole run.

    Returns:
        One line for each collapse: a loss that stays at ln k, features on a line, or features in
        one place. A collapse is reported when it begins.
    """
    warnings = []
    streak = 0
    for epoch in reversed(epochs):
        if epoch.get("loss", -math.inf) <= _GUESS * _guess(epoch)[1]:
            break
        streak += 1
    guess, level = _guess(epochs[-1])
    if streak == max(_GUESSING_EPOCHS, math.ceil(_GUESSING_SHARE * of)):
        advice = "lower lr, or use augment=simple"
        if {"ln_k", "std"} & epochs[-1].keys():  # not by contrast alone
            advice = "lower lr, use augment=simple, or fewer clusters"
        warnings.append(
            f"collapse: the loss has stayed at {guess} ({level:.3f}) for {streak} "
            f"epochs: the network only guesses; {advice}"
        )
    measured = [epoch for epoch in epochs if "rank" in epoch]
    before, now = (["", ""] + [_fallen(epoch) for epoch in measured])[-2:]
    if now and now != before and measured[-1] is epochs[-1]:
        warnings.append(
            f"collapse: the features of all images {now} (rank {epochs[-1]['rank']:.1f}, feature "
            f"std {epochs[-1]['feature_std']:.4f}); lower lr, use augment=simple, or start from "
            "weights with init"
        )
    return warnings


def _guess(epoch: dict[str, float]) -> tuple[str, float]:
    """Return the loss of a network that guesses, and what it is called."""
    if "ln_k" in epoch:
        return "ln k", epoch["ln_k"]
    return "guessing", epoch.get("guess", math.inf)


def _fallen(epoch: dict[str, float]) -> str:
    if epoch["feature_std"] < _POINT:
        return "point the same way"
    return "lie on a line" if epoch["rank"] < _LINE else ""


def _line(epoch: dict[str, float], epochs: int | None) -> str:
    """Return an epoch's line for the terminal."""
    parts = [f"epoch {epoch['epoch']:.0f}/{epochs}"]
    if "loss" in epoch:
        parts.append(f"loss {epoch['loss']:.3f}")
        if any(name in epoch for name in _GUESSES):
            guess, level = _guess(epoch)
            parts[-1] += f" ({guess} {level:.3f})"
    if "std" in epoch:
        parts.append(f"label std {epoch['initial_std']:.1f} → {epoch['std']:.2f}")
    if epoch.get("initial_empty"):
        parts.append(f"{epoch['initial_empty']:.0f} empty before")
    if "changed" in epoch:
        parts.append(f"{epoch['changed']:.0%} changed")
    if "agreement" in epoch:
        parts.append(f"views agree {epoch['agreement']:.0%}")
    if "rank" in epoch:
        parts.append(f"rank {epoch['rank']:.0f}, feature std {epoch['feature_std']:.2f}")
    if "knn" in epoch:
        parts.append(f"kNN {epoch['knn']:.1%}")
    if "images_per_second" in epoch:
        parts.append(f"{epoch['images_per_second']:.0f} images/s")
    if "label_seconds" in epoch:
        parts.append(f"{epoch['label_seconds']:.0f} s labels")
    if "train_seconds" in epoch:
        parts.append(f"{epoch['train_seconds']:.0f} s training")
    return " · ".join(parts)
