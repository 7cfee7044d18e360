"""Which windows a step attends: a share of those seen lately, in every block.

A share of each patch's own windows would give a plain patch as much attention as a busy one, where
inference gives it less. So a step's threshold is where that share of *recent* windows lies, whatever
patch they are of; and as scores move while they are learnt, so does the threshold.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["AtLeast", "RecentScores"]

REMEMBERED = 2048
"""Windows a block."""


@dataclass(frozen=True)
class AtLeast:
    """Attend from a log-odds up.

    Attributes:
        least: K log-odds, one a block; -inf attends all windows, inf none.
    """

    least: Tensor

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `camixersr.nn.routing.Policy.choose`."""
        return logits >= self.least[block]


class RecentScores:
    """Log-odds of the last windows that were trained on, block by block.

    >>> recent = RecentScores(1)
    >>> recent.add(torch.arange(10.0)[None])
    >>> recent.least(0.3)  # 7, 8 and 9 reach it
    tensor([6.3000])

    Args:
        blocks: K.
    """

    def __init__(self, blocks: int) -> None:
        self.known = torch.empty(blocks, 0)

    def add(self, logits: Tensor) -> None:
        """Remember K x any log-odds; the oldest beyond `REMEMBERED` are forgotten."""
        new = logits.detach().float().cpu().flatten(1)
        self.known = torch.cat((self.known, new), dim=1)[:, -REMEMBERED:]

    def least(self, share: float) -> Tensor:
        """From where a share of the remembered windows is attended: K log-odds.

        Args:
            share: in [0, 1]; 0 attends nothing and 1 everything, as do the first steps.
        """
        blocks, count = self.known.shape
        if share <= 0.0 or share >= 1.0 or not count:
            return torch.full((blocks,), math.inf if share <= 0.0 else -math.inf)
        return self.known.quantile(1.0 - share, dim=1)
