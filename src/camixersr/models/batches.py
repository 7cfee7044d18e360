"""Images of a batch, one by one: each has the same bytes alone and in any company (decision 0002)."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from camixersr.nn.pool import Pool
from camixersr.nn.routing import BlockRouting, Policy, Routing

__all__ = ["OfImages", "join", "one_by_one"]


@runtime_checkable
class OfImages(Policy, Protocol):
    """A policy that knows the images of its batch one by one."""

    def of_image(self, number: int) -> Policy:
        """The policy of one image of the batch."""
        ...


def join(routings: Sequence[Routing]) -> Routing:
    """Put the routings of single images together as one of a batch, in order."""
    blocks = tuple(
        BlockRouting(
            logits=torch.cat([block.logits for block in same]),
            mask=torch.cat([block.mask for block in same]),
        )
        for same in zip(*(routing.blocks for routing in routings), strict=True)
    )
    return Routing(routings[0].rows, routings[0].columns, blocks)


def one_by_one(
    route: Callable[[Tensor, Policy, Pool], tuple[Tensor, Routing]],
    low: Tensor,
    policy: Policy,
    pool: Pool,
) -> tuple[Tensor, Routing]:
    """Compute the images of a batch one after another.

    The rounding of a matrix product depends on how many rows it has, so that a neighbour in the
    batch would change the last bits (decision 0002).

    Args:
        route: what computes a batch of one.
        low: B x 3 x H x W.
        policy: of the batch.
        pool: of every image.

    Returns:
        What `CAMixerSR.route` returns.
    """
    if len(low) == 1:
        return route(low, policy, pool)
    results = [
        route(
            low[number : number + 1],
            policy.of_image(number) if isinstance(policy, OfImages) else policy,
            pool,
        )
        for number in range(len(low))
    ]
    return torch.cat([high for high, _ in results]), join([each for _, each in results])
