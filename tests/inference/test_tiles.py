import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import ValueRangeError
from camixersr.inference.tiles import GRID, HALO, Beyond, cover, cut, halo_of, halve, of_owned, owned

TILES = st.sampled_from([0, 64, 80, 128, 256])
HALOS = st.sampled_from([0, 16, 32, 48])
LENGTHS = st.integers(1, 900)
SIDES = st.one_of(st.integers(1, 40), st.sampled_from([97, 101, 127, 131, 200, 257]))


@given(length=LENGTHS, tile=TILES, halo=HALOS)
def test_spans_own_everything_once_and_compute_their_halo(length: int, tile: int, halo: int) -> None:
    spans = cover(length, tile, halo=halo)
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


@given(
    length=LENGTHS,
    tile=st.sampled_from([0, 64, 128, 320, 640]),
    cell=st.sampled_from([16, 32, 48, 64, 128]),
)
def test_along_cells_spans_own_and_compute_whole_cells(length: int, tile: int, cell: int) -> None:
    tile = -(-tile // cell) * cell if tile else 0
    tile = max(tile, -(-64 // cell) * cell) if tile else 0
    place = 0
    for span in cover(length, tile, cell=cell):
        assert span.own_start == place
        place = span.own_stop
        assert 0 < span.owned <= (tile or length)
        assert span.own_start % cell == span.start % GRID == 0
        assert span.start == max(0, span.own_start - halo_of(cell))
        assert span.own_stop == length or span.own_stop % cell == 0
        assert span.stop == min(length, span.own_stop + halo_of(cell))
    assert place == length


@given(cell=st.sampled_from([32, 48, 64, 128]))
def test_a_halo_is_whole_cells_and_a_margin(cell: int) -> None:
    assert halo_of(cell) >= 80
    assert halo_of(cell) % cell == 16


def borders(length: int, cell: int, *, mirrored: bool) -> set[int]:
    """Where cells begin on an axis that goes on beyond both ends, far enough."""
    places: set[int] = set()
    for turn in range(-200 // length - 2, 1200 // length + 2):
        for inside in (*range(0, length, cell), length):
            backwards = mirrored and turn % 2 == 1
            places.add(turn * length + (length - inside if backwards else inside))
    return places


@given(
    length=LENGTHS,
    tile=st.sampled_from([0, 64, 128]),
    cell=st.sampled_from([32, 64]),
    mirrored=st.booleans(),
)
def test_halos_beyond_an_edge_see_whole_cells(length: int, tile: int, cell: int, mirrored: bool) -> None:
    """And a margin of 16 pixels, on to the next window."""
    ends = borders(length, cell, mirrored=mirrored)
    for span in cover(length, tile, cell=cell, beyond=(True, True), mirrored=mirrored):
        assert span.start % GRID == 0
        assert span.start <= span.own_start - halo_of(cell)
        assert span.stop >= span.own_stop + halo_of(cell)
        assert any(GRID <= end - span.start < 2 * GRID for end in ends)
        assert any(GRID <= span.stop - end < 2 * GRID for end in ends)
        assert span.start > span.own_start - halo_of(cell) - cell - GRID


@given(height=SIDES, width=SIDES, closed=st.booleans())
def test_halves_along_cells_need_no_other_pixel(height: int, width: int, closed: bool) -> None:
    beyond = Beyond(closed, closed, closed)
    for tile in cut(height, width, 128, cell=64, beyond=beyond):
        parts = halve(tile, height, width, cell=64, beyond=beyond)
        assert len(parts) == (2 if tile.rows.owned > 64 else 1) * (2 if tile.columns.owned > 64 else 1)
        assert sum(part.rows.owned * part.columns.owned for part in parts) == (
            tile.rows.owned * tile.columns.owned
        )
        for part in parts:
            assert part.rows.own_start % 64 == part.columns.own_start % 64 == 0
            assert tile.rows.start <= part.rows.start
            assert part.rows.stop <= tile.rows.stop
            assert tile.columns.start <= part.columns.start
            assert part.columns.stop <= tile.columns.stop


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
        cover(1000, tile)


@pytest.mark.parametrize(("tile", "instead"), [(-64, 64), (32, 64), (80, 64), (400, 384)])
def test_tiles_that_cut_cells_are_refused(tile: int, instead: int) -> None:
    with pytest.raises(ValueRangeError, match=f"multiple of 64 from 64 up, got {tile}; use {instead}$"):
        cover(1000, tile, cell=64)
    with pytest.raises(ValueRangeError, match="multiple of 48 from 96 up"):
        cover(1000, 48, cell=48)


def test_halos_off_the_grid_are_refused() -> None:
    with pytest.raises(ValueRangeError, match="multiple of 16"):
        cover(1000, 64, halo=8)
