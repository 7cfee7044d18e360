"""How much there is to see in a window: the yardstick that routing is trained and audited by."""

import torch.nn.functional as F
from torch import Tensor

from camixersr.nn.windows import partition

__all__ = ["window_detail"]


def window_detail(low: Tensor, window: int) -> Tensor:
    """Gradient energy of every window: the mean square of luma differences to the right and below.

    Args:
        low: B x 3 x H x W, RGB in [0, 1], H and W multiples of `window`.
        window: side M of a window, in pixels.

    Returns:
        B x N, natural logarithm of the energy (plus a floor of half an 8-bit step squared).
    """
    luma = (low * low.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)
    right = F.pad(luma.diff(dim=3), (0, 1, 0, 0), mode="replicate")
    below = F.pad(luma.diff(dim=2), (0, 0, 0, 1), mode="replicate")
    energy = (right.square() + below.square()).permute(0, 2, 3, 1)
    return (partition(energy, window).mean(dim=(2, 3)) + (0.5 / 255) ** 2).log()
