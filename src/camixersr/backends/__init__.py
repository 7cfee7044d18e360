"""Backends: who computes a network. `camixersr.backends.protocol` says what one is, `choose` picks."""

from camixersr.backends.choose import BACKENDS, available

__all__ = ["BACKENDS", "available"]
