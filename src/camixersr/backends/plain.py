"""The network in eager torch: any kind of network, any device, any precision."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from camixersr.backends.devices import shortage_told
from camixersr.backends.protocol import PLAIN, Backend, Footprint, Limits, Planes, Routed, Step
from camixersr.nn.pool import Pool, pool_image
from camixersr.nn.routing import Policy, Routing
from camixersr.weights import Model

__all__ = ["FOOTPRINTS", "Plain", "Route", "route_planes", "score_planes"]

FOOTPRINTS = {"classic": PLAIN, "omni": Footprint(16, 500)}
"""By kind of network. Fresh processes with an omnidirectional one (36 and 60 channels, x2 and x4, 160 x 160
and 256 x 256 low pixels, all attended) took 2 to 13 % less than is said."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

Route = Callable[[Tensor, Policy, Pool], tuple[Tensor, Routing]]
"""A network's way, in torch."""


@dataclass(frozen=True)
class _Stepping:
    """A policy that tells how far the network has come: it is asked once a block."""

    policy: Policy
    step: Step

    def choose(self, logits: Tensor, block: int) -> Tensor:
        self.step()
        return self.policy.choose(logits, block)


@dataclass(frozen=True)
class _Each:
    """A policy of its own for every image of a batch."""

    policies: tuple[Policy, ...]

    def choose(self, logits: Tensor, block: int) -> Tensor:
        own = zip(self.policies, logits.split(1), strict=True)
        return torch.cat([policy.choose(row, block) for policy, row in own])


class _ScoredError(Exception):
    """The first block's scores are known, and nothing more is wanted."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__("scored")
        self.logits = logits


class _FirstScores:
    """A policy that ends the computation when it is first asked."""

    def choose(self, logits: Tensor, block: int) -> NoReturn:
        raise _ScoredError(logits)


@torch.inference_mode()
def route_planes(
    route: Route, device: str, low: Planes, policy: Policy | tuple[Policy, ...], pool: Pool, step: Step
) -> Routed:
    """`Backend.route` of something that computes tensors on a device."""
    with shortage_told(device):
        one = _Each(policy) if isinstance(policy, tuple) else policy
        high, routing = route(torch.from_numpy(low).to(device), _Stepping(one, step), pool)
        logits = torch.stack([block.logits for block in routing.blocks]).float().cpu().numpy()
        return Routed(high.float().cpu().numpy(), logits, routing.attended.cpu().numpy())


@torch.inference_mode()
def score_planes(route: Route, device: str, low: Planes) -> NDArray[np.float32]:
    """`Backend.score` of something that computes tensors on a device."""
    with shortage_told(device):
        try:
            route(torch.from_numpy(low).to(device), _FirstScores(), pool_image)
        except _ScoredError as scored:
            return scored.logits.float().cpu().numpy()
    raise AssertionError("a network has at least one block")


class Plain:
    """A backend.

    Args:
        model: whose network; it is moved to the device.
        device: where.
        precision: "fp32", "bf16" or "fp16": under autocast.
        full: what computes again where that overflows; itself by default.
    """

    name = "torch"

    def __init__(self, model: Model, device: str, precision: str, full: Backend | None = None) -> None:
        self._network = model.network.to(device)
        self._device = device
        self.precision = precision
        self.full: Backend = full or self
        self.limits = Limits(FOOTPRINTS[model.network.kind])

    def _autocast(self) -> AbstractContextManager[object]:
        dtype = DTYPES.get(self.precision, torch.float32)
        return torch.autocast(torch.device(self._device).type, dtype, enabled=dtype != torch.float32)

    def _route(self, image: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing]:
        with self._autocast():
            return self._network.route(image, policy, pool=pool, together=True)

    def route(
        self, low: Planes, policy: Policy | tuple[Policy, ...], pool: Pool, step: Step = lambda: None
    ) -> Routed:
        """See `Backend.route`."""
        return route_planes(self._route, self._device, low, policy, pool, step)

    def score(self, low: Planes) -> NDArray[np.float32]:
        """See `Backend.score`."""
        return score_planes(self._route, self._device, low)
