"""What attention is worth in each block, against finite differences; and how a budget is shared out."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from camixersr.errors import ValueRangeError
from camixersr.image.resize import resize
from camixersr.models.calibration import Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.tensors import from_array
from camixersr.train.allotment import STEEP, Allotment, measure_allotment
from camixersr.train.calibrate import RATIOS, calibrate
from tests.conftest import noise_picture, random_network

numbers = st.floats(-1.0, 1.0, width=32)
lines = st.lists(st.tuples(numbers, st.floats(0.015625, 1.0, width=32)), min_size=1, max_size=8)


def allotment_of(found: list[tuple[float, float]]) -> Allotment:
    return Allotment(*torch.tensor(found).T)


@given(lines, st.floats(0.0, 1.0))
def test_shares_use_up_the_budget(found: list[tuple[float, float]], ratio: float) -> None:
    shares = allotment_of(found).shares(ratio)
    assert float(shares.mean()) == pytest.approx(ratio, abs=1e-5)
    assert ((shares >= 0.0) & (shares <= 1.0)).all()


@given(lines, st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_no_other_shares_gain_more(found: list[tuple[float, float]], ratio: float, seed: int) -> None:
    allotment = allotment_of(found)

    def gained(shares: Tensor) -> float:
        """The integral of each line from its highest rank down to where its share ends."""
        s = shares.double()
        return float((s * (allotment.level.double() + allotment.slope.double() * (1.0 - s) / 2.0)).sum())

    shares = allotment.shares(ratio)
    other = shares + 0.3 * torch.randn(len(shares), generator=torch.Generator().manual_seed(seed))
    other = other.clamp(0.0, 1.0)
    missing = float((shares - other).sum())
    room = (1.0 - other) if missing > 0.0 else other
    other = other + missing * room / room.sum().clamp(min=1e-9)  # as much in all, and still in [0, 1]
    assert gained(other) <= gained(shares) + 1e-4


@given(lines)
def test_more_budget_takes_attention_from_no_block(found: list[tuple[float, float]]) -> None:
    rows = torch.stack([allotment_of(found).shares(ratio) for ratio in (0.0, *RATIOS, 1.0)])
    assert (rows.diff(dim=0) > -1e-5).all()


def test_budgets_are_shares_and_nothing_known_is_even() -> None:
    with pytest.raises(ValueRangeError, match="must lie in"):
        allotment_of([(0.0, 1.0)]).shares(1.5)
    assert allotment_of([(0.0, 0.0), (0.0, 0.0)]).shares(0.3).tolist() == pytest.approx([0.3, 0.3])


def test_gains_are_slopes_of_the_error_half_way() -> None:
    network = random_network(channels=12, scale=2, blocks=(1, 2))
    high = noise_picture(64, 96, seed=4)
    low = resize(high, height=32, width=48)
    allotment = measure_allotment(network, [(low, high)])
    double = copy.deepcopy(network).double()
    windows, step = 6, 1e-4
    wanted = from_array(high)[None].double()

    def decibels(block: int, window: int, change: float) -> float:
        masks = [torch.full((1, windows), 0.5, dtype=torch.float64) for _ in range(3)]
        masks[block][0, window] += change
        made = double.route(from_array(low)[None].double(), FixedWindows(tuple(masks)))[0]
        return 10.0 * float((made - wanted).square().mean().log10())

    halves = FixedWindows((torch.full((1, windows), 0.5, dtype=torch.float64),) * 3)
    routing = double.route(from_array(low)[None].double(), halves)[1]
    gains = np.array(
        [
            [(decibels(k, w, -step) - decibels(k, w, step)) / (2.0 * step) for w in range(windows)]
            for k in range(3)
        ]
    )
    assert allotment.level.numpy() == pytest.approx(gains.mean(axis=1), rel=1e-3, abs=1e-6)
    for k, block in enumerate(routing.blocks):
        rank = (block.logits[0].argsort().argsort().numpy() + 0.5) / windows
        slope = np.polyfit(rank, gains[k], 1)[0]
        least = STEEP * gains.mean(axis=1).std()
        assert float(allotment.slope[k]) == pytest.approx(max(slope, least), rel=1e-3)


def test_measuring_leaves_the_network_learning() -> None:
    network = random_network(channels=12, scale=2, blocks=(1,)).requires_grad_()
    high = noise_picture(64, 64)
    with torch.inference_mode():  # as validation does
        measure_allotment(network, [(resize(high, height=32, width=32), high)])
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())


def test_calibrated_blocks_attend_what_they_are_worth() -> None:
    network = random_network(channels=12, scale=2, blocks=(1, 2))
    photos = [noise_picture(192, 192, seed=seed) for seed in range(4)]
    pairs = [(resize(photo, height=96, width=96), photo) for photo in photos]
    shares = measure_allotment(network, pairs).shares(0.5)
    policy = calibrate(network, photos).at(0.5)
    assert isinstance(policy, Threshold)
    step = Threshold(policy.thresholds, band=0.0)
    seen = [
        network.route(from_array(low)[None], step)[1].attended.float().mean(dim=(1, 2)) for low, _ in pairs
    ]
    assert torch.stack(seen).mean(dim=0).tolist() == pytest.approx(shares.tolist(), abs=0.12)
    assert float(shares.max() - shares.min()) > 0.2, "blocks differ"
