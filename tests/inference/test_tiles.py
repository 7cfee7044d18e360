import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import ValueRangeError
from camixersr.inference.tiles import GRID, HALO, cut, halve, of_owned, owned, plan

TILES = st.sampled_from([0, 64, 80, 128, 256])
HALOS = st.sampled_from([0, 16, 32, 48])
LENGTHS = st.integers(1, 900)
SIDES = st.one_of(st.integers(1, 40), st.sampled_from([97, 101, 127, 131, 200, 257]))


@given(length=LENGTHS, tile=TILES, halo=HALOS)
def test_spans_own_everything_once_and_compute_their_halo(length: int, tile: int, halo: int) -> None:
    spans = plan(length, tile, halo=halo)
    place = 0
    for span in spans:
        assert span.own_start == place
        place = span.own_stop
        assert 0 < span.owned <= (tile or length)
        assert span.own_start % GRID == span.start % GRID == 0
        assert span.start == max(0, span.own_start - halo)
        assert span.stop == min(length, span.own_stop + halo)
    assert place == length
    if tile:
        assert len(spans) <= -(-length // tile)
        assert max(s.owned for s in spans[:-1] or spans) - min(s.owned for s in spans[:-1] or spans) == 0


@given(height=SIDES, width=SIDES, tile=st.sampled_from([0, 64, 80]))
def test_every_pixel_and_every_window_has_one_owner(height: int, width: int, tile: int) -> None:
    pixels = np.zeros((height, width), int)
    windows = np.full((-(-height // GRID), -(-width // GRID)), -1)
    for number, each in enumerate(cut(height, width, tile)):
        pixels[
            each.rows.own_start : each.rows.own_stop, each.columns.own_start : each.columns.own_stop
        ] += 1
        assert (windows[owned(each, GRID)] == -1).all()
        windows[owned(each, GRID)] = number
    assert (pixels == 1).all()
    assert (windows >= 0).all()


@given(height=SIDES, width=SIDES)
def test_values_of_windows_find_their_place(height: int, width: int) -> None:
    rows, columns = -(-height // GRID), -(-width // GRID)
    everywhere = np.arange(rows * columns).reshape(rows, columns)
    found = np.full_like(everywhere, -1)
    for tile in cut(height, width, 64):
        y, x = tile.computed
        seen = everywhere[y.start // GRID : -(-y.stop // GRID), x.start // GRID : -(-x.stop // GRID)]
        found[owned(tile, GRID)] = of_owned(tile, seen.ravel(), GRID)
    assert (found == everywhere).all()


@given(height=SIDES, width=SIDES)
def test_halves_own_what_the_tile_owned_and_need_no_other_pixel(height: int, width: int) -> None:
    for tile in cut(height, width, 64):
        pixels = np.zeros((height, width), int)
        parts = halve(tile, height, width)
        for part in parts:
            y, x = part.rows, part.columns
            pixels[y.own_start : y.own_stop, x.own_start : x.own_stop] += 1
            assert tile.rows.start <= y.start
            assert y.stop <= tile.rows.stop
            assert tile.columns.start <= x.start
            assert x.stop <= tile.columns.stop
            assert y.start == max(0, y.own_start - HALO)
            assert x.stop == min(width, x.own_stop + HALO)
        y, x = tile.rows, tile.columns
        assert (pixels[y.own_start : y.own_stop, x.own_start : x.own_stop] == 1).all()
        assert pixels.sum() == y.owned * x.owned
        assert len(parts) == (2 if y.owned > GRID else 1) * (2 if x.owned > GRID else 1)


@pytest.mark.parametrize("tile", [-64, 16, 48, 70])
def test_tiles_that_cannot_be_cut_are_refused(tile: int) -> None:
    with pytest.raises(ValueRangeError, match="multiple of 16"):
        plan(1000, tile)


def test_halos_off_the_grid_are_refused() -> None:
    with pytest.raises(ValueRangeError, match="multiple of 16"):
        plan(1000, 64, halo=8)
