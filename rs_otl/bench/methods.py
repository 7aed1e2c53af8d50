"""The race: OTL beside other methods, from random weights, on the same images."""

import csv
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from rich.table import Table
from torch import nn

from rs_otl.bench.contenders import BYOL, DINO, Contender, MoCo, SwAV, VICReg
from rs_otl.datasets import CachedDataset, Division, OTLDataModule, divide, load_dataset
from rs_otl.errors import InputError, counted, note
from rs_otl.evaluation import evaluate, extract_features, knn_predict, spread, t_interval
from rs_otl.files import atomic_write
from rs_otl.models import Encoder, resolve_precision
from rs_otl.recipe import Recipe
from rs_otl.runs.pretraining import describe, make_task, quiet_lightning, refuse_secrets
from rs_otl.runs.records import read_json, write_json
from rs_otl.spec import RGB, load_size
from rs_otl.trainers import OTLTask

Model = TypeVar("Model", bound=BaseModel)
Budget = Literal["passes", "time"]
SHOTS = 5
# Scores by which methods are compared, with their names in the table.
SCORES = {"knn": "kNN (k = 10)", "linear": "linear, standardised", "few_shot": f"{SHOTS}-shot"}


# Keys of a recipe that other methods have too.
_SHARED = {
    *("augment", "operations", "orientations", "views", "local_views", "local_size", "chunks"),
    "pool",
    *("lr", "milestones", "milestone_lrs", "momentum", "weight_decay", "warmup", "compile", "seed"),
}
_NO_CROPS = {"local_views": 0}
_CONTRAST = _NO_CROPS | {"reduction": "mean", "mixup": 0.0, "temperature": None}


@dataclass(frozen=True)
class Method:
    """How a method enters the race.

    Attributes:
        module: Its loss and heads; ``None`` for a method that a recipe describes in full.
        recipe: Keys that differ from the recipe of the race: the rate that is usual for batches
            of 64, and local views if its authors use them.
    """

    module: Callable[..., nn.Module] | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)


METHODS = {
    "otl": Method(),
    "diet": Method(
        recipe={"method": "instance", "clusters": None, "hidden": 0, "heads": 1} | _NO_CROPS
    ),
    "simclr": Method(recipe=_CONTRAST | {"contrast": 1.0, "lr": 0.06}),
    "otl+simclr": Method(recipe=_CONTRAST | {"contrast": 0.667, "relabel": "reuse", "lr": 0.12}),
    "moco": Method(MoCo, {"lr": 0.06} | _NO_CROPS),
    "byol": Method(BYOL, {"lr": 0.1} | _NO_CROPS),
    "vicreg": Method(VICReg, {"lr": 0.02} | _NO_CROPS),
    "swav": Method(SwAV, {"lr": 0.1, "local_views": 3}),
    "dino": Method(DINO, {"lr": 0.06, "local_views": 3}),
}


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Settings(_Value):
    """The settings of a race, in ``race.json``, so that no results of another race are mixed in.

    Attributes:
        recipe: Recipe of OTL.
        also: Further data sets that all methods are judged on.
        budget: See :func:`race`.
        sweep: See :func:`race`.
    """

    recipe: Recipe
    also: tuple[str, ...]
    budget: Budget
    sweep: tuple[float, ...]


class Preparation(_Value):
    """What was measured before a method's race, in ``METHOD.json``.

    Attributes:
        knn: kNN accuracy by rate, trained on a part of the training images, tested on the rest.
        epoch_seconds: Seconds of an epoch, if the budget is time.
    """

    knn: dict[str, float] = {}
    epoch_seconds: float | None = None


class Result(_Value):
    """The result of a method and a seed, in ``METHOD-SEED.json``.

    Attributes:
        method: Name of the method.
        seed: Seed of weights, views and order.
        lr: Rate at the start.
        epochs: Passes over the training images.
        seconds: Seconds of training, without the scores.
        correct: Whether each test image was predicted correctly, by data set, then by ``"knn"``
            and ``"linear"``.
        few_shot: Accuracy of the nearest class mean of 5 images a class, by data set.
        spread: See :func:`rs_otl.evaluation.spread`, of the test images, by data set.
        curve: Seconds of training and kNN accuracy on the test images, several times in training.
    """

    method: str
    seed: int
    lr: float
    epochs: int
    seconds: float
    correct: dict[str, dict[str, tuple[bool, ...]]]
    few_shot: dict[str, float]
    spread: dict[str, dict[str, float]] = {}
    curve: tuple[tuple[float, float], ...]

    def score(self, dataset: str, score: str) -> float:
        """Return an accuracy in [0, 1], by a key of :data:`SCORES`."""
        if score == "few_shot":
            return self.few_shot[dataset]
        return float(np.mean(self.correct[dataset][score]))


