"""Modulated deformable convolution (DCNv2): a convolution whose taps go where they are told to.

Each of the k x k taps of each pixel is moved by an offset of its own, read bilinearly (zero outside
the map) and weighted by a mask. The omnidirectional network lets the latitude say where.

Source: Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", CVPR 2019.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.nn.layers import conv2d

__all__ = ["DeformableConv", "deformable_conv"]


def deformable_conv(
    x: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Convolve with moved and weighted taps, stride 1, size kept.

    Tap by tap: what it sees of the whole map is gathered as a weighted sum of four rows of a table,
    and multiplied with its C x C' matrix.

    Args:
        x: B x H x W x C.
        offsets: B x H x W x k*k x 2 in pixels: for each tap, row by row, how far down and how far
            to the right it is moved.
        mask: B x H x W x k*k, weight of each tap.
        weight: C' x C x k x k, k odd.
        bias: C'.

    Returns:
        B x H x W x C'.
    """
    B, H, W, C = x.shape
    k = weight.shape[-1]
    table = x.reshape(B * H * W, C)
    image = (torch.arange(B, device=x.device) * (H * W))[:, None, None]
    rows = torch.arange(H, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(W, device=x.device, dtype=x.dtype)
    out = x.new_zeros(B * H * W, weight.shape[0]) if bias is None else bias.expand(B * H * W, -1)
    for tap in range(k * k):
        row = rows + (tap // k - k // 2) + offsets[..., tap, 0]
        column = columns + (tap % k - k // 2) + offsets[..., tap, 1]
        # NaN (an overflow in half precision) shows in the weights, but is no address to read from
        top, left = row.detach().floor().nan_to_num(), column.detach().floor().nan_to_num()
        down, right = row - top, column - left
        corners: list[Tensor] = []
        weights: list[Tensor] = []
        for below, part in ((0, 1.0 - down), (1, down)):
            for beside, share in ((0, 1.0 - right), (1, right)):
                r, c = top + below, left + beside
                inside = (r >= 0) & (r < H) & (c >= 0) & (c < W)
                place = r.clamp(0, H - 1).long() * W + c.clamp(0, W - 1).long()
                corners.append(image + place)
                weights.append(part * share * mask[..., tap] * inside)
        seen = F.embedding_bag(
            torch.stack(corners, dim=-1).reshape(-1, 4),
            table,
            per_sample_weights=torch.stack(weights, dim=-1).reshape(-1, 4).to(x.dtype),
            mode="sum",
        )
        out = torch.addmm(out, seen, weight[:, :, tap // k, tap % k].T)
    return out.reshape(B, H, W, -1)


class DeformableConv(nn.Module):
    """A 3 x 3 deformable convolution whose offsets and mask are convolved from a guide.

    Args:
        channels: C of the map, of the guide and of the result.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        self.guide = nn.Conv2d(channels, 27, 3, padding=1)
        nn.init.zeros_(self.guide.weight)  # at first an ordinary convolution, of half its weight
        assert self.guide.bias is not None
        nn.init.zeros_(self.guide.bias)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """B x H x W x C and a guide of the same shape -> B x H x W x C."""
        told = conv2d(self.guide, guide)
        offsets, mask = told[..., :18].unflatten(-1, (9, 2)), told[..., 18:].sigmoid()
        return deformable_conv(x, offsets, mask, self.weight, self.bias)
