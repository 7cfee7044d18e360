from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import ValueRangeError
from camixersr.inference.tiles import GRID, GUARD, OVERLAP, blend_weights, plan

TILES = st.sampled_from([0, 64, 80, 128, 256])
LENGTHS = st.integers(1, 900)


@given(length=LENGTHS, tile=TILES)
def test_spans_cover_everything_on_the_grid(length: int, tile: int) -> None:
    spans = plan(length, tile)
    assert spans[0].start == 0
    assert spans[-1].stop == length
    for span in spans:
        assert span.start % GRID == 0
        assert 0 < span.length <= (tile or length)
    for before, after in pairwise(spans):
        assert after.start > before.start
        assert before.stop - after.start >= OVERLAP


@given(length=LENGTHS, tile=TILES, scale=st.integers(1, 4))
def test_weights_sum_to_one_and_ignore_pixels_beside_a_cut(length: int, tile: int, scale: int) -> None:
    spans = plan(length, tile)
    weights = blend_weights(spans, scale)
    total = np.zeros(length * scale)
    for span, weight in zip(spans, weights, strict=True):
        assert weight.shape == (span.length * scale,)
        assert weight.min() >= 0.0
        total[span.start * scale : span.stop * scale] += weight
        if span.start > 0:
            assert (weight[: GUARD * scale] == 0.0).all()
        if span.stop < length:
            assert (weight[-GUARD * scale :] == 0.0).all()
    assert np.allclose(total, 1.0, atol=1e-6)


@pytest.mark.parametrize("tile", [-64, 16, 48, 70])
def test_tiles_that_cannot_be_cut_are_refused(tile: int) -> None:
    with pytest.raises(ValueRangeError, match="multiple of 16"):
        plan(1000, tile)
