"""Compute one of the paper's tables: published, measured, difference, cell by cell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from camixersr import evaluation, published
from camixersr.catalogue import OFFICIAL, cached_path, embedded, find
from camixersr.data import FISHEYES
from camixersr.errors import InputError, UsageError
from camixersr.evaluation import Row, paper_way
from camixersr.inference.computer import Computer
from camixersr.operations import large_image_flops, macs_at_720p
from camixersr.published import Stated
from camixersr.reproduce.check import require_sizes
from camixersr.reproduce.layouts import lay_out, locate
from camixersr.reproduce.result import Cell, Reproduction, Spent
from camixersr.reproduce.tables import ABLATION, TABLES, Table
from camixersr.weights import Model

__all__ = ["reproduce"]


def _metrics(row: Row, names: Sequence[str]) -> dict[str, float]:
    """A row's scores by the names of the table."""
    if "WS-PSNR" not in names:
        return {"PSNR": row.psnr, "SSIM": row.ssim}
    plain = [(score.rgb, score.rgb_ssim) for score in row.images]
    return {
        "PSNR": fmean(each for each, _ in plain if each is not None),
        "SSIM": fmean(each for _, each in plain if each is not None),
        "WS-PSNR": row.psnr,
        "WS-SSIM": row.ssim,
    }


def _models(names: Sequence[str], table: Table) -> tuple[list[Model], list[str]]:
    """Load models; of the table's own those that are here, and a line for each that is not."""
    if names:
        models = [find(name) for name in names]
        if odd := [each for each in models if each.config.scale not in table.scales]:
            scales = " or ".join(f"x{scale}" for scale in table.scales)
            raise UsageError(f"expected models of {scales} for this table, got {odd[0].name}")
        if len({each.name for each in models}) != len(models):
            raise UsageError("expected models of different names; rename one of the files")
        return models, []
    if not table.models:
        raise UsageError("this table has no model of its own; give one with --model")
    here = [name for name in table.models if name in embedded() or cached_path(name).is_file()]
    missing = [
        f"{name} ({OFFICIAL[name].about}): not on this machine; run `camixersr models pull {name}`"
        for name in table.models
        if name not in here
    ]
    return [find(name) for name in here], missing


def _runs(model: Model, table: Table) -> list[tuple[str, str]]:
    """A model's rows by name, and the way of each."""
    name = model.name
    if table.protocol == "large":
        way = paper_way(model)
        return [(name, ""), (f"{name} {way}", way)]
    if table.protocol == "erp":
        return [(name, ""), (f"{name} flat", "flat")]
    return [(name, "")]


def _spent(model: Model, ratio: float, stated: Sequence[Stated]) -> Spent:
    official = model.provenance.get("official", "")
    theirs = [
        each for each in stated if official and (each.official, each.attention_ratio) == (official, ratio)
    ]
    return Spent(
        model=model.name,
        attention_ratio=ratio,
        macs_720p=macs_at_720p(model.config, ratio),
        flops_32=large_image_flops(model.config, ratio),
        stated_720p=next((each.macs_720p for each in theirs if each.macs_720p), None),
        stated_32=next((each.flops_32 for each in theirs if each.flops_32), None),
    )


