"""Which weights learn by which rule, and how fast when."""

import math
from collections.abc import Iterable
from typing import Any, TypeGuard

from torch import nn

from camixersr.models import Trainable
from camixersr.train.initialise import ends
from camixersr.train.optimizer import MuonAdamW
from camixersr.train.recipe import Recipe

__all__ = ["factor", "make_optimizer"]


def make_optimizer(network: Trainable, recipe: Recipe, beside: Iterable[nn.Parameter] = ()) -> MuonAdamW:
    """Muon and AdamW, or AdamW alone.

    The layers between features and pixels learn at a tenth of the rate (`Recipe.ends_rate`): they start
    at a least-squares solution, which full steps would shatter before the body has learnt anything.

    Args:
        network: whose weights learn.
        recipe: says the rates.
        beside: more weights, which learn as vectors do.
    """
    near_pixels = [parameter for layer in ends(network) or () for parameter in layer.parameters()]
    matrices = [
        layer.weight
        for layer in network.modules()
        if recipe.optimizer == "muon" and _is_matrix(layer) and layer not in (ends(network) or ())
    ]
    known = {id(parameter) for parameter in (*near_pixels, *matrices)}
    others = [parameter for parameter in network.parameters() if id(parameter) not in known]
    groups: list[dict[str, Any]] = [
        {"params": [*others, *beside], "lr": recipe.learning_rate},
        {"params": near_pixels, "lr": recipe.ends_rate * recipe.learning_rate},
        {
            "params": matrices,
            "lr": recipe.matrix_rate,
            "weight_decay": recipe.matrix_decay,
            "muon": True,
        },
    ]
    return MuonAdamW(
        [group for group in groups if group["params"]],
        betas=(0.9, recipe.beta2),
        weight_decay=recipe.weight_decay,
    )


def factor(recipe: Recipe, step: int) -> float:
    """What of the highest rates a step learns at: linear warm-up, then the recipe's decay or halvings."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.halve_at:
        return 0.5 ** sum(step >= milestone for milestone in recipe.halve_at)
    falls = recipe.warmup + recipe.hold * (recipe.steps - recipe.warmup)
    part = min(1.0, max(0.0, step - falls) / max(1.0, recipe.steps - falls))
    left = 1.0 - part if recipe.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * part))
    return recipe.final + (1.0 - recipe.final) * left


def _is_matrix(layer: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Whether Muon may have a layer's weight: of a linear layer or of a dense convolution."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and min(layer.in_channels, layer.out_channels) >= 8
    return isinstance(layer, nn.Linear) and min(layer.weight.shape) >= 8
