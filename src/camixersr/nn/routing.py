"""Who decides which windows are attended, and the record of what was decided.

A block's predictor gives every window a log-odds of being worth attention. A *policy* turns those
numbers into a mask. Policies are values: they are handed into the network and carry all they need
(a share, thresholds, a generator), so the network itself has no mode and draws nothing at random.

A policy's mask is one of two kinds:

- bool: attention or convolution. Attention runs on the True windows only (gather, attend, scatter).
- floating point, between 0 and 1: the mask blends the branches, and attention runs where it is above
  0. `Threshold` fades a window in that has only just earned attention, so that a rounding difference
  in its score is one in its pixels and not another branch. In training the mask carries gradients:
  at a window <dL/dy, attention - convolution>, minus the *gain* of attending there, by how much
  attention lowers the loss. The backward pass computes it for free. `Stochastic` wants it at every
  window, so that both branches run everywhere, which is how the paper trains (section 3.2).

Differs from the paper's code: inference there takes its count from a fresh random mask averaged
over the batch, so that a picture's result changes from run to run and with its neighbours. Here
every image is routed by itself, and only `Stochastic`, for training, draws anything (decision 0002).
More policies for training are in `camixersr.train.policies`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from camixersr.errors import ShapeError, ValueRangeError

__all__ = [
    "BAND",
    "BlockRouting",
    "ExpectedCount",
    "FixedWindows",
    "OfImages",
    "Policy",
    "Routing",
    "Stochastic",
    "Threshold",
    "TopShare",
    "check_share",
    "fade",
    "log_odds",
    "logistic",
    "top",
]


@dataclass(frozen=True)
class BlockRouting:
    """What one block decided.

    Attributes:
        logits: B x N, log-odds of attention for every window.
        mask: B x N, bool or floating point in [0, 1].
    """

    logits: Tensor
    mask: Tensor

    @property
    def scores(self) -> Tensor:
        """Probability of attention of every window, B x N in [0, 1]."""
        return self.logits.sigmoid()

    @property
    def attended(self) -> Tensor:
        """Which windows went through attention, B x N bool."""
        return self.mask.detach() > 0.0


@dataclass(frozen=True)
class Routing:
    """What the whole network decided for one batch: one `BlockRouting` a block, first to last.

    Attributes:
        rows: windows down the (padded) image.
        columns: windows across it; N = rows * columns, counted row by row.
        blocks: one entry a block.
    """

    rows: int
    columns: int
    blocks: tuple[BlockRouting, ...]

    @property
    def attended(self) -> Tensor:
        """Blocks x B x N bool."""
        return torch.stack([block.attended for block in self.blocks])

    @classmethod
    def join(cls, routings: Sequence["Routing"]) -> "Routing":
        """Put the routings of single images together as one of a batch, in order."""
        blocks = tuple(
            BlockRouting(
                logits=torch.cat([block.logits for block in same]),
                mask=torch.cat([block.mask for block in same]),
            )
            for same in zip(*(routing.blocks for routing in routings), strict=True)
        )
        return cls(routings[0].rows, routings[0].columns, blocks)

    @property
    def attention_share(self) -> Tensor:
        """Share of windows attended, a mean over blocks, per image: B in [0, 1]."""
        return self.attended.double().mean(dim=(0, 2))


class Policy(Protocol):
    """Anything with this method can route.

    A policy that also has a true attribute `everywhere` gets attention run on every window,
    attended or not, for the sake of gradients.
    """

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """Choose windows.

        Args:
            logits: B x N log-odds of attention.
            block: the block's number, 0 at the input side.

        Returns:
            B x N mask: bool, or floating point in [0, 1] (see the module's text).
        """
        ...


@runtime_checkable
class OfImages(Policy, Protocol):
    """A policy that knows the images of its batch one by one."""

    def of_image(self, number: int) -> Policy:
        """The policy of one image of the batch."""
        ...


def check_share(share: float) -> None:
    """Raise `ValueRangeError` unless a share lies in [0, 1]."""
    if not 0.0 <= share <= 1.0:
        raise ValueRangeError(
            f"attention ratio must lie in [0, 1], got {share}; 0 is pure convolution, 1 pure attention"
        )


def top(logits: Tensor, count: Tensor) -> Tensor:
    """Mark the `count` (B) highest of every row of B x N; of equals, the earlier window wins."""
    order = logits.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(logits.shape[1], device=logits.device).expand_as(order)
    )
    return rank < count[:, None]


@dataclass(frozen=True)
class TopShare:
    """Attend the best-scored `share` of every image's windows, in every block.

    The count is share * N rounded to the nearest integer (halves up), so 0 attends nothing and 1
    everything, and the same holds for an image alone or in a batch.

    Attributes:
        share: gamma in [0, 1].

    Raises:
        ValueRangeError: `share` lies outside [0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        check_share(self.share)

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        B, N = logits.shape
        count = int(self.share * N + 0.5)
        if count in (0, N):
            return torch.full((B, N), count == N, dtype=torch.bool, device=logits.device)
        return top(logits, torch.full((B,), count, device=logits.device))


BAND = 0.25
"""How far above its threshold a window is attended in full, in log-odds.

Ten times less than the deviation of log-odds within a photograph, and more than what tiling changes
of them (at most 0.2, decision 0004).
"""


def fade(logits: Tensor, threshold: float, band: float) -> Tensor:
    """Attend from a threshold up: a little just above it, in full from `band` above it.

    Args:
        logits: log-odds of attention, any shape.
        threshold: log-odds; -inf attends everything in full, inf nothing.
        band: in log-odds; 0 is a step: in full from the threshold itself.

    Returns:
        A mask of the same shape: bool for a step, else floating point in [0, 1].
    """
    if band == 0.0:
        return logits >= threshold
    return ((logits - threshold) / band).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Threshold:
    """Attend every window whose score lies above its block's threshold.

    The decision is local: a window's neighbours, its tile and its batch do not matter. Thresholds
    calibrated on photographs make the share an average over photographs.

    Attributes:
        thresholds: one score in [0, 1] for each block; 0 attends all windows of a block, and 1 (or
            anything above) none.
        band: windows less than this above the threshold, in log-odds, blend both branches.

    Raises:
        ValueRangeError: `band` is negative.
    """

    thresholds: tuple[float, ...]
    band: float = BAND

    def __post_init__(self) -> None:
        if not self.band >= 0.0:
            raise ValueRangeError(f"band must not be negative, got {self.band}")

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        if block >= len(self.thresholds):
            raise ShapeError(
                f"expected one threshold a block, got {len(self.thresholds)} and no threshold for "
                f"block {block}; calibrate the thresholds with this network"
            )
        return fade(logits, log_odds(self.thresholds[block]), self.band)


def log_odds(score: float) -> float:
    """Of a score; scores at or beyond the ends of [0, 1] have infinite ones."""
    if not 0.0 < score < 1.0:
        return math.inf if score >= 1.0 else -math.inf
    return math.log(score / (1.0 - score))


@dataclass(frozen=True)
class FixedWindows:
    """Attend exactly the given windows: replay a routing, or route by hand.

    Attributes:
        masks: for each block a tensor B x N, bool or floating point in [0, 1].
    """

    masks: tuple[Tensor, ...]

    @classmethod
    def replay(cls, routing: Routing) -> "FixedWindows":
        """Repeat what `routing` recorded."""
        return cls(tuple(block.mask.detach() for block in routing.blocks))

    def of_image(self, number: int) -> "FixedWindows":
        """The masks of one image of the batch."""
        return FixedWindows(tuple(mask[number : number + 1] for mask in self.masks))

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        if block >= len(self.masks) or self.masks[block].shape != logits.shape:
            given = tuple(self.masks[block].shape) if block < len(self.masks) else "nothing"
            raise ShapeError(
                f"expected a mask of shape {tuple(logits.shape)} for block {block}, got {given}; "
                "give one B x N mask for each block of the network"
            )
        return self.masks[block].to(logits.device)


@dataclass(frozen=True)
class ExpectedCount:
    """The paper's inference without its dice: K = floor(N * 2 * gamma * mean(sigma(p0 - p1))).

    The public code attends the K best-scored windows of a block, with K taken from the mean of a
    random Gumbel mask; sigma(p0 - p1) is that mask's expectation (the noise is added to the
    probabilities p0 and p1 = 1 - p0). gamma = 1 attends everything, as there. A block's count thus
    depends on its scores: some blocks attend much, others little.

    Attributes:
        share: gamma in [0, 1].

    Raises:
        ValueRangeError: `share` lies outside [0, 1].
    """

    share: float

    def __post_init__(self) -> None:
        check_share(self.share)

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        N = logits.shape[1]
        if self.share == 1.0:
            return torch.ones_like(logits, dtype=torch.bool)
        expected = (2.0 * logits.double().sigmoid() - 1.0).sigmoid().mean(dim=1)
        return top(logits, (N * 2.0 * self.share * expected).floor().clamp(max=N))


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
