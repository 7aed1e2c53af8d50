"""Training an encoder: a run, from its recipe to its encoder."""

import logging
import shutil
import sys
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import torch
import yaml
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from rs_otl.datasets import CachedDataset, Division, OTLDataModule, divide, load_dataset
from rs_otl.datasets.remote import public
from rs_otl.errors import InputError, counted, is_verbose, note
from rs_otl.evaluation import OnlineKNN, OnlineSpread
from rs_otl.export import export_encoder
from rs_otl.files import atomic_write, locked, refuse_existing
from rs_otl.models import Encoder, adapted_weights, load_encoder, resolve_precision
from rs_otl.models.encoder import accelerator_device
from rs_otl.recipe import Recipe
from rs_otl.runs.duration import expectation, is_tiny
from rs_otl.runs.loggers import check_loggers, make_loggers
from rs_otl.runs.memory import refuse_too_much
from rs_otl.runs.paths import run_directory
from rs_otl.runs.provenance import Provenance, add_start, read_provenance, this_start
from rs_otl.runs.records import own_recipe, write_json
from rs_otl.runs.state import (
    Identity,
    read_run_checkpoint,
    refuse_other_recipe,
    refused_by_lightning,
)
from rs_otl.runs.summary import print_images, read_imagery, summarise_images
from rs_otl.sensors import bands_of, match, typical_wavelength
from rs_otl.spec import RGB, EncoderConfig, ImageSpec, load_size
from rs_otl.trainers import AtomicCheckpointIO, History, OTLTask, StderrProgressBar

