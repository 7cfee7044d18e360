"""A reproduced table as JSON, CSV, Markdown and LaTeX: published, measured and difference side by side."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from camixersr.errors import UsageError
from camixersr.image.files import replacing
from camixersr.reproduce.result import Reproduction

__all__ = ["FORMATS", "grid", "line_of_facts", "require_format", "spent_grid", "write"]


def _number(value: float | None, digits: int, *, sign: bool = False) -> str:
    if value is None:
        return ""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text if text.strip("+-0.") or not sign else text.replace("-", "+")


def _stated(value: float | None, digits: int) -> str:
    """As it was published: without the digit that it does not have."""
    return _number(value, digits).removesuffix("0") if digits == 3 else _number(value, digits)


def grid(made: Reproduction) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of the table, as text."""
    heads = ["set", "scale", "pictures", "model", "ratio"]
    for metric in made.metrics:
        heads += [f"{metric} published", f"{metric} measured", "difference"]
    heads += ["attended %", "GMACs", "note"]
    lines: list[list[str]] = []
    for cell in made.cells:
        pictures = str(cell.pictures) if cell.pictures else ""
        if cell.expected is not None and cell.pictures != cell.expected:
            pictures = f"{cell.pictures} of {cell.expected}"
        ratio = "" if cell.attention_ratio is None else f"{cell.attention_ratio:g}"
        line = [cell.set, f"x{cell.scale}", pictures, cell.model, ratio]
        for metric in made.metrics:
            digits = 3 if metric.endswith("PSNR") else 4
            line += [
                _stated(cell.stated.get(metric), digits),
                _number(cell.measured.get(metric), digits),
                _number(cell.difference(metric), digits, sign=True),
            ]
        share = None if cell.attention_share is None else 100 * cell.attention_share
        macs = None if cell.macs is None else cell.macs / 1e9
        lines.append([*line, _number(share, 0), _number(macs, 2), cell.note])
    return heads, lines


def spent_grid(made: Reproduction) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of what the models cost, in the two published conventions."""
    heads = [
        *("model", "ratio", "GMACs at 1280 x 720 published", "GMACs at 1280 x 720 counted"),
        *("MFLOPs of 32 x 32 published", "MFLOPs of 32 x 32 counted"),
    ]
    return heads, [
        [
            each.model,
            f"{each.attention_ratio:g}",
            _number(None if each.stated_720p is None else each.stated_720p / 1e9, 1),
            _number(each.macs_720p / 1e9, 1),
            _number(None if each.stated_32 is None else each.stated_32 / 1e6, 0),
            _number(each.flops_32 / 1e6, 0),
        ]
        for each in made.spent
    ]


def line_of_facts(facts: Mapping[str, Any]) -> str:
    """What the numbers depend on, in a line."""

    def plain(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} {item}" for key, item in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return "; ".join(f"{name}: {plain(value)}" for name, value in facts.items() if value not in ("", {}))


def _sources(made: Reproduction) -> list[str]:
    return list(dict.fromkeys(cell.source for cell in made.cells if cell.source))


def _remarks(made: Reproduction) -> list[str]:
    """Below the table: protocol, sources, what is missing and wrong."""
    return [
        f"Protocol: {line_of_facts(made.facts).removeprefix('protocol: ')}.",
        *(f"Published: {each}." for each in _sources(made)),
        *(f"Missing: {each}." for each in made.missing),
        *(f"Problem: {each}." for each in made.problems),
    ]


def _json(made: Reproduction) -> str:
    cells = [
        asdict(cell) | {"difference": {metric: cell.difference(metric) for metric in made.metrics}}
        for cell in made.cells
    ]
    return json.dumps(asdict(made) | {"cells": cells}, indent=1) + "\n"


def _csv(made: Reproduction) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    metrics = [
        f"{metric} {what}" for metric in made.metrics for what in ("published", "measured", "difference")
    ]
    writer.writerow(
        [
            *("table", "set", "scale", "pictures", "model", "attention_ratio", *metrics),
            *("attention_share", "macs", "source", "note"),
        ]
    )
    for cell in made.cells:
        values: list[float | None] = []
        for metric in made.metrics:
            values += [cell.stated.get(metric), cell.measured.get(metric), cell.difference(metric)]
        writer.writerow(
            [
                *(
                    made.table,
                    cell.set,
                    cell.scale,
                    cell.pictures,
                    cell.model,
                    cell.attention_ratio,
                    *values,
                ),
                *(cell.attention_share, cell.macs, cell.source, cell.note),
            ]
        )
    return stream.getvalue()


def _markdown_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [heads, ["---"] * len(heads), *lines]
    return [f"| {' | '.join(each.replace('|', chr(92) + '|') for each in row)} |" for row in rows]


def _markdown(made: Reproduction) -> str:
    parts = [*_markdown_table(*grid(made)), ""]
    if made.spent:
        parts += [*_markdown_table(*spent_grid(made)), ""]
    return "\n".join([*parts, *(f"- {each}" for each in _remarks(made))]) + "\n"


def _escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    special = {each: f"\\{each}" for each in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(each, each) for each in text)


def _latex_table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [" & ".join(map(_escaped, row)) + r" \\" for row in (heads, *lines)]
    begin = rf"\begin{{tabular}}{{{'l' * len(heads)}}}"
    return [begin, r"\hline", rows[0], r"\hline", *rows[1:], r"\hline", r"\end{tabular}"]


def _latex(made: Reproduction) -> str:
    parts = _latex_table(*grid(made))
    if made.spent:
        parts += ["", *_latex_table(*spent_grid(made))]
    return "\n".join([*(f"% {each}" for each in _remarks(made)), *parts]) + "\n"


FORMATS: Mapping[str, Callable[[Reproduction], str]] = {
    ".json": _json,
    ".csv": _csv,
    ".md": _markdown,
    ".tex": _latex,
}
"""What a table is written as, by the file's suffix."""


def require_format(path: Path) -> None:
    """Complain of a file whose suffix says no format.

    Raises:
        UsageError: it does not.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: expected a name ending in {', '.join(FORMATS)}")


def write(made: Reproduction, path: Path) -> None:
    """Write a table in the format that the file's suffix says, whole or not at all.

    Raises:
        UsageError: there is no such format.
        OutputError: the file cannot be written.
    """
    require_format(path)
    with replacing(path) as partial:
        partial.write_text(FORMATS[path.suffix.lower()](made), encoding="utf-8")
