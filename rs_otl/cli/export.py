"""`rs-otl export`."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[str, typer.Argument(help="A run, or a data set pretrained on before.")],
    to: Annotated[Path, typer.Option(help="Directory to write; must be new.")],
) -> None:
    """Write a run's encoder as a directory that timm loads, and say how."""
    from rs_otl.export import export_encoder, loading_snippet
    from rs_otl.models import load_encoder, read_config
    from rs_otl.runs import find_encoder

    found = find_encoder(source)
    encoder, _ = load_encoder(found)
    export_encoder(encoder, read_config(found), to)
    typer.echo(f"{found} → {to}; load it with\n", err=True)
    typer.echo(loading_snippet(to), nl=False)
