"""A reproduced table: its cells, what its models cost, what is missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Cell", "Reproduction", "Spent"]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One set, model and attention ratio.

    Attributes:
        set: its name.
        scale: high pixels a low pixel.
        model: its name, or "bicubic"; with " tiles 64/4" or " flat" as in `Row.model`.
        attention_ratio: asked for; None for bicubic.
        pictures: that were scored.
        expected: pictures that the set has; None where that is not known.
        measured: by metric; empty where nothing could be measured.
        stated: likewise, as published.
        source: of what is stated.
        attention_share: attended in fact, mean over pictures; None where nothing ran.
        macs: multiply-adds that ran, mean over pictures; likewise.
        note: why nothing was measured, or what keeps numbers from being compared.
    """

    set: str
    scale: int
    model: str
    attention_ratio: float | None
    pictures: int = 0
    expected: int | None = None
    measured: Mapping[str, float]
    stated: Mapping[str, float]
    source: str = ""
    attention_share: float | None = None
    macs: float | None = None
    note: str = ""

    def difference(self, metric: str) -> float | None:
        """Measured less stated; None unless both are there, and of the same whole set."""
        if self.note or metric not in self.measured or metric not in self.stated:
            return None
        return self.measured[metric] - self.stated[metric]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What a model costs at an attention ratio, by the two published conventions.

    Attributes:
        model: its name.
        attention_ratio: in [0, 1].
        macs_720p: multiply-adds for 1280 x 720 pixels out.
        flops_32: FLOPs of the large-image table, of 32 x 32 low pixels.
        stated_720p: as published; None where nothing is.
        stated_32: likewise.
    """

    model: str
    attention_ratio: float
    macs_720p: float
    flops_32: float
    stated_720p: float | None
    stated_32: float | None


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A table.

    Attributes:
        table: its name.
        metrics: its columns.
        cells: its lines.
        spent: what its models cost.
        facts: all that the numbers depend on.
        missing: sets and models that are not here, a line each.
        problems: what is wrong with those that are, a line each.
    """

    table: str
    metrics: tuple[str, ...]
    cells: tuple[Cell, ...]
    spent: tuple[Spent, ...]
    facts: Mapping[str, Any]
    missing: tuple[str, ...]
    problems: tuple[str, ...]