def race(
    recipe: Recipe,
    methods: Sequence[str],
    out: Path,
    *,
    also: Sequence[str] = (),
    seeds: int = 3,
    budget: Budget = "passes",
    sweep: Sequence[float] = (),
    root: Path | None = None,
    progress: bool = False,
) -> list[Result]:
    """Train encoders by several methods, and judge them on the same images.

    All methods use the recipe's encoder, views, batches, images, optimiser and schedule;
    :data:`METHODS` has what a method sets otherwise. Finished results are kept in ``out``, so
    that a stopped race goes on.

    Args:
        recipe: Recipe of OTL; all methods train on the training images of its division.
        methods: Names in :data:`METHODS`.
        out: Folder of the results.
        also: Further data sets to judge on, which no encoder has seen.
        seeds: Number of seeds of each method.
        budget: ``"passes"``: all see the images ``recipe.epochs`` times; ``"time"``: all train as
            long as OTL takes for that, by the measured time of an epoch of each method.
        sweep: Factors of each method's rate to try first, with seed 0 on four fifths of the
            training images; the best by kNN on the last fifth is taken. No test image is used.
        root: Where data sets lie.
        progress: Whether to show bars on stderr.

    Returns:
        A result for each seed and method.

    Raises:
        InputError: If a method is unknown, ``seeds`` is below 1, the recipe starts from weights,
            trains with labels or contrast, or has milestones or other than two views, a data set
            has no labels or an address with a password or signature, or ``out`` holds another race.
    """
    if seeds < 1:
        raise InputError(f"seeds = {seeds}: expected at least 1")
    for name in methods:
        if name not in METHODS:
            raise InputError(f"method {name!r}: expected names from {', '.join(METHODS)}")
    if recipe.init is not None or recipe.supervised:
        raise InputError(
            "the race compares methods that train without labels from random weights: expected "
            "neither init nor supervised in the recipe"
        )
    if recipe.contrast:
        raise InputError(f"contrast = {recipe.contrast}: otl in the race is without, expected 0")
    if recipe.views != 2:
        raise InputError(
            f"views = {recipe.views}: the other methods compare two views of an image; expected 2"
        )
    if recipe.milestones:
        raise InputError(
            f"milestones = {list(recipe.milestones)}: methods have their own rates and epochs, so "
            "the rate falls along a cosine; --set milestones=[] --set milestone_lrs=[]"
        )
    for name in (recipe.dataset, *also):
        refuse_secrets(name)
    settings = Settings(recipe=recipe, also=tuple(also), budget=budget, sweep=tuple(sweep))
    if _read(Settings, out / "race.json") not in (None, settings):
        raise InputError(f"{out} holds a race with other settings: name another folder with --out")
    quiet_lightning()
    size = load_size(recipe.image_size)
    first = load_dataset(
        recipe.dataset, size, root, progress=progress, values=recipe.values, bands=recipe.bands
    )
    sets = {recipe.dataset: first}
    for name in dict.fromkeys(also):
        if name not in sets:
            sets[name] = load_dataset(name, size, root, progress=progress, like=first.spec)
    for name, images in sets.items():
        if images.labels is None:
            raise InputError(f"{name} has no labels: the race is judged by them")
        if images.spec.bands != first.spec.bands:
            raise InputError(
                f"{name} has the bands {', '.join(images.spec.bands)}: expected those of "
                f"{recipe.dataset}, {', '.join(first.spec.bands)}"
            )
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "race.json", settings)
    division = divide(first, recipe.division, recipe.keep_duplicates_together)

    def prepared(name: str) -> tuple[Recipe, float]:
        """Return a method's recipe with its best rate, and the seconds of an epoch."""
        own = Recipe.model_validate(recipe.model_dump() | dict(METHODS[name].recipe))
        path = out / f"{name}.json"
        known = _read(Preparation, path) or Preparation()
        if sweep and not known.knn:
            known = known.model_copy(update={"knn": _try(name, own, sweep, first, division)})
            write_json(path, known)
        if known.knn:
            own = own.model_copy(update={"lr": float(max(known.knn, key=known.knn.__getitem__))})
        if budget == "time" and known.epoch_seconds is None:
            # The second epoch: the first one compiles, the last one may make no labels.
            timed = own.model_copy(update={"epochs": max(3, own.epochs)})
            seconds = _train(name, timed, first, division, stop_after=2)[1].seconds[-1]
            known = known.model_copy(update={"epoch_seconds": seconds})
            write_json(path, known)
        return own, known.epoch_seconds or 1.0

    allowed = recipe.epochs * prepared("otl")[1] if budget == "time" else recipe.epochs
    recipes = {}
    for name in methods:
        own, epoch_seconds = prepared(name)
        epochs = max(1, round(allowed / epoch_seconds))
        recipes[name] = own.model_copy(update={"epochs": epochs})
    results = []
    for seed in range(seeds):
        for name, own in recipes.items():
            path = out / f"{name}-{seed}.json"
            result = _read(Result, path)
            if result is None:
                seeded = own.model_copy(update={"seed": seed})
                result = _result(name, seeded, sets, division)
                write_json(path, result)
            note(
                f"{name}, seed {seed}: {counted(result.epochs, 'epoch')}, {result.seconds:,.0f} s, "
                f"kNN {100 * result.score(recipe.dataset, 'knn'):.1f}"
            )
            results.append(result)
    return results


