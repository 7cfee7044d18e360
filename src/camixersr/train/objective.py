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

__all__ = ["detail_loss", "paper_loss", "percentile"]


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
