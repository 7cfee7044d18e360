import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camixersr.models.pools import PoolCells, pool_of
from camixersr.nn.pool import pool_image
from camixersr.nn.predictor import Predictor, spread


def of_every_pixel(features: torch.Tensor, side: int) -> torch.Tensor:
    """The mean of the cell that each pixel is in, cell by cell."""
    _, H, W, _ = features.shape
    result = torch.empty_like(features)
    for top in range(0, H, side):
        for left in range(0, W, side):
            there = (slice(None), slice(top, top + side), slice(left, left + side))
            result[there] = features[there].mean((1, 2), keepdim=True)
    return result


@given(height=st.integers(1, 60), width=st.integers(1, 60), side=st.sampled_from([16, 32]))
def test_every_pixel_gets_the_mean_of_its_cell(height: int, width: int, side: int) -> None:
    """Those at the right and lower border are as large as the map has them."""
    features = torch.rand(2, height, width, 3, generator=torch.Generator().manual_seed(0))
    pooled = PoolCells(side)(features, 0)
    assert sum(pooled.heights) == height
    got = spread(pooled.means, pooled.heights).expand_as(features)
    assert torch.allclose(got, of_every_pixel(features, side), atol=1e-6)


@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    before=st.tuples(st.integers(0, 31), st.integers(0, 31)),
)
def test_a_part_of_a_map_has_the_means_of_what_is_there(
    size: tuple[int, int], before: tuple[int, int]
) -> None:
    """A map that begins within a cell, as a tile may."""
    features = torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(0))
    pooled = PoolCells(32, before)(features, 0)
    got = spread(pooled.means, pooled.heights).expand_as(features)
    expected = torch.empty_like(features)
    rows, columns = (
        (torch.arange(length) + ahead) // 32 for length, ahead in zip(size, before, strict=True)
    )
    for row in rows.unique():
        for column in columns.unique():
            there = (rows == row)[:, None] & (columns == column)
            expected[:, there] = features[:, there].mean(dim=1, keepdim=True)
    assert torch.allclose(got, expected, atol=1e-5)


def test_a_map_of_one_cell_is_pooled_as_an_image() -> None:
    features = torch.rand(2, 60, 64, 3)
    pooled = pool_of(64)(features, 0)
    assert torch.equal(pooled.means, pool_image(features, 0).means)
    assert spread(pooled.means, pooled.heights) is pooled.means  # nothing is copied
    assert pool_of(0) is pool_image


def test_cells_know_nothing_of_each_other() -> None:
    torch.manual_seed(0)
    predictor = Predictor(12, 16)
    v, condition = torch.rand(1, 64, 96, 12), torch.zeros(1, 64, 96, 4)
    before = predictor(v, condition, pool=PoolCells(32)).channel
    assert before.shape == (1, 64, 96, 12)
    v[:, :32, 32:64] += 1.0
    after = predictor(v, condition, pool=PoolCells(32)).channel
    changed = (after != before).any(dim=-1)[0]
    assert changed[:32, 32:64].all()
    assert changed.sum() == 32 * 32


@pytest.mark.parametrize("size", [(48, 48), (70, 100)], ids=str)
def test_gradients_reach_every_pixel(size: tuple[int, int]) -> None:
    features = torch.rand(1, *size, 3, requires_grad=True)
    pooled = PoolCells(32)(features, 0)
    spread(pooled.means, pooled.heights).expand(-1, *size, -1).square().sum().backward()
    assert features.grad is not None
    with torch.no_grad():  # d/df of a cell's n pixels, n * mean^2, is 2 * mean
        assert torch.allclose(features.grad, 2.0 * of_every_pixel(features, 32), atol=1e-5)
