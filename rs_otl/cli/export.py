"""`rs-otl export`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rs_otl.cli.options import Json, Pool, console
from rs_otl.errors import InputError, note


def export(
    source: Annotated[
        str,
        typer.Argument(
            help="A run, a data set pretrained on before, or, to verify, an exported encoder."
        ),
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Directory to write; must be new.", show_default=False),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=4096,
            help="Side of the images that the encoder sees. Default: its own.",
            show_default=False,
        ),
    ] = None,
    pool: Pool = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write an ONNX model too, and check it.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Load it with every installed tool and compare; exit 2 if one differs. "
            "Without --to: verify an encoder exported before.",
        ),
    ] = False,
    push_to_hub: Annotated[
        str | None,
        typer.Option(
            metavar="OWNER/NAME",
            help="Publish it, with its card, as a new repository on Hugging Face's hub, or on the "
            "server that HF_ENDPOINT names.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a run's encoder for timm, torchgeo and other tools, and say how they load it."""
    if to is None and push_to_hub is None and (onnx or image_size or pool or not verify):
        raise InputError(
            "export: expected --to DIR, where to write; only --verify and --push-to-hub work "
            "without it"
        )
    if to is None and push_to_hub is not None and verify:
        raise InputError("export: --verify with --push-to-hub needs --to DIR, which it verifies")
    from rs_otl.export import loading_snippet, print_checks, verify_export
    from rs_otl.models import load_encoder
    from rs_otl.runs import export_run, publish

    if to is None and push_to_hub is not None:
        address = publish(source, push_to_hub, onnx, image_size, pool)
        typer.echo(json.dumps({"hub": address}) if as_json else address)
        return
    if to is None:
        directory = load_encoder(source).path or Path(source)
        if not directory.is_dir():
            raise InputError(
                f"{directory}: a checkpoint file, expected an exported directory to verify; "
                "--to DIR exports it"
            )
    else:
        directory = to
        exported = export_run(source, to, onnx, image_size, pool)
        note(f"{exported} → {to}; {to / 'README.md'} says how each tool loads it")
        if not as_json:
            typer.echo(loading_snippet(to), nl=False)
    checks = verify_export(directory) if verify else ()
    if verify and not as_json:
        print_checks(checks, console(markup=True))
    unequal = sum(check.result == "unequal" for check in checks)
    report = {"encoder": str(directory), "checks": [asdict(check) for check in checks]}
    if push_to_hub is not None and not unequal:
        report["hub"] = address = publish(str(directory), push_to_hub, False, None, None)
        if not as_json:
            typer.echo(address)
    if as_json:
        typer.echo(json.dumps(report))
    if unequal:
        raise InputError(
            f"{directory}: {unequal} of {len(checks)} loaders would not use the encoder that "
            "rs-otl loads; export it again from the run it came from"
        )