def _read(model: type[Model], path: Path) -> Model | None:
    return read_json(model, path, "remove it, and it will be made again") if path.exists() else None


def race_table(results: Sequence[Result], dataset: str) -> Table:
    """Return the scores on a data set: mean over seeds, 95 % interval, difference from the first.

    The difference is that of kNN from the method that comes first in ``results``; its interval is
    a bootstrap over the test images, see :func:`paired_seeds`. A collapse shows in ``rank`` and
    ``feature std``, see :func:`rs_otl.evaluation.spread`.
    """
    table = Table(title=f"{dataset}: mean over seeds, ± half its 95 % interval")
    by_method = _by_method(results)
    first = results[0].method
    versus_first = f"kNN less {first}'s"
    counts = ("method", "seeds", "epochs", "seconds")
    for column in (*counts, *SCORES.values(), versus_first, "rank", "feature std"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, runs in by_method.items():
        scores = [_mean([run.score(dataset, score) for run in runs]) for score in SCORES]
        versus = ""
        if name != first and len(runs) == len(by_method[first]):
            difference, low, high = paired_seeds(runs, by_method[first], dataset)
            versus = f"{100 * difference:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        table.add_row(
            name,
            str(len(runs)),
            f"{np.mean([run.epochs for run in runs]):.0f}",
            f"{np.mean([run.seconds for run in runs]):,.0f}",
            *scores,
            versus,
            *_spread_words([run.spread.get(dataset, {}) for run in runs]),
        )
    return table


def _spread_words(spreads: Sequence[Mapping[str, float]]) -> tuple[str, str]:
    if not all(spreads):  # results of older versions
        return "", ""
    rank, deviation = (np.mean([one[name] for one in spreads]) for name in ("rank", "feature_std"))
    return f"{rank:.0f}", f"{deviation:.2f}"


def paired_seeds(
    one: Sequence[Result], other: Sequence[Result], dataset: str, score: str = "knn"
) -> tuple[float, float, float]:
    """Return the difference of two methods' mean accuracy, and its 95 % interval.

    The interval is a bootstrap over test images; an image brings the predictions of all seeds.

    Args:
        one: Results of a method, one for each seed.
        other: Results of the other method.
        dataset: Data set that both are judged on.
        score: ``"knn"`` or ``"linear"``.
    """
    difference = np.mean([run.correct[dataset][score] for run in one], axis=0) - np.mean(
        [run.correct[dataset][score] for run in other], axis=0
    )
    draws = np.random.default_rng(0).integers(len(difference), size=(2000, len(difference)))
    low, high = np.quantile(difference[draws].mean(1), (0.025, 0.975))
    return float(difference.mean()), float(low), float(high)


def write_race(results: Sequence[Result], datasets: Sequence[str], out: Path) -> list[Path]:
    """Write ``results.csv``, a row for each method, seed and data set, and ``race.png``."""
    with atomic_write(out / "results.csv") as aside, aside.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["method", "seed", "lr", "epochs", "seconds", "dataset", *SCORES])
        for run in results:
            for dataset in datasets:
                scores = [f"{run.score(dataset, score):.4f}" for score in SCORES]
                made = [run.method, run.seed, run.lr, run.epochs, f"{run.seconds:.1f}"]
                rows.writerow([*made, dataset, *scores])
    _draw(results, datasets[0], out / "race.png")
    return [out / "results.csv", out / "race.png"]


def _draw(results: Sequence[Result], dataset: str, path: Path) -> None:
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(
        xlabel="seconds of training", ylabel="kNN accuracy (%)", title=dataset
    )
    for number, (name, runs) in enumerate(_by_method(results).items()):
        colour = colormaps["tab10"](number % 10)
        for place, run in enumerate(runs):
            seconds, scores = np.array(run.curve).T
            axes.plot(
                seconds, 100 * scores, ".-", color=colour, label=None if place else name, alpha=0.8
            )
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    with atomic_write(path) as aside:
        figure.savefig(aside, dpi=120, format="png")


