"""A pretraining run in images a second, and the share of its time spent in the encoder.

``python benchmarks/pretrain.py aid --images 1600 --rounds 1``
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from augment import rgb_files
from lightning.pytorch import Callback, LightningModule, Trainer
from pil_pipeline import PaperImages, paper_epoch
from table import DataSet, Rounds, Row, in_turn, print_rows, run
from torch import nn
from torchgeo.trainers import SimCLRTask

from rs_otl.augment import augmentation
from rs_otl.bench.labels import now
from rs_otl.cli.options import Json, RecipeName, Root, Set
from rs_otl.datasets import CachedDataset, Division, Duplicates, OTLDataModule, load_dataset
from rs_otl.datasets._decode import decode
from rs_otl.errors import InputError
from rs_otl.models import OutputHeads, create_encoder, resolve_precision
from rs_otl.recipe import Recipe, recipe_for
from rs_otl.runs import pretrain
from rs_otl.runs.pretraining import quiet_lightning
from rs_otl.spec import load_size
from rs_otl.trainers import OTLTask, label_consistent_loss


class EpochClock(Callback):
    """Times the second epoch of a run, then stops the run.

    The first epoch makes the first labels, compiles and warms up.

    Attributes:
        images: Images that the epoch's steps see.
        whole: Seconds of the epoch, with everything that a run does in it.
        inside: Seconds of the epoch in encoder, heads, backward pass and optimiser.
    """

    def __init__(self) -> None:
        self.images = 0
        self.whole = self.inside = 0.0
        self._entered = self._began = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hook the forward passes of encoder and heads."""
        for part in (cast(nn.Module, pl_module.encoder), cast(nn.Module, pl_module.heads)):
            part.register_forward_pre_hook(lambda *_: self._enter())
            part.register_forward_hook(lambda *_: self._leave())

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, or stop it and the run."""
        if trainer.current_epoch == 1:
            loader: Any = trainer.train_dataloader
            self.images = len(loader) * loader.batch_size
            self._began, self.inside = now(), 0.0
        if trainer.current_epoch == 2:
            self.whole = now() - self._began
            raise _EnoughError

    def on_before_backward(self, *_: Any) -> None:
        """Begin the backward pass."""
        self._enter()

    def on_after_backward(self, *_: Any) -> None:
        """End the backward pass."""
        self._leave()

    def on_before_optimizer_step(self, *_: Any) -> None:
        """Begin the optimiser's step."""
        self._enter()

    def on_train_batch_end(self, *_: Any) -> None:
        """End the optimiser's step."""
        self._leave()

    def _enter(self) -> None:
        self._entered = now()

    def _leave(self) -> None:
        self.inside += now() - self._entered


class _EnoughError(Exception):
    """The epoch to be measured is over."""


def bench_pretrain(
    recipe: Recipe, images: int = 512, rounds: int = 3, root: Path | None = None
) -> list[Row]:
    """Compare a run of a recipe with the paper's pipeline and torchgeo's SimCLRTask.

    All use the same files, encoder and batch size. The run is the second epoch of
    :func:`rs_otl.runs.pretrain`, with labels, curves and checkpoint.

    Args:
        recipe: What to run, on RGB image files.
        images: Images to take of the data set at most.
        rounds: Times that each is measured, in turn.
        root: Where data sets lie.

    Returns:
        Rows; ratios are to the paper's pipeline, in views a second. In the last two rows the rate
        is a percentage: of the epoch spent inside the encoder, and of the bare step's rate.

    Raises:
        InputError: If the data set has no RGB image files, or too few for a batch or the clusters.
    """
    quiet_lightning()
    with tempfile.TemporaryDirectory() as folder:
        whole = load_dataset(recipe.dataset, 16, root)
        files = _linked(rgb_files(whole, images), Path(folder) / "images")
        imagery = load_dataset(str(Path(folder) / "images"), load_size(recipe.image_size))
        return _measured(recipe, imagery, files, Path(folder), rounds)


def _measured(
    recipe: Recipe, imagery: CachedDataset, files: list[Path], folder: Path, rounds: int
) -> list[Row]:
    count, batch_size = len(files), recipe.batch_size
    if count < batch_size or recipe.clusters is None or count < recipe.clusters:
        raise InputError(
            f"{count} images for batches of {batch_size} and {recipe.clusters} clusters: expected "
            "at least as many images; --images more, or --set clusters and batch_size lower"
        )
    clocks: list[EpochClock] = []
    steps = _Step(recipe, imagery)

    def whole_run() -> None:
        clocks.append(EpochClock())
        directory = folder / f"run{len(clocks)}"
        changes = {"dataset": str(folder / "images"), "epochs": 3, "knn_every": 1000}
        with contextlib.suppress(_EnoughError):
            pretrain(
                recipe.model_copy(update=changes),
                out=directory,
                callbacks=[clocks[-1]],
            )

    seconds = in_turn(
        {
            "paper": _paper(recipe, imagery, files),
            "simclr": _simclr(recipe, imagery),
            "decode": lambda: [decode(file) for file in files],
            "views": lambda: steps.views(count),
            "step": steps,
            "run": whole_run,
        },
        rounds,
    )
    measured = clocks[1:]  # the first warmed up
    epoch = float(np.median([clock.whole for clock in measured]))
    share = float(np.median([clock.inside / clock.whole for clock in measured]))
    stepped = count // batch_size * batch_size
    paper, simclr = stepped / seconds["paper"], stepped / seconds["simclr"]
    ours, bare = clocks[0].images / epoch, batch_size / seconds["step"]
    return [
        Row(f"paper's pipeline, {recipe.views} PIL views, float32", paper, 1.0),
        Row("torchgeo SimCLRTask, 2 views", simclr, simclr * 2 / (paper * recipe.views)),
        Row(f"rs-otl, whole epoch, {recipe.views} {recipe.augment} views", ours, ours / paper),
        Row("  decode, once a run", count / seconds["decode"], None),
        Row("  views", count / seconds["views"], None),
        Row("  forward, backward and optimiser on a fixed batch", bare, None),
        Row("  of the epoch inside the encoder, %", 100 * share, None),
        Row("  of the bare step's rate reached, %", 100 * ours / bare, None),
    ]


