"""The kinds of networks, and one made of a configuration."""

from torch import nn

from camixersr.models.backbone import Backbone
from camixersr.models.camixersr import CAMixerSR
from camixersr.models.config import Config
from camixersr.models.omni import OmniCAMixerSR

__all__ = ["Network", "Trainable", "classic", "make"]

Network = CAMixerSR | OmniCAMixerSR
"""Both kinds; they are used alike."""
Trainable = CAMixerSR | OmniCAMixerSR | Backbone
"""These, and networks of one's own."""


def make(config: Config) -> Network:
    """A fresh network of that configuration."""
    return OmniCAMixerSR(config) if config.kind == "omni" else CAMixerSR(config)


def classic(network: nn.Module) -> CAMixerSR | None:
    """The network, for those who need the parts of a classic one; None of any other."""
    return network if isinstance(network, CAMixerSR) else None
