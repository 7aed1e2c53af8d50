"""Reproduce tables and figures of the paper, and write them next to the printed numbers."""

import csv
import html
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from rs_otl.errors import InputError, note
from rs_otl.evaluation import Evaluation, EvaluationReport, Score, t_interval
from rs_otl.evaluation.report import Paired
from rs_otl.files import atomic_write
from rs_otl.reproduce.encoders import (
    check_scale,
    make_evaluation,
    missing_data,
    read_evaluation,
    recipe_of,
    refuse_other_settings,
    runs_of,
)
from rs_otl.reproduce.labels import LABEL_ENTRIES, LabelEntry, Number
from rs_otl.reproduce.published import ENCODER_TABLES, Claim, Column, EncoderTable, Trained

_ENTRIES: dict[str, EncoderTable | LabelEntry] = {**ENCODER_TABLES, **LABEL_ENTRIES}
# Keys of a recipe whose differences from the paper's are listed.
_TOLD = (
    *("dataset", "encoder", "image_size", "views", "views_apart", "label_batch_sizes", "augment"),
    *("clusters", "epochs", "relabel_every", "batch_size", "hidden", "reduction", "lr", "momentum"),
)
# The scores that can decide a claim, and their names.
_DECIDING: dict[Paired, str] = {
    "knn": "kNN, k = 10",
    "linear_standardised": "linear, standardised",
}


class Cell(NamedTuple):
    """A number of a table or figure.

    Attributes:
        entry: Name of the table or figure.
        row: Row, such as ``"kNN, k = 10"``.
        column: Column, such as ``"OTL, from PatternNet"``.
        published: What the paper printed; ``None`` if it has no such number.
        ours: The number made here; ``None`` if it could not be made, see ``note``.
        low: Lower end of the 95 % interval of ours: over the test images, or over the seeds if
            there are several; ``None`` if it is no estimate.
        high: Upper end.
        note: Why there is no number, or what to know about it.
    """

    entry: str
    row: str
    column: str
    published: float | None
    ours: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        if self.ours is None or self.published is None:
            return None
        return self.ours - self.published


class Verdict(NamedTuple):
    """Whether a claim of the paper was found here.

    Attributes:
        entry: Name of the table or figure.
        claim: What the paper says.
        verdict: ``"found"``, ``"not found"`` or ``"within noise"``.
        figures: The figures behind the verdict, as text.
    """

    entry: str
    claim: str
    verdict: str
    figures: str


class Result(NamedTuple):
    """What was made.

    Attributes:
        cells: The numbers.
        verdicts: The paper's claims, and whether they were found.
        settings: By entry, the settings that differ from the paper's, in words; empty for labels.
        folder: Where the pages are.
    """

    cells: list[Cell]
    verdicts: list[Verdict]
    settings: dict[str, str]
    folder: Path


class _Numbers(BaseModel):
    """Numbers of an entry of labels, as kept on disk."""

    model_config = ConfigDict(extra="forbid")

    numbers: list[tuple[str, str, float | None, float]]


def reproduce(
    names: Sequence[str],
    scale: str = "quick",
    out: str | Path = "runs/reproduce",
    root: str | Path | None = None,
    seeds: int = 1,
    devices: str = "1",
    progress: bool = False,
) -> Result:
    """Reproduce tables and figures of the paper, as far as their data is at hand.

    Encoders that several tables share are trained once. Finished parts are kept: the same call
    goes on where the last one was stopped, at any point.

    Args:
        names: Names from :func:`rs_otl.reproduce.entries`.
        scale: ``"quick"``: the same code at a size for two cores; or ``"paper"``.
        out: Where runs, scores, pictures and the pages (``results.csv``, ``results.md``,
            ``index.html``) are written.
        root: Where data sets lie.
        seeds: Seeds of each encoder, at least 1.
        devices: Processes that train, see :func:`rs_otl.runs.pretrain`.
        progress: Whether to show bars on stderr.

    Returns:
        What was made.

    Raises:
        InputError: If a name or the scale is unknown, ``seeds`` is below 1, or what ``out`` holds
            is damaged or has other settings.
    """
    check_scale(scale)
    if seeds < 1:
        raise InputError(f"seeds = {seeds}: expected at least 1")
    for name in names:
        if name not in _ENTRIES:
            raise InputError(f"{name!r}: expected names from {', '.join(_ENTRIES)}")
    folder, data = Path(out) / scale, None if root is None else Path(root)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {}
    for name in names:
        if name in LABEL_ENTRIES:
            note(f"{name}: {LABEL_ENTRIES[name].title}")
            numbers[name] = _label_numbers(name, LABEL_ENTRIES[name], scale, folder)
    tables = {name: ENCODER_TABLES[name] for name in names if name in ENCODER_TABLES}
    runs = dict.fromkeys(run for table in tables.values() for run in runs_of(table, seeds, data))
    for trained in runs:
        refuse_other_settings(trained, scale, folder)
    for place, trained in enumerate(runs, 1):
        if read_evaluation(trained, folder) is None:
            note(f"run {place} of {len(runs)}: {trained.name}")
            make_evaluation(trained, scale, folder, data, devices, progress)
            _write(_result(tables, numbers, seeds, scale, folder, data))
    result = _result(tables, numbers, seeds, scale, folder, data)
    _write(result)
    return result


