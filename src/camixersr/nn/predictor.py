"""The predictor: one small head that looks at a block's features and guides both branches.

Paper section 3.1. From local features, a global condition and the position inside the window it
gives: *offsets* that warp the keys of deformable attention, a *log-odds* of attention for every
window (the mixer mask), and *spatial* and *channel attention* that make the convolution dynamic.
All four share one C -> C/4 projection, which is what makes the predictor cheap. Channel attention
looks at means over the image, or over cells of it: a `Pool` says which.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.nn.layers import conv2d
from camixersr.nn.pool import CONDITIONS, Pool, pool_image
from camixersr.nn.windows import partition

__all__ = [
    "MAX_OFFSET",
    "Guidance",
    "Predictor",
    "spread",
]

MAX_OFFSET = 8.0
"""Largest offset of a key, in low pixels: half a window."""

SLOPE = 0.1  # of every LeakyReLU in the predictor


def spread(strips: Tensor, heights: tuple[int, ...]) -> Tensor:
    """Repeat what belongs to strips over their rows: B x strips x W x C -> B x H x W x C.

    A single strip stays as it is: with a 1 for H.
    """
    if len(heights) == 1:
        return strips
    rows = zip(strips.split(1, dim=1), heights, strict=True)
    return torch.cat([strip.expand(-1, height, -1, -1) for strip, height in rows], dim=1)


class Guidance(NamedTuple):
    """What the predictor gives.

    Attributes:
        logits: B x N, log-odds of attention of every window.
        offsets: B x H x W x 2, in low pixels within +-8: x first, then y.
        spatial: B x H x W x 1 in (0, 1).
        channel: B x H x W x V in (0, 1), or with a 1 for H and W where all pixels share a value.
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
        f = torch.cat((v, condition), dim=-1)  # B H W V+4
        f = F.leaky_relu(self.norm(self.project_in(f)), SLOPE)  # B H W (C+4)//4
        plain = partition(f.mean(dim=-1, keepdim=True), self.window).squeeze(-1)  # B N M*M
        attend, convolve = self.mask(plain).unbind(dim=-1)  # B N, twice
        pooled = pool(f, block)
        return Guidance(
            logits=attend - convolve,  # B N; the softmax over two classes is the sigmoid of this
            offsets=MAX_OFFSET * self.offsets(f).tanh(),  # B H W 2
            spatial=conv2d(self.spatial, f).sigmoid(),  # B H W 1
            channel=spread(self.channel(pooled.means).sigmoid(), pooled.heights),  # B H W V
        )
