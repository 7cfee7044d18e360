"""A first look at a picture before its tiles, where they must know of each other.

The authors' networks pool channel attention over the whole image, which no tile sees; and a share of
all windows (`TopShare`, `--max-share`) compares them with each other. Both are settled here once, from
a fixed sample of small patches or from the first block's scores, and handed to every tile, so that
tiles agree and a plain one spends less than a busy one (decision 0004). A network that pools over
cells, with thresholds, needs no such look.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.inference.plan import Classified, Source
from camixersr.inference.tiles import GRID, Beyond, cut, of_owned, owned
from camixersr.nn.predictor import Pool, Pooled, pool_image
from camixersr.nn.routing import Policy, Routing, TopShare, fade

__all__ = [
    "LogOddsThreshold",
    "Look",
    "Recording",
    "Replayed",
    "Survey",
    "allow_best",
    "is_needed",
    "patches",
    "rounds",
    "survey",
]

PATCH = 64
"""Side of a sampled patch, in low pixels."""

MOST_PATCHES = 48
"""Patches sampled of a large picture: beyond, the estimate improves no more than it costs."""

PORTION = 0.125
"""Part of a smaller picture that is sampled."""

RELATIVE_BAND = 0.1
"""Band above a measured threshold (`camixersr.nn.routing.BAND`), in deviations of the sample's log-odds."""

Look = Callable[[Tensor, Policy, Pool], Routing]
"""Routes a piece of the picture, 1 x 3 x h x w, and tells how."""


@dataclass(frozen=True)
class Replayed:
    """A pool that hands in what was measured: for each block 1 x 1 x 1 x c."""

    means: tuple[Tensor, ...]

    def __call__(self, features: Tensor, block: int) -> Pooled:
        """See `Pool.__call__`."""
        return Pooled(self.means[block].to(features), (features.shape[1],))


@dataclass(frozen=True)
class Recording:
    """A pool that notes each block's own mean and hands in another's."""

    inner: Pool
    means: dict[int, Tensor]

    def __call__(self, features: Tensor, block: int) -> Pooled:
        """See `Pool.__call__`."""
        self.means[block] = pool_image(features, block).means.cpu().double()
        return self.inner(features, block)


@dataclass(frozen=True)
class LogOddsThreshold:
    """Attend from a log-odds up; `Threshold` on scores saturates where a checkpoint's are near 1."""

    thresholds: tuple[float, ...]
    bands: tuple[float, ...]

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        return fade(logits, self.thresholds[block], self.bands[block])


@dataclass(frozen=True)
class Survey:
    """What a sample tells of the picture.

    Attributes:
        policy: local: a window's decision depends on its own score (and class) alone.
        pool: what channel attention knows.
        logits: for each block the log-odds of all windows of the sample.
        classes: of the sample's windows, 1 x N int64; None where there are none.
    """

    policy: Policy | Classified
    pool: Pool
    logits: tuple[Tensor, ...]
    classes: Tensor | None = None

    def share(self, policy: Policy) -> float:
        """Share of the sample's windows that another policy would attend, given these scores."""
        chosen = [policy.choose(block[None], number) for number, block in enumerate(self.logits)]
        return float((torch.cat(chosen, dim=1) > 0.0).double().mean())