def _label_numbers(name: str, entry: LabelEntry, scale: str, folder: Path) -> list[Number]:
    """Return the numbers of an entry, made once."""
    path = folder / "labels" / name / "numbers.json"
    if path.exists():
        try:
            kept = _Numbers.model_validate_json(path.read_text(encoding="utf-8"))
        except ValueError:
            raise InputError(f"{path}: damaged; remove it, and it will be made again") from None
        return [Number(*values) for values in kept.numbers]
    for picture in path.parent.glob("*.png"):  # of an attempt that was stopped
        picture.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = entry.make(scale, path.parent)
    with atomic_write(path) as aside:
        kept = _Numbers(numbers=[(n.row, n.column, n.published, n.ours) for n in numbers])
        aside.write_text(kept.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return numbers


def _result(
    tables: dict[str, EncoderTable],
    numbers: dict[str, list[Number]],
    seeds: int,
    scale: str,
    folder: Path,
    root: Path | None,
) -> Result:
    result = Result([], [], {}, folder)
    for name, table in tables.items():
        made = {
            column.title: [
                one
                for seed in range(seeds)
                if (one := read_evaluation(replace(column.trained, seed=seed), folder)) is not None
            ]
            for column in table.columns
        }
        for column in table.columns:
            result.cells.extend(_cells(name, table.rows, column, made[column.title], root))
        for claim in table.claims:
            if made[claim.one] and made[claim.other]:
                result.verdicts.append(_verdict(name, claim, made[claim.one], made[claim.other]))
        column = next((c for c in table.columns if made[c.title]), table.columns[0])
        notes = [note for one in made[column.title][:1] for note in one.notes]
        told = [*_settings(column.trained, scale, folder), *notes, table.note]
        result.settings[name] = "; ".join(filter(None, told))
    for name, values in numbers.items():
        entry = LABEL_ENTRIES[name]
        result.cells.extend(
            Cell(name, one.column, one.row, one.published, one.ours) for one in values
        )
        verdict = "found" if entry.holds(values) else "not found"
        result.verdicts.append(Verdict(name, entry.claim, verdict, ""))
        result.settings[name] = ""
    return result


def _cells(
    name: str, rows: Sequence[str], column: Column, made: list[Evaluation], root: Path | None
) -> Iterable[Cell]:
    note = ""
    if not made:
        missing = missing_data(column.trained, root)
        note = f"needs {' and '.join(missing)}" if missing else "not made yet"
    for place, row in enumerate(rows):
        published = None if column.published is None else column.published[place]
        if not made:
            yield Cell(name, row, column.title, published, None, note=note)
            continue
        scores = [_score(one, row) for one in made]
        values = np.array([100 * score.accuracy for score in scores])
        low, high = 100 * scores[0].low, 100 * scores[0].high
        if len(values) > 1:
            low, high = t_interval(values)
        yield Cell(name, row, column.title, published, float(values.mean()), low, high)


def _score(evaluation: Evaluation, row: str) -> Score:
    """Return the score that a row is about."""
    kind, _, of = row.partition(", ")
    if kind == "kNN":
        return evaluation.knn[int(of.removeprefix("k = "))]
    if not of:
        return evaluation.linear
    # If several stages were probed, the one with that number; else the only one.
    place = int(of.removeprefix("conv")) - 1
    return evaluation.layers[place if len(evaluation.layers) > 1 else -1].linear


def _verdict(name: str, claim: Claim, one: list[Evaluation], other: list[Evaluation]) -> Verdict:
    """Compare two columns on the same test images, seed by seed."""
    figures, lows, highs = [], [], []
    for score in claim.scores:
        pairs = [
            EvaluationReport(encoders=pair).difference(1, score)
            for pair in zip(one, other, strict=False)
        ]
        values = np.array([pair.difference for pair in pairs])
        low, high = pairs[0].low, pairs[0].high
        if len(values) > 1:
            low, high = t_interval(values)
        figures.append(
            f"{_DECIDING[score]} {100 * values.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
        )
        lows.append(low)
        highs.append(high)
    if claim.kind != "near":
        least = -claim.margin / 100
        verdict = (
            "found" if min(lows) > least else "not found" if max(highs) < least else "within noise"
        )
    else:
        verdict = "found" if min(highs) >= 0 else "not found"
    text = f"{claim.text}: {claim.one} against {claim.other}"
    return Verdict(name, text, verdict, "; ".join(figures))


def _settings(trained: Trained, scale: str, folder: Path) -> list[str]:
    """Return in words what differs from the paper's settings."""
    ours = recipe_of(trained, scale, folder).model_dump()
    theirs = recipe_of(trained, "paper", folder).model_dump()
    return [
        f"{key} {ours[key]} (paper: {theirs[key]})" for key in _TOLD if ours[key] != theirs[key]
    ]


def _write(result: Result) -> None:
    """Write the pages: for machines, for a terminal, for a browser."""
    with (
        atomic_write(result.folder / "results.csv") as aside,
        aside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow([*Cell._fields[:5], "difference", *Cell._fields[5:]])
        for cell in result.cells:
            writer.writerow([*cell[:5], cell.difference, *cell[5:]])
    with atomic_write(result.folder / "results.md") as aside:
        aside.write_text(markdown(result), encoding="utf-8")
    with atomic_write(result.folder / "index.html") as aside:
        aside.write_text(_page(result), encoding="utf-8")


def markdown(result: Result) -> str:
    """Return the tables, claims and settings as Markdown."""
    parts = ["Each cell: ours ± half its 95 % interval (the paper's).", ""]
    for name, settings in result.settings.items():
        cells = [cell for cell in result.cells if cell.entry == name]
        rows = dict.fromkeys(cell.row for cell in cells)
        parts += [f"## {name}: {_ENTRIES[name].title}", ""]
        if settings:
            parts += [settings, ""]
        parts += [f"| | {' | '.join(rows)} |", "|---|" + "---|" * len(rows)]
        for column, group in groupby(cells, lambda cell: cell.column):
            of_column = list(group)
            lacks = of_column[0].note
            head = f"{column} ({lacks})" if lacks else column
            parts.append(f"| {head} | {' | '.join(map(_in_short, of_column))} |")
        parts.append("")
        parts += [
            f"- {verdict.verdict}: {verdict.claim}"
            + (f" ({verdict.figures})") * bool(verdict.figures)
            for verdict in result.verdicts
            if verdict.entry == name
        ]
        parts.append("")
    return "\n".join(parts)


def _in_short(cell: Cell) -> str:
    text = "" if cell.ours is None else _number(cell, cell.ours)
    if cell.low is not None and cell.high is not None:
        text += f" ±{(cell.high - cell.low) / 2:.1f}"
    return text if cell.published is None else f"{text} ({_number(cell, cell.published)})".lstrip()


def _number(cell: Cell, value: float) -> str:
    """Return an accuracy with one digit after the point; a count or deviation with 0, 1 or 2."""
    if cell.entry in ENCODER_TABLES:
        return f"{value:.1f}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.{2 if value < 10 else 1}f}"


def _texts(cell: Cell) -> list[str]:
    interval = "" if cell.low is None else f"{cell.low:.1f} to {cell.high:.1f}"
    return [
        cell.column,
        cell.row,
        "" if cell.published is None else _number(cell, cell.published),
        cell.note if cell.ours is None else _number(cell, cell.ours),
        interval,
        "" if cell.difference is None else f"{cell.difference:+.1f}",
    ]


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;
background:#fff;color:#1a1a1a}table{border-collapse:collapse;margin:1rem 0;width:100%}
td,th{padding:.2rem .6rem;border-bottom:1px solid #ccc;text-align:left}
td:nth-child(n+3){text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}
.found{color:#0a6b5d}.not{color:#a33b00}
@media(prefers-color-scheme:dark){body{background:#16181b;color:#e6e6e6}
td,th{border-color:#444}.found{color:#5fd0bd}.not{color:#ff9d6b}}
"""


def _page(result: Result) -> str:
    """Return one HTML page of all entries."""
    body = ["<h1>The paper's tables and figures, reproduced</h1>"]
    for name, settings in result.settings.items():
        title = html.escape(f"{name}: {_ENTRIES[name].title}")
        told = f"<p>{html.escape(settings)}</p>" if settings else ""
        body.append(f"<h2 id='{name}'>{title}</h2>{told}<table>")
        heads = ("", "", "paper", "ours", "95 % interval", "difference")
        body.append("<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>")
        for cell in result.cells:
            if cell.entry == name:
                texts = (f"<td>{html.escape(text)}</td>" for text in _texts(cell))
                body.append("<tr>" + "".join(texts) + "</tr>")
        body.append("</table><ul>")
        for verdict in result.verdicts:
            if verdict.entry == name:
                kind = "found" if verdict.verdict == "found" else "not"
                body.append(
                    f"<li><b class='{kind}'>{verdict.verdict}</b>: {html.escape(verdict.claim)} "
                    f"{html.escape(verdict.figures)}</li>"
                )
        body.append("</ul>")
        for picture in sorted((result.folder / "labels" / name).glob("*.png")):
            place = picture.relative_to(result.folder).as_posix()
            body.append(f"<p><img src='{place}' alt='{picture.stem}'></p>")
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>rs-otl reproduce</title><style>{_STYLE}</style>{''.join(body)}</html>\n"
    )
