"""A tile, or a batch of them: again in fp32 where it overflows, in parts where memory is short."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from camixersr.backends.protocol import Backend, Planes, Routed, Step
from camixersr.errors import MemoryLimitError
from camixersr.inference.plan import Plan
from camixersr.inference.sources import Piece
from camixersr.inference.tiles import Beyond, Tile, halve, of_owned
from camixersr.nn.pool import Pool
from camixersr.nn.routing import Policy

__all__ = ["Watch", "compute_batch", "compute_tile", "route_sanely", "too_small"]

Watch = Callable[[int], Step]
"""Makes what is called once a block of the computation of so many low pixels."""

SANE = 1.5
"""How far from 0.5 a result in reduced precision may lie before it is computed again in fp32."""


def too_small(low: Planes) -> MemoryLimitError:
    """What is said where memory does not suffice for a piece that cannot be cut smaller."""
    return MemoryLimitError(
        f"out of memory even for {low.shape[-1]} x {low.shape[-2]} pixels of the input at once; close "
        "other programs, or take a smaller model"
    )


def _is_sane(high: Planes) -> NDArray[np.bool_]:
    """Which images of a batch, B x 3 x h x w, are near enough to [0, 1] to be true: B."""
    with np.errstate(invalid="ignore"):
        least, most = high.min(axis=(1, 2, 3)), high.max(axis=(1, 2, 3))  # neither copies what is cropped
        return (least >= 0.5 - SANE) & (most <= 0.5 + SANE)  # NaN is not


def route_sanely(
    backend: Backend, low: Planes, policy: Policy, pool: Pool, step: Step = lambda: None
) -> tuple[Routed, str]:
    """`Backend.route`, again in fp32 where reduced precision comes out infinite, NaN or far outside [0, 1].

    Returns:
        What came of it, and the precision that it was computed in.
    """
    routed = backend.route(low, policy, pool, step)
    if backend.precision == "fp32" or bool(_is_sane(routed.high).all()):
        return routed, backend.precision
    return backend.full.route(low, policy, pool, step), "fp32"


def compute_batch(
    backend: Backend, plan: Plan, tiles: Sequence[Tile], lows: Sequence[Planes], watch: Watch
) -> list[list[Piece]]:
    """Compute tiles together, in smaller batches where the memory does not suffice.

    Args:
        backend: what computes.
        plan: of the picture.
        tiles: some of its tiles, that compute equally many rows and columns.
        lows: for each, 1 x 3 x h x w, what it computes.
        watch: told how far they are.

    Returns:
        For each tile what `compute_tile` returns.

    Raises:
        MemoryLimitError: the memory does not suffice for the smallest tile.
    """
    if len(tiles) == 1 or len({plan.pool_of(tile) for tile in tiles}) > 1:
        return [compute_tile(backend, plan, *each, watch) for each in zip(tiles, lows, strict=True)]
    try:
        return [[piece] for piece in _compute_together(backend, plan, tiles, np.concatenate(lows), watch)]
    except MemoryError:
        half = len(tiles) // 2
    return [
        pieces
        for part in (slice(half), slice(half, None))
        for pieces in compute_batch(backend, plan, tiles[part], lows[part], watch)
    ]


def compute_tile(backend: Backend, plan: Plan, tile: Tile, low: Planes, watch: Watch) -> list[Piece]:
    """Compute one tile, in smaller ones where the memory does not suffice.

    Args:
        backend: what computes.
        plan: of the picture.
        tile: one of its tiles.
        low: 1 x 3 x h x w, what the tile computes.
        watch: told how far it is.

    Returns:
        Pieces that together own what the tile owns: itself, as a rule.

    Raises:
        MemoryLimitError: the memory does not suffice for the smallest tile.
    """
    policy, pool, step = plan.policy_of(tile), plan.pool_of(tile), watch(tile.pixels)
    try:
        routed, precision = route_sanely(backend, low, policy, pool, step)
        return [_piece(plan, tile, routed, 0, precision)]
    except MemoryError:
        smaller = halve(tile, plan.height, plan.width, cell=plan.cell, beyond=Beyond.of(plan.panorama))
        if len(smaller) == 1:
            raise too_small(low) from None
    pieces: list[Piece] = []
    for part in smaller:
        top, left = part.rows.start - tile.rows.start, part.columns.start - tile.columns.start
        inside = low[..., top : top + part.rows.length, left : left + part.columns.length]
        pieces += compute_tile(backend, plan, part, inside, watch)
    return pieces


def _compute_together(
    backend: Backend, plan: Plan, tiles: Sequence[Tile], low: Planes, watch: Watch
) -> list[Piece]:
    """Tiles of one size and pool; what fails in reduced precision is computed alone, in fp32."""
    pool = plan.pool_of(tiles[0])
    step = watch(sum(tile.pixels for tile in tiles))
    routed = backend.route(low, plan.policy_of_batch(tiles), pool, step)
    fine = _is_sane(routed.high) if backend.precision != "fp32" else np.ones(len(tiles), np.bool_)
    pieces: list[Piece] = []
    for number, tile in enumerate(tiles):
        if fine[number]:
            pieces.append(_piece(plan, tile, routed, number, backend.precision))
        else:
            again = backend.full.route(low[number : number + 1], plan.policy_of(tile), pool)
            pieces.append(_piece(plan, tile, again, 0, "fp32"))
    return pieces


def _piece(plan: Plan, tile: Tile, routed: Routed, number: int, precision: str) -> Piece:
    """Take what a tile owns of an image of a batch."""
    high, y, x = routed.high[number], tile.rows, tile.columns
    s = high.shape[1] // y.length
    top, left = s * (y.own_start - y.start), s * (x.own_start - x.start)
    attended = routed.attended[:, number].sum(axis=0)
    return Piece(
        tile,
        high[:, top : top + s * y.owned, left : left + s * x.owned],
        of_owned(tile, attended, plan.window),
        precision,
        windows=attended.size,
        computed=int(attended.sum()),
    )
