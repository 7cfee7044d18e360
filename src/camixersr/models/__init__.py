"""Whole networks, each beside its frozen configuration. Here a tensor is an image batch, B x 3 x H x W."""

from camixersr.models.backbone import Backbone, BackboneConfig
from camixersr.models.camixersr import (
    PANORAMA_PRESETS,
    PRESETS,
    RESTORATION_PRESETS,
    CAMixerSR,
    CAMixerSRConfig,
    pad_to_windows,
)
from camixersr.models.classsr import Classes, PatchClassifier
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
    return OmniCAMixerSR(config) if isinstance(config, OmniCAMixerSRConfig) else CAMixerSR(config)
