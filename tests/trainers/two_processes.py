"""Train small tasks on some processes and save what came out: run by a test as a program."""

import sys
from pathlib import Path

import torch
from small_run import small_trainer
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from rs_otl.models import evaluation_transforms
from rs_otl.spec import PAPER_MEAN, PAPER_STD
from rs_otl.trainers import OTLTask

IMAGES, BATCH = 45, 16


class _Images(Dataset):
    """Images of four colours, by their place."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        colours = torch.rand(4, 3, 1, 1, generator=generator)
        noise = torch.rand(IMAGES, 3, 37, 37, generator=generator)
        self.images = 0.6 * colours[torch.arange(IMAGES) % 4] + 0.4 * noise

    def __len__(self):
        return IMAGES

    def __getitem__(self, place):
        return {"image": self.images[place], "index": torch.tensor(place)}


class _Plain(OTLTask):
    """Views without chance and batch normalisation that stays: nothing depends on the batch."""

    def __init__(self, **settings):
        settings = settings | {"clusters": 4, "views": 2, "size": 32, "augment": "simple"}
        super().__init__("test_resnet", lr=0.05, **settings)
        self.augmentations = evaluation_transforms(32, PAPER_MEAN, PAPER_STD)
        self.kept = []

    def on_train_epoch_end(self):
        self.kept.append(self.pseudo_labels.labels.clone())


RUNS = {
    "fresh": {"relabel": "fresh"},
    "reuse": {"relabel": "reuse"},
    "filled": {"temperature": 0.2},
}


def main(out, processes):
    found = {}
    for name, settings in RUNS.items():
        task = _Plain(freeze_batch_norm=True, **settings)
        trainer = small_trainer(
            3,
            devices=processes,
            strategy="ddp" if processes > 1 else "auto",
        )
        images = _Images()
        sampler = DistributedSampler(images, processes, trainer.global_rank, drop_last=True)
        loader = DataLoader(images, BATCH // processes, sampler=sampler, drop_last=True)
        trainer.fit(task, loader)
        found[name] = {
            "labels": torch.stack(task.kept),
            "weights": task.encoder.state_dict(),
            "std": trainer.callback_metrics["std"],
        }
    torch.save(found, Path(out) / f"{processes}-{trainer.global_rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
