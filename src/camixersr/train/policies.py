"""Which windows a training step attends; `camixersr.nn.routing` says what a policy is.

**A share of recent windows** (`RecentScores`, `AtLeast`). A share of each patch's own windows would give a
plain patch as much attention as a busy one, where inference gives it less. So a step's threshold is where
that share of the windows seen lately lies, whatever patch they are of; and as scores move while they are
learnt, so does the threshold.

**At random** (`Stochastic`), as the paper trains: both branches run everywhere (section 3.2).

**By gain** (`Explore`). Scores learn from what attention was worth where it was tried.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from camixersr.errors import ValueRangeError
from camixersr.nn.routing import check_share, top

__all__ = ["AtLeast", "Explore", "RecentScores", "Stochastic", "ranking_gradient"]

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

    def least(self, shares: float | Tensor) -> Tensor:
        """From where a share of the remembered windows is attended: K log-odds.

        Args:
            shares: in [0, 1], one for all blocks or K; 0 attends nothing and 1 everything, as do the first
                steps.
        """
        blocks, count = self.known.shape
        found: list[float] = []
        for known, share in zip(self.known, torch.as_tensor(shares).expand(blocks).tolist(), strict=True):
            if share <= 0.0 or share >= 1.0 or not count:
                found.append(math.inf if share <= 0.0 else -math.inf)
            else:
                found.append(float(known.quantile(1.0 - share)))
        return torch.tensor(found)


@dataclass(frozen=True)
class Explore:
    """Attend a share of the *batch's* windows by noisy scores, and rank scores by gain (training only).

    A block attends the best share of all windows of the batch together, so that a plain picture
    gets less than a busy one. Logits are brought to one scale (zero mean, unit deviation) before
    noise is added, or the noise would drown them; Gumbel noise before a top-K is sampling without
    replacement (Kool et al., ICML 2019).

    Some of the attended windows, drawn anew each time, are *probes*: they take half of each branch.
    In the backward pass their gains are known (see the module's text), and their logits get the
    gradient of a pairwise logistic ranking loss (RankNet, Burges et al., ICML 2005): of two windows
    the one with more gain should have the higher score, and a pair counts as much as its gains differ.
    Half-way, because the loss curves: the slope there is the difference between the branches, while
    the slope at full attention is too low, most of all where there is detail (docs/training-log.md).
    What the loss itself would tell the logits, a straight-through estimate, is that gain times a
    slope: noisier and without a scale.

    Attributes:
        share: gamma in [0, 1].
        generator: where the noise comes from, on the logits' device.
        temperature: scale of the noise in deviations of the logits; 0 is none.
        weight: of the ranking loss, a mean over pairs in each block.
        probes: chance of an attended window to be a probe.
        gains: for each block the gains measured in the backward pass and the logits they belong
            to, one for each probe; filled in by it.

    Raises:
        ValueRangeError: `share` lies outside [0, 1], or a number is negative.
    """

    share: float
    generator: torch.Generator
    temperature: float = 1.0
    weight: float = 1.0
    probes: float = 0.25
    gains: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_share(self.share)
        if self.temperature < 0.0 or self.weight < 0.0 or not 0.0 <= self.probes <= 1.0:
            raise ValueRangeError(
                "expected temperature and weight not below 0 and probes in [0, 1], got "
                f"{self.temperature}, {self.weight} and {self.probes}"
            )

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        odds = logits.detach().float()
        odds = (odds - odds.mean()) / odds.std(correction=0).clamp(min=1e-6)
        odds = odds + self.temperature * logistic(odds, self.generator)
        count = int(self.share * odds.numel() + 0.5)
        mask = top(odds.reshape(1, -1), torch.tensor([count], device=odds.device)).view_as(logits)
        if not logits.requires_grad:
            return mask
        drawn = torch.empty_like(odds).uniform_(generator=self.generator)
        probes = mask & (drawn < self.probes)
        gate: Tensor = _RankByGain.apply(logits, mask, probes, self, block)  # type: ignore[assignment]
        return gate


def ranking_gradient(logits: Tensor, gains: Tensor) -> Tensor:
    """Gradient of the pairwise logistic ranking loss, pairs weighted by how much their gains differ.

    The loss is the weighted mean over pairs i, j of softplus(-sign(g_i - g_j) * (l_i - l_j)), with
    weights |g_i - g_j|.

    Args:
        logits: K.
        gains: K, of any scale.

    Returns:
        K; zeros where fewer than two windows can be compared, or all gains are equal.
    """
    ahead = gains[:, None] - gains
    total = ahead.abs().sum()
    if not total > 0.0:
        return torch.zeros_like(logits)
    # d softplus(-t)/dt = -sigmoid(-t); every pair stands in the table twice, once with each sign
    behind = ((logits - logits[:, None]) * ahead.sign()).sigmoid()
    return -2.0 * (ahead * behind).sum(dim=1) / total


class _RankByGain(torch.autograd.Function):
    """The mask going forward, half at probes; going backward, gradients that rank their logits by gain."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, mask: Tensor, probes: Tensor, policy: Explore, block: int
    ) -> Tensor:
        ctx.save_for_backward(logits, probes)
        ctx.policy, ctx.block = policy, block
        return mask.to(logits.dtype) - 0.5 * probes.to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, probes = ctx.saved_tensors
        known, gains = logits[probes].float(), -gradients[0][probes].float()
        ctx.policy.gains[ctx.block] = (gains, known)
        result = torch.zeros_like(logits)
        result[probes] = (ctx.policy.weight * ranking_gradient(known, gains)).to(logits.dtype)
        return result, None, None, None, None


def logistic(like: Tensor, generator: torch.Generator) -> Tensor:
    """The difference of two Gumbel draws, for every element."""
    tiny = 1e-6
    uniform = torch.empty_like(like).uniform_(tiny, 1.0 - tiny, generator=generator)
    return uniform.log() - (-uniform).log1p()


@dataclass(frozen=True)
class Stochastic:
    """Draw each window's branch at random, with gradients to its score (training only).

    A hard Gumbel-softmax sample over two classes, straight-through: the value is 0 or 1, the
    gradient that of the soft sample (Jang et al., ICLR 2017). The difference of two Gumbel
    variables is logistic, so one logistic draw a window is enough.

    Attributes:
        generator: where the draws come from, on the logits' device.
        temperature: of the soft sample; lower is closer to 0/1.
        noise_on: "logits" is the textbook estimator. "probabilities" is what the public code does:
            it confines the chance of attention to [0.27, 0.73] whatever the predictor says, and is
            kept for comparison.

    Raises:
        ValueRangeError: `temperature` is not positive.
    """

    generator: torch.Generator
    temperature: float = 1.0
    noise_on: Literal["logits", "probabilities"] = "logits"
    everywhere: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.temperature > 0.0:
            raise ValueRangeError(f"temperature must be positive, got {self.temperature}")

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        noise = logistic(logits, self.generator)
        odds = logits if self.noise_on == "logits" else 2.0 * logits.sigmoid() - 1.0
        soft = ((odds + noise) / self.temperature).sigmoid()
        hard = (soft > 0.5).to(soft.dtype)
        return hard + (soft - soft.detach())
