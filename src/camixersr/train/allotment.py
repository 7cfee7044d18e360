"""What attention is worth in each block, and how a budget of it is best shared out among blocks.

Blocks differ far more than windows do. In weights whose dial gave 0.125 dB, attending *all* windows of
the ten best blocks of twenty gave 0.134, and the better half of the windows of every block 0.090. Which
block is good cannot be told from pictures, and must be measured.

The *gain* of a window in a block is by how much attention lowers the error there. It is measured
half-way between both branches, as the slope of the error's logarithm: at full attention the slope is too
low, most of all where there is detail (docs/training-log.md). A block's gain is then a line over the rank
of its scores. Attending from one gain up, the same one in all blocks, is what loses least for a given
budget.

A line fitted to few pictures is flat or even falls where gains are small, and would attend such a block
in all pictures or in none. Detail deserves attention, so no line is flatter than `STEEP` times what blocks
differ by: plain pictures then keep getting less than busy ones.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from camixersr.models import Trainable
from camixersr.nn.routing import check_share
from camixersr.tensors import from_array
from camixersr.train.score import Images

__all__ = ["Allotment", "measure_allotment"]

STEEP = 3.0
"""The least slope of a block's gain over the rank of its scores, in deviations of the blocks' gains."""


@dataclass(frozen=True)
class Allotment:
    """Each block's gain as a line: level + slope * (rank - 1/2), rank in [0, 1].

    Attributes:
        level: K, mean gains in dB a window.
        slope: K, not negative, likewise, from the lowest score to the highest.
    """

    level: Tensor
    slope: Tensor

    def shares(self, ratio: float) -> Tensor:
        """What part of its windows each block should attend.

        Args:
            ratio: gamma in [0, 1], what is attended of all windows of all blocks.

        Returns:
            K in [0, 1], of mean `ratio` to 1e-6; all are `ratio` at 0 and at 1, or where nothing is known.

        Raises:
            ValueRangeError: `ratio` lies outside [0, 1].
        """
        check_share(ratio)
        even = torch.full_like(self.level, ratio, dtype=torch.float64)
        if ratio in (0.0, 1.0) or not (self.slope > 0.0).all():
            return even.float()
        level, slope = self.level.double(), self.slope.double()
        low, high = float((level - slope).min()), float((level + slope).max())
        for _ in range(60):  # where lies the gain from which windows are attended?
            least = (low + high) / 2.0
            attended = float((0.5 + (level - least) / slope).clamp(0.0, 1.0).mean())
            low, high = (least, high) if attended > ratio else (low, least)
        return (0.5 + (level - high) / slope).clamp(0.0, 1.0).float()


@dataclass(frozen=True)
class _HalfWay:
    """Both branches by halves in all windows, and a gradient to how much of attention each takes."""

    gates: list[Tensor] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `camixersr.nn.routing.Policy.choose`."""
        gate = torch.full_like(logits, 0.5).requires_grad_()
        self.gates.append(gate)
        self.logits.append(logits.detach().float())
        return gate


def measure_allotment(network: Trainable, pairs: Images) -> Allotment:
    """Measure what attention is worth in each block.

    Args:
        network: on any device; its weights get no gradients.
        pairs: low and high, uint8 RGB, each. All windows weigh alike.

    Returns:
        The lines, by least squares.
    """
    ranks: list[Tensor] = []
    gains: list[Tensor] = []
    device = next(network.parameters()).device
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    try:
        for weight in learning:
            weight.requires_grad_(False)
        for low, high in pairs:
            policy = _HalfWay()
            with torch.inference_mode(False), torch.enable_grad():  # validation turns gradients off
                wanted = from_array(high)[None].to(device)
                made = network.route(from_array(low)[None].to(device), policy)[0]
                error = (made - wanted).float().square().mean().clamp(min=1e-12)
                found = torch.autograd.grad(10.0 / math.log(10.0) * error.log(), policy.gates)
            gains.append(-torch.stack([each.flatten() for each in found]).float().cpu())
            ranks.append(torch.stack([each.flatten() for each in policy.logits]).cpu())
    finally:
        for weight in learning:
            weight.requires_grad_()
    logits, gain = torch.cat(ranks, dim=1), torch.cat(gains, dim=1)
    count = logits.shape[1]
    rank = (logits.argsort(dim=1).argsort(dim=1) + 0.5) / count - 0.5
    level = gain.mean(dim=1)
    slope = (rank * (gain - level[:, None])).mean(dim=1) / rank.square().mean(dim=1).clamp(min=1e-12)
    return Allotment(level, slope.clamp(min=STEEP * float(level.std(correction=0))))
