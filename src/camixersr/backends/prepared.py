"""The network folded for a CPU (`camixersr.backends.folded`), image by image; batches go the plain way."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.backends.folded import Folded
from camixersr.backends.plain import DTYPES, Plain, route_planes, score_planes
from camixersr.backends.protocol import Backend, Footprint, Limits, Planes, Routed, Step
from camixersr.models import classic
from camixersr.nn.pool import Pool
from camixersr.nn.routing import Policy, Routing
from camixersr.weights import Model

__all__ = ["FOOTPRINT", "KINDS", "PRECISIONS", "TILE", "WHOLE", "Prepared"]

KINDS = frozenset({"classic"})
"""Of networks that can be folded."""

PRECISIONS = ("fp32", "bf16")

TILE = 640
"""Largest side of a tile, in low pixels, where the tile is "auto": it takes a quarter of the memory."""

WHOLE = 736 * 736
"""Largest picture, in low pixels, that is then computed in one piece: as many as such a tile computes."""

FOOTPRINT = Footprint(14, 60)
"""Most of the network exists for a band of rows only."""


class Prepared:
    """A backend.

    Args:
        model: whose network, of one of `KINDS`.
        precision: of `PRECISIONS`.
        full: what computes again where that overflows; itself by default.
        batched: tiles are computed several at once, as a rule.
    """

    name = "torch"

    def __init__(
        self, model: Model, precision: str, full: Backend | None = None, *, batched: bool = False
    ) -> None:
        network = classic(model.network)
        assert network is not None  # `choose` looks
        self._plain = Plain(model, "cpu", precision)
        self._folded = Folded(network, DTYPES.get(precision, torch.float32))
        self.precision = precision
        self.full: Backend = full or self
        self.limits = self._plain.limits if batched else Limits(FOOTPRINT, WHOLE, TILE)

    def _route(self, image: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing]:
        return self._folded.route(image, policy, pool=pool)

    def route(
        self, low: Planes, policy: Policy | tuple[Policy, ...], pool: Pool, step: Step = lambda: None
    ) -> Routed:
        """See `Backend.route`."""
        if len(low) > 1:
            return self._plain.route(low, policy, pool, step)
        return route_planes(self._route, "cpu", low, policy, pool, step)

    def score(self, low: Planes) -> NDArray[np.float32]:
        """See `Backend.score`."""
        return score_planes(self._route, "cpu", low)
