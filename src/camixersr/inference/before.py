"""The picture before: of pictures in a row, tiles whose input is the same are not computed again.

That is exact. What comes of a tile depends on the pixels that it is computed from, halo and cells included,
on its policy, and on what channel attention knows of the whole. In its last bits it depends on the tiles
that are computed together with it. All of these are compared, to the bit. A picture that must be surveyed
(a share of its own windows, a mean over the whole image) gives its tiles another policy as soon as anything
in it changes; then nothing is the same.
"""

import pickle
from collections.abc import Iterable, Mapping

import numpy as np

from camixersr.backends.protocol import Planes
from camixersr.inference.cost import Done
from camixersr.inference.plan import Plan
from camixersr.inference.schedule import Batch
from camixersr.inference.tiles import Tile

__all__ = ["Before"]


class Before:
    """What is kept of the last picture: its input, its result, and how its tiles came out."""

    def __init__(self) -> None:
        self._low: Planes | None = None
        self._high: Planes | None = None
        self._orders: dict[Batch, bytes] = {}
        self._done: Mapping[int, Done] = {}
        self._tiles: tuple[Tile, ...] = ()
        self.reused = 0
        """Tiles of the last picture that were not computed."""

    def same(self, plan: Plan, batches: Iterable[Batch], low: Planes) -> tuple[Batch, ...]:
        """The batches of a picture that need not be computed.

        Args:
            plan: of the picture.
            batches: what is to be done.
            low: 3 x H x W, the picture.
        """
        if self._low is None or self._low.shape != low.shape or self._tiles != plan.tiles:
            return ()
        changed = (self._low != low).any(axis=0)
        return tuple(
            batch
            for batch in batches
            if not any(changed[plan.tiles[number].computed].any() for number in batch)
            and self._orders.get(batch) == _orders(plan, batch)
        )

    def take(self, plan: Plan, batches: Iterable[Batch], high: Planes) -> list[Done]:
        """Put what is the same into the result, 3 x sH x sW.

        Returns:
            What was done of each tile, when it was computed.
        """
        assert self._high is not None
        taken: list[Done] = []
        for number in (number for batch in batches for number in batch):
            y, x = plan.tiles[number].rows, plan.tiles[number].columns
            s = high.shape[1] // plan.height
            part = np.s_[:, s * y.own_start : s * y.own_stop, s * x.own_start : s * x.own_stop]
            high[part] = self._high[part]
            taken.append(self._done[number])
        return taken

    def keep(
        self, plan: Plan, batches: Iterable[Batch], low: Planes, high: Planes, done: Iterable[Done]
    ) -> None:
        """Remember a picture for the next; neither array may be written to any more."""
        self._low, self._high, self._tiles = low, high, plan.tiles
        self._orders = {batch: _orders(plan, batch) for batch in batches}
        self._done = {each.number: each for each in done}


def _orders(plan: Plan, batch: Batch) -> bytes:
    """All that tiles are told beside their pixels."""
    tiles = [plan.tiles[number] for number in batch]
    return pickle.dumps([(plan.policy_of(tile), plan.pool_of(tile)) for tile in tiles])
