"""Draws the features of a data set's images by class, for an untrained encoder and others.

``python benchmarks/features.py hmhr runs/otl runs/quick --out features.png``
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib import colormaps
from matplotlib.figure import Figure
from sklearn.manifold import TSNE
from table import run
from torch.nn.functional import normalize

from rs_otl.cli.options import Root
from rs_otl.datasets import load_dataset
from rs_otl.evaluation import extract_features
from rs_otl.models import Encoder, load_encoder, untrained_encoder
from rs_otl.spec import load_size


def main(
    dataset: Annotated[str, typer.Argument(help="A data set with labels.")],
    encoders: Annotated[list[str], typer.Argument(help="Encoders of one architecture.")],
    root: Root = None,
    out: Annotated[Path, typer.Option(help="The picture, PNG.")] = Path("features.png"),
) -> None:
    """Draw t-SNE maps of the features, a panel for each encoder, coloured by class."""
    loaded = {Path(name).name: load_encoder(name) for name in encoders}
    config = next(iter(loaded.values())).config
    panels: dict[str, Encoder] = {"untrained": untrained_encoder(config, 0), **loaded}
    images = load_dataset(dataset, load_size(config.image_size), root, like=config.spec)
    labels, classes = images.labels, images.classes
    assert labels is not None
    assert classes is not None
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    figure = Figure(figsize=(4.2 * len(panels), 4.8), layout="constrained")
    for place, (name, encoder) in enumerate(panels.items(), 1):
        features = extract_features(encoder, images, range(len(labels)))
        unit = normalize(features - features.mean(0), dim=1)
        nearest = (unit @ unit.T).fill_diagonal_(-1).topk(10).indices
        same = torch.from_numpy(labels)[nearest] == torch.from_numpy(labels)[:, None]
        points = TSNE(perplexity=30, init="pca", random_state=0).fit_transform(unit.numpy())
        axes = figure.add_subplot(1, len(panels), place)
        for number, title in enumerate(classes):
            mine = points[labels == number]
            axes.scatter(*mine.T, s=6, color=colours(number % colours.N), label=title)
        share = 100 * same.float().mean()
        axes.set_title(f"{name}: {share:.0f} % of 10 neighbours have the class", fontsize=10)
        axes.set(xticks=[], yticks=[])
    handles, titles = axes.get_legend_handles_labels()
    figure.legend(
        handles, titles, loc="outside lower center", ncols=6, fontsize="small", markerscale=2
    )
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    run(main)
