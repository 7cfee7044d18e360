"""What every backend is: something that enlarges planes as one network does, chosen once, for good.

The seam is numpy: planes in, planes and what was routed out. A policy says which windows are attended,
a pool what channel attention knows of the picture; both are values (`camixersr.backends.orders` puts a
policy in numbers, or asks it about numbers). A backend never says no: what it cannot do itself (another
policy or pool, a latitude) it leaves to a plain one that it holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from camixersr.nn.pool import Pool
from camixersr.nn.routing import Policy

__all__ = ["AUTO_TILE", "AUTO_WHOLE", "PLAIN", "Backend", "Footprint", "Limits", "Planes", "Routed", "Step"]

Planes = NDArray[np.float32]
"""B x 3 x H x W, RGB, nominally in [0, 1]."""

Step = Callable[[], None]
"""Called once a block; what it raises ends the computation."""

AUTO_WHOLE = 512 * 512
"""Largest picture, in low pixels, that `tile="auto"` computes in one piece: of the plain network."""

AUTO_TILE = 320
"""Largest side of a tile, in low pixels, that `tile="auto"` cuts larger pictures into: likewise."""


class Footprint(NamedTuple):
    """Memory that a computation takes at its peak.

    Attributes:
        maps: feature maps of C channels that are alive, in fp32.
        planes: single channels beside them: the tail's output, offsets, addresses of the warp.
        fixed: bytes that do not depend on the size: buffers, code, the allocator's slack.
    """

    maps: int
    planes: int
    fixed: int = 64 * 2**20


PLAIN = Footprint(34, 350)
"""Of the classic network in eager torch."""


@dataclass(frozen=True)
class Limits:
    """How much a backend computes at once.

    Attributes:
        footprint: memory that it takes.
        whole: largest picture, in low pixels, that it computes in one piece where the tile is "auto".
        tile: largest side of a tile, in low pixels, where the tile is "auto".
        together: whether it computes several images of one size at once.
    """

    footprint: Footprint = PLAIN
    whole: int = AUTO_WHOLE
    tile: int = AUTO_TILE
    together: bool = True


class Routed(NamedTuple):
    """What came of some planes.

    Attributes:
        high: B x 3 x sH x sW float32, not clamped.
        logits: blocks x B x N float32, log-odds of attention of every window.
        attended: blocks x B x N bool.
    """

    high: Planes
    logits: NDArray[np.float32]
    attended: NDArray[np.bool_]


class Backend(Protocol):
    """Computes one network on one device in one precision."""

    @property
    def name(self) -> str:
        """As `--backend` has it."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in: "fp32", "bf16" or "fp16"."""
        ...

    @property
    def limits(self) -> Limits:
        """How much it computes at once."""
        ...

    @property
    def full(self) -> "Backend":
        """What computes again in fp32 where reduced precision overflows; itself if it has that already."""
        ...

    def route(
        self, low: Planes, policy: Policy | tuple[Policy, ...], pool: Pool, step: Step = lambda: None
    ) -> Routed:
        """Enlarge.

        Args:
            low: B x 3 (or 4, with the cosine of the latitude) x h x w float32 in [0, 1]; B is 1 unless it
                computes images `together`. Any h and w from 1.
            policy: who routes; or one for each image.
            pool: what channel attention knows of the whole picture.
            step: called once a block.

        Returns:
            The high planes, of exactly s times the height and width, and the routing of the image padded
            to windows.

        Raises:
            MemoryError: there is too little, and nothing is held any more.
        """
        ...

    def score(self, low: Planes) -> NDArray[np.float32]:
        """The first block's log-odds alone, 1 x N, of 1 x 3 (or 4) x h x w: to rank windows by."""
        ...
