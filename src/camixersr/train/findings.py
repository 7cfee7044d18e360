"""What came of trainings that are compared: a table, a plot, and how much of it is noise.

The same training with another seed ends elsewhere. A difference is told from that noise by several
seeds: a variant and the first are compared seed by seed (same patches, same shares), and the deviation
of those differences, pooled over the variants, says how large one must be to mean anything.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from camixersr.image.files import replacing

__all__ = ["RATIOS", "Finding", "differences", "markdown", "noise", "write_findings"]

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Attention ratios at which every network is scored."""

MIDDLE = RATIOS.index(0.5)


@dataclass(frozen=True)
class Finding:
    """One network of a comparison.

    Attributes:
        name: of the variant.
        seeds: with which it was trained.
        weights: how many there are.
        mixers: how many CAMixers; without any, the ratio does not matter.
        macs: multiply-adds of the picture that is timed, for each of `RATIOS`.
        seconds: of that picture, likewise; medians, measured in turns with the other rows.
        psnr: mean luma PSNR in dB, by set: for each of `RATIOS` one value a seed.
        spread: standard deviation of the scores in a block, a mean over blocks; one value a seed.
        minutes: of training, one value a seed.
    """

    name: str
    seeds: tuple[int, ...]
    weights: int
    mixers: int
    macs: tuple[int, ...]
    seconds: tuple[float, ...]
    psnr: Mapping[str, tuple[tuple[float, ...], ...]]
    spread: tuple[float, ...]
    minutes: tuple[float, ...]


def differences(row: Finding, first: Finding, name: str, ratio: int = MIDDLE) -> list[float]:
    """By how much a row is better than the first one, seed by seed.

    Args:
        row: any.
        first: what it is compared with.
        name: of the set.
        ratio: place in `RATIOS`.

    Returns:
        dB, one for each seed that both were trained with.
    """
    mine, theirs = (dict(zip(each.seeds, each.psnr[name][ratio], strict=True)) for each in (row, first))
    return [mine[seed] - theirs[seed] for seed in row.seeds if seed in theirs]


def noise(rows: Sequence[Finding], name: str) -> float | None:
    """Standard deviation of one seed's difference from the first row, pooled over the other rows.

    Returns:
        dB; None if no row was trained with several seeds.
    """
    squares, freedom = 0.0, 0
    for row in rows[1:]:
        found = differences(row, rows[0], name)
        squares += sum((value - fmean(found)) ** 2 for value in found)
        freedom += max(0, len(found) - 1)
    return math.sqrt(squares / freedom) if freedom else None


def _certain(row: Finding, rows: Sequence[Finding], name: str) -> bool | None:
    """Whether a row's mean difference is twice what noise explains; None if noise is not known."""
    found, deviation = differences(row, rows[0], name), noise(rows, name)
    if deviation is None or not found:
        return None
    return abs(fmean(found)) > 2.0 * deviation / math.sqrt(len(found))


