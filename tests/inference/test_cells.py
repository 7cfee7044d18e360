"""A panorama's cells, as tiles see them: the same pixels from wherever they are seen."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camixersr.backends.pools import PoolPanorama
from camixersr.image.panorama import Panorama
from camixersr.inference.cells import pool_panorama
from camixersr.inference.sources import InMemory
from camixersr.inference.sphere import Spherical
from camixersr.inference.tiles import Beyond, Tile, cover, cut
from camixersr.models.pools import PoolCells
from camixersr.nn.predictor import spread


def cell_numbers(panorama: Panorama, side: int) -> torch.Tensor:
    """3 x H x W: the number of the cell that each pixel is in."""
    rows, columns = torch.arange(panorama.height) // side, torch.arange(panorama.width) // side
    return (1000.0 * rows[:, None] + columns).expand(3, -1, -1)


@settings(max_examples=60)
@given(
    height=st.integers(30, 150),
    spare=st.integers(-1, 1),
    tile=st.sampled_from([0, 32, 64, 96]),
    side=st.sampled_from([16, 32]),
)
def test_no_tile_mixes_cells_of_the_panorama(height: int, spare: int, tile: int, side: int) -> None:
    """A map of cells' numbers is its own mean over cells: what differs was pooled over two."""
    panorama = Panorama.whole(height, 2 * height + spare)
    tile = max(tile, 64) if tile else 0
    source = Spherical(InMemory(cell_numbers(panorama, side).numpy()), panorama)
    for each in cut(panorama.height, panorama.width, tile, cell=side, beyond=Beyond.of(panorama)):
        numbers = torch.from_numpy(source.read(*each.computed)).permute(0, 2, 3, 1)
        pooled = pool_panorama(each, panorama, side)(numbers, 0)
        assert sum(pooled.heights) == each.rows.length
        got = spread(pooled.means, pooled.heights).expand_as(numbers)
        assert torch.allclose(got, numbers, rtol=0.0, atol=0.01)


@pytest.mark.parametrize("size", [(100, 200), (128, 256), (75, 150)], ids=str)
def test_a_halo_sees_the_whole_of_a_cell(size: tuple[int, int]) -> None:
    """The mean of every cell that what is owned lies in, or borders on, is that of all its pixels."""
    panorama, side = Panorama.whole(*size), 32
    low = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    source = Spherical(InMemory(low.numpy()), panorama)
    one = pool_panorama(cut(*size, 0, cell=side)[0], panorama, side)(low.permute(1, 2, 0)[None], 0)
    whole = Spherical(InMemory(spread(one.means, one.heights)[0].permute(2, 0, 1).numpy()), panorama)
    for each in cut(*size, 64, cell=side, beyond=Beyond.of(panorama)):
        seen = torch.from_numpy(source.read(*each.computed)).permute(0, 2, 3, 1)
        pooled = pool_panorama(each, panorama, side)(seen, 0)
        got = spread(pooled.means, pooled.heights)[0]
        expected = torch.from_numpy(whole.read(*each.computed))[0].permute(1, 2, 0)
        y, x = each.rows, each.columns
        # one ring of cells around what is owned; further out some may be cut off
        rows = slice(y.own_start - side - y.start, y.own_stop + side - y.start)
        columns = slice(x.own_start - side // 2 - x.start, x.own_stop + side // 2 - x.start)
        assert torch.allclose(got[rows, columns], expected[rows, columns], atol=1e-6)


def test_even_cells_are_a_flat_pictures() -> None:
    """So that runtimes, whose graphs know no others, compute most panoramas."""
    even = Panorama.whole(256, 512)
    for each in cut(256, 512, 128, cell=64, beyond=Beyond.of(even)):
        assert pool_panorama(each, even, 64) == PoolCells(64, (48, 48))  # a margin of 16
    odd = Panorama.whole(250, 500)
    first, *_ = cut(250, 500, 128, cell=64, beyond=Beyond.of(odd))
    assert isinstance(pool_panorama(first, odd, 64), PoolPanorama)
    inner = Tile(cover(250, 64, cell=64)[1], cover(500, 64, cell=64)[3])
    assert pool_panorama(inner, odd, 64) == PoolCells(64, (0, 48))
