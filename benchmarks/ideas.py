"""What ideas for better features bring, on training images alone: no test image is used.

An encoder trains on four fifths of a data set's training images, and is judged on the last fifth
and, in the same way, on the training images of others. Finished results stay in ``--out``.

``python benchmarks/ideas.py siri-whu --also ucmerced --also hmhr --also aid``
"""

import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import rich
import torch
import typer
from lightning.pytorch import Trainer
from pydantic import BaseModel
from rich.table import Table
from table import run
from torch import Tensor
from torch.nn.functional import normalize

from rs_otl.cli.options import Root
from rs_otl.datasets import CachedDataset, Division, OTLDataModule, divide, load_dataset
from rs_otl.evaluation import evaluate, t_interval
from rs_otl.models import Encoder, resolve_precision
from rs_otl.recipe import Recipe, recipe_for
from rs_otl.runs.pretraining import describe, make_task, quiet_lightning
from rs_otl.runs.records import read_json, write_json
from rs_otl.spec import load_size
from rs_otl.trainers import OTLTask, contrastive_loss
from rs_otl.trainers.encode import encode

TOLD = {"knn": "kNN", "linear": "linear", "few_shot": "5-shot"}
CONTRAST = "contrast=1 hidden=0 batch_size=64 lr=0.12 epochs=13"
BOTH = "contrast=0.667 relabel=reuse batch_size=64 lr=0.18 epochs=13"
FILLED = "clusters=null hidden=0 temperature=0.2 batch_size=64 lr=0.03 epochs=3"

# Keys of the recipe otl that an idea sets, in one or two trainings, one after the other.
IDEAS: dict[str, tuple[str, ...]] = {
    "clusters": ("batch_size=64 lr=0.08 epochs=10",),
    "8 heads, local views": ("heads=8 local_views=3 relabel=reuse batch_size=64 lr=0.24 epochs=7",),
    "a cluster an image, local views": (
        "method=instance clusters=null hidden=0 local_views=3 batch_size=64 lr=0.08 epochs=7",
    ),
    "contrast": (CONTRAST,),
    "contrast, local views": (CONTRAST.replace("13", "8"),),
    "contrast and clusters": (BOTH,),
    "the same, clusters from half on": (BOTH,),
    "the same, clusters as a mask too": (BOTH.replace("batch", "clusters=64 batch"),),
    "contrast, then a filled head": (CONTRAST.replace("13", "10"), FILLED),
}


class Contrasting(OTLTask):
    """A task with a contrast that did not stay in the package.

    Args:
        idea: Name of the idea.
        settings: Settings of the task.
    """

    ignore = (*OTLTask.ignore, "idea")

    def __init__(self, idea: str, settings: Mapping[str, Any]) -> None:
        self._idea = idea
        super().__init__(**settings)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        images = batch["image"]
        features = self._features(self.augmentations, images, 2)
        small = None
        if self._idea == "contrast, local views":
            small = self._features(self.local_augmentations, images, 3)
        with torch.autocast(images.device.type, enabled=False):
            return self._loss_of(features, small, batch["index"])

    def _loss_of(self, features: Tensor, small: Tensor | None, index: Tensor) -> Tensor:
        share, done = self.hparams["contrast"], self.current_epoch
        projected = self.projection(features).unflatten(0, (2, -1))
        if small is not None:
            local = self.projection(small).unflatten(0, (3, -1))
            pairs = [contrastive_loss(torch.stack(pair)) for pair in product(projected, local)]
            return (2 * contrastive_loss(projected) + 3 * torch.stack(pairs).mean()) / 5
        outputs = self.heads(features).unflatten(1, (2, -1)).transpose(0, 1)
        self._keep_outputs(index, outputs.detach())
        labels = self.pseudo_labels[index]
        clusters = (1 - share) * self._loss(outputs, labels, None)
        if self._idea.endswith("from half on"):
            late = done >= (self.trainer.max_epochs or 1) / 2
            return share * contrastive_loss(projected) + late * clusters
        masked = done >= 0.4 * (self.trainer.max_epochs or 1)
        return share * _masked(projected, labels if masked else labels[:0]) + clusters

    def _features(self, augmentations: torch.nn.Module, images: Tensor, views: int) -> Tensor:
        return encode(self.encoder, self.make_views(augmentations, images, views)).float()


