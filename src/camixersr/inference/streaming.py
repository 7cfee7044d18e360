"""Moved to `camixersr.enlarge.disk`; this name goes with the next version."""

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from importlib import import_module

    found = getattr(import_module("camixersr.enlarge.disk"), name)
    warnings.warn(
        "camixersr.inference.streaming goes with the next version; use camixersr.Upscaler.upscale_file",
        DeprecationWarning,
        stacklevel=2,
    )
    return found
