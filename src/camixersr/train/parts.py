"""Put parts of the network out of action, to learn what they are worth: for ablations.

Nothing is cut out: weights are set to what makes a part do nothing, and not trained. The result is a
network as any other, in a file that every command reads.
"""

from collections.abc import Sequence
from typing import get_args

import torch
from torch import nn

from camixersr.errors import InputError
from camixersr.models import Network, classic
from camixersr.nn.predictor import Predictor
from camixersr.train.recipe import Part

__all__ = ["PARTS", "disable"]

PARTS: tuple[Part, ...] = get_args(Part)

OPEN = 20.0
"""Log-odds whose sigmoid is 1 in single precision: an attention that lets everything through."""


def disable(network: Network, parts: Sequence[Part]) -> None:
    """Put parts out of action, for good.

    Args:
        network: changed in place; gradients of what is out are off.
        parts: "offsets": keys stay where they are. "spatial", "channel": these attentions are 1.
            "condition": the predictors are told nothing of the picture at large.

    Raises:
        InputError: the network is no classic CAMixerSR.
    """
    own = classic(network)
    if parts and own is None:
        raise InputError(
            f"recipe: `without` is for classic networks, and {type(network).__name__} is none; leave it out"
        )
    if own is not None and "condition" in parts:
        _fix(own.global_out, 0.0)
    for predictor in network.modules():
        if isinstance(predictor, Predictor):
            if "offsets" in parts:
                last = predictor.offsets[-1]
                assert isinstance(last, nn.Linear)
                _fix(last, 0.0)
            if "spatial" in parts:
                _fix(predictor.spatial, OPEN)
            if "channel" in parts:
                _fix(predictor.channel, OPEN)


@torch.no_grad()
def _fix(layer: nn.Linear | nn.Conv2d, value: float) -> None:
    """Let a layer say the same whatever it sees."""
    assert layer.bias is not None
    layer.weight.zero_()
    layer.bias.fill_(value)
    layer.requires_grad_(False)