class _Step:
    """Forward, backward and optimiser on a fixed batch of views, in the run's precision."""

    def __init__(self, recipe: Recipe, imagery: CachedDataset) -> None:
        self.device = _device()
        self.recipe = recipe
        self.bf16 = resolve_precision(recipe.precision) == "bf16"
        assert recipe.clusters is not None
        self.task = OTLTask(
            recipe.encoder,
            clusters=recipe.clusters,
            heads=recipe.heads,
            hidden=recipe.hidden,
            views=recipe.views,
            size=recipe.image_size,
        ).to(self.device)
        self.optimizer = torch.optim.SGD(self.task.parameters(), recipe.lr, momentum=0.9)
        spec = imagery.spec
        self.augment = augmentation(
            recipe.augment, recipe.image_size, spec.mean, spec.std, True
        ).to(self.device)
        self.squares = imagery.uint8_batch(range(len(imagery)))
        self.batch = self._made(0, recipe.batch_size).contiguous(memory_format=torch.channels_last)
        self.labels = torch.zeros(
            recipe.views, recipe.batch_size, dtype=torch.int64, device=self.device
        )

    def views(self, count: int) -> None:
        """Make the views of the first ``count`` images, in batches."""
        for start in range(0, count, self.recipe.batch_size):
            self._made(start, min(start + self.recipe.batch_size, count))

    def _made(self, start: int, stop: int) -> torch.Tensor:
        squares = self.squares[start:stop].to(self.device)
        return torch.cat([self.augment(squares) for _ in range(self.recipe.views)])

    def __call__(self) -> None:
        """Make a step."""
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.task(self.batch)[0]
        views = outputs.unflatten(0, (self.recipe.views, self.recipe.batch_size))
        label_consistent_loss(views, self.labels).backward()
        self.optimizer.step()


def _paper(recipe: Recipe, imagery: CachedDataset, files: list[Path]) -> Callable[[], None]:
    spec = imagery.spec
    images = PaperImages(files, recipe.image_size, recipe.views, spec.mean, spec.std)
    encoder = create_encoder(recipe.encoder, 3).to(_device()).train()
    assert recipe.clusters is not None
    clusters = recipe.clusters
    heads = OutputHeads(cast(int, encoder.num_features), clusters, 1, recipe.hidden).to(_device())
    both = [*encoder.parameters(), *heads.parameters()]
    optimizer = torch.optim.SGD(both, recipe.lr, momentum=0.9, weight_decay=5e-4)
    return lambda: paper_epoch(images, encoder, heads, optimizer, clusters, recipe.batch_size)


def _simclr(recipe: Recipe, imagery: CachedDataset) -> Callable[[], None]:
    """Return an epoch of torchgeo's task, as it comes, on images held in memory."""
    size = recipe.image_size
    task = SimCLRTask(recipe.encoder, version=1, layers=2, memory_bank_size=0, lr=0.01, size=size)
    everything = Division(1, np.arange(len(imagery)), np.arange(0), Duplicates((), (), 0))
    data = OTLDataModule(
        imagery, batch_size=recipe.batch_size, division=everything, seed=recipe.seed
    )
    data.setup()
    batches = data.train_dataloader()

    class Unit:
        """The batches in [0, 1], as the task's augmentation takes them."""

        def __len__(self) -> int:
            return len(batches)

        def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
            for batch in batches:
                yield batch | {"image": batch["image"].float() / 255}

    def epoch() -> None:
        trainer = Trainer(
            max_epochs=1,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, Unit())

    return epoch


def _linked(files: list[Path], folder: Path) -> list[Path]:
    """Link files into a new folder."""
    folder.mkdir()
    links = []
    for number, file in enumerate(files):
        links.append(folder / f"{number:06}{file.suffix}")
        links[-1].symlink_to(file.resolve())
    return links


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(
    dataset: DataSet,
    recipe: RecipeName = "otl",
    set_: Set = None,
    images: Annotated[int, typer.Option(min=2, help="Most images of it to use.")] = 512,
    rounds: Rounds = 3,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Compare an epoch of a recipe with the paper's pipeline and torchgeo's SimCLRTask."""
    chosen, _ = recipe_for(dataset, recipe, set_ or [])
    print_rows(bench_pretrain(chosen, images, rounds, root), as_json)


if __name__ == "__main__":
    run(main)
