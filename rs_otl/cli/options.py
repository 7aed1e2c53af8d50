"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[
    Path | None,
    typer.Option(help="Where data sets lie; else $RS_OTL_DATA, else ./data.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
Division = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of the random 80/20 division; else the run's own, else 1.",
        show_default=False,
    ),
]
KeepDuplicatesTogether = Annotated[
    bool | None,
    typer.Option(
        help="Keep identical images on one side of the division; else as the run did, else so.",
        show_default=False,
    ),
]
