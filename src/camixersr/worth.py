"""What a router's choice is worth: PSNR with its own windows, and with others of the same number.

Scores that look right prove little: they may rank windows as their detail does, and attention may still
gain as much anywhere. So an image is enlarged several times. The network's own choice says how many
windows are attended in all. As many are then shared out evenly among blocks, and are random windows, those
of the lowest scores (inverted), and those of most detail. Random windows in the blocks of the network's
choice tell how much of its worth lies in the choice of blocks. Beside them stand no attention and all of
it: the dial.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import torch
from torch import Tensor

from camixersr.errors import ShapeError
from camixersr.metrics.fidelity import luma, psnr
from camixersr.models import Network
from camixersr.models.detail import window_detail
from camixersr.models.fixed import FixedWindows
from camixersr.models.network import pad_to_windows
from camixersr.nn.routing import Policy, Routing, TopShare
from camixersr.tensors import to_array

__all__ = ["DRAWS", "LEAST_DIAL", "SHARE_OF_DIAL", "Worth", "measure_worth", "ranked"]

DRAWS = 2
"""Random choices of windows that are averaged."""

LEAST_DIAL = 0.05
"""dB between no attention and all of it, below which attention is said not to pay."""

SHARE_OF_DIAL = 0.3
"""Share of the dial that chosen windows must give over random ones."""


@dataclass(frozen=True)
class Worth:
    """PSNR in dB by who is attended.

    Attributes:
        nothing: no window.
        own: those that the network chooses.
        random: as many, equally many in each block, drawn; the mean of `DRAWS` draws.
        blocks: as many in each block as the network chooses there, drawn; likewise.
        inverted: as many, equally many in each block, those of the lowest scores.
        detail: likewise, those of most local detail.
        everything: all windows.
    """

    nothing: float
    own: float
    random: float
    blocks: float
    inverted: float
    detail: float
    everything: float

    @property
    def dial(self) -> float:
        """What attention gives in all, dB."""
        return self.everything - self.nothing

    @property
    def choice(self) -> float:
        """What choosing gives over drawing, dB."""
        return self.own - self.random

    @property
    def pays(self) -> bool:
        """Whether attention gives something, and more where it was chosen to go."""
        return (
            self.dial >= LEAST_DIAL
            and self.choice >= SHARE_OF_DIAL * self.dial
            and self.inverted < self.random
        )

    @classmethod
    def mean(cls, several: Sequence["Worth"]) -> "Worth":
        """Over images.

        Raises:
            ShapeError: there are none.
        """
        if not several:
            raise ShapeError("expected the worth of one image at least, got none")
        return cls(*(fmean(getattr(each, field.name) for each in several) for field in fields(cls)))


def ranked(keys: Sequence[Tensor], counts: Sequence[int]) -> FixedWindows:
    """Attend, in each block, so many windows with the largest keys.

    Args:
        keys: for each block N numbers.
        counts: for each block how many.

    Returns:
        The policy, for one image.
    """
    masks: list[Tensor] = []
    for key, count in zip(keys, counts, strict=True):
        mask = torch.zeros(1, len(key), dtype=torch.bool, device=key.device)
        mask[0, key.argsort(descending=True, stable=True)[:count]] = True
        masks.append(mask)
    return FixedWindows(tuple(masks))


@torch.inference_mode()
def measure_worth(
    network: Network,
    low: Tensor,
    high: Tensor,
    policy: Policy,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Worth, Routing]:
    """Measure one image.

    Args:
        network: on the device of the images.
        low: 1 x 3 x H x W in [0, 1].
        high: 1 x 3 x sH x sW, the original.
        policy: of the network's own choice.
        seed: of the random windows.
        progress: told passes done and passes in all.

    Returns:
        PSNR on BT.601 luma, 8 bits, with a border of s pixels cropped (none at scale 1); and how the
        network itself routed.
    """
    scale = network.config.scale
    border = scale if scale > 1 else 0
    original = luma(to_array(high[0].cpu()))
    passes = 5 + 2 * DRAWS
    done = 0

    def score(result: Tensor) -> float:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, passes)
        return psnr(luma(to_array(result[0].cpu())), original, border=border)

    def with_windows(keys: Sequence[Tensor], counts: Sequence[int]) -> float:
        return score(network.route(low, ranked(keys, counts))[0])

    high_own, routing = network.route(low, policy)
    scores = [block.scores[0] for block in routing.blocks]
    counts = [int(block.attended[0].sum()) for block in routing.blocks]
    even = [(sum(counts) + number) // len(counts) for number in range(len(counts))]
    own = score(high_own)
    draw = torch.Generator().manual_seed(seed)
    drawn: list[list[float]] = []
    for numbers in (even, counts):
        drawn.append([])
        for _ in range(DRAWS):
            keys = [torch.rand(len(each), generator=draw).to(each.device) for each in scores]
            drawn[-1].append(with_windows(keys, numbers))
    detail = window_detail(pad_to_windows(low, network.config.window), network.config.window)[0]
    worth = Worth(
        nothing=score(network.route(low, TopShare(0.0))[0]),
        own=own,
        random=fmean(drawn[0]),
        blocks=fmean(drawn[1]),
        inverted=with_windows([-each for each in scores], even),
        detail=with_windows([detail] * len(scores), even),
        everything=score(network.route(low, TopShare(1.0))[0]),
    )
    return worth, routing
