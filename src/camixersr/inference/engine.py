"""What computes a piece of a picture: the network in torch, or a graph that a runtime runs.

`Upscaler` asks its engine first. A graph was compiled beforehand and cannot call back: it is told by
numbers which windows to attend (`Orders`) and answers with numbers. A policy or pool that cannot be put
in numbers (only the survey has such) is answered with None, and the torch network computes instead.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.inference.cost import Reporting
from camixersr.inference.plan import Allowed
from camixersr.inference.survey import LogOddsThreshold, Recording, Replayed
from camixersr.models.camixersr import CAMixerSR, pad_to_windows
from camixersr.nn.predictor import Pool, PoolCells, pool_image
from camixersr.nn.routing import BlockRouting, FixedWindows, Policy, Routing, Threshold, TopShare, log_odds
from camixersr.weights import Model

__all__ = [
    "FAR",
    "Answer",
    "Engine",
    "Footprint",
    "GraphEngine",
    "Orders",
    "enter_in_strips",
    "leave_in_strips",
    "orders",
]

FAR = 1e30
"""Stands for infinity in `Orders`: infinity times zero would be NaN."""

Array = NDArray[np.float32]


class Footprint(NamedTuple):
    """Memory that a computation takes at its peak.

    Attributes:
        maps: feature maps of C channels that are alive, in fp32.
        planes: single channels beside them: the tail's output, offsets, addresses of the warp.
        fixed: bytes that do not depend on the size: buffers, code, the allocator's slack.
    """

    maps: int
    planes: int
    fixed: int = 64 * 2**20


STRIP = 64
"""Rows of features that the network's ends compute at once, so that their maps stay in the cache: the
last layers take 0.33 microseconds a low pixel instead of 0.89 for 960 x 540."""

UNKNOWN = Footprint(34, 1000)
"""Of a runtime that was not measured: more than of those that were."""


class Engine(Protocol):
    """Computes pieces of pictures."""

    @property
    def name(self) -> str:
        """Of the backend."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in: "fp32", "bf16" or "fp16"."""
        ...

    @property
    def whole(self) -> int:
        """Largest picture, in low pixels, that it computes in one piece where the tile is "auto"."""
        ...

    @property
    def tile(self) -> int:
        """Largest side of a tile, in low pixels, where the tile is "auto"."""
        ...

    @property
    def footprint(self) -> Footprint:
        """Memory that it takes."""
        ...

    @property
    def together(self) -> bool:
        """Whether it computes several images of one size at once."""
        ...

    def route(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing] | None:
        """Enlarge a piece; as `camixersr.models.CAMixerSR.route`.

        Args:
            low: 1 x 3 x h x w float32 in [0, 1]; or B, where it computes them `together`.
            policy: who routes.
            pool: what channel attention knows of the whole image.

        Returns:
            1 (or B) x 3 x sh x sw floating point and the routing; None for a policy or pool that this
            engine cannot be given.
        """
        ...


@dataclass(frozen=True)
class Orders:
    """A policy in numbers, for one piece of N windows.

    Attributes:
        thresholds: blocks: log-odds above which a window is attended; +-`FAR` for never and always.
        slopes: blocks: how fast attention fades in above a threshold, per log-odds.
        count: so many best-scored windows of every block are attended besides.
        allowed: blocks x N: a factor to what the others say, 0 to 1.
    """

    thresholds: Array
    slopes: Array
    count: int
    allowed: Array


def orders(policy: Policy, blocks: int, windows: int) -> Orders | None:
    """Put a policy in numbers.

    >>> given = orders(TopShare(0.25), blocks=2, windows=8)
    >>> given.count, given.allowed.shape
    (2, (2, 8))

    Args:
        policy: who routes.
        blocks: of the network.
        windows: N of the piece.

    Returns:
        The numbers; None for a policy of another kind.
    """
    thresholds, slopes = np.full(blocks, FAR, np.float32), np.ones(blocks, np.float32)
    allowed, count = np.ones((blocks, windows), np.float32), 0
    if isinstance(policy, Reporting):
        return orders(policy.policy, blocks, windows)
    if isinstance(policy, Allowed):
        inner = orders(policy.policy, blocks, windows)
        if inner is None:
            return None
        within = inner.allowed * policy.allowed.reshape(1, windows).float().cpu().numpy()
        return Orders(inner.thresholds, inner.slopes, inner.count, within)
    if isinstance(policy, TopShare):
        count = int(policy.share * windows + 0.5)
    elif isinstance(policy, FixedWindows):
        thresholds[:] = -FAR
        allowed = np.stack([mask.float().cpu().numpy().reshape(-1) for mask in policy.masks])
        if allowed.shape != (blocks, windows):
            return None  # the network says what is wrong
    elif isinstance(policy, Threshold | LogOddsThreshold):
        if len(policy.thresholds) < blocks:
            return None
        for block in range(blocks):
            if isinstance(policy, Threshold):
                threshold, band = log_odds(policy.thresholds[block]), policy.band
            else:
                threshold, band = policy.thresholds[block], policy.bands[block]
            thresholds[block] = threshold if math.isfinite(threshold) else math.copysign(FAR, threshold)
            slopes[block] = 1.0 / band if band else FAR
    else:
        return None
    return Orders(thresholds, slopes, count, allowed)