def reproduce(
    name: str,
    data: Path,
    *,
    models: Sequence[str] = (),
    sets: Sequence[str] = (),
    ratios: Sequence[float] = (),
    stated: Sequence[Stated] | None = None,
    computing: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Measure a table.

    A picture that is wrong is in no mean, and its set is then compared with nothing published.

    Args:
        name: of `TABLES`.
        data: folder below which the sets are.
        models: names or files; by default the paper's and ours that are on this machine.
        sets: names of other sets, or folders below `data`; by default the table's.
        ratios: attention ratios; by default the table's.
        stated: published numbers; those of `published.toml` by default.
        computing: `device`, `backend`, `precision` and `tile` of `Computer`.
        say: told, in a line each, what is computed, and if backends are measured before.

    Returns:
        The table.

    Raises:
        UsageError: no such table, or models that do not fit it.
        InputError: `data` is no folder.
    """
    if name not in TABLES:
        raise UsageError(f"no table {name!r}; there are {', '.join(TABLES)} and {ABLATION}")
    table = TABLES[name]
    stated = published.load() if stated is None else stated
    loaded, missing = _models(models, table)
    ratios = tuple(ratios) or table.ratios
    computers = [Computer(model, **(computing or {}), say=say) for model in loaded]
    scales = sorted({computer.scale for computer in computers})
    cells: list[Cell] = []
    problems: list[str] = []
    low_images: dict[str, str] = {}
    for scale in scales:
        here = [computer for computer in computers if computer.scale == scale]
        for each in sets or table.sets:
            found = _score(data, each, scale, table, here, ratios, say)
            cells += _cells(found, scale, table, here, ratios, stated)
            problems += found.problems
            if found.low:
                low_images[f"{found.name} x{scale}"] = found.low
            else:
                missing.append(f"{found.note} among the data")
    if not models:
        cells += _absent(table, {model.provenance.get("official", "") for model in loaded}, sets, stated)
    facts = evaluation.protocol_facts(table.protocol, max(scales, default=1), []) | {
        "scale": scales,
        "low_images": low_images,
        **evaluation.computing_facts(computers),
    }
    if table.protocol == "classic":
        facts["border"] = "the scale"
    return Reproduction(
        table=name,
        metrics=table.metrics,
        cells=tuple(cells),
        spent=tuple(_spent(model, ratio, stated) for model in loaded for ratio in ratios),
        facts=facts,
        missing=tuple(dict.fromkeys(missing)),
        problems=tuple(dict.fromkeys(problems)),
    )


@dataclass(frozen=True)
class _Scored:
    """What came of one set at one scale.

    Attributes:
        name: of the set, as tables print it.
        note: of its cells.
        low: where its low pictures come from; empty where there is no set.
        expected: pictures that it has; None where that is not known.
        rows: measured; none where nothing could be.
        problems: what is wrong with it.
    """

    name: str
    note: str
    low: str = ""
    expected: int | None = None
    rows: Sequence[Row] = ()
    problems: Sequence[str] = ()


def _score(
    data: Path,
    name: str,
    scale: int,
    table: Table,
    computers: Sequence[Computer],
    ratios: Sequence[float],
    say: Callable[[str], None],
) -> _Scored:
    """Find a set, and score models of one scale on it."""
    folder = locate(data, name)
    layout = None if folder is None else lay_out(folder, scale, table.reduction, name=name)
    if layout is None:
        return _Scored(name, f"no {name} for x{scale}")
    benchmark = require_sizes(layout.benchmark, scale)
    say(f"{benchmark.name} x{scale}: {len(benchmark.pairs)} pictures")
    rows, wrong = list[Row](), list(benchmark.problems)
    if benchmark.pairs:
        try:
            rows, wrong = evaluation.evaluate(
                computers, benchmark, attention_ratios=ratios, protocol=table.protocol
            )
        except InputError as error:
            wrong.append(str(error))
    elif not wrong:
        wrong.append(f"{layout.high}: expected pictures, found none")
    note = ""
    if wrong:
        note = f"{len(wrong)} problem{'s' * (len(wrong) > 1)}: not compared"
    elif benchmark.made and table.reduction is FISHEYES:
        note = "low panoramas made here: not compared"
    low = f"made here: {benchmark.made}" if benchmark.made else "as stored"
    return _Scored(benchmark.name, note, low, layout.expected, rows, wrong)


def _cells(
    found: _Scored,
    scale: int,
    table: Table,
    computers: Sequence[Computer],
    ratios: Sequence[float],
    stated: Sequence[Stated],
) -> list[Cell]:
    """The lines of one set: bicubic, and every model at every ratio."""
    measured = {(row.model, row.attention_ratio): row for row in found.rows}
    wanted: list[tuple[str, float | None, str, str]] = [("bicubic", None, "", "")]
    for computer in computers:
        official = computer.model.provenance.get("official", "")
        for row, way in _runs(computer.model, table):
            wanted += [(row, ratio, way, official) for ratio in ratios]
    cells: list[Cell] = []
    for model, ratio, way, official in wanted:
        entry = published.find(
            stated,
            table=table.stated,
            scale=scale,
            official=official,
            network=model.removesuffix(f" {way}"),
            attention_ratio=ratio,
            way=way,
        )
        numbers = entry.sets.get(found.name, ()) if entry else ()
        cell = Cell(
            set=found.name,
            scale=scale,
            model=model,
            attention_ratio=ratio,
            expected=found.expected,
            measured={},
            stated=dict(zip(table.metrics, numbers, strict=False)),
            source=entry.source if entry and numbers else "",
            note=found.note,
        )
        cells.append(_filled(cell, measured.get((model, ratio)), table.metrics))
    return cells


def _absent(table: Table, here: set[str], sets: Sequence[str], stated: Sequence[Stated]) -> list[Cell]:
    """What is published of those of the table's models that are not on this machine."""
    return [
        Cell(
            set=name,
            scale=each.scale,
            model=f"{each.official} {each.way}".strip(),
            attention_ratio=each.attention_ratio,
            measured={},
            stated=dict(zip(table.metrics, each.sets[name], strict=False)),
            source=each.source,
            note=f"{each.official} is not on this machine",
        )
        for each in stated
        if each.table == table.stated and each.official in table.models and each.official not in here
        for name in sets or table.sets
        if name in each.sets
    ]


def _filled(cell: Cell, row: Row | None, metrics: Sequence[str]) -> Cell:
    """A cell with what was measured."""
    if row is None:
        return cell
    ran = row.attention_ratio is not None
    return replace(
        cell,
        pictures=len(row.images),
        measured=_metrics(row, metrics),
        attention_share=fmean(score.attention_share for score in row.images) if ran else None,
        macs=fmean(score.macs for score in row.images) if ran else None,
    )