def patches(height: int, width: int) -> list[tuple[slice, slice]]:
    """Where to look: patches of at most `PATCH` a side, in even rows, on the window grid.

    Args:
        height: low pixels.
        width: low pixels.

    Returns:
        Rows and columns of each; they do not overlap.
    """
    wanted = min(MOST_PATCHES, max(1, round(height * width * PORTION / PATCH**2)))
    down = min(max(1, round(math.sqrt(wanted * height / width))), max(1, height // PATCH))
    across = min(max(1, round(wanted / down)), max(1, width // PATCH))

    def places(length: int, count: int) -> list[slice]:
        cell = length / count
        starts = [max(0, int((i + 0.5) * cell - PATCH / 2)) // GRID * GRID for i in range(count)]
        return [slice(start, min(length, start + PATCH)) for start in starts]

    return [(rows, columns) for rows in places(height, down) for columns in places(width, across)]


def is_needed(policy: Policy | Classified, pool: Pool) -> bool:
    """Whether tiles must be told what a survey finds: the image's pool, or thresholds for a share."""
    return pool is pool_image or rounds(policy) > 1


def rounds(policy: Policy | Classified) -> int:
    """How often `survey` looks at each patch."""
    return 2 if isinstance(policy, TopShare) and 0.0 < policy.share < 1.0 else 1


def survey(
    look: Look,
    source: Source,
    policy: Policy | Classified,
    *,
    window: int = GRID,
    pool: Pool = pool_image,
) -> Survey:
    """Sample the picture.

    Each patch is computed alone; the mean of their pools estimates the picture's, and a share of
    each patch's windows becomes, in two rounds, thresholds that attend that share of the sample.

    Args:
        look: the network.
        source: the picture.
        policy: as asked for.
        window: side of a window, in low pixels.
        pool: the network's own; one over cells is kept as it is.

    Returns:
        A local policy and the pool.
    """
    share = policy.share if isinstance(policy, TopShare) and rounds(policy) > 1 else None
    over_all = pool is pool_image
    logits: tuple[Tensor, ...] = ()
    classes: list[Tensor] = []
    for _ in range(rounds(policy)):
        sums: dict[int, Tensor] = {}
        scores: list[list[Tensor]] = []
        total = 0
        for rows, columns in patches(source.height, source.width):
            means: dict[int, Tensor] = {}
            low = source.read(rows, columns)
            here = policy
            if isinstance(here, Classified):
                down = slice(rows.start // window, -(-rows.stop // window))
                across = slice(columns.start // window, -(-columns.stop // window))
                here = here.inside(here.classes[down, across])
                classes.append(here.classes)
            routing = look(low, here, Recording(pool, means) if over_all else pool)
            weight = low.shape[-2] * low.shape[-1]
            total += weight
            for block, mean in means.items():
                sums[block] = sums.get(block, torch.zeros(())) + weight * mean
            scores.append([block.logits.flatten().float().cpu() for block in routing.blocks])
        logits = tuple(torch.cat(block) for block in zip(*scores, strict=True))
        if over_all:
            pool = Replayed(tuple((sums[block] / total).float() for block in sorted(sums)))
        if share is not None:
            policy = LogOddsThreshold(
                tuple(_cutoff(block, share) for block in logits),
                tuple(RELATIVE_BAND * float(block.std(correction=0)) for block in logits),
            )
    return Survey(policy, pool, logits, torch.cat(classes, dim=1) if classes else None)


def _cutoff(logits: Tensor, share: float) -> float:
    """The log-odds that `share` of these reach: between the last attended and the first that is not."""
    ordered = logits.double().sort(descending=True).values
    count = int(share * len(ordered) + 0.5)
    if count == 0:
        return math.inf
    if count == len(ordered):
        return -math.inf
    return float(ordered[count - 1 : count + 1].mean())


class _ScoredError(Exception):
    """The first block's scores are known, and nothing more is wanted."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__("scored")
        self.logits = logits


@dataclass(frozen=True)
class _FirstScores:
    """A policy that ends the computation when it is first asked."""

    def choose(self, logits: Tensor, block: int) -> NoReturn:
        raise _ScoredError(logits)


def allow_best(
    look: Look,
    source: Source,
    share: float,
    *,
    window: int,
    tile: int,
    tick: Callable[[], None] = lambda: None,
) -> NDArray[np.bool_]:
    """Which windows may be attended so that never more than `share` of all are, in any block.

    They are those that the first block scores best, over the whole picture; of equals, the earlier
    window. The first block's scores are local (they need 4 pixels around a window), and cost 2 % of
    the multiply-adds of S at ratio 0.

    Args:
        look: the network.
        source: the picture.
        share: in [0, 1].
        window: side of a window, in low pixels.
        tile: low pixels a tile of this pass, as for `camixersr.inference.tiles.plan`.
        tick: called after each tile.

    Returns:
        Rows x columns of windows; floor(share * rows * columns) of them are True.
    """
    scores = np.empty((-(-source.height // window), -(-source.width // window)), np.float32)
    for each in cut(source.height, source.width, tile, halo=GRID, beyond=Beyond.of(source.panorama)):
        low = source.read(*each.computed)
        try:
            look(low, _FirstScores(), pool_image)
        except _ScoredError as scored:
            logits = scored.logits.float().cpu().numpy()
        else:
            raise AssertionError("a network has at least one block")
        scores[owned(each, window)] = of_owned(each, logits, window)
        tick()
    allowed = np.zeros(scores.size, np.bool_)
    order = np.argsort(-scores, axis=None, kind="stable")
    allowed[order[: int(share * scores.size)]] = True
    return allowed.reshape(scores.shape)
