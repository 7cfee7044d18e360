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

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.pools import Recording, Replayed
from camixersr.backends.protocol import Planes, Routed
from camixersr.inference.policies import Classified, LogOddsThreshold, cutoff
from camixersr.inference.sources import Source
from camixersr.inference.tiles import GRID, Beyond, cut, of_owned, owned
from camixersr.nn.pool import Pool, pool_image
from camixersr.nn.routing import Policy, TopShare

__all__ = [
    "RoutePiece",
    "Score",
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
"""Band above a measured threshold (`models.calibration.BAND`), in deviations of the sample's log-odds."""

RoutePiece = Callable[[Planes, Policy, Pool], Routed]
"""Routes a piece of the picture, 1 x 3 x h x w, and tells how."""

Score = Callable[[Planes], NDArray[np.float32]]
"""The first block's log-odds, 1 x N, of a piece of the picture."""


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
    logits: tuple[NDArray[np.float32], ...]
    classes: NDArray[np.int64] | None = None

    def at(self, share: float) -> LogOddsThreshold:
        """Thresholds that attend a share of the sample's windows."""
        spreads = (float(block.std(dtype=np.float64).astype(np.float32)) for block in self.logits)
        bands = tuple(RELATIVE_BAND * each for each in spreads)
        return LogOddsThreshold(tuple(cutoff(block, share) for block in self.logits), bands)


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
    route: RoutePiece,
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
        route: the network.
        source: the picture.
        policy: as asked for.
        window: side of a window, in low pixels.
        pool: the network's own; one over cells is kept as it is.

    Returns:
        A local policy and the pool.
    """
    share = policy.share if isinstance(policy, TopShare) and rounds(policy) > 1 else None
    over_all = pool is pool_image
    logits: tuple[NDArray[np.float32], ...] = ()
    classes: list[NDArray[np.int64]] = []
    for _ in range(rounds(policy)):
        sums: dict[int, NDArray[np.float64]] = {}
        scores: list[NDArray[np.float32]] = []
        total = 0
        for rows, columns in patches(source.height, source.width):
            means: dict[int, NDArray[np.float64]] = {}
            low = source.read(rows, columns)
            here = policy
            if isinstance(here, Classified):
                down = slice(rows.start // window, -(-rows.stop // window))
                across = slice(columns.start // window, -(-columns.stop // window))
                own = here.classes[down, across]
                here = here.inside(own)
                classes.append(own.reshape(1, -1))
            routed = route(low, here, Recording(pool, means) if over_all else pool)
            weight = low.shape[-2] * low.shape[-1]
            total += weight
            for block, mean in means.items():
                sums[block] = sums.get(block, 0.0) + weight * mean
            scores.append(routed.logits[:, 0])
        logits = tuple(np.concatenate(scores, axis=1))
        if over_all:
            pool = Replayed(tuple((sums[block] / total).astype(np.float32) for block in sorted(sums)))
        if share is not None:
            policy = Survey(policy, pool, logits).at(share)
    return Survey(policy, pool, logits, np.concatenate(classes, axis=1) if classes else None)


def allow_best(
    score: Score,
    source: Source,
    share: float,
    *,
    window: int,
    tile: int,
) -> NDArray[np.bool_]:
    """Which windows may be attended so that never more than `share` of all are, in any block.

    They are those that the first block scores best, over the whole picture; of equals, the earlier
    window. The first block's scores are local (they need 4 pixels around a window), and cost 2 % of
    the multiply-adds of S at ratio 0.

    Args:
        score: the network's first block.
        source: the picture.
        share: in [0, 1].
        window: side of a window, in low pixels.
        tile: low pixels a tile of this pass, as for `camixersr.inference.tiles.cut`.

    Returns:
        Rows x columns of windows; floor(share * rows * columns) of them are True.
    """
    scores = np.empty((-(-source.height // window), -(-source.width // window)), np.float32)
    for each in cut(source.height, source.width, tile, halo=GRID, beyond=Beyond.of(source.panorama)):
        scores[owned(each, window)] = of_owned(each, score(source.read(*each.computed)), window)
    allowed = np.zeros(scores.size, np.bool_)
    order = np.argsort(-scores, axis=None, kind="stable")
    allowed[order[: int(share * scores.size)]] = True
    return allowed.reshape(scores.shape)
