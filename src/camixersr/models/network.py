"""What every network here keeps: images of any size in, images and what was routed out.

A network's own file says what it computes (`compute`), and how its parts are called; here is what does
not depend on that. `kind` tells what it is to whoever needs its parts (backends, pruning, fused steps).
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.errors import ShapeError
from camixersr.models.batches import one_by_one
from camixersr.nn.pool import Pool
from camixersr.nn.routing import Policy, Routing, TopShare

__all__ = ["HALF", "Kind", "RoutedNetwork", "pad_to_windows"]

Kind = Literal["classic", "omni"]

HALF = TopShare(0.5)
"""What a network does if it is not told: attend half of every image's windows."""


def pad_to_windows(image: Tensor, window: int) -> Tensor:
    """Pad at the right and bottom to a multiple of `window`.

    By reflection where the image is long enough for it, by replication of the border where it is
    not (a side of 8 pixels or less, for windows of 16).

    Args:
        image: B x C x H x W.
        window: side M of a window, in pixels.

    Returns:
        B x C x H' x W', H' and W' multiples of `window`.
    """
    height, width = image.shape[-2:]
    down, right = -height % window, -width % window
    if down:
        image = F.pad(image, (0, 0, 0, down), mode="reflect" if down < height else "replicate")
    if right:
        image = F.pad(image, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return image


class RoutedNetwork(nn.Module, ABC):
    """A network whose every image is routed by itself.

    Attributes:
        kind: which network it is.
        mean: of RGB, taken off before and added after.
        config: its shape; kept with the weights.
        pool: what channel attention knows of an image if nothing else is said.
    """

    kind: ClassVar[Kind]
    mean: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.0)
    config: Any
    pool: Pool

    @abstractmethod
    def compute(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing]:
        """`route`, for images that may share their arithmetic."""

    def forward(self, low: Tensor, policy: Policy = HALF) -> Tensor:
        """Enlarge.

        Args:
            low: B x 3 x H x W, RGB, floating point in [0, 1], any H and W from 1. For a network that is
                told the latitude, a fourth channel may give the cosine of each pixel's; without it
                everything lies on the equator.
            policy: who chooses the attended windows.

        Returns:
            B x 3 x sH x sW, RGB; nominally in [0, 1], not clamped.

        Raises:
            ShapeError: `low` is no batch of such images.
        """
        return self.route(low, policy)[0]

    def route(
        self, low: Tensor, policy: Policy, *, pool: Pool | None = None, together: bool = False
    ) -> tuple[Tensor, Routing]:
        """Enlarge as `forward` does, and tell what was routed where.

        `pool` says what channel attention knows of the image: by default the means over cells of `low`,
        or over all of it; for a tile of a picture that is pooled as a whole, what `camixersr.inference`
        measured of that.

        The routing is that of the padded image: rows = ceil(H / M), columns = ceil(W / M). In
        evaluation mode the images of a batch are computed one after another, so that each has the
        same bytes alone and in any company; `together` computes them at once, as training does,
        which fills an accelerator better and may change last bits.
        """
        self.check(low)
        pool = pool or self.pool
        if self.training or together:
            return self.compute(low, policy, pool)
        return one_by_one(self.compute, low, policy, pool)

    def check(self, low: Tensor) -> None:
        """Raise `ShapeError` unless `low` is what `forward` takes."""
        channels = (3, 4) if self.config.latitude else (3,)
        if low.ndim != 4 or low.shape[1] not in channels or 0 in low.shape:
            latitude = (
                ", with the cosine of the latitude as a fourth channel or not" if channels[1:] else ""
            )
            raise ShapeError(
                "expected a batch of RGB images, B x 3 x H x W with H, W >= 1"
                f"{latitude}, got {tuple(low.shape)}"
            )

    @property
    def block_count(self) -> int:
        """Number of blocks, and so of entries in a `Routing`."""
        return sum(self.config.blocks)
