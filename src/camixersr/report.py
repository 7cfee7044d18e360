"""A static page for an evaluation: tables, plots, and the pictures where each model does best and worst.

Needs the extra `report` (matplotlib). The page and its pictures lie in one folder and load nothing
from elsewhere.
"""

import html
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from camixersr.data import BenchmarkSet
from camixersr.errors import MissingExtraError
from camixersr.evaluation import Evaluation, Row
from camixersr.extras import install_line
from camixersr.image.encode import write
from camixersr.image.files import make_folder, replacing
from camixersr.image.picture import Picture
from camixersr.image.resize import resize
from camixersr.inference.computer import Computer
from camixersr.tensors import from_array, to_array

__all__ = ["write_report"]

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dd { margin: 0; } figure { margin: 1.5rem 0; } img { max-width: 100%; background: white; }
"""

CROP = 288  # high pixels of each picture that are shown


def write_report(
    folder: Path,
    found: Evaluation,
    sets: Sequence[BenchmarkSet],
    computers: Sequence[Computer],
) -> Path:
    """Write `index.html` and its pictures.

    Args:
        folder: made if it is missing; files of an earlier report are replaced.
        found: from `camixersr.evaluation.evaluate_sets`.
        sets: that were scored.
        computers: that were scored.

    Returns:
        The page.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the folder cannot be written.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError(
            f"a report needs the extra `report` ({error}); {install_line('report')}"
        ) from error
    matplotlib.use("Agg")
    make_folder(folder)

    parts = ["<h1>camixersr evaluation</h1>", _facts(found.facts)]
    if found.problems:
        parts.append("<h2>Problems</h2><ul>")
        parts += [f"<li>{html.escape(problem)}</li>" for problem in found.problems]
        parts.append("</ul>")
    parts.append(_table(found.rows))
    for number, each in enumerate(sets):
        own = [row for row in found.rows if row.set == each.name]
        parts.append(f"<h2>{html.escape(each.name)}</h2>")
        for name, draw in (("cost", _plot_cost), ("images", _plot_images), ("shares", _plot_shares)):
            file = folder / f"{number}-{name}.svg"
            with replacing(file) as partial:
                draw(own, partial)
            parts.append(f'<figure><img src="{file.name}" alt="{name}"></figure>')
        for computer in computers:
            parts += _pictures(folder, number, each, own, computer)
    page = folder / "index.html"
    text = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>camixersr evaluation</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    with replacing(page) as partial:
        partial.write_text(text, encoding="utf-8")
    return page


def _facts(facts: dict[str, Any]) -> str:
    def plain(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key}: {item}" for key, item in value.items())
        return str(value)

    items = (
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(plain(value))}</dd>" for name, value in facts.items()
    )
    return f"<h2>Protocol</h2><dl>{''.join(items)}</dl>"


def _table(rows: Sequence[Row]) -> str:
    head = (
        "set",
        "model",
        "ratio",
        "images",
        "PSNR dB",
        "SSIM",
        "attended",
        "GMACs",
        "seconds",
        "peak MB",
    )
    lines = [f"<tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>"]
    for row in rows:
        ran = row.attention_ratio is not None
        peaks = [score.peak_memory_bytes for score in row.images if score.peak_memory_bytes is not None]
        cells = (
            row.set,
            row.model,
            f"{row.attention_ratio:g}" if ran else "",
            len(row.images),
            f"{row.psnr:.3f}",
            f"{row.ssim:.4f}",
            f"{100 * fmean(score.attention_share for score in row.images):.0f} %" if ran else "",
            f"{fmean(score.macs for score in row.images) / 1e9:.2f}" if ran else "",
            f"{fmean(score.seconds for score in row.images):.2f}",
            f"{max(peaks) / 1e6:.0f}" if peaks else "",
        )
        lines.append(f"<tr>{''.join(f'<td>{html.escape(str(cell))}</td>' for cell in cells)}</tr>")
    return f"<h2>Scores</h2><table>{''.join(lines)}</table>"


