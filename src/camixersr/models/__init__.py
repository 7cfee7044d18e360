"""Whole networks, each beside its frozen configuration. Here a tensor is an image batch, B x 3 x H x W."""

from torch import nn

from camixersr.models.backbone import Backbone, BackboneConfig
from camixersr.models.camixersr import CAMixerSR
from camixersr.models.classsr import Classes, PatchClassifier
from camixersr.models.config import PANORAMA_PRESETS, PRESETS, RESTORATION_PRESETS, CAMixerSRConfig
from camixersr.models.network import pad_to_windows
from camixersr.models.omni import OMNI_PRESETS, OmniCAMixerSR, OmniCAMixerSRConfig

__all__ = [
    "OMNI_PRESETS",
    "PRESETS",
    "RESTORATION_PRESETS",
    "Backbone",
    "BackboneConfig",
    "CAMixerSR",
    "CAMixerSRConfig",
    "Classes",
    "Config",
    "Network",
    "OmniCAMixerSR",
    "OmniCAMixerSRConfig",
    "PatchClassifier",
    "Trainable",
    "classic",
    "make",
    "pad_to_windows",
    "presets",
]

Config = CAMixerSRConfig | OmniCAMixerSRConfig
Network = CAMixerSR | OmniCAMixerSR
"""Both kinds; they are used alike."""
Trainable = CAMixerSR | OmniCAMixerSR | Backbone
"""These, and networks of one's own."""


def presets() -> dict[str, Config]:
    """Every configuration that has a name."""
    return {**PRESETS, **RESTORATION_PRESETS, **PANORAMA_PRESETS, **OMNI_PRESETS}


def make(config: Config) -> Network:
    """A fresh network of that configuration."""
    return OmniCAMixerSR(config) if config.kind == "omni" else CAMixerSR(config)


def classic(network: nn.Module) -> CAMixerSR | None:
    """The network, for those who need the parts of a classic one; None of any other."""
    return network if isinstance(network, CAMixerSR) else None
