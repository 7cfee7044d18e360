"""A backend that feeds a graph: compiled beforehand, told by numbers and answering with numbers.

A graph cannot call back: it is told which windows to attend by `Orders`. A policy or pool that cannot be
put in numbers goes the plain way.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr.backends.devices import shortage_told
from camixersr.backends.orders import orders
from camixersr.backends.pools import Recording, Replayed
from camixersr.backends.protocol import Backend, Footprint, Limits, Planes, Routed, Step
from camixersr.backends.strips import enter_in_strips, leave_in_strips
from camixersr.models import classic
from camixersr.models.network import pad_to_windows
from camixersr.models.pools import PoolCells
from camixersr.nn.pool import Pool, pool_image
from camixersr.nn.routing import Policy
from camixersr.weights import Model

__all__ = ["Answer", "GraphBackend"]

UNKNOWN = Footprint(34, 1000)
"""Of a runtime that was not measured: more than of those that were."""

WHOLE, TILE = 1024 * 1024, 768
"""As of `Limits`."""

Array = NDArray[np.float32]


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


class GraphBackend(ABC):
    """A backend that feeds a graph; a runtime's own adds how one is run.

    Args:
        model: whose graph it is.
        name: of the backend.
        precision: what it computes in.
        plain: what computes what the graph cannot be given; None where it is only ever given what it can.
        footprint: memory that it takes.
        ends: the graph has the network's ends; else torch computes them, in fp32. What goes in and out
            of the blocks adds up to the picture, and reduced precision costs most there (50 dB instead
            of 57 in bf16).
    """

    def __init__(
        self,
        model: Model,
        name: str,
        precision: str,
        plain: Backend | None,
        *,
        footprint: Footprint = UNKNOWN,
        ends: bool = True,
    ) -> None:
        self.ends, self.limits = ends, Limits(footprint, WHOLE, TILE, together=False)
        self.model, self.name, self.precision, self._plain = model, name, precision, plain
        network = classic(model.network)
        assert network is not None  # `choose` looks
        self._network = network
        features = network.state_dict()["body.0.blocks.0.mixer.predictor.project_in.weight"]
        self._pooled = (network.block_count, features.shape[0])

    @abstractmethod
    def infer(self, inputs: dict[str, NDArray[np.generic]]) -> Answer:
        """Run the graph; `camixersr.graph` says what goes in and comes out."""

    @property
    def plain(self) -> Backend:
        """What computes what the graph cannot be given."""
        assert self._plain is not None, "a policy or pool that this graph cannot be given"
        return self._plain

    @property
    def full(self) -> Backend:
        """See `Backend.full`."""
        return self if self.precision == "fp32" else self.plain.full

    def route(
        self, low: Planes, policy: Policy | tuple[Policy, ...], pool: Pool, step: Step = lambda: None
    ) -> Routed:
        """See `Backend.route`."""
        return self._by_graph(low, policy, pool, step) or self.plain.route(low, policy, pool, step)

    def score(self, low: Planes) -> NDArray[np.float32]:
        """See `Backend.score`."""
        return self.plain.score(low)

    @torch.inference_mode()
    def _by_graph(
        self, low: Planes, policy: Policy | tuple[Policy, ...], pool: Pool, step: Step
    ) -> Routed | None:
        """`route`; None for what the graph cannot be given: several images, a latitude, other policies."""
        config, blocks = self._network.config, self._network.block_count
        height, width = low.shape[-2:]
        rows, columns = (-(-length // config.window) for length in (height, width))
        pooled = self._pool(pool)
        if isinstance(policy, tuple) or pooled is None or low.shape[:2] != (1, 3):
            return None
        given = orders(policy, blocks, rows * columns)
        if given is None:
            return None
        image = torch.from_numpy(low)
        x = image
        if self.ends:
            entering = {"low": pad_to_windows(image, config.window)}
        else:
            x, condition = enter_in_strips(self._network, image)
            entering = {"x": x, "condition": condition}
        with shortage_told("cpu"):
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
            pool.means.update({block: mean.astype(np.float64) for block, mean in enumerate(answer.means)})
        for _ in range(blocks):
            step()
        high, s = answer.result, config.scale
        if self.ends:
            high = high[..., : s * height, : s * width]
        else:
            high = leave_in_strips(self._network, torch.from_numpy(high), x, height, width).numpy()
        return Routed(high, answer.logits[:, None].copy(), answer.mask[:, None] > 0.0)

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
            pooled[:] = np.stack(known.means)
        return {"pooled": pooled, "whole": np.array([known is pool_image], np.float32)}
