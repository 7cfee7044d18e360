"""The parts around the mixer: depthwise convolution on channels-last maps and the feed-forward."""

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FeedForward", "conv2d"]


def conv2d(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a convolution to a channels-last map.

    The permuted view has PyTorch's `channels_last` strides, so nothing is copied.

    Args:
        convolution: any `torch.nn.Conv2d`.
        x: B x H x W x C.

    Returns:
        B x H' x W' x C'.
    """
    return convolution(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class FeedForward(nn.Module):
    """Gated feed-forward with a 3x3 depthwise convolution inside: GELU(a) * b.

    Args:
        channels: C.
        hidden: pairs (a, b) of channels inside; 0 is C.
    """

    def __init__(self, channels: int, hidden: int = 0) -> None:
        super().__init__()
        hidden = hidden or channels
        self.project_in = nn.Linear(channels, 2 * hidden, bias=False)
        self.depthwise = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B x H x W x C -> B x H x W x C."""
        a, b = conv2d(self.depthwise, self.project_in(x)).chunk(2, dim=-1)
        return self.project_out(F.gelu(a) * b)
