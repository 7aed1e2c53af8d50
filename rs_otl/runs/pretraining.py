"""Training an encoder: a run from its recipe to its encoder."""

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from rs_otl.datasets import CachedDataset, OTLDataModule, divide, load_dataset
from rs_otl.errors import InputError
from rs_otl.evaluation import OnlineKNN
from rs_otl.export import export_encoder
from rs_otl.files import atomic_write
from rs_otl.models import Encoder, load_encoder, resolve_precision
from rs_otl.recipe import Recipe, make_recipe, read_recipe
from rs_otl.runs.paths import run_directory
from rs_otl.runs.summary import account, tell, write_json
from rs_otl.spec import RGB, EncoderConfig, load_size
from rs_otl.trainers import (
    AtomicCheckpointIO,
    History,
    OTLTask,
    StderrProgressBar,
    SupervisedTask,
    ViewSettings,
    ViewTask,
)


def pretrain(
    recipe: Recipe,
    root: str | Path | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
    devices: str = "1",
    nodes: int = 1,
    strategy: str = "auto",
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train an encoder, without labels unless the recipe is supervised, and write the run.

    Args:
        recipe: What to do. With ``resume`` the run's own recipe stands.
        root: Where data sets lie; see :func:`rs_otl.datasets.data_root`.
        out: The run's directory; by default ``runs/pretrain/DATASET``, or
            ``runs/supervised/DATASET``.
        resume: Go on with the run in that directory from its last epoch.
        progress: Whether to show bars on stderr.
        devices: Processes on each machine, one a device: a number, or ``auto`` for all.
        nodes: Machines.
        strategy: Lightning's, such as ``ddp``.
        callbacks: Called before the run's own.

    Returns:
        The run's directory, its ``encoder/`` written.

    Raises:
        InputError: If the directory holds another run, the data or the weights to start from
            cannot be used, or training diverges.
    """
    kind = "supervised" if recipe.supervised else "pretrain"
    directory = Path(out) if out else run_directory(kind, recipe.dataset)
    checkpoint = directory / "checkpoints" / "last.ckpt"
    if resume:
        recipe = own_recipe(directory)
        if (directory / "encoder").is_dir():
            print(f"{directory} is finished: nothing to resume", file=sys.stderr)
            return directory
    elif is_first():  # the others come when the first has begun to write
        refuse_another_run(directory)
    if recipe.cache == "gpu" and not torch.cuda.is_available():
        raise InputError("cache = gpu: there is no GPU here; expected auto, ram, disk or none")
    recipe = recipe.model_copy(update={"precision": resolve_precision(recipe.precision)})
    started = None if recipe.init is None else load_encoder(recipe.init)

    imagery = load_dataset(
        recipe.dataset,
        load_size(recipe.image_size),
        root,
        # What is asked to be in memory is so whatever the budget.
        cache_bytes=sys.maxsize if recipe.cache == "ram" else None,
        progress=progress,
        cache="auto" if recipe.cache == "gpu" else recipe.cache,
        cache_folder=directory,
    )
    division = divide(imagery, recipe.division, recipe.keep_duplicates_together)
    if is_first():
        tell(imagery, division)
    images = account(imagery, division)
    resume = resume and checkpoint.exists()
    if resume and json.loads((directory / "imagery.json").read_text()) != images:
        raise InputError(
            f"{recipe.dataset}: not the images that {directory} was begun with (its imagery.json "
            "lists them): put them back, or start another run with --out DIR"
        )
    config = _describe(recipe, imagery, started)
    called: list[Callback] = [*callbacks, History(directory)]
    called.append(
        ModelCheckpoint(checkpoint.parent, filename=checkpoint.stem, enable_version_counter=False)
    )
    if imagery.labels is not None and len(division.test):
        online = OnlineKNN(imagery, division.train, division.test, config, every=recipe.knn_every)
        called.insert(0, online)
    if progress:
        called.append(StderrProgressBar())
    quiet_lightning()
    trainer = Trainer(
        max_epochs=recipe.epochs,
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        devices=devices if devices == "auto" else int(devices),
        num_nodes=nodes,
        strategy=strategy,
        use_distributed_sampler=False,  # the data module shares the images out itself
        logger=TensorBoardLogger(directory, name="tensorboard", version=""),
        callbacks=called,
        plugins=[AtomicCheckpointIO()],
        enable_model_summary=False,
        enable_progress_bar=progress,
        num_sanity_val_steps=0,
    )
    data = OTLDataModule(
        imagery,
        division.train,
        min(recipe.batch_size, len(division.train) // trainer.world_size),
        recipe.seed,
        recipe.workers,
        labelled=recipe.supervised,
        on_gpu=recipe.cache == "gpu",
    )
    task = _task(recipe, config, imagery, len(division.train))
    if started is not None:
        task.encoder.load_state_dict(started.module.state_dict())

    if trainer.is_global_zero:
        directory.mkdir(parents=True, exist_ok=True)
        with atomic_write(directory / "recipe.yaml") as aside:
            aside.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False))
        write_json(directory / "imagery.json", images)

    try:
        trainer.fit(
            task,
            datamodule=data,
            ckpt_path=checkpoint if resume else None,
            weights_only=True,
        )
    except SystemExit:  # what Lightning makes of control-C
        raise KeyboardInterrupt from None
    if not trainer.is_global_zero:
        return directory
    trained = Encoder(task.encoder, config)
    export_encoder(trained, directory / "encoder", recipe=recipe.model_dump(mode="json"))
    if imagery.left_out:
        print(
            f"trained without {len(imagery.left_out):,} files that could not be used; "
            f"{directory / 'imagery.json'} names them",
            file=sys.stderr,
        )
    return directory


def is_first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return getattr(rank_zero_only, "rank", 0) == 0


def refuse_another_run(directory: Path) -> None:
    """Raise an :class:`InputError` if a directory holds anything but hidden files."""
    if directory.exists() and any(path.name[0] != "." for path in directory.iterdir()):
        raise InputError(
            f"{directory} holds a run already: --resume goes on with it, --out DIR starts another"
        )


def own_recipe(directory: Path) -> Recipe:
    """Return the recipe of the run in a directory, or raise an :class:`InputError`."""
    path = directory / "recipe.yaml"
    if not path.is_file():
        raise InputError(f"{directory}: no run to resume there (it has no recipe.yaml)")
    return make_recipe(read_recipe(path), str(path))


def _describe(recipe: Recipe, imagery: CachedDataset, started: Encoder | None) -> EncoderConfig:
    """Return what will travel with the encoder.

    Images are normalised as the weights it starts from expect, else as the data set says.
    """
    spec = imagery.spec
    if started is not None:
        if started.config.encoder != recipe.encoder:
            raise InputError(
                f"{recipe.init} is a {started.config.encoder}, the recipe wants {recipe.encoder}: "
                f"expected the same; --set encoder={started.config.encoder}"
            )
        started.check(spec.bands, spec.units)
        spec = spec.model_copy(
            update={"mean": started.config.spec.mean, "std": started.config.spec.std}
        )
    return EncoderConfig(
        encoder=recipe.encoder,
        image_size=recipe.image_size,
        spec=spec,
        dataset=imagery.name,
        epochs=recipe.epochs,
        supervised=recipe.supervised,
    )


def _task(recipe: Recipe, config: EncoderConfig, imagery: CachedDataset, images: int) -> ViewTask:
    """Make the task of a recipe for that many training images."""
    settings: ViewSettings = {
        "model": recipe.encoder,
        "in_channels": len(config.spec.bands),
        "views": recipe.views,
        "augment": recipe.augment,
        "size": recipe.image_size,
        "mean": config.spec.mean,
        "std": config.spec.std,
        "rgb": config.spec.bands == RGB,
        "lr": recipe.lr,
        "milestones": recipe.milestones,
        "milestone_lrs": recipe.milestone_lrs,
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
        "warmup": recipe.warmup,
        "freeze_batch_norm": recipe.freeze_batch_norm,
        "chunks": recipe.chunks,
        "compile": recipe.compile,
        "seed": recipe.seed,
    }
    if recipe.supervised:
        assert imagery.classes is not None  # the data module has seen to it
        return SupervisedTask(classes=len(imagery.classes), **settings)
    if recipe.clusters is not None and recipe.clusters > images:
        # The task says so too, but only once the run's directory is there.
        raise InputError(
            f"{recipe.clusters:,} clusters for {images:,} training images: expected at least an "
            f"image a cluster, better several; --set clusters={max(2, images // 8)}"
        )
    return OTLTask(
        clusters=images if recipe.clusters is None else recipe.clusters,
        heads=recipe.heads,
        hidden=recipe.hidden,
        relabel_every=recipe.relabel_every,
        relabel=recipe.relabel,
        labeller=recipe.labels,
        decay=recipe.decay,
        temperature=recipe.temperature,
        **settings,
    )


def quiet_lightning() -> None:
    """Silence what Lightning says of choices made here on purpose."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # images in memory need none
        ".*module\\(s\\) in eval mode.*",  # batch normalisation, where a recipe freezes it
        ".*The number of training batches.*",  # the log is an epoch's, not a step's
        ".*Checkpoint directory .* exists and is not empty.*",  # when resuming
        ".*tensorboardX.*",
        ".*LeafSpec.* is deprecated.*",  # of Lightning's own making
    ):
        warnings.filterwarnings("ignore", message)