def markdown(rows: Sequence[Finding], facts: Mapping[str, Any]) -> str:
    """The rows as tables: what each costs, and how good it is at every ratio.

    Args:
        rows: the first one is what the others are compared with.
        facts: said below the tables, one a line.

    Returns:
        Markdown, ending in a newline.
    """
    sets = list(rows[0].psnr)
    lines: list[str] = []
    for name in sets:
        heads = ["", *(f"ratio {ratio:g}" for ratio in RATIOS), "difference at 0.5", ""]
        lines += [f"PSNR on {name}, dB:", "", _line(heads), _line(["---", *["---:"] * 6, "---"])]
        for row in rows:
            values = [f"{fmean(each):.3f}" for each in row.psnr[name]]
            if not row.mixers:
                values = [values[MIDDLE] if number == MIDDLE else "" for number in range(len(RATIOS))]
            found = differences(row, rows[0], name)
            if row is rows[0] or not found:
                values += ["", ""]
            else:
                certain = _certain(row, rows, name)
                word = "" if certain is None else "beyond noise" if certain else "within noise"
                values += [f"{fmean(found):+.3f}", word]
            lines.append(_line([row.name, *values]))
        deviation = noise(rows, name)
        if deviation is not None:
            lines += ["", f"Noise: one seed's difference has a standard deviation of {deviation:.3f} dB."]
        lines.append("")
    heads = ["", "weights", *(f"GMACs at {ratio:g}" for ratio in (0, 0.5, 1))]
    heads += [*(f"seconds at {ratio:g}" for ratio in (0, 0.5, 1)), "spread of scores", "minutes", "seeds"]
    lines += [_line(heads), _line(["---", *["---:"] * 10])]
    for row in rows:
        places = (0, MIDDLE, len(RATIOS) - 1)
        macs = [f"{row.macs[place] / 1e9:.3f}" for place in places]
        seconds = [f"{row.seconds[place]:.3f}" for place in places]
        if not row.mixers:
            macs, seconds = ["", macs[1], ""], ["", seconds[1], ""]
        spread = f"{fmean(row.spread):.3f}" if row.mixers else ""
        cells = [row.name, f"{row.weights:,}", *macs, *seconds, spread, f"{fmean(row.minutes):.1f}"]
        lines.append(_line([*cells, ", ".join(map(str, row.seeds))]))
    lines += ["", *(f"- {name}: {value}" for name, value in facts.items())]
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_findings(folder: Path, rows: Sequence[Finding], facts: Mapping[str, Any]) -> list[Path]:
    """Write `findings.md`, `.json`, `.csv` and `.png`, each whole or not at all.

    Args:
        folder: must exist.
        rows: the first one is what the others are compared with.
        facts: how it was done.

    Returns:
        The files.
    """
    files = [folder / f"findings.{kind}" for kind in ("md", "json", "csv", "png")]
    with replacing(files[0]) as partial:
        partial.write_text(markdown(rows, facts), encoding="utf-8")
    with replacing(files[1]) as partial:
        content = {"facts": dict(facts), "ratios": RATIOS, "rows": [asdict(row) for row in rows]}
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    with replacing(files[2]) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "seed", "ratio", "weights", "macs", "seconds", "set", "psnr"])
        for row in rows:
            for name, scores in row.psnr.items():
                for place, ratio in enumerate(RATIOS):
                    for seed, value in zip(row.seeds, scores[place], strict=True):
                        cost = (row.weights, row.macs[place], f"{row.seconds[place]:.5f}")
                        writer.writerow([row.name, seed, ratio, *cost, name, f"{value:.5f}"])
    with replacing(files[3]) as partial:
        _plot(rows, partial)
    return files


def _plot(rows: Sequence[Finding], file: Path) -> None:
    """Differences from the first row, seed by seed; and PSNR against multiply-adds. The first set's."""
    from matplotlib.figure import Figure

    name = next(iter(rows[0].psnr))
    figure = Figure(figsize=(11, 1.6 + 0.32 * max(8, len(rows))), layout="constrained")
    left, right = figure.subplots(1, 2)
    others = rows[1:]
    deviation = noise(rows, name)
    if deviation is not None:
        width = 2.0 * deviation / math.sqrt(len(rows[0].seeds))
        left.axvspan(-width, width, color="0.9", label="explained by noise")
    left.axvline(0.0, color="0.4", linewidth=1)
    for place, row in enumerate(others):
        found = differences(row, rows[0], name)
        if found:
            left.plot(found, [place] * len(found), "o", color="C0", alpha=0.5, markersize=5)
            left.plot(fmean(found), place, "|", color="C0", markersize=16, markeredgewidth=3)
    left.set_yticks(range(len(others)), [row.name for row in others])
    left.set_ylim(len(others) - 0.5, -0.5)
    left.set_xlabel(f"PSNR on {name} at ratio 0.5, dB more than {rows[0].name}")
    if deviation is not None:
        left.legend(loc="best", frameon=False)
    left.locator_params(axis="x", nbins=6)
    for number, row in enumerate(rows):
        costs = [macs / 1e9 for macs in row.macs]
        values = [fmean(each) for each in row.psnr[name]]
        if not row.mixers:
            costs, values = costs[:1], values[:1]
        style = {"linestyle": ("-", "--", ":")[number // 10 % 3], "color": f"C{number % 10}"}
        right.plot(costs, values, marker="o", markersize=4, label=row.name, **style)
    right.ticklabel_format(useOffset=False)
    right.set_xlabel("GMACs of the picture timed, ratio 0 to 1")
    right.set_ylabel(f"PSNR on {name}, dB")
    right.legend(fontsize=7, frameon=False, bbox_to_anchor=(1.0, 1.0), loc="upper left")
    figure.savefig(file, dpi=120)
