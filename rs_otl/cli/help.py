"""The help of commands: plain text that fits a terminal of 80 columns, with examples."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

EXAMPLES: dict[str, Sequence[str]] = {
    "pretrain": (
        "rs-otl pretrain my_images",
        "rs-otl pretrain aid --recipe quick --set epochs=10",
        "rs-otl pretrain my_images --recipe adapt",
        "rs-otl pretrain my_images --resume",
    ),
    "transfer": (
        "rs-otl transfer --from aid --to hmhr --recipe quick",
        "rs-otl transfer --from runs/pretrain/aid --to my_images --shots 1,5,10",
        "rs-otl transfer --from timm/tf_efficientnet_lite0 --to my_images --frozen",
    ),
    "recipes": ("rs-otl recipes", "rs-otl recipes quick"),
    "datasets": (
        "rs-otl datasets",
        "rs-otl datasets eurosat --download",
        "rs-otl datasets --check my_images",
    ),
    "augmentations": ("rs-otl augmentations photo.jpg -o views.png",),
    "evaluate": (
        "rs-otl evaluate runs/pretrain/my_images --on my_images",
        "rs-otl evaluate my_encoder timm/resnet18 --on ucmerced --shots 1,5",
    ),
    "report": ("rs-otl report runs/pretrain/my_images -o report.html",),
    "runs": ("rs-otl runs", "rs-otl runs /data/runs --json"),
    "reproduce": ("rs-otl reproduce --list", "rs-otl reproduce table-8 figure-6"),
    "embed": (
        "rs-otl embed scene.tif --encoder my_encoder -o embedding.tif",
        "rs-otl embed scene.tif --encoder my_encoder --stride 16 -o fine.tif",
        "rs-otl embed a.tif b.tif --encoder my_encoder -o embeddings.parquet",
        "rs-otl embed catalog.json --encoder my_encoder --plan -o archive",
        "rs-otl embed archive --workers 2",
    ),
    "map": (
        "rs-otl map embedding.tif --labels points.geojson -o map.tif",
        "rs-otl map scene.tif --encoder my_encoder --labels points.geojson -o map.tif",
        "rs-otl map embedding.tif --labels l.gpkg --save-classifier c.json -o map.tif",
        "rs-otl map other.tif --classifier c.json -o other-map.tif",
    ),
    "search": (
        "rs-otl search embedding.tif --query 331000,4170500 -o hits.geojson",
        "rs-otl search e.tif --query 128.7,37.7 --query-crs EPSG:4326 -o h.geojson",
        "rs-otl search scene.tif --encoder my_encoder --query chip.png -o h.geojson",
    ),
    "index": ("rs-otl index a.tif b.tif -o my.index",),
    "cluster": (
        "rs-otl cluster embedding.tif -k 12 -o clusters.tif",
        "rs-otl cluster embedding.tif -k 12 --scene scene.tif -o clusters.tif",
    ),
    "suggest": (
        "rs-otl suggest embedding.tif -n 20 -o places.geojson",
        "rs-otl suggest embedding.tif --labels l.geojson -n 20 -o places.geojson",
    ),
    "change": ("rs-otl change before.tif after.tif -o change.tif",),
    "view": (
        "rs-otl view embedding.tif -o page.html",
        "rs-otl view scene.tif --embeddings embedding.tif --map map.tif -o page.html",
    ),
    "tile": ("rs-otl tile scene.tif --tile 256 -o chips",),
    "demo": ("rs-otl demo", "rs-otl demo my_demo"),
    "encoders": ("rs-otl encoders", "rs-otl encoders --json"),
    "export": (
        "rs-otl export runs/pretrain/my_images --to my_encoder",
        "rs-otl export runs/pretrain/my_images --to my_encoder --onnx --verify",
    ),
    "doctor": ("rs-otl doctor", "rs-otl doctor runs/pretrain/my_images"),
    "methods": (
        "rs-otl bench methods siri-whu --also ucmerced --set epochs=10",
        "rs-otl bench methods siri-whu --methods otl,simclr --budget time",
    ),
    "labels": (
        "rs-otl bench labels",
        "rs-otl bench labels --encoder my_encoder --on aid --plot figures",
    ),
}


class Command(TyperCommand):
    """A command whose help is laid out as plain text.

    The tables that Typer draws cut words at 80 columns.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        lines = "\n".join(f"  {example}" for example in EXAMPLES[name])
        # A paragraph that begins with \b is not wrapped.
        settings |= {"rich_markup_mode": None, "epilog": f"\b\nExamples:\n{lines}"}
        super().__init__(name, **settings)


class Group(TyperGroup):
    """A group of commands whose help is laid out as plain text, under their panels."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"rich_markup_mode": None})

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands, each with the first paragraph of its help."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            panel = command.rich_help_panel or "Commands"
            panels.setdefault(panel, []).append((name, command.help.partition("\n\n")[0]))
        width = max(len(name) for rows in panels.values() for name, _ in rows)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in rows])
