"""Where results go in memory."""

import numpy as np

from camixersr.inference.sources import NewHigh, Piece
from camixersr.inference.tiles import Tile, cut


def _piece(tile: Tile, high: np.ndarray) -> Piece:
    return Piece(tile, high, np.zeros((1, 1), np.int64), "fp32", windows=0, computed=0)


def test_a_piece_that_is_the_whole_picture_is_not_copied() -> None:
    (tile,) = cut(48, 64, 0)
    high = np.random.default_rng(0).random((3, 96, 128), np.float32)
    canvas = NewHigh(high.shape, 2)
    canvas.put(tile, [_piece(tile, high)])
    assert canvas.array is high


def test_pieces_are_put_together() -> None:
    whole = np.random.default_rng(0).random((3, 2 * 300, 2 * 260), np.float32)
    canvas = NewHigh(whole.shape, 2)
    tiles = cut(300, 260, 128)
    assert len(tiles) > 1
    for tile in tiles:
        y, x = tile.rows, tile.columns
        part = whole[:, 2 * y.own_start : 2 * y.own_stop, 2 * x.own_start : 2 * x.own_stop]
        canvas.put(tile, [_piece(tile, part)])
    assert np.array_equal(canvas.array, whole)


def test_a_part_of_a_larger_array_is_copied() -> None:
    (tile,) = cut(48, 64, 0)
    padded = np.random.default_rng(0).random((3, 100, 128), np.float32)
    canvas = NewHigh((3, 96, 128), 2)
    canvas.put(tile, [_piece(tile, padded[:, :96])])
    assert canvas.array.base is None
    assert np.array_equal(canvas.array, padded[:, :96])
