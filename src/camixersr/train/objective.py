"""What training asks of the routing, beside the pixels.

"detail": the score of a window should be the *percentile* of its local detail among the windows of
the training photographs. A score then says "more detailed than this share of all windows", the
threshold 1 - gamma attends a share gamma on average over photographs, and spread and sign of the
scores are right from the start. The loss is the cross-entropy to that percentile, in every block.

"paper": 2 * gamma * (mean of all masks - 1/2)^2, one mean over blocks, images and windows. Kept
for comparison: it is satisfied by half the blocks on and half off, whatever the content.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from camixersr.nn.routing import Routing
from camixersr.nn.windows import partition

__all__ = ["detail_loss", "paper_loss", "percentile", "window_detail"]


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


def percentile(values: Tensor, quantiles: Tensor) -> Tensor:
    """Where values stand in a population.

    Args:
        values: any shape.
        quantiles: Q ascending values at equal steps of probability, from 0 to 1.

    Returns:
        The same shape, in [0, 1].
    """
    place = torch.searchsorted(quantiles, values.detach().contiguous())
    return place.to(values.dtype) / quantiles.numel()


def detail_loss(routing: Routing, target: Tensor) -> Tensor:
    """Cross-entropy between every block's scores and the windows' percentiles of detail.

    Args:
        routing: of the step.
        target: B x N in [0, 1].

    Returns:
        A scalar.
    """
    logits = torch.stack([block.logits for block in routing.blocks])
    return F.binary_cross_entropy_with_logits(logits, target.expand_as(logits))


def paper_loss(routing: Routing, ratio: float) -> Tensor:
    """The paper's classification loss.

    Args:
        routing: of the step, with masks that carry gradients.
        ratio: gamma.

    Returns:
        A scalar.
    """
    mean = torch.stack([block.mask for block in routing.blocks]).mean()
    return 2.0 * ratio * (mean - 0.5).square()