class Answer(NamedTuple):
    """What a graph computes, in the order of its outputs.

    Attributes:
        result: 1 x 3 x sH x sW, `high`; or 1 x H x W x C, `y`, of a graph without ends.
        logits: blocks x N, log-odds of attention.
        mask: blocks x N, what was attended, 0 to 1.
        means: blocks x c, the pooled features; None of a network that pools over cells.
    """

    result: Array
    logits: Array
    mask: Array
    means: Array | None = None


class GraphEngine(ABC):
    """An engine that feeds a graph; a runtime's engine adds how one is run.

    Args:
        model: whose graph it is.
        name: of the backend.
        precision: what it computes in.
        footprint: memory that it takes.
        ends: the graph has the network's ends; else torch computes them, in fp32. What goes in and out
            of the blocks adds up to the picture, and reduced precision costs most there (50 dB instead
            of 57 in bf16).
    """

    whole = 1024 * 1024
    tile = 768
    together = False

    def __init__(
        self, model: Model, name: str, precision: str, footprint: Footprint = UNKNOWN, *, ends: bool = True
    ) -> None:
        self.ends, self.footprint = ends, footprint
        self.model, self.name, self.precision = model, name, precision
        network = model.network
        assert isinstance(network, CAMixerSR)  # no other has a graph
        self._network = network
        features = network.state_dict()["body.0.blocks.0.mixer.predictor.project_in.weight"]
        self._pooled = (network.block_count, features.shape[0])

    @abstractmethod
    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Answer:
        """Run the graph; `camixersr.export.graph` says what goes in and comes out."""

    def route(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing] | None:
        """See `Engine.route`."""
        config, blocks = self._network.config, self._network.block_count
        height, width = low.shape[-2:]
        image = low.cpu().float()
        rows, columns = (-(-length // config.window) for length in (height, width))
        given = orders(policy, blocks, rows * columns)
        pooled = self._pool(pool)
        if given is None or len(low) != 1 or pooled is None:
            return None
        x = image
        if self.ends:
            entering = {"low": pad_to_windows(image, config.window)}
        else:
            x, condition = enter_in_strips(self._network, image)
            entering = {"x": x, "condition": condition}
        answer = self.infer(
            {
                **{name: value.contiguous().numpy() for name, value in entering.items()},
                "thresholds": given.thresholds,
                "slopes": given.slopes,
                "count": np.array([given.count], np.int64),
                "allowed": given.allowed,
                **pooled,
            }
        )
        if isinstance(pool, Recording) and answer.means is not None:
            for block, mean in enumerate(answer.means):
                pool(torch.from_numpy(mean.copy()).reshape(1, 1, 1, -1), block)
        if isinstance(policy, Reporting):
            for _ in range(blocks):
                policy.step()
        routing = Routing(
            rows,
            columns,
            tuple(
                BlockRouting(
                    logits=torch.from_numpy(logits[None].copy()), mask=torch.from_numpy(mask[None].copy())
                )
                for logits, mask in zip(answer.logits, answer.mask, strict=True)
            ),
        )
        result, s = torch.from_numpy(answer.result), config.scale
        if self.ends:
            return result[..., : s * height, : s * width], routing
        return leave_in_strips(self._network, result, x, height, width), routing

    def _pool(self, pool: Pool) -> dict[str, NDArray[np.generic]] | None:
        """What the graph is told of a pool; None for one that it cannot be given."""
        if self._network.config.pool:
            if not isinstance(pool, PoolCells) or pool.side != self._network.config.pool:
                return None
            return {"before": np.array(pool.before, np.int64)}
        known = pool.inner if isinstance(pool, Recording) else pool
        if not (known is pool_image or isinstance(known, Replayed)):
            return None
        pooled = np.zeros(self._pooled, np.float32)
        if isinstance(known, Replayed):
            pooled[:] = torch.stack([mean.flatten().float().cpu() for mean in known.means]).numpy()
        return {"pooled": pooled, "whole": np.array([known is pool_image], np.float32)}


def enter_in_strips(network: CAMixerSR, image: Tensor) -> tuple[Tensor, Tensor]:
    """`CAMixerSR.enter`, strip by strip; its two 3 x 3 convolutions see a window's rows beyond each.

    Args:
        network: whose first layers.
        image: B x 3 x h x w in [0, 1].

    Returns:
        B x H x W x C and B x H x W x 4, h and w padded to windows.
    """
    M = network.config.window
    image = pad_to_windows(image, M)
    height, step = image.shape[2], M * max(1, STRIP // M)
    strips: list[tuple[Tensor, Tensor]] = []
    for top in range(0, height, step):
        above = max(top - M, 0)
        x, condition = network.enter(image[:, :, above : top + step + M])
        own = slice(top - above, min(top + step, height) - above)
        strips.append((x[:, own], condition[:, own]))
    xs, conditions = zip(*strips, strict=True)
    return torch.cat(xs, dim=1), torch.cat(conditions, dim=1)


def leave_in_strips(network: CAMixerSR, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
    """`CAMixerSR.leave`, strip by strip; its two 3 x 3 convolutions see 2 rows beyond each.

    Args:
        network: whose last layers.
        y: B x H x W x C, from the last block.
        x: B x H x W x C, what the first block was given.
        height: low pixels of the picture, at most H.
        width: low pixels of it, at most W.

    Returns:
        B x 3 x sh x sw, not clamped.
    """
    s = network.config.scale
    high = y.new_empty(len(y), 3, s * height, s * width)
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        above = max(top - 2, 0)
        rows = slice(above, bottom + 2)
        strip = network.leave(y[:, rows], x[:, rows], bottom - above, width)
        high[:, :, s * top : s * bottom] = strip[:, :, s * (top - above) :]
    return high
