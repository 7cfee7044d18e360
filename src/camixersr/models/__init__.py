"""Whole networks, each beside its frozen configuration. Here a tensor is an image batch, B x 3 x H x W."""

from typing import TYPE_CHECKING

from camixersr.lazily import lazily
from camixersr.models.classes import Classes
from camixersr.models.config import (
    OMNI_PRESETS,
    PANORAMA_PRESETS,
    PRESETS,
    RESTORATION_PRESETS,
    CAMixerSRConfig,
    Config,
    OmniCAMixerSRConfig,
    presets,
)

if TYPE_CHECKING:
    from camixersr.models.backbone import Backbone, BackboneConfig
    from camixersr.models.camixersr import CAMixerSR
    from camixersr.models.classsr import PatchClassifier
    from camixersr.models.kinds import Network, Trainable, classic, make
    from camixersr.models.network import pad_to_windows
    from camixersr.models.omni import OmniCAMixerSR

__all__ = [
    "OMNI_PRESETS",
    "PANORAMA_PRESETS",
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

# what follows loads torch; configurations do not
__getattr__ = lazily(
    __name__,
    {
        "Backbone": "camixersr.models.backbone",
        "BackboneConfig": "camixersr.models.backbone",
        "CAMixerSR": "camixersr.models.camixersr",
        "Network": "camixersr.models.kinds",
        "OmniCAMixerSR": "camixersr.models.omni",
        "PatchClassifier": "camixersr.models.classsr",
        "Trainable": "camixersr.models.kinds",
        "classic": "camixersr.models.kinds",
        "make": "camixersr.models.kinds",
        "pad_to_windows": "camixersr.models.network",
    },
)
