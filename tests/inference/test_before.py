"""What did not change is not computed again, and comes out the same to the bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as of_hypothesis
from hypothesis import strategies as st

from camixersr.inference.before import Before
from camixersr.inference.computer import Computer
from camixersr.models.calibration import Calibration
from camixersr.weights import Model
from tests.conftest import random_network


def computer(*, pool: int = 64, calibrated: bool = True, **how: Any) -> Computer:
    network = random_network(channels=8, scale=2, blocks=(1, 1), pool=pool)
    model = Model("tiny", network)
    if calibrated:
        model = replace(model, calibration=Calibration((0.5,), ((0.5, 0.5),)))
    return Computer(model, device="cpu", tile=64, **how)


@pytest.fixture(scope="module")
def tiled() -> Computer:
    return computer()


@of_hypothesis(max_examples=6)
@given(
    st.integers(40, 100), st.integers(200, 420), st.integers(0, 2**32 - 1),
    st.floats(0, 1), st.floats(0, 1), st.integers(1, 40), st.sampled_from([0.0, 0.3, 1.0]),
)  # fmt: skip
def test_a_region_that_changes_changes_what_sees_it_and_nothing_else(
    height: int, width: int, seed: int, down: float, across: float, side: int, ratio: float
) -> None:
    computer = _shared()
    rng = np.random.default_rng(seed)
    first = rng.random((3, height, width), np.float32)
    second = first.copy()
    y, x = int(down * (height - 1)), int(across * (width - 1))
    second[:, y : y + side, x : x + side] += np.float32(0.01)
    before = Before()
    computer.run(first, attention_ratio=ratio, before=before)
    assert before.reused == 0
    again = computer.run(second, attention_ratio=ratio, before=before)
    alone = computer.run(second, attention_ratio=ratio)
    np.testing.assert_array_equal(again.high, alone.high)
    np.testing.assert_array_equal(again.shares, alone.shares)
    tiles = computer.cut(height, width, 64)
    seeing = [
        tile
        for tile in tiles
        if tile.rows.start < y + side and y < tile.rows.stop
        and tile.columns.start < x + side and x < tile.columns.stop
    ]  # fmt: skip
    assert before.reused == len(tiles) - len(seeing)
    assert again.tiles == len(seeing)


_COMPUTERS: list[Computer] = []


def _shared() -> Computer:
    if not _COMPUTERS:
        _COMPUTERS.append(computer())
    return _COMPUTERS[0]


def test_the_same_picture_is_not_computed_and_another_size_is(tiled: Computer) -> None:
    low = np.random.default_rng(0).random((3, 64, 200), np.float32)
    before = Before()
    first = tiled.run(low, before=before)
    second = tiled.run(low.copy(), before=before)
    assert (second.tiles, second.macs, before.reused) == (0, 0, first.tiles)
    np.testing.assert_array_equal(first.high, second.high)
    assert second.attention_share == first.attention_share
    third = tiled.run(low[:, :-16], before=before)
    assert before.reused == 0
    np.testing.assert_array_equal(third.high, tiled.run(low[:, :-16]).high)


def test_another_ratio_is_another_policy(tiled: Computer) -> None:
    low = np.random.default_rng(0).random((3, 64, 200), np.float32)
    before = Before()
    tiled.run(low, attention_ratio=0.3, before=before)
    again = tiled.run(low, attention_ratio=0.6, before=before)
    assert before.reused == 0
    np.testing.assert_array_equal(again.high, tiled.run(low, attention_ratio=0.6).high)


@pytest.mark.parametrize(
    ("made", "how"),
    [
        ({"pool": 0}, {}),  # a mean over the whole picture
        ({"calibrated": False}, {}),  # a share of its windows
        ({}, {"max_share": 0.4}),  # likewise, in any block
    ],
)
def test_what_depends_on_the_whole_picture_is_computed_again(made: Any, how: Any) -> None:
    asked = computer(**made)
    rng = np.random.default_rng(3)
    first = rng.random((3, 64, 300), np.float32)
    second = first.copy()
    second[:, :64, :64] = 1.0 - second[:, :64, :64] ** 2
    before = Before()
    asked.run(first, before=before, **how)
    again = asked.run(second, before=before, **how)
    np.testing.assert_array_equal(again.high, asked.run(second, **how).high)


def test_batches_are_kept_together() -> None:
    asked = computer(backend="torch", batch=3)
    rng = np.random.default_rng(4)
    first = rng.random((3, 64, 400), np.float32)
    second = first.copy()
    second[:, 10:20, 10:20] = 0.0
    before = Before()
    asked.run(first, before=before)
    again = asked.run(second, before=before)
    assert before.reused > 0
    np.testing.assert_array_equal(again.high, asked.run(second).high)