# Keys of a recipe that are arguments of the task under the same name.
_TASK_KEYS = {
    "augment",
    "chunks",
    "compile",
    "contrast",
    "freeze_batch_norm",
    "local_size",
    "local_views",
    "label_smoothing",
    "layer_decay",
    "lora_rank",
    "lr",
    "milestone_lrs",
    "milestones",
    "mixup",
    "momentum",
    "operations",
    "orientations",
    "reduction",
    "seed",
    "tune",
    "views",
    "views_apart",
    "warmup",
    "weight_decay",
}
_OTL_KEYS = {
    "decay",
    "heads",
    "hidden",
    "label_batch_sizes",
    "method",
    "relabel",
    "relabel_every",
    "targets",
    "temperature",
}


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
    accelerator: str = "auto",
    runs: int = 1,
    loggers: Sequence[str] = (),
) -> Path:
    """Train an encoder, without labels unless the recipe is supervised, and write the run.

    Args:
        recipe: The recipe. With ``resume`` the run's recipe is used instead.
        root: Where data sets lie; see :func:`rs_otl.datasets.data_root`.
        out: The run's directory; by default ``runs/pretrain/DATASET``, or
            ``runs/supervised/DATASET``.
        resume: Continue the run in that directory from its last epoch.
        progress: Whether to show bars on stderr.
        devices: Processes on each machine, one per device: a number, or ``auto`` for all.
        nodes: Machines.
        strategy: Lightning's strategy, such as ``ddp``.
        callbacks: Further callbacks, called before the run's.
        accelerator: Lightning's accelerator: ``cpu``, ``gpu``, ``mps``, or ``auto``.
        runs: Number of runs that the printed time is for; all but the first train with labels. 0
            prints no time.
        loggers: Lightning's loggers to write into ``logs/`` too: ``tensorboard``, ``csv``,
            ``wandb``, ``mlflow``.

    Returns:
        The run's directory, with the trained ``encoder/``.

    Raises:
        InputError: If the directory holds another run, the run is still going, the data or the
            weights to start from cannot be used, the data set's address holds a password or
            signature, or training diverges.
    """
    check_loggers(loggers)
    refuse_secrets(recipe.dataset)
    kind = "supervised" if recipe.supervised else "pretrain"
    directory = Path(out) if out else run_directory(kind, recipe.dataset)
    if resume:
        recipe = own_recipe(directory)
        if (directory / "encoder").is_dir():
            note(f"{directory} is finished: nothing to resume")
            return directory
    device = accelerator_device(accelerator)
    refuse_no_gpu(recipe, device)
    left = recipe.epochs
    recipe = recipe.model_copy(update={"precision": resolve_precision(recipe.precision, device)})
    checkpoint = directory / "checkpoints" / "last.ckpt"
    resume_training = resume and checkpoint.exists()
    with ExitStack() as stack:
        if is_first():
            stack.enter_context(locked(directory))
            if not resume:  # other processes get here after the first has begun to write
                refuse_another_run(directory)
        provenance = read_provenance(directory)
        if resume_training:  # before any image is read
            begun_with = read_imagery(directory)
            resumed = read_run_checkpoint(checkpoint)
            refuse_other_recipe(resumed, checkpoint, recipe)
            left -= resumed.epoch + 1
            if is_first() and (others := provenance.differences(this_start())):
                note(
                    f"started with other versions ({'; '.join(others)}): the result may differ "
                    "from an uninterrupted run"
                )
        started = (
            None
            if recipe.init is None
            else load_encoder(recipe.init, image_size=recipe.image_size, pool=recipe.pool)
        )
        processes = 1 if devices == "auto" or device.type == "cuda" else int(devices)
        # The images are not decoded yet, so this is a guess; the number of bands matters little.
        bands = len(RGB) if started is None else len(started.config.spec.bands)

        def check(files: int) -> None:
            refuse_too_much(recipe, bands, files // 2, processes, device)
            rest, train = recipe.model_copy(update={"epochs": left}), round(0.8 * files)
            if runs and is_first() and not is_tiny(rest, train):
                note(expectation(rest, train, bands, device, runs))

        images = load_dataset(
            recipe.dataset,
            load_size(recipe.image_size),
            root,
            # With ram the budget does not count.
            cache_bytes=sys.maxsize if recipe.cache == "ram" else None,
            progress=progress,
            cache="auto" if recipe.cache == "gpu" else recipe.cache,
            cache_folder=directory,
            check=check,
            values=recipe.values,
            bands=recipe.bands,
            like=None if started is None else started.config.spec,
        )
        division = divide(images, recipe.division, recipe.keep_duplicates_together)
        if is_first():
            print_images(images, division)
        summary = summarise_images(images, division)
        if resume_training and not (
            begun_with.same_as(summary) and resumed.run.pixels == summary.pixels
        ):
            raise InputError(
                f"{recipe.dataset}: not the images that {directory} was begun with (its "
                "imagery.json lists them): put them back, or start another run with --out DIR"
            )
        config, weights = describe(recipe, images, started)
        refuse_too_much(recipe, len(config.spec.bands), len(division.train), processes, device)
        identity = Identity(recipe=recipe.model_dump(mode="json"), pixels=summary.pixels)
        run = _Run(directory, identity, provenance)
        trainer = _trainer(
            recipe,
            directory,
            [*callbacks, run, *_callbacks(recipe, directory, images, division, config, progress)],
            accelerator=accelerator,
            devices=devices if devices == "auto" else int(devices),
            num_nodes=nodes,
            strategy=strategy,
            enable_progress_bar=progress,
            logger=make_loggers(loggers, directory) or False,  # History writes the metrics
        )
        data = OTLDataModule(
            images,
            batch_size=min(recipe.batch_size, len(division.train) // trainer.world_size),
            orders=recipe.views if recipe.views_apart else 1,
            num_workers=recipe.workers,
            division=division,
            supervised=recipe.supervised,
            cache=recipe.cache,
            seed=recipe.seed,
        )
        data.setup()  # refuses what it cannot use before anything is written
        if data.num_workers and not _shared_memory_suffices(data):
            note("/dev/shm is too small to pass images between processes: decoding in this one")
            data.num_workers = 0
        task = make_task(recipe, config, images, len(division.train))
        if weights is not None:
            task.encoder.load_state_dict(weights)

        if trainer.is_global_zero:
            if not resume:
                with atomic_write(directory / "recipe.yaml") as temporary:
                    temporary.write_text(
                        yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
                    )
            if not resume_training:
                write_json(directory / "imagery.json", summary)
        try:
            trainer.fit(
                task,
                datamodule=data,
                ckpt_path=checkpoint if resume_training else None,
                weights_only=True,
            )
        except SystemExit:  # Lightning turns control-C into it
            raise KeyboardInterrupt from None
        except Exception as error:
            if trainer.is_global_zero and not resume and not run.stepped:
                _remove_unbegun(directory)
            if "DataLoader worker" in str(error):
                raise _of_worker(error) from error
            not_its = (InputError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
            if isinstance(error, not_its) or "CPUAllocator" in str(error):
                raise
            if run.stepped or not resume_training:
                raise
            raise refused_by_lightning(checkpoint, error) from error
        if not trainer.is_global_zero:
            return directory
        trained = Encoder(task.trained_encoder(), config)
        export_encoder(trained, directory / "encoder", recipe=recipe.model_dump(mode="json"))
    if images.left_out:
        note(
            f"trained without {counted(len(images.left_out), 'file')} that could not be used; "
            f"{directory / 'imagery.json'} names them"
        )
    return directory


class _Run(Callback):
    """Writes the run's identity into each checkpoint, and records the start with the first one.

    Args:
        directory: The run's directory.
        identity: The run's recipe and images.
        provenance: Its starts so far.

    Attributes:
        stepped: Whether a step has been made.
    """

    def __init__(self, directory: Path, identity: Identity, provenance: Provenance) -> None:
        self.directory = directory
        self.identity = identity
        self.provenance: Provenance | None = provenance
        self.stepped = False

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the identity. A start that fails before the first checkpoint is not recorded."""
        checkpoint["run"] = self.identity.model_dump()
        if self.provenance is not None and trainer.is_global_zero:
            add_start(self.directory, self.provenance)
            self.provenance = None

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Record that a step was made."""
        self.stepped = True


def _callbacks(
    recipe: Recipe,
    directory: Path,
    images: CachedDataset,
    division: Division,
    config: EncoderConfig,
    progress: bool,
) -> list[Callback]:
    """Return a run's callbacks: score, history and checkpoint after an epoch, and the bar."""
    callbacks: list[Callback] = []
    if images.labels is not None and len(division.test):
        callbacks.append(
            OnlineKNN(images, division.train, division.test, config, every=recipe.knn_every)
        )
    elif len(division.test) > 1:
        callbacks.append(OnlineSpread(images, division.test, config, every=recipe.knn_every))
    callbacks.append(History(directory))
    callbacks.append(
        ModelCheckpoint(directory / "checkpoints", filename="last", enable_version_counter=False)
    )
    if progress:
        callbacks.append(StderrProgressBar())
    return callbacks


def _trainer(
    recipe: Recipe, directory: Path, callbacks: list[Callback], **settings: Any
) -> Trainer:
    """Make the trainer of a run, which writes and reads nothing outside its directory."""
    quiet_lightning()
    plugins: list[Any] = [AtomicCheckpointIO()]
    if SLURMEnvironment.detect() and not TorchElasticEnvironment.detect():
        # On the signal before a time limit Lightning would save a checkpoint, and any later run in
        # the same folder would start from it.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    try:
        return Trainer(
            default_root_dir=directory,
            max_epochs=recipe.epochs,
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
            callbacks=callbacks,
            plugins=plugins,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,  # OnlineKNN and OnlineSpread score instead
            **settings,
        )
    except (ValueError, TypeError, MisconfigurationException) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise InputError(
            f"devices = {settings['devices']}, strategy = {settings['strategy']!r}: {reason}"
        ) from error


def is_first() -> bool:
    """Whether this is the process that writes and prints for all."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _shared_memory_suffices(data: OTLDataModule) -> bool:
    """Whether the batches that decoding processes have ready fit into shared memory."""
    assert data.images is not None
    sample = data.images.size**2 * len(data.images.spec.bands) * torch.float32.itemsize
    batches = 2 * data.num_workers + 1  # PyTorch lets them be this far ahead
    try:
        return shutil.disk_usage("/dev/shm").free > batches * data.batch_size * sample
    except OSError:  # not Linux
        return True


def _of_worker(error: Exception) -> Exception:
    """Return the error that ended a decoding process; PyTorch hides it in a traceback."""
    kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
    if kind.startswith("rs_otl."):  # the user can correct all our own errors
        return InputError(message)
    if "Caught " in str(error):  # a fault of the program
        return error
    return InputError(
        f"a process that decodes images has ended ({' '.join(str(error).split())}): memory or "
        "/dev/shm is short; workers = 0 decodes in this process"
    )


def _remove_unbegun(directory: Path) -> None:
    """Remove the files of a run that failed before its first step: it cannot be resumed."""
    for name in ("recipe.yaml", "imagery.json"):
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):  # it holds a checkpoint
        (directory / "checkpoints").rmdir()


def refuse_another_run(directory: Path) -> None:
    """Raise an :class:`InputError` if a directory holds anything but hidden files."""
    refuse_existing(
        directory,
        "holds a run already: --resume continues it, --out DIR starts another",
        may_be_empty=True,
    )


def refuse_secrets(dataset: str) -> None:
    """Raise an :class:`InputError` if the address of a data set holds a password or signature."""
    if (shown := public(dataset)) != dataset:
        raise InputError(
            f"{shown}: a run stores this address, so it may hold no password or signature; leave "
            "them out"
        )


def refuse_no_gpu(recipe: Recipe, device: torch.device) -> None:
    """Raise an :class:`InputError` if images are to be kept on a GPU that is not there."""
    if recipe.cache == "gpu" and device.type != "cuda":
        raise InputError("cache = gpu: there is no GPU here; expected auto, ram, disk or none")


class Described(Protocol):
    """What is known of images before any is decoded."""

    @property
    def name(self) -> str:
        """Their name."""

    @property
    def spec(self) -> ImageSpec:
        """Their bands, units and normalisation."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Their classes; ``None`` without labels."""


def describe(
    recipe: Recipe, images: Described, started: Encoder | None
) -> tuple[EncoderConfig, dict[str, Tensor] | None]:
    """Return the description that is exported with the encoder, and the weights to start from.

    Images are normalised as these weights expect, or without them as the data set says. The first
    layer of the weights is adapted to other bands.
    """
    if started is None:
        return _config(recipe, images, images.spec), None
    spec, own = images.spec, started.config.spec
    recipe = recipe.model_copy(update={"pool": started.config.pool})
    if started.config.encoder != recipe.encoder:
        raise InputError(
            f"{recipe.init} is a {started.config.encoder}, the recipe wants {recipe.encoder}: "
            f"expected the same; --set encoder={started.config.encoder}"
        )
    if not own.measures_as(spec.units, spec.quantity):
        raise InputError(
            f"{recipe.init} was trained on {own.units}, the images are in {spec.units}: expected "
            f"the same; of a folder, {own.how_to_measure(spec.units, spec.quantity)}"
        )
    if spec.bands == own.bands:
        same = spec.model_copy(update={"mean": own.mean, "std": own.std})
        return _config(recipe, images, same), started.module.state_dict()
    positions, words = match(bands_of(spec), bands_of(own))
    mean, std = (
        tuple(theirs[number] if at is None else ours[at] for number, at in enumerate(positions))
        for theirs, ours in ((spec.mean, own.mean), (spec.std, own.std))
    )
    unknown = [name for name, at in zip(spec.bands, positions, strict=True) if at is None]
    how = "wavelength" if hasattr(started.module, "told") else "the mean of all"
    new = f"; {', '.join(unknown)} by {how}" if unknown else ""
    if len(unknown) == len(spec.bands):
        raise InputError(
            f"{recipe.init} was trained on the bands {', '.join(own.bands)}, the images have "
            f"{', '.join(spec.bands)}: expected at least one of these; name the folder's bands "
            "with --bands"
        )
    waves = [typical_wavelength(band) for band in bands_of(spec)]
    weights = adapted_weights(started.module, positions, str(recipe.init), waves)
    note(
        f"{recipe.init}: its first layer for the bands {', '.join(own.bands)} is adapted to "
        f"{', '.join(spec.bands)}{new}{f' ({words})' if words else ''}"
    )
    adapted = spec.model_copy(update={"mean": mean, "std": std})
    return _config(recipe, images, adapted), weights


def _config(recipe: Recipe, images: Described, spec: ImageSpec) -> EncoderConfig:
    return EncoderConfig(
        encoder=recipe.encoder,
        image_size=recipe.image_size,
        spec=spec,
        dataset=images.name,
        epochs=recipe.epochs,
        supervised=recipe.supervised,
        pool=recipe.pool,
    )


def make_task(recipe: Recipe, config: EncoderConfig, images: Described, count: int) -> OTLTask:
    """Make the task of a recipe for ``count`` training images."""
    clusters = count if recipe.clusters is None else recipe.clusters
    if recipe.supervised:
        assert images.classes is not None  # the data module has checked it
        clusters = len(images.classes)
    elif recipe.makes_labels and clusters > count:
        # The task refuses it too, but only once the run's directory exists.
        raise InputError(
            f"{clusters:,} clusters for {count:,} training images: expected at least one "
            f"image per cluster, better several; --set clusters={max(2, count // 8)}"
        )
    # Without pseudo-labels their keys have no effect.
    otl = recipe.model_dump(include=_OTL_KEYS) if recipe.makes_labels else {}
    return OTLTask(
        model=recipe.encoder,
        in_channels=len(config.spec.bands),
        clusters=clusters,
        size=recipe.image_size,
        pool=config.pool,
        mean=config.spec.mean,
        std=config.spec.std,
        rgb=config.spec.bands == RGB,
        supervised=recipe.supervised,
        **recipe.model_dump(include=_TASK_KEYS),
        **otl,
    )


def quiet_lightning() -> None:
    """Silence Lightning's remarks on choices that are made here on purpose."""
    for name in () if is_verbose() else ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",  # images in memory need none
        ".*module\\(s\\) in eval mode.*",  # batch normalisation, where a recipe freezes it
        ".*The number of training batches.*",  # metrics are logged per epoch, not per step
        ".*Checkpoint directory .* exists and is not empty.*",  # when resuming
        ".*The dirpath has changed.*",  # a run that was moved
        ".*Experiment logs directory .* exists and is not empty.*",  # a logger, when resuming
        ".*LeafSpec.* is deprecated.*",  # Lightning causes it itself
    ):
        warnings.filterwarnings("ignore", message)
