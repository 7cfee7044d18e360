"""Cut a feature map into windows, and put windows back.

A window is M x M neighbouring low-resolution pixels (M = 16 in the paper, section 3.1): the unit
that is routed either to attention or to convolution. `gather` and `scatter` are what turns a
skipped window into skipped work: only the attended ones are taken out, processed and put back.
"""

import math

import torch
from torch import Tensor

__all__ = ["gather", "merge", "partition", "scatter", "window_position"]


def partition(x: Tensor, window: int) -> Tensor:
    """Cut a map into non-overlapping square windows.

    Args:
        x: B x H x W x C, H and W multiples of `window`.
        window: side M of a window, in pixels.

    Returns:
        B x N x M*M x C, windows row by row, tokens of a window row by row.
    """
    B, H, W, C = x.shape
    x = x.reshape(B, H // window, window, W // window, window, C)
    return x.transpose(2, 3).reshape(B, (H // window) * (W // window), window * window, C)


def merge(windows: Tensor, height: int, width: int) -> Tensor:
    """Put windows back where `partition` took them from; its inverse.

    Args:
        windows: B x N x M*M x C.
        height: H of the map, pixels.
        width: W of the map, pixels.

    Returns:
        B x H x W x C.
    """
    B, _, tokens, C = windows.shape
    M = math.isqrt(tokens)
    x = windows.reshape(B, height // M, width // M, M, M, C)
    return x.transpose(2, 3).reshape(B, height, width, C)


def gather(windows: Tensor, index: Tensor) -> Tensor:
    """Take the windows at `index` out of all images of the batch.

    Args:
        windows: B x N x ... .
        index: K, int64, positions in the flattened B*N.

    Returns:
        K x ... .
    """
    return windows.flatten(0, 1).index_select(0, index)


def scatter(windows: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Return `windows` with those at `index` replaced by `values`; the other way of `gather`.

    Args:
        windows: B x N x ... .
        index: K, int64, positions in the flattened B*N, each at most once.
        values: K x ... .

    Returns:
        B x N x ... , a new tensor.
    """
    return windows.flatten(0, 1).index_copy(0, index, values).reshape(windows.shape)


def window_position(height: int, width: int, window: int, *, like: Tensor) -> Tensor:
    """Where each pixel sits inside its window, as the predictor is told.

    Args:
        height: H, a multiple of `window`.
        width: W, a multiple of `window`.
        window: side M of a window, in pixels.
        like: a tensor whose dtype and device the result takes.

    Returns:
        1 x H x W x 2 in [-1, 1]: first the row, then the column.
    """
    side = torch.linspace(-1.0, 1.0, window, dtype=torch.float32).to(like)
    rows = side.repeat(height // window)[:, None].expand(height, width)
    columns = side.repeat(width // window)[None, :].expand(height, width)
    return torch.stack((rows, columns), dim=-1)[None]
