"""Whole networks, each beside its frozen configuration. Here a tensor is an image batch, B x 3 x H x W."""

from camixersr.models.camixersr import PRESETS, CAMixerSR, CAMixerSRConfig

__all__ = ["PRESETS", "CAMixerSR", "CAMixerSRConfig"]