def _mean(values: Sequence[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}"
    if len(values) < 2:
        return mean
    low, high = t_interval(np.array(values))
    return f"{mean} ± {50 * (high - low):.1f}"


def _by_method(results: Sequence[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for run in results:
        groups.setdefault(run.method, []).append(run)
    return groups


class _Clock(Callback):
    """Takes the seconds of each epoch, labels and steps, and scores in between, not counted.

    Args:
        score: Scores an encoder.
        times: Number of scores, the last after training.
        stop_after: Stop after this many epochs, if the schedule has more.
    """

    def __init__(self, score: Callable[[nn.Module], float], times: int, stop_after: int) -> None:
        self.score, self.times, self.stop_after = score, times, stop_after
        self.seconds: list[float] = []
        self.curve: list[tuple[float, float]] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, before the labels of the epoch."""
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, and score the encoder when it is time."""
        self.seconds.append(time.perf_counter() - self._began)
        done, epochs = len(self.seconds), trainer.max_epochs or 1
        if done * self.times // epochs > (done - 1) * self.times // epochs:
            self.curve.append((sum(self.seconds), self.score(cast(OTLTask, pl_module).encoder)))
        trainer.should_stop = done >= self.stop_after


def _train(
    name: str,
    recipe: Recipe,
    images: CachedDataset,
    division: Division,
    times: int = 0,
    stop_after: int = 2**31,
) -> tuple[Encoder, _Clock]:
    """Train an encoder by a method, and return it with its clock.

    Args:
        name: Name of the method.
        recipe: Recipe of the method.
        images: The data set.
        division: Its training images are trained on; its test images give the scores.
        times: Number of scores during training; 0 for none.
        stop_after: Stop after this many epochs, if the recipe has more.
    """
    config, _ = describe(recipe, images, None)
    count, module = len(division.train), METHODS[name].module
    task: OTLTask
    if module is None:
        task = make_task(recipe, config, images, count)
    else:
        task = Contender(
            module,
            count,
            model=recipe.encoder,
            in_channels=len(config.spec.bands),
            size=recipe.image_size,
            mean=config.spec.mean,
            std=config.spec.std,
            rgb=config.spec.bands == RGB,
            **recipe.model_dump(include=_SHARED),
        )

    def knn(encoder: nn.Module) -> float:
        features = [
            extract_features(Encoder(encoder, config), images, side)
            for side in (division.train, division.test)
        ]
        labels = torch.from_numpy(cast(NDArray[np.int64], images.labels))
        predicted = knn_predict(features[0], labels[division.train], features[1], k=[10])[10]
        return float((predicted == labels[division.test]).float().mean())

    clock = _Clock(knn, times, stop_after)
    trainer = Trainer(
        max_epochs=recipe.epochs,
        devices=1,
        logger=False,
        callbacks=[clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        precision="bf16-mixed" if resolve_precision(recipe.precision) == "bf16" else "32-true",
    )
    data = OTLDataModule(
        images,
        batch_size=min(recipe.batch_size, count),
        division=division,
        seed=recipe.seed,
    )
    trainer.fit(task, datamodule=data)
    return Encoder(task.encoder.eval(), config), clock


def _result(
    name: str,
    recipe: Recipe,
    sets: Mapping[str, CachedDataset],
    division: Division,
) -> Result:
    """Train a method with a seed, and judge it."""
    first = next(iter(sets.values()))
    encoder, clock = _train(name, recipe, first, division, times=5)
    correct, few_shot, spreads = {}, {}, {}
    for place, (dataset, images) in enumerate(sets.items()):
        judged = division
        if place:
            judged = divide(images, recipe.division, recipe.keep_duplicates_together)
        made = evaluate(encoder, images, judged, name=name, shots=[SHOTS])
        correct[dataset] = {
            "knn": made.correct("knn").tolist(),
            "linear": made.correct("linear_standardised").tolist(),
        }
        few_shot[dataset] = made.few_shot[0].scores["class_mean"].accuracy
        spreads[dataset] = spread(extract_features(encoder, images, judged.test))
    return Result(
        method=name,
        seed=recipe.seed,
        lr=recipe.lr,
        epochs=recipe.epochs,
        seconds=sum(clock.seconds),
        correct=correct,
        few_shot=few_shot,
        spread=spreads,
        curve=tuple(clock.curve),
    )


def _try(
    name: str, recipe: Recipe, factors: Sequence[float], images: CachedDataset, division: Division
) -> dict[str, float]:
    """Return kNN accuracy on a fifth of the training images, by rate, trained on the others."""
    shuffled = np.random.default_rng(0).permutation(division.train)
    fifth = len(shuffled) // 5
    inner = replace(division, train=np.sort(shuffled[fifth:]), test=np.sort(shuffled[:fifth]))
    tried = {}
    for factor in factors:
        rate = recipe.lr * factor
        own = recipe.model_copy(update={"lr": rate, "seed": 0})
        tried[f"{rate:g}"] = _train(name, own, images, inner, times=1)[1].curve[-1][1]
        note(f"{name}, rate {rate:g}: kNN {100 * tried[f'{rate:g}']:.1f} on training images")
    return tried
