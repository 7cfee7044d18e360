"""What a file of weights says of where they come from."""

import os
from dataclasses import replace

import torch

from camixersr.models import Config
from camixersr.train.recipe import Recipe
from camixersr.train.start import shape_of
from camixersr.weights import Model

__all__ = ["provenance"]


def provenance(recipe: Recipe, before: Model | None, hours: float, device: str) -> dict[str, str]:
    """Where weights come from; steps and hours add up over legs at one scale."""
    facts = {
        "data": recipe.data,
        "licences": recipe.licences,
        "device": f"{device}, {os.cpu_count()} CPU cores",
        "torch": torch.__version__,
    }
    steps, legs = recipe.steps, 1
    if before is not None:
        known = before.provenance
        if "pruned" in known:
            facts["pruned"] = known["pruned"]
        if _alike(before.config, shape_of(recipe, before)) and before.restores == recipe.degradation:
            steps += int(known.get("steps", 0))
            hours += float(known.get("hours", 0))
            legs += int(known.get("legs", 1))
        else:
            facts["start"] = f"{before.name} ({known.get('steps', '?')} steps)"
    return {**facts, "steps": str(steps), "hours": f"{hours:.2f}", "legs": str(legs)}


def _alike(one: Config, other: Config) -> bool:
    """Whether two networks hold the same weights, whatever they pool over."""
    if one.kind == "classic" and other.kind == "classic":
        return replace(one, pool=other.pool) == other
    return one == other
