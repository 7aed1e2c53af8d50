"""What adapting ImageNet weights without labels brings: frozen and adapted, on several data sets.

What is finished stays in ``--out``; repeat the command to continue.

``python benchmarks/adaptation.py --sets aid,ucmerced,siri-whu,hmhr --sizes 128,224 --divisions 3``
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
import timm
import typer
from table import run

from rs_otl.cli.options import RecipeName, Root, Set
from rs_otl.datasets import CachedDataset, divide, load_dataset
from rs_otl.datasets.base import ImageDataset
from rs_otl.errors import InputError
from rs_otl.evaluation import Evaluation, evaluate, paired_interval, t_interval
from rs_otl.models import load_encoder
from rs_otl.recipe import recipe_for
from rs_otl.runs import pretrain
from rs_otl.runs.records import read_json, write_json
from rs_otl.spec import load_size

SHOTS = 5


class Row(NamedTuple):
    """A row of the table.

    Attributes:
        encoder: timm architecture, with ImageNet weights.
        images: What it is adapted to: ``"frozen"``, nothing; ``"own"``, training images of the
            data set evaluated on; ``"all"``, training images of all data sets.
    """

    encoder: str
    images: str


def main(
    sets: Annotated[str, typer.Option(help="Data sets with labels.")],
    root: Root = None,
    sizes: Annotated[str, typer.Option(help="Sides of the images in pixels.")] = "128,224",
    divisions: Annotated[int, typer.Option(min=1, help="Divisions, a seed for each.")] = 3,
    frozen: Annotated[str, typer.Option(help="Encoders to evaluate as they are.")] = (
        "tf_efficientnet_lite0,tf_efficientnet_lite1,tf_efficientnet_lite2"
    ),
    adapted: Annotated[str, typer.Option(help="Encoders to adapt.")] = "tf_efficientnet_lite0",
    images: Annotated[str, typer.Option(help="Images to adapt to: own, all.")] = "own,all",
    recipe: RecipeName = "adapt",
    overrides: Set = None,
    out: Annotated[Path, typer.Option(help="Folder of runs and scores.")] = Path("runs/adaptation"),
) -> None:
    """Adapt, evaluate, and print a table for each size and score."""
    names = sets.split(",")
    which = _words("--images", images, ("own", "all").__contains__, "own or all")
    sides = _words("--sizes", sizes, str.isdecimal, "a number of pixels")
    kept = _words("--frozen", frozen, timm.is_model, "the name of a timm model")
    trained = _words("--adapted", adapted, timm.is_model, "the name of a timm model")
    for name in names:
        recipe_for(name, recipe, overrides or [])
    settings = {"sets": names, "recipe": str(recipe), "set": overrides or []}
    said = out / "settings.json"
    if said.exists() and json.loads(said.read_text()) != settings:
        raise InputError(f"{out} holds results of other settings: name another folder with --out")
    rows = [Row(encoder, "frozen") for encoder in kept]
    rows += [Row(encoder, one) for one in which for encoder in trained]
    for size in map(int, sides):
        loaded = {name: load_dataset(name, load_size(size), root) for name in names}
        out.mkdir(parents=True, exist_ok=True)
        said.write_text(json.dumps(settings))

        def encoder(
            row: Row, name: str, number: int, size: int = size, loaded: Any = loaded
        ) -> str:
            """Return where the encoder of a row is; train it if it is not there yet."""
            if row.images == "frozen":
                return f"timm/{row.encoder}"
            source = _pool(loaded, number, out) if row.images == "all" else name
            run = out / f"{row.encoder}-{Path(source).name}-{size}-{number}"
            if not (run / "encoder").is_dir():
                keys = [f"image_size={size}", f"division={number}", f"seed={number}"]
                keys += [f"encoder={row.encoder}", f"init=timm/{row.encoder}"]
                values, _ = recipe_for(source, recipe, [*keys, *(overrides or [])])
                pretrain(values, root, run, resume=(run / "recipe.yaml").exists())
            return str(run)

        done: dict[tuple[Row, str], list[Evaluation]] = {}
        for number, row, name in product(range(1, divisions + 1), rows, names):
            path = out / f"{row.encoder}-{row.images}-{name}-{size}-{number}.json"
            if not path.exists():
                ours = load_encoder(encoder(row, name, number), image_size=size)
                division = divide(loaded[name], number)
                write_json(path, evaluate(ours, loaded[name], division, shots=[SHOTS]))
            made = read_json(Evaluation, path, "remove it, and it will be made again")
            done.setdefault((row, name), []).append(made)
        for title in ("kNN, k = 10", "linear, standardised", f"{SHOTS}-shot"):
            print(f"\n{title}, {size} px\n")
            print("\n".join(_table(title, rows, names, done)))


def _words(option: str, text: str, holds: Callable[[str], bool], expected: str) -> list[str]:
    """Return the words of an option; refuse one that does not hold."""
    words = text.split(",")
    for word in words:
        if not holds(word):
            raise InputError(f"{option} {word!r}: expected {expected}")
    return words


def _pool(loaded: dict[str, CachedDataset], number: int, out: Path) -> str:
    """Link the training images of all data sets into a folder without labels."""
    folder = out / f"images-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, images in loaded.items():
        root = cast(ImageDataset, images.dataset).root
        for index in divide(images, number).train:
            source = Path(root, images.paths[index]).resolve()
            link = folder / f"{name}-{index}{source.suffix}"
            if not link.exists():
                os.symlink(source, link)
    return str(folder)


def _table(
    title: str,
    rows: Sequence[Row],
    names: Sequence[str],
    done: dict[tuple[Row, str], list[Evaluation]],
) -> Iterator[str]:
    """Yield a Markdown table: means over divisions, differences from the first row (95 %)."""
    yield f"| encoder | adapted to | {' | '.join(names)} |"
    yield "|---" * (2 + len(names)) + "|"
    for row in rows:
        cells = []
        for name in names:
            ours, first = done[row, name], done[rows[0], name]
            cell = f"{100 * np.mean([_accuracy(one, title) for one in ours]):.1f}"
            if row != rows[0]:
                mean, low, high = _difference(ours, first, title)
                text = f"{100 * mean:+.1f} ± {50 * (high - low):.1f}"
                cell += f" (**{text}**)" if low > 0 or high < 0 else f" ({text})"
            cells.append(cell)
        yield f"| {row.encoder} | {row.images} | {' | '.join(cells)} |"


def _accuracy(made: Evaluation, title: str) -> float:
    return float(np.mean(_draws(made) if "shot" in title else made.correct(_key(title))))


def _difference(
    ours: Sequence[Evaluation], first: Sequence[Evaluation], title: str
) -> tuple[float, float, float]:
    """Return the mean difference and its interval, paired over draws or over test images."""
    if "shot" in title:
        draws = np.concatenate([_draws(a) - _draws(b) for a, b in zip(ours, first, strict=True)])
        return (float(draws.mean()), *t_interval(draws))
    one, other = (
        np.concatenate([made.correct(_key(title)) for made in side]) for side in (ours, first)
    )
    return (float(one.mean() - other.mean()), *paired_interval(one, other))


def _key(title: str) -> Any:
    return "knn" if title.startswith("kNN") else "linear_standardised"


def _draws(made: Evaluation) -> Any:
    return np.array(made.few_shot[0].draws["class_mean"])


if __name__ == "__main__":
    run(main)
