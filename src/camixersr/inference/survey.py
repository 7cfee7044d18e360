"""A quick look at the whole picture before its tiles: what every tile must know of the others.

Two things in the network are not local. Channel attention pools over the image; and a share of all
windows (`TopShare`, `--max-share`) compares them with each other. Both are settled here once, from a
fixed sample of small patches or from the first block's scores, and handed to every tile, so that
tiles agree and a plain one spends less than a busy one (decision 0004).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.image.panorama import Panorama
from camixersr.inference.tiles import GRID, Beyond, Tile, cut, of_owned, owned
from camixersr.models.classsr import PATCH as CLASSIFIED
from camixersr.models.classsr import PatchClassifier, windows_of
from camixersr.nn.predictor import Pool, Pooled, pool_image
from camixersr.nn.routing import ByClass, Policy, Routing, TopShare, fade

__all__ = [
    "Allowed",
    "Classified",
    "LogOddsThreshold",
    "Look",
    "Plan",
    "Recording",
    "Replayed",
    "Source",
    "Survey",
    "allow_best",
    "classify",
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

STRIP = 1 << 20
"""About how many low pixels are classified at once."""


class Source(Protocol):
    """A low picture that can be read in pieces."""

    @property
    def height(self) -> int:
        """Low pixels."""
        ...

    @property
    def width(self) -> int:
        """Low pixels."""
        ...

    @property
    def panorama(self) -> Panorama | None:
        """What it shows of a sphere; None for a flat picture."""
        ...

    def read(self, rows: slice, columns: slice) -> Tensor:
        """1 x 3 x h x w float32 RGB in [0, 1]; with the cosine of the latitude where it is wanted."""
        ...


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
class Allowed:
    """Another policy, inside a fixed set of windows."""

    policy: Policy
    allowed: Tensor  # 1 x N bool

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `Policy.choose`."""
        chosen = self.policy.choose(logits, block)
        return chosen * self.allowed.to(chosen)


@dataclass(frozen=True)
class Classified:
    """A policy for each class, and the class of every window of a picture.

    Attributes:
        policies: one a class, each local.
        classes: rows x columns of windows, int64.
    """

    policies: tuple[Policy, ...]
    classes: NDArray[np.int64]

    def inside(self, windows: NDArray[np.int64]) -> ByClass:
        """The policy for a piece of the picture, whose windows have these classes."""
        return ByClass(self.policies, torch.from_numpy(np.ascontiguousarray(windows)).reshape(1, -1))


@dataclass(frozen=True)
class _Each:
    """A policy of its own for every image of a batch."""

    policies: tuple[Policy, ...]

    def choose(self, logits: Tensor, block: int) -> Tensor:
        own = zip(self.policies, logits.split(1), strict=True)
        return torch.cat([policy.choose(row, block) for policy, row in own])


@dataclass(frozen=True)
class _OwnedMean:
    """The paper's pool over what a tile owns: what its halo repeats does not count twice."""

    tile: Tile

    def __call__(self, features: Tensor, block: int) -> Pooled:
        rows, columns = self.tile.rows, self.tile.columns
        top, left = rows.own_start - rows.start, columns.own_start - columns.start
        mean = features[:, top : top + rows.owned, left : left + columns.owned].mean((1, 2), keepdim=True)
        return Pooled(mean, (features.shape[1],))


@dataclass(frozen=True)
class _OwnedShare:
    """Attend the best share of the windows that a tile owns; its halo's go by the same threshold."""

    tile: Tile
    share: float
    window: int

    def choose(self, logits: Tensor, block: int) -> Tensor:
        own = of_owned(self.tile, logits, self.window).flatten()
        best = own[TopShare(self.share).choose(own[None], block)[0]]
        return logits >= (best.min() if len(best) else math.inf)


