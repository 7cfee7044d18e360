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
  attention lowers the loss. The backward pass computes it for free. `Explore` learns its scores from
  it; `Stochastic` wants it at every window, so that both branches run everywhere, which is how the
  paper trains (section 3.2).

Differs from the paper's code: inference there takes its count from a fresh random mask averaged
over the batch, so that a picture's result changes from run to run and with its neighbours. Here
every image is routed by itself; only the training policies, `Stochastic` and `Explore`, draw
anything or look at the whole batch (decision 0002).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from camixersr.errors import ShapeError, ValueRangeError

__all__ = [
    "BAND",
    "BlockRouting",
    "ByClass",
    "Calibration",
    "ExpectedCount",
    "Explore",
    "FixedWindows",
    "Policy",
    "Routing",
    "Stochastic",
    "Threshold",
    "TopShare",
    "fade",
    "log_odds",
    "ranking_gradient",
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


def _check_share(share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueRangeError(
            f"attention ratio must lie in [0, 1], got {share}; 0 is pure convolution, 1 pure attention"
        )


def _top(logits: Tensor, count: Tensor) -> Tensor:
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
        _check_share(self.share)

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        B, N = logits.shape
        count = int(self.share * N + 0.5)
        if count in (0, N):
            return torch.full((B, N), count == N, dtype=torch.bool, device=logits.device)
        return _top(logits, torch.full((B,), count, device=logits.device))


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
class ByClass:
    """Let the class of a window decide who routes it (`camixersr.models.classsr`).

    Each policy sees the windows of its own class only, image by image: a `TopShare` is a share of
    these.

    Attributes:
        policies: one a class.
        classes: B x N int64, the class of every window: an index into `policies`.
    """

    policies: tuple[Policy, ...]
    classes: Tensor

    def of_image(self, number: int) -> "ByClass":
        """The classes of one image of the batch."""
        return ByClass(self.policies, self.classes[number : number + 1])

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        if self.classes.shape != logits.shape:
            raise ShapeError(
                f"expected the classes of {tuple(logits.shape)} windows, got {tuple(self.classes.shape)}; "
                "give one class for each window of each image"
            )
        classes = self.classes.to(logits.device)
        parts: list[tuple[Tensor, Tensor]] = []
        for image in range(len(logits)):
            for number, policy in enumerate(self.policies):
                own = (classes[image] == number).nonzero().squeeze(1)
                if len(own):
                    chosen = policy.choose(logits[image : image + 1, own], block)[0]
                    parts.append((image * logits.shape[1] + own, chosen))
        # one that blends makes all floating point
        floating = any(chosen.dtype != torch.bool for _, chosen in parts)
        mask = torch.zeros_like(logits, dtype=logits.dtype if floating else torch.bool).flatten()
        for where, chosen in parts:
            mask = mask.index_copy(0, where, chosen.to(mask.dtype))
        return mask.view_as(logits)


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
        _check_share(self.share)

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        N = logits.shape[1]
        if self.share == 1.0:
            return torch.ones_like(logits, dtype=torch.bool)
        expected = (2.0 * logits.double().sigmoid() - 1.0).sigmoid().mean(dim=1)
        return _top(logits, (N * 2.0 * self.share * expected).floor().clamp(max=N))


def _logistic(like: Tensor, generator: torch.Generator) -> Tensor:
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
        noise = _logistic(logits, self.generator)
        odds = logits if self.noise_on == "logits" else 2.0 * logits.sigmoid() - 1.0
        soft = ((odds + noise) / self.temperature).sigmoid()
        hard = (soft > 0.5).to(soft.dtype)
        return hard + (soft - soft.detach())


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
    the slope at full attention is too low, most of all where there is detail (docs/training.md).
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
        _check_share(self.share)
        if self.temperature < 0.0 or self.weight < 0.0 or not 0.0 <= self.probes <= 1.0:
            raise ValueRangeError(
                "expected temperature and weight not below 0 and probes in [0, 1], got "
                f"{self.temperature}, {self.weight} and {self.probes}"
            )

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        odds = logits.detach().float()
        odds = (odds - odds.mean()) / odds.std(correction=0).clamp(min=1e-6)
        odds = odds + self.temperature * _logistic(odds, self.generator)
        count = int(self.share * odds.numel() + 0.5)
        mask = _top(odds.reshape(1, -1), torch.tensor([count], device=odds.device)).view_as(logits)
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


@dataclass(frozen=True)
class Calibration:
    """Thresholds of every block that attend a wanted share, on average over photographs.

    Attributes:
        ratios: ascending attention ratios in (0, 1) at which thresholds were measured.
        thresholds: for each ratio, one score a block.

    Raises:
        ShapeError: the two do not match.
    """

    ratios: tuple[float, ...]
    thresholds: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if (
            not self.ratios
            or len(self.ratios) != len(self.thresholds)
            or len({len(row) for row in self.thresholds}) != 1
            or list(self.ratios) != sorted(self.ratios)
        ):
            raise ShapeError("expected ascending ratios and, for each, one threshold a block")

    def at(self, ratio: float) -> Policy:
        """The policy for an attention ratio; between two measured ones, interpolated linearly.

        Args:
            ratio: gamma in [0, 1]. 0 and 1 are exact: nothing and everything.

        Raises:
            ValueRangeError: `ratio` lies outside [0, 1].
        """
        _check_share(ratio)
        if ratio in (0.0, 1.0):
            return TopShare(ratio)
        blocks = len(self.thresholds[0])
        known = [0.0, *self.ratios, 1.0]
        rows = [(1.0,) * blocks, *self.thresholds, (0.0,) * blocks]
        after = next(i for i, value in enumerate(known) if value >= ratio)
        part = (ratio - known[after - 1]) / (known[after] - known[after - 1])
        return Threshold(
            tuple(low + part * (high - low) for low, high in zip(rows[after - 1], rows[after], strict=True))
        )
