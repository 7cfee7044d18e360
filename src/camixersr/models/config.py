"""The shapes of networks: `camixersr.models.camixersr` and `.omni` are what they compute."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from camixersr.errors import ValueRangeError

__all__ = [
    "OMNI_PRESETS",
    "PANORAMA_PRESETS",
    "PRESETS",
    "RESTORATION_PRESETS",
    "SCALES",
    "CAMixerSRConfig",
    "Config",
    "OmniCAMixerSRConfig",
    "presets",
]

SCALES = (2, 3, 4)


@dataclass(frozen=True)
class CAMixerSRConfig:
    """The shape of a network; a checkpoint carries it.

    Attributes:
        channels: feature width C.
        scale: high pixels a low pixel, a side.
        blocks: number of blocks in each group.
        window: side M of a window, in low pixels.
        latitude: the network is told the latitude of each row, for equirectangular panoramas.
        keys: width of attention's queries and keys; 0 is C, as in the paper, and what pruning narrows.
        values: width inside the mixer, of attention's values and the convolution; likewise.
        hidden: pairs of gated channels inside the feed-forward; likewise.
        pool: side of the cells, in low pixels, aligned with the window grid, over which channel
            attention pools; 0: the whole image, as in the paper.

    Raises:
        ValueRangeError: a number is not positive, too small for the predictor, or cells do not
            consist of whole windows.
    """

    kind: ClassVar[Literal["classic"]] = "classic"

    channels: int = 60
    scale: int = 4
    blocks: tuple[int, ...] = (4, 4, 6, 6)
    window: int = 16
    latitude: bool = False
    keys: int = 0
    values: int = 0
    hidden: int = 0
    pool: int = 0

    def __post_init__(self) -> None:
        for name in ("keys", "values", "hidden"):
            if getattr(self, name) < 0:
                raise ValueRangeError(f"{name} must be 0 (as wide as channels) or more, got {self}")
            if getattr(self, name) == self.channels:  # one network, one configuration
                object.__setattr__(self, name, 0)
        if self.channels < 4 or self.scale < 1 or self.window < 1 or min(self.blocks, default=0) < 1:
            raise ValueRangeError(
                "expected channels >= 4, scale >= 1, window >= 1 and at least one block in every "
                f"group, got {self}"
            )
        if self.pool < 0 or self.pool % self.window:
            raise ValueRangeError(f"expected pool 0 or a multiple of the window, got {self}")


PRESETS = {
    f"{name}-x{scale}": replace(CAMixerSRConfig(), channels=channels, scale=scale)
    for name, channels in {"s": 36, "m": 48, "b": 60}.items()
    for scale in SCALES
}
"""The paper's sizes S, M and B at x2, x3 and x4, by name: "s-x4" and so on."""

RESTORATION_PRESETS = {
    name.replace("-x2", "-x1"): replace(config, scale=1)
    for name, config in PRESETS.items()
    if config.scale == 2
}
"""The same sizes at scale 1, for what is to be restored and not enlarged: "s-x1" and so on."""

PANORAMA_PRESETS = {
    name.replace("-x", "-360-x"): replace(config, latitude=True) for name, config in PRESETS.items()
}
"""The same with a latitude condition: "s-360-x4" and so on."""


@dataclass(frozen=True)
class OmniCAMixerSRConfig:
    """The shape of an omnidirectional network; a checkpoint carries it.

    Attributes:
        channels: feature width C.
        scale: high pixels a low pixel, a side.
        blocks: number of blocks in each group.
        window: side M of a window, in low pixels.
        latitude: the network is told the latitude of each row; always.
        pool: channel attention pools over the whole image; always.

    Raises:
        ValueRangeError: a number is not positive, or too small for the predictor.
    """

    kind: ClassVar[Literal["omni"]] = "omni"
    latitude: ClassVar[bool] = True
    pool: ClassVar[int] = 0

    channels: int = 60
    scale: int = 4
    blocks: tuple[int, ...] = (6, 6, 6, 6)
    window: int = 16

    def __post_init__(self) -> None:
        if self.channels < 5 or self.scale < 1 or self.window < 2 or min(self.blocks, default=0) < 1:
            raise ValueRangeError(
                "expected channels >= 5, scale >= 1, window >= 2 and at least one block in every "
                f"group, got {self}"
            )


OMNI_PRESETS = {
    f"omni-{name}-x{scale}": replace(OmniCAMixerSRConfig(), channels=channels, scale=scale)
    for name, channels in {"s": 36, "m": 48, "b": 60}.items()
    for scale in SCALES
}
"""Omnidirectional networks by name: "omni-b-x4" is the paper's; S and M have the classic widths."""

Config = CAMixerSRConfig | OmniCAMixerSRConfig


def presets() -> dict[str, Config]:
    """Every configuration that has a name."""
    return {**PRESETS, **RESTORATION_PRESETS, **PANORAMA_PRESETS, **OMNI_PRESETS}
