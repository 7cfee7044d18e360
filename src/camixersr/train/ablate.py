"""What each part of the method is worth: the same short training with one thing changed at a time.

Parts are put out of action, not cut out (`camixersr.train.parts`), so that a variant without a part has
as many weights and multiply-adds as one with it; none of these parts costs more than two per cent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from camixersr.errors import UsageError
from camixersr.train.compare import Variant, compare
from camixersr.train.recipe import Recipe

__all__ = ["VARIANTS", "ablate"]

FULL = "full"

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "no-offsets": {"without": ("offsets",)},
    "no-spatial": {"without": ("spatial",)},
    "no-channel": {"without": ("channel",)},
    "no-condition": {"without": ("condition",)},
    "no-routing-loss": {"routing_weight": 0.0},
    "window-8": {"window": 8},
    "window-16": {"window": 16},
    "window-32": {"window": 32},
    "ratio-0": {"shares": (0.0, 0.0), "attention_first": 0.0},
    "ratio-0.25": {"shares": (0.25, 0.25), "attention_first": 0.0},
    "ratio-0.5": {"shares": (0.5, 0.5), "attention_first": 0.0},
    "ratio-1": {"shares": (1.0, 1.0), "attention_first": 0.0},
}
"""What each variant changes of the recipe. `ratio-*` are trained at that attention ratio alone."""


def ablate(
    recipe: Recipe,
    output: Path,
    *,
    variants: Sequence[str] = (),
    data: Sequence[Path] = (),
    seeds: Sequence[int] = (0,),
) -> list[Path]:
    """Train the recipe and its variants alike, and write what each change does.

    What is finished in `output` is not trained again.

    Args:
        recipe: the run that the variants change in one thing each.
        output: folder for the runs and the findings.
        variants: names of `VARIANTS`; empty for all that differ from the recipe.
        data: benchmark sets to score on, beside the recipe's `validation`.
        seeds: every variant is trained with each of them.

    Returns:
        `findings.md`, `.json`, `.csv` and `.png`.

    Raises:
        UsageError: there is no such variant.
        ValueRangeError: the recipe's patch is no multiple of a variant's window.
        CamixerError: as for `camixersr.train.compare.compare`.
    """
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise UsageError(f"no variant {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    changed = {name: replace(recipe, **VARIANTS[name]) for name in variants or VARIANTS}
    entries = [Variant(name, each) for name, each in changed.items() if each != recipe]
    return compare([Variant(FULL, recipe), *entries], output, data=data, seeds=seeds)