def _models(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of each model, in order of their ratio; without bicubic or the input."""
    models: dict[str, list[Row]] = {}
    for row in rows:
        if row.attention_ratio is not None:
            models.setdefault(row.model, []).append(row)
    return {name: sorted(own, key=lambda row: row.attention_ratio or 0.0) for name, own in models.items()}


def _plot_cost(rows: Sequence[Row], file: Path) -> None:
    """PSNR against MACs and against seconds, a line a model over its ratios."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, name, unit in zip(figure.subplots(1, 2), ("macs", "seconds"), (1e9, 1.0), strict=True):
        for model, own in _models(rows).items():
            cost = [fmean(getattr(score, name) for score in row.images) / unit for row in own]
            axes.plot(cost, [row.psnr for row in own], "o-", label=model)
            for x, row in zip(cost, own, strict=True):
                axes.annotate(f" {row.attention_ratio:g}", (x, row.psnr), fontsize=8)
        axes.set_xlabel("GMACs an image" if name == "macs" else "seconds an image")
        axes.set_ylabel("PSNR, dB")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, format="svg")


def _plot_images(rows: Sequence[Row], file: Path) -> None:
    """How far above bicubic (or the input) each picture comes out."""
    from matplotlib.figure import Figure

    names = [score.name for score in rows[0].images]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots()
    for row in rows[1:]:
        gain = [score.psnr - base.psnr for score, base in zip(row.images, rows[0].images, strict=True)]
        axes.plot(gain, "o-", markersize=3, label=f"{row.model} at {row.attention_ratio:g}")
    axes.axhline(0.0, color="gray", linewidth=1)
    axes.set_ylabel(f"PSNR above {rows[0].model}, dB")
    if len(names) <= 30:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    else:
        axes.set_xlabel("picture, by name")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, format="svg")


def _plot_shares(rows: Sequence[Row], file: Path) -> None:
    """How much of each picture was attended, pictures in order of that share."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots()
    for row in rows[1:]:
        shares = sorted(100.0 * score.attention_share for score in row.images)
        axes.plot(shares, "o-", markersize=3, label=f"{row.model} at {row.attention_ratio:g}")
    axes.set_ylim(-2, 102)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("pictures, by share")
    axes.set_ylabel("windows attended, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, format="svg")


def _pictures(
    folder: Path, number: int, benchmark: BenchmarkSet, rows: Sequence[Row], computer: Computer
) -> list[str]:
    """The pictures where a model gains most and least over bicubic, beside bicubic and the original."""
    own = _models(rows)[computer.model.name]
    row = min(own, key=lambda row: abs((row.attention_ratio or 0.0) - 0.5))
    gains = {
        score.name: score.psnr - base.psnr for score, base in zip(row.images, rows[0].images, strict=True)
    }
    parts: list[str] = []
    for kind, choose in (("best", max), ("worst", min)):
        name = choose(gains, key=lambda name: gains[name])
        pair = next(pair for pair in benchmark.pairs if pair.name == name)
        low, high = pair.read(computer.scale)
        ours = to_array(
            computer.run(from_array(low).numpy(), attention_ratio=row.attention_ratio or 0.0).high
        )
        bicubic = resize(low, height=high.shape[0], width=high.shape[1])
        file = folder / f"{number}-{_slug(computer.model.name)}-{kind}.png"
        write(file, Picture(_beside(bicubic, ours, high)))
        parts.append(
            f'<figure><img src="{file.name}" alt="{kind}"><figcaption>{html.escape(computer.model.name)} '
            f"at {row.attention_ratio:g}, {kind} picture: {html.escape(name)}, "
            f"{gains[name]:+.2f} dB over {rows[0].model}. {rows[0].model.capitalize()}, ours, original; "
            "the middle of the picture."
            "</figcaption></figure>"
        )
    return parts


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _beside(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middles of pictures of one size, side by side."""
    height, width = (min(CROP, length) for length in pictures[0].shape[:2])
    top, left = (pictures[0].shape[0] - height) // 2, (pictures[0].shape[1] - width) // 2
    canvas = Image.new("RGB", (len(pictures) * (width + 6) - 6, height), "white")
    for place, picture in enumerate(pictures):
        part = np.ascontiguousarray(picture[top : top + height, left : left + width])
        canvas.paste(Image.fromarray(part), (place * (width + 6), 0))
    return np.asarray(canvas)
