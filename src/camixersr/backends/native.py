"""The network in `camixersr.native`: for processors with AVX2 or AVX-512, in fp32 or bf16."""

from collections.abc import Callable
from functools import cache
from itertools import accumulate, chain

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.devices import threads
from camixersr.backends.orders import choose
from camixersr.backends.pools import PoolPanorama, Recording, Replayed
from camixersr.backends.protocol import Backend, Footprint, Limits, Planes, Routed, Step
from camixersr.models.pools import PoolCells
from camixersr.native.core import WINDOW, Core, Pool, fits
from camixersr.nn.pool import Pool as AnyPool
from camixersr.nn.pool import pool_image
from camixersr.nn.routing import Policy
from camixersr.weights import Model

__all__ = ["KINDS", "Native", "why_not_for"]

KINDS = frozenset({"classic"})
"""Of networks that it computes."""

FOOTPRINT = Footprint(3, 60)
"""Two streams, in small pictures three, and what the predictor leaves to be read; the rest exists for
some rows only."""

WHOLE, TILE = 1024 * 1024, 768
"""As of `Limits`."""


class _ScoredError(Exception):
    """The first block's scores are known, and nothing more is wanted."""

    def __init__(self, logits: NDArray[np.float32]) -> None:
        super().__init__("scored")
        self.logits = logits


def why_not_for(model: Model) -> str:
    """What of a model the core cannot compute, in a few words; empty if nothing."""
    config = model.config
    if config.kind != "classic":
        return "its kind of network"
    if not fits(config):
        return "windows other than 16 x 16, or more than 64 channels"
    return ""


class Native:
    """A backend.

    Args:
        model: whose network; `why_not_for` it must say nothing.
        precision: "fp32" or "bf16".
        plain: makes what computes where channel attention pools otherwise: panoramas whose cells are of
            several sizes.
        full: what computes again where reduced precision overflows; itself by default.
    """

    name = "native"

    def __init__(
        self, model: Model, precision: str, plain: Callable[[], Backend], full: Backend | None = None
    ) -> None:
        assert model.config.kind == "classic"  # `choose` looks
        self._core = Core(model.config, model.arrays, precision=precision)
        self._plain = cache(plain)
        self.precision = precision
        self.full: Backend = full or self
        self.limits = Limits(FOOTPRINT, WHOLE, TILE, together=False)

    @property
    def path(self) -> str:
        """The set of instructions."""
        return self._core.path

    def route(
        self, low: Planes, policy: Policy | tuple[Policy, ...], pool: AnyPool, step: Step = lambda: None
    ) -> Routed:
        """See `Backend.route`."""
        known = _known(pool, *low.shape[-2:])
        if known is None or isinstance(policy, tuple) or len(low) > 1:
            return self._plain().route(low, policy, pool, step)

        def asked(logits: NDArray[np.float32], block: int) -> NDArray[np.float32]:
            step()
            return choose(policy, logits[None], block)[0]

        answer = self._core(low[0], asked, pool=known, threads=threads())
        if isinstance(pool, Recording):
            pool.means.update({block: mean.astype(np.float64) for block, mean in enumerate(answer.means)})
        return Routed(answer.high[None], answer.logits[:, None], answer.mask[:, None] > 0.0)

    def score(self, low: Planes) -> NDArray[np.float32]:
        """See `Backend.score`."""

        def asked(logits: NDArray[np.float32], block: int) -> NDArray[np.float32]:
            raise _ScoredError(logits)

        try:
            self._core(low[0], asked, threads=threads())
        except _ScoredError as scored:
            return scored.logits[None]
        raise AssertionError("a network has at least one block")


def _known(pool: AnyPool, height: int, width: int) -> Pool | None:
    """What the core is told of a pool over a picture; None for one that it cannot be given."""
    if isinstance(pool, PoolCells):
        aligned = not any(length % WINDOW for length in (pool.side, *pool.before))
        return Pool.even(pool.side, height, width, pool.before) if aligned else None
    if isinstance(pool, PoolPanorama):
        return _cells_of(pool, -(-height // WINDOW), -(-width // WINDOW))
    inner = pool.inner if isinstance(pool, Recording) else pool
    if isinstance(inner, Replayed):
        return Pool(given=np.stack(inner.means).astype(np.float32))
    return Pool() if inner is pool_image else None


def _cells_of(pool: PoolPanorama, down: int, across: int) -> Pool | None:
    """The cells of a panorama in windows; None where one begins inside a window."""
    begin = [0, *accumulate(pool.heights[:-1])]
    columns = [[0, *accumulate(widths[:-1])] for widths in pool.widths]
    if any(start % WINDOW for start in (*begin, *chain(*columns))):
        return None
    cells = np.empty((down, across), np.int32)
    number = 0
    for top, starts in zip(begin, columns, strict=True):
        for left in starts:
            cells[top // WINDOW :, left // WINDOW :] = number
            number += 1
    return Pool(cells)