def _masked(projected: Tensor, labels: Tensor) -> Tensor:
    """Return the contrastive loss without other images that share a label, ``(h, 1, B)``."""
    unit = normalize(projected.flatten(0, 1), dim=1)
    alike = unit @ unit.T / 0.2
    image = torch.arange(projected.shape[1]).repeat(2)
    same_image = image[:, None] == image
    same_label = (labels[:, 0, :, None] == labels[:, 0, None]).any(0).repeat(2, 2)
    itself = torch.eye(len(unit), dtype=torch.bool)
    alike = alike.masked_fill(itself | (same_label & ~same_image), -torch.inf)
    return -alike.log_softmax(1)[same_image & ~itself].mean()


class Result(BaseModel):
    """A trained idea.

    Attributes:
        seconds: Seconds of training.
        scores: Accuracies by data set: kNN, linear (standardised) and 5-shot.
    """

    seconds: float
    scores: dict[str, dict[str, float]]


def main(
    dataset: Annotated[str, typer.Argument(help="A data set with labels to train on.")],
    also: Annotated[list[str] | None, typer.Option(help="A further one to judge on.")] = None,
    root: Root = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, a fifth for each.")] = 3,
    encoder: Annotated[str, typer.Option(help="timm architecture.")] = "regnetx_002",
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("runs/ideas"),
) -> None:
    """Train by each idea with several seeds, and print the mean accuracy over the data sets."""
    quiet_lightning()
    first = load_dataset(dataset, load_size(64), root)
    sets = {dataset: first} | {
        name: load_dataset(name, load_size(64), root, like=first.spec) for name in also or ()
    }
    out.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Result]] = {}
    for seed, (number, idea) in product(range(seeds), enumerate(IDEAS)):
        path = out / f"{number}-{seed}.json"
        if not path.exists():
            write_json(path, _train(idea, encoder, sets, seed))
        results.setdefault(idea, []).append(read_json(Result, path, "remove it"))
    table = Table(title="mean over data sets and seeds, in %")
    for column in ("idea", "seconds", *TOLD.values()):
        table.add_column(column)
    for idea, made in results.items():
        cells = []
        for score in TOLD:
            means = [np.mean([one[score] for one in result.scores.values()]) for result in made]
            cells.append(f"{100 * np.mean(means):.1f}")
            if seeds > 1:
                low, high = t_interval(np.array(means))
                cells[-1] += f" ± {50 * (high - low):.1f}"
        seconds = np.mean([result.seconds for result in made])
        table.add_row(idea, f"{seconds:.0f}", *cells)
    rich.print(table)


def _train(idea: str, encoder: str, sets: dict[str, CachedDataset], seed: int) -> Result:
    dataset, images = next(iter(sets.items()))
    inner = {name: _inner(images, seed) for name, images in sets.items()}
    task: OTLTask | None = None
    began = time.perf_counter()
    for keys in IDEAS[idea]:
        settings = [f"encoder={encoder}", f"seed={seed}", *keys.split()]
        recipe, _ = recipe_for(dataset, "otl", settings)
        config, _ = describe(recipe, images, None)
        before, task = task, _task(idea, recipe, images, len(inner[dataset].train))
        if before is not None:
            task.encoder.load_state_dict(before.encoder.state_dict())
        trainer = Trainer(
            max_epochs=recipe.epochs,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            limit_val_batches=0,
            precision="bf16-mixed" if resolve_precision("auto") == "bf16" else "32-true",
        )
        data = OTLDataModule(
            images, batch_size=recipe.batch_size, division=inner[dataset], seed=seed
        )
        trainer.fit(task, datamodule=data)
    seconds = time.perf_counter() - began
    assert task is not None
    scores = {}
    for name, judged in sets.items():
        made = evaluate(
            Encoder(task.encoder.eval(), config), judged, inner[name], name=idea, shots=[5]
        )
        scores[name] = {
            "knn": made.knn[10].accuracy,
            "linear": made.linear_standardised.accuracy,
            "few_shot": made.few_shot[0].scores["class_mean"].accuracy,
        }
    return Result(seconds=seconds, scores=scores)


def _task(idea: str, recipe: Recipe, images: CachedDataset, count: int) -> OTLTask:
    config, _ = describe(recipe, images, None)
    task = make_task(recipe, config, images, count)
    if idea != "contrast, local views" and not idea.startswith("the same"):
        return task
    made = Contrasting(idea, dict(task.hparams))
    made.train()
    return made


def _inner(images: CachedDataset, seed: int) -> Division:
    """Divide the training images: four fifths to train on, one to test on."""
    division = divide(images, 1, True)
    shuffled = np.random.default_rng(seed).permutation(division.train)
    fifth = len(shuffled) // 5
    return replace(division, train=np.sort(shuffled[fifth:]), test=np.sort(shuffled[:fifth]))


if __name__ == "__main__":
    run(main)
