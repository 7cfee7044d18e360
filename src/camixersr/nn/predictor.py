"""The predictor: one small head that looks at a block's features and guides both branches.

Paper section 3.1. From local features, a global condition and the position inside the window it
gives: *offsets* that warp the keys of deformable attention, a *log-odds* of attention for every
window (the mixer mask), and *spatial* and *channel attention* that make the convolution dynamic.
All four share one C -> C/4 projection, which is what makes the predictor cheap.
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.nn.layers import conv2d
from camixersr.nn.windows import partition

__all__ = ["CONDITIONS", "MAX_OFFSET", "Guidance", "Pool", "Predictor", "pool_image"]

CONDITIONS = 4
"""Channels of guidance input beside the features: two of global condition, two of position."""

MAX_OFFSET = 8.0
"""Largest offset of a key, in low pixels: half a window."""

SLOPE = 0.1  # of every LeakyReLU in the predictor


class Pool(Protocol):
    """Who says what channel attention knows of the whole image.

    It is the one thing in the network that is not local. Computed in tiles, each tile would see a
    statistic of its own, and tiles would show: there, a pool hands in the image's (decision 0004).
    """

    def __call__(self, features: Tensor, block: int) -> Tensor:
        """Summarise.

        Args:
            features: B x H x W x c, the predictor's of one block.
            block: its number, 0 at the input side.

        Returns:
            B x 1 x 1 x c, or 1 x 1 x 1 x c.
        """
        ...


def pool_image(features: Tensor, block: int) -> Tensor:
    """The paper's pool: the mean over each image that is being computed."""
    return features.mean(dim=(1, 2), keepdim=True)


class Guidance(NamedTuple):
    """What the predictor gives.

    Attributes:
        logits: B x N, log-odds of attention of every window.
        offsets: B x H x W x 2, in low pixels within +-8: x first, then y.
        spatial: B x H x W x 1 in (0, 1).
        channel: B x 1 x 1 x V in (0, 1), one value for the whole image.
    """

    logits: Tensor
    offsets: Tensor
    spatial: Tensor
    channel: Tensor


class Predictor(nn.Module):
    """See the module's text.

    Args:
        channels: C of the network, which its own widths follow.
        window: side M of a window, in low pixels.
        values: V of the features that it reads; 0 is C.
    """

    def __init__(self, channels: int, window: int, values: int = 0) -> None:
        super().__init__()
        values = values or channels
        inputs = channels + CONDITIONS
        hidden = inputs // 4
        self.window = window
        self.project_in = nn.Linear(values + CONDITIONS, hidden)
        self.norm = nn.LayerNorm(hidden, eps=1e-6)
        self.offsets = nn.Sequential(
            nn.Linear(hidden, inputs // 8), nn.LeakyReLU(SLOPE), nn.Linear(inputs // 8, 2)
        )
        self.mask = nn.Sequential(
            nn.Linear(window * window, window), nn.LeakyReLU(SLOPE), nn.Linear(window, 2)
        )
        self.channel = nn.Linear(hidden, values)
        self.spatial = nn.Conv2d(hidden, 1, 3, padding=1)

    def forward(self, v: Tensor, condition: Tensor, *, pool: Pool = pool_image, block: int = 0) -> Guidance:
        """Look at the features.

        Args:
            v: B x H x W x V, the block's projected features.
            condition: B x H x W x 4, the global condition and the window position.
            pool: what channel attention knows of the whole image.
            block: the block's number, handed on to the pool.

        Returns:
            The `Guidance` of this block.
        """
        f = F.leaky_relu(self.norm(self.project_in(torch.cat((v, condition), dim=-1))), SLOPE)
        plain = partition(f.mean(dim=-1, keepdim=True), self.window).squeeze(-1)  # B N M*M
        attend, convolve = self.mask(plain).unbind(dim=-1)
        return Guidance(
            logits=attend - convolve,  # the softmax over two classes is the sigmoid of this
            offsets=MAX_OFFSET * self.offsets(f).tanh(),
            spatial=conv2d(self.spatial, f).sigmoid(),
            channel=self.channel(pool(f, block)).sigmoid(),
        )