@dataclass(frozen=True)
class Survey:
    """What a sample tells of the picture.

    Attributes:
        policy: local: a window's decision depends on its own score (and class) alone.
        pool: every block's pooled features.
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


@dataclass(frozen=True)
class Plan:
    """How every tile of one picture is computed.

    Attributes:
        height: low pixels.
        width: low pixels.
        tiles: in order, row by row.
        policy: who routes, by class where the model has classes.
        pool: what channel attention knows.
        window: side of a window, in low pixels.
        allowed: rows x columns of windows that may be attended; None for all.
        panorama: what the picture shows of a sphere; None for a flat one.
    """

    height: int
    width: int
    tiles: tuple[Tile, ...]
    policy: Policy | Classified
    pool: Pool
    window: int = GRID
    allowed: NDArray[np.bool_] | None = None
    panorama: Panorama | None = None

    def policy_of(self, tile: Tile) -> Policy:
        """The policy for one tile, whose windows know where in the picture they are."""
        policy = self.policy
        if isinstance(policy, Classified):
            policy = policy.inside(self._windows(policy.classes, tile))
        elif self.panorama is not None and isinstance(policy, TopShare):
            policy = _OwnedShare(tile, policy.share, self.window)
        if self.allowed is None:
            return policy
        part = self._windows(self.allowed, tile)
        return Allowed(policy, torch.from_numpy(np.ascontiguousarray(part)).reshape(1, -1))

    def _windows(self, grid: NDArray[Any], tile: Tile) -> NDArray[Any]:
        """What a grid, rows x columns of the picture's windows, says of a tile's."""
        M = self.window
        rows = range(tile.rows.start // M, -(-tile.rows.stop // M))
        columns = range(tile.columns.start // M, -(-tile.columns.stop // M))
        if self.panorama is None:
            return grid[rows.start : rows.stop, columns.start : columns.stop]
        # a window beyond an edge is treated as the one in the picture that has its middle
        middles = [self.panorama.fold((r + 0.5) * M, (c + 0.5) * M) for r in rows for c in columns]
        return np.array([grid[int(row / M), int(column / M)] for row, column in middles])

    def pool_of(self, tile: Tile) -> Pool:
        """What channel attention knows of the picture while one tile is computed."""
        if self.panorama is not None and self.pool is pool_image:
            return _OwnedMean(tile)
        return self.pool

    def policy_of_batch(self, tiles: Sequence[Tile]) -> Policy:
        """The policy for tiles that are computed together, in order."""
        policies = tuple(self.policy_of(tile) for tile in tiles)
        return policies[0] if all(each is policies[0] for each in policies) else _Each(policies)


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


def classify(
    classifier: PatchClassifier, source: Source, *, window: int, device: torch.device
) -> NDArray[np.int64]:
    """Find the class of every window of a picture.

    Args:
        classifier: on `device`.
        source: the picture, read in strips.
        window: side of a window, in low pixels.
        device: where to compute.

    Returns:
        Rows x columns of windows.
    """
    step = max(1, STRIP // (CLASSIFIED * source.width)) * CLASSIFIED
    strips: list[Tensor] = []
    for top in range(0, source.height, step):
        low = source.read(slice(top, min(source.height, top + step)), slice(0, source.width))
        strips.append(classifier.classes(low[:, :3].to(device)).cpu())
    rows, columns = (-(-length // window) for length in (source.height, source.width))
    windows = windows_of(torch.cat(strips, dim=1), rows, columns, window)
    return windows.reshape(rows, columns).numpy()


def rounds(policy: Policy | Classified) -> int:
    """How often `survey` looks at each patch."""
    return 2 if isinstance(policy, TopShare) and 0.0 < policy.share < 1.0 else 1


def survey(look: Look, source: Source, policy: Policy | Classified, *, window: int = GRID) -> Survey:
    """Sample the picture.

    Each patch is computed alone; the mean of their pools estimates the picture's, and a share of
    each patch's windows becomes, in two rounds, thresholds that attend that share of the sample.

    Args:
        look: the network.
        source: the picture.
        policy: as asked for.
        window: side of a window, in low pixels.

    Returns:
        A local policy and the pool.
    """
    share = policy.share if isinstance(policy, TopShare) and rounds(policy) > 1 else None
    pool: Pool = pool_image
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
            routing = look(low, here, Recording(pool, means))
            weight = low.shape[-2] * low.shape[-1]
            total += weight
            for block, mean in means.items():
                sums[block] = sums.get(block, torch.zeros(())) + weight * mean
            scores.append([block.logits.flatten().float().cpu() for block in routing.blocks])
        logits = tuple(torch.cat(block) for block in zip(*scores, strict=True))
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
