"""The ablation table, from what trainings of variants measured (`camixersr ablate`)."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from camixersr import published
from camixersr.errors import InputError
from camixersr.published import Stated
from camixersr.reproduce.result import Cell, Reproduction
from camixersr.reproduce.tables import ABLATION

__all__ = ["from_findings"]


def from_findings(path: Path, *, stated: Sequence[Stated] | None = None) -> Reproduction:
    """The ablation table, from what `camixersr ablate` measured.

    Args:
        path: `findings.json` of it.
        stated: published numbers, whose networks are called as the variants are.

    Raises:
        InputError: no such file, or another one.
    """
    stated = published.load() if stated is None else stated
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        place = found["ratios"].index(0.5)
        cells = [
            Cell(
                set=name,
                scale=4,
                model=row["name"],
                attention_ratio=0.5,
                measured={"PSNR": fmean(scores[place])},
                stated={},
                macs=row["macs"][place],
            )
            for row in found["rows"]
            for name, scores in row["psnr"].items()
        ]
        facts = dict(found["facts"])
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); `camixersr ablate` makes it"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: expected findings.json of `camixersr ablate`") from error
    known = {
        each.network: each for each in stated if each.table == ABLATION and each.attention_ratio == 0.5
    }
    with_stated = [
        replace(cell, stated={"PSNR": known[cell.model].sets[cell.set][0]}, source=known[cell.model].source)
        if cell.model in known and cell.set in known[cell.model].sets
        else cell
        for cell in cells
    ]
    return Reproduction(
        table=ABLATION,
        metrics=("PSNR",),
        cells=tuple(with_stated),
        spent=(),
        facts=facts,
        missing=(),
        problems=(),
    )
