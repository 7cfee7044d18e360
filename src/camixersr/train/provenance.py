"""What a file of weights says of where they come from."""

import os
from dataclasses import replace

import torch

from camixersr.models import Config
from camixersr.train.initialise import with_leg
from camixersr.train.recipe import Recipe
from camixersr.train.start import shape_of
from camixersr.weights import Model

__all__ = ["earlier", "provenance"]


def provenance(recipe: Recipe, before: Model | None, hours: float, device: str) -> dict[str, str]:
    """Where weights come from; steps and hours add up over legs at one scale."""
    known = earlier(recipe, before)
    return {
        "data": recipe.data,
        "licences": recipe.licences,
        "device": f"{device}, {os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        **known,
        **with_leg(known, recipe.steps, hours),
    }


def earlier(recipe: Recipe, before: Model | None) -> dict[str, str]:
    """What a run goes on from.

    Steps, hours and number of the legs before it, if they trained the same network for the same task, else
    what it starts from; and how the network was pruned.
    """
    if before is None:
        return {}
    known = before.provenance
    facts = {name: known[name] for name in ("pruned",) if name in known}
    if _alike(before.config, shape_of(recipe, before)) and before.restores == recipe.degradation:
        return facts | {name: known[name] for name in ("start", "steps", "hours", "legs") if name in known}
    return facts | {"start": f"{before.name} ({known.get('steps', '?')} steps)"}


def _alike(one: Config, other: Config) -> bool:
    """Whether two networks hold the same weights, whatever they pool over."""
    if one.kind == "classic" and other.kind == "classic":
        return replace(one, pool=other.pool) == other
    return one == other
