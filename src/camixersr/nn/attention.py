"""Deformable window attention: every token of a window looks at the window's warped keys.

Paper section 3.1: offsets move the sampling position of each key by up to half a window, so that
a window can look at more useful pixels than its own. One head, no scaling by the square root of
the width, no position bias. Only the windows asked for are computed, warp included.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["WindowAttention", "sample"]


def sample(x: Tensor, image: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Read a map bilinearly at fractional positions; outside, the border's value holds.

    The same as `grid_sample(mode="bilinear", padding_mode="border", align_corners=True)`, but for
    channels-last maps and for any list of positions, not a whole grid.

    Args:
        x: B x H x W x C.
        image: P, int64, which image of the batch each position is in.
        column: P, horizontal position in pixels; float32, whatever `x` is.
        row: P, vertical position in pixels, likewise.

    Returns:
        P x C.
    """
    B, H, W, C = x.shape
    column = column.clamp(0.0, W - 1.0)
    row = row.clamp(0.0, H - 1.0)
    # NaN (an overflow in half precision) must show in the result, but is no address to read from
    left, top = column.detach().floor().nan_to_num(), row.detach().floor().nan_to_num()
    right_weight, bottom_weight = column - left, row - top
    left, top = left.long(), top.long()
    right, bottom = (left + 1).clamp(max=W - 1), (top + 1).clamp(max=H - 1)
    above, below = (image * H + top) * W, (image * H + bottom) * W
    corners = torch.stack((above + left, above + right, below + left, below + right), dim=-1)
    weights = torch.stack(
        (
            (1.0 - right_weight) * (1.0 - bottom_weight),
            right_weight * (1.0 - bottom_weight),
            (1.0 - right_weight) * bottom_weight,
            right_weight * bottom_weight,
        ),
        dim=-1,
    )
    # a weighted sum of four rows of a table: exactly what an embedding bag is
    table = x.reshape(B * H * W, C)
    return F.embedding_bag(corners, table, per_sample_weights=weights.to(table.dtype), mode="sum")


class WindowAttention(nn.Module):
    """Attention of chosen windows over their warped keys.

    Args:
        channels: C.
        window: side M of a window, in low pixels.
        keys: D, the width of queries and keys; 0 is C.
    """

    def __init__(self, channels: int, window: int, keys: int = 0) -> None:
        super().__init__()
        self.window = window
        self.project_q = nn.Linear(channels, keys or channels)
        self.project_k = nn.Linear(channels, keys or channels)

    def forward(self, x: Tensor, v: Tensor, offsets: Tensor, index: Tensor) -> Tensor:
        """Attend the windows at `index`.

        Args:
            x: B x H x W x C, the block's input: queries and keys come from it.
            v: K x M*M x V, the values of the chosen windows.
            offsets: B x H x W x 2, in low pixels, x first.
            index: K, int64, the chosen windows' positions in the flattened B*N.

        Returns:
            K x M*M x V.
        """
        B, H, W, C = x.shape
        M = self.window
        K = index.shape[0]
        columns = W // M
        image = index // ((H // M) * columns)
        corner_row = index // columns % (H // M) * M
        corner_column = index % columns * M
        inside = torch.arange(M, device=x.device)
        row = (corner_row[:, None, None] + inside[:, None]).expand(K, M, M).reshape(-1)
        column = (corner_column[:, None, None] + inside).expand(K, M, M).reshape(-1)
        image = image.repeat_interleave(M * M)

        pixel = (image * H + row) * W + column  # K*M*M
        own = x.reshape(B * H * W, C).index_select(0, pixel)  # K*M*M C
        # float: bfloat16 knows no odd numbers above 256, and float16 none above 2048
        move = offsets.reshape(B * H * W, 2).index_select(0, pixel)  # K*M*M 2
        move = move.to(torch.promote_types(move.dtype, torch.float32))
        warped = sample(x, image, column + move[:, 0], row + move[:, 1])  # K*M*M C

        D, V = self.project_q.out_features, v.shape[-1]
        q = self.project_q(own).reshape(K, 1, M * M, D)
        k = self.project_k(own + warped).reshape(K, 1, M * M, D)
        if D < V:  # fused kernels, which keep no map of weights, want one width
            q, k = F.pad(q, (0, V - D)), F.pad(k, (0, V - D))
        return F.scaled_dot_product_attention(q, k, v[:, None], scale=1.0).squeeze(1)  # K M*M V
