"""Find the thresholds that make an attention ratio an average over photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr.image.degradation import Degradation
from camixersr.image.resize import resize
from camixersr.models import Trainable
from camixersr.models.calibration import Calibration
from camixersr.nn.routing import TopShare
from camixersr.tensors import from_array
from camixersr.train.allotment import measure_allotment

__all__ = ["RATIOS", "calibrate"]

RATIOS = (0.1, 0.25, 0.4, 0.5, 0.6, 0.75, 0.9)


@torch.no_grad()
def calibrate(
    network: Trainable,
    photos: Sequence[NDArray[np.uint8]],
    *,
    side: int = 96,
    degradation: Degradation | None = None,
) -> Calibration:
    """Measure every block's quantiles of scores over photographs.

    Blocks share a ratio out by what attention is worth in them (`camixersr.train.allotment`). Later blocks
    see what earlier blocks' routing made, so each ratio is measured under a routing that attends these
    shares of every photograph.

    Args:
        network: whose blocks to calibrate.
        photos: H x W x 3 uint8 RGB, reduced here by the network's scale; from each the middle is used.
        side: of that middle, in low pixels.
        degradation: what the network undoes: each photograph suffers another amount of it.

    Returns:
        Thresholds at `RATIOS`.
    """
    device = next(network.parameters()).device
    scale = network.config.scale
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for number, photo in enumerate(photos):
        height, width = (min(side, length // scale) for length in photo.shape[:2])
        row = (photo.shape[0] - height * scale) // 2
        column = (photo.shape[1] - width * scale) // 2
        middle = photo[row : row + height * scale, column : column + width * scale]
        small = resize(middle, height=height, width=width)
        if degradation is not None:
            small = degradation.apply(small, degradation.at(number / max(1, len(photos) - 1)), seed=number)
        pairs.append((small, middle))
    allotment = measure_allotment(network, pairs)
    crops = [from_array(low)[None].to(device) for low, _ in pairs]
    thresholds: list[tuple[float, ...]] = []
    for ratio in RATIOS:
        shares = allotment.shares(ratio).tolist()
        scores: list[list[torch.Tensor]] = [[] for _ in range(network.block_count)]
        for low in crops:
            _, routing = network.route(low, _Shares(shares))
            for number, block in enumerate(routing.blocks):
                scores[number].append(block.scores.flatten())
        thresholds.append(
            tuple(
                round(_threshold(torch.cat(block), share), 5)
                for block, share in zip(scores, shares, strict=True)
            )
        )
    return Calibration(RATIOS, tuple(thresholds))


@dataclass(frozen=True)
class _Shares:
    """Of every image's windows the best-scored share, another one in each block."""

    shares: Sequence[float]

    def choose(self, logits: torch.Tensor, block: int) -> torch.Tensor:
        """See `camixersr.nn.routing.Policy.choose`."""
        return TopShare(self.shares[block]).choose(logits, block)


def _threshold(scores: torch.Tensor, share: float) -> float:
    """From which score a share of windows is attended; exactly all or none at 1 and 0."""
    return 1.0 - share if share in (0.0, 1.0) else float(scores.quantile(1.0 - share))
