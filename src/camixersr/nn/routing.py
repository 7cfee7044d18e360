"""Who decides which windows are attended, and the record of what was decided.

A block's predictor gives every window a log-odds of being worth attention. A *policy* turns those
numbers into a mask. Policies are values: they are handed into the network and carry all they need
(a share, thresholds, a generator), so the network itself has no mode and draws nothing at random.

A policy's mask is one of two kinds:

- bool: attention or convolution. Attention runs on the True windows only (gather, attend, scatter).
- floating point, between 0 and 1: the mask blends the branches, and attention runs where it is above
  0. In training it carries gradients: at a window <dL/dy, attention - convolution>, minus the *gain* of
  attending there, by how much attention lowers the loss. The backward pass computes it for free.

Differs from the paper's code: inference there takes its count from a fresh random mask averaged
over the batch, so that a picture's result changes from run to run and with its neighbours. Here every
image is routed by itself, and nothing is drawn (decision 0002). Calibrated thresholds are in
`camixersr.models.calibration`, what training draws is in `camixersr.train.policies`.
Nothing here loads torch: `TopShare` takes arrays as well, for backends that have no tensors.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from camixersr.errors import ValueRangeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BlockRouting",
    "ExpectedCount",
    "Policy",
    "Routing",
    "TopShare",
    "check_share",
    "top",
]


@dataclass(frozen=True)
class BlockRouting:
    """What one block decided.

    Attributes:
        logits: B x N, log-odds of attention for every window.
        mask: B x N, bool or floating point in [0, 1].
    """

    logits: "Tensor"
    mask: "Tensor"

    @property
    def scores(self) -> "Tensor":
        """Probability of attention of every window, B x N in [0, 1]."""
        return self.logits.sigmoid()

    @property
    def attended(self) -> "Tensor":
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
    def attended(self) -> "Tensor":
        """Blocks x B x N bool."""
        import torch

        return torch.stack([block.attended for block in self.blocks])

    @property
    def attention_share(self) -> "Tensor":
        """Share of windows attended, a mean over blocks, per image: B in [0, 1]."""
        return self.attended.double().mean(dim=(0, 2))


class Policy(Protocol):
    """Anything with this method can route.

    A policy that also has a true attribute `everywhere` gets attention run on every window,
    attended or not, for the sake of gradients.
    """

    def choose(self, logits: "Tensor", block: int) -> "Tensor":
        """Choose windows.

        Args:
            logits: B x N log-odds of attention.
            block: the block's number, 0 at the input side.

        Returns:
            B x N mask: bool, or floating point in [0, 1] (see the module's text).
        """
        ...


def check_share(share: float) -> None:
    """Raise `ValueRangeError` unless a share lies in [0, 1]."""
    if not 0.0 <= share <= 1.0:
        raise ValueRangeError(
            f"attention ratio must lie in [0, 1], got {share}; 0 is pure convolution, 1 pure attention"
        )


def top(logits: Any, count: Any) -> Any:
    """Mark the highest of every row of B x N; of equals, the earlier window wins.

    Args:
        logits: tensor or array.
        count: how many, a number or B x 1.

    Returns:
        B x N bool.
    """
    rank = (-logits).argsort(stable=True).argsort(stable=True)
    return rank < count


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

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        return top(logits, int(self.share * logits.shape[1] + 0.5))


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

    def choose(self, logits: "Tensor", block: int) -> "Tensor":
        """See `Policy.choose`."""
        N = logits.shape[1]
        if self.share == 1.0:
            return top(logits, N)
        expected = (2.0 * logits.double().sigmoid() - 1.0).sigmoid().mean(dim=1, keepdim=True)
        return top(logits, (N * 2.0 * self.share * expected).floor().clamp(max=N))
