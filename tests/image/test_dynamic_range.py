import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.image.dynamic_range import Curve

VALUES = st.floats(-1e6, 1e6, width=32)


def test_what_lies_in_the_range_is_left_alone() -> None:
    pixels = np.random.default_rng(0).random((5, 6, 3), dtype=np.float32)
    curve = Curve.of(pixels)
    assert curve.is_identity
    assert np.array_equal(curve.encode(pixels), pixels)
    assert np.array_equal(curve.decode(pixels), pixels)


@given(st.lists(VALUES, min_size=2, max_size=50))
def test_there_and_back(values: list[float]) -> None:
    pixels = np.array(values, np.float32)
    curve = Curve.of(pixels)
    encoded = curve.encode(pixels)
    assert encoded.min() >= 0
    assert encoded.max() <= 1
    back = curve.decode(encoded)
    span = max(1.0, np.abs(pixels).max())
    # float32 in between: a few parts in ten million of a scale that is some 20 powers of e long
    assert back == pytest.approx(pixels, rel=1e-5, abs=1e-6 * float(np.log(span + 2)))
    assert back.min() >= curve.lowest
    assert back.max() <= np.float32(curve.highest)


@given(st.lists(VALUES, min_size=3, max_size=50))
def test_order_is_kept(values: list[float]) -> None:
    pixels = np.sort(np.array(values, np.float32))
    curve = Curve.of(pixels)
    assert (np.diff(curve.encode(pixels)) >= 0).all()
    steps = np.linspace(0, 1, 200, dtype=np.float32)
    assert (np.diff(curve.decode(steps)) >= 0).all()


def test_an_error_of_the_network_stays_relative() -> None:
    """0.002 of the encoded range is a few per cent of any brightness, not of the brightest."""
    pixels = np.geomspace(0.05, 4000, 100).astype(np.float32)
    curve = Curve.of(pixels)
    moved = curve.decode(curve.encode(pixels) + 0.002)
    assert (np.abs(moved / pixels - 1) < 0.05).all()
