"""Narrowing: nothing is lost where nothing was there, and as little as can be where something was."""

import itertools

import pytest
import torch
from torch import Tensor

from camixersr.models import CAMixerSR
from camixersr.nn import TopShare
from camixersr.prune.narrow import eliminate, narrow, observe, widths
from tests.conftest import random_network

LOW = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(3))
HALF = TopShare(0.5)


def _narrowed(network: CAMixerSR, **to: int) -> CAMixerSR:
    return narrow(network, observe(network, [LOW], HALF), **{**widths(network), **to})


def _same(network: CAMixerSR, other: CAMixerSR, tolerance: float = 1e-4) -> bool:
    """On pictures that were not looked at, too."""
    low = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(4))
    expected, result = network(low, HALF), other(low, HALF)
    return bool((result - expected).abs().max() <= tolerance * expected.abs().max())


def test_the_same_widths_are_the_same_network() -> None:
    network = random_network(pool=32)
    same = _narrowed(network)
    assert same.config == network.config
    assert torch.equal(same(LOW, HALF), network(LOW, HALF))


def test_scores_of_a_low_rank_need_no_more_keys() -> None:
    network = random_network()
    for name, parameter in network.named_parameters():
        if "project_q.weight" in name:
            left, size, right = torch.linalg.svd(parameter)
            size[5:] = 0.0
            parameter.copy_(left @ size.diag() @ right)
        if "project_q.bias" in name:
            parameter.zero_()
    smaller = _narrowed(network, keys=5)
    assert smaller.config.keys == 5
    assert _same(network, smaller)
    assert not _same(network, _narrowed(network, keys=1))


def test_what_is_added_to_all_scores_of_a_query_costs_nothing() -> None:
    network = random_network()
    moved = random_network()
    for name, parameter in moved.named_parameters():
        if "project_k.bias" in name:
            parameter.add_(3.0)
    assert _same(network, moved)
    assert _same(network, _narrowed(moved, keys=19), tolerance=1e-2)


def _silence(network: CAMixerSR, name: str, columns: list[int]) -> None:
    """Let some inputs of a layer be without effect."""
    for full, parameter in network.named_parameters():
        if full.endswith(name):
            parameter[:, columns] = 0.0


def test_channels_without_effect_go_first() -> None:
    network = random_network()
    idle = [1, 4, 11]
    _silence(network, "mixer.project_out.weight", idle)
    _silence(network, "predictor.project_in.weight", idle)
    _silence(network, "feed_forward.project_out.weight", idle)
    smaller = _narrowed(network, values=17, hidden=17)
    assert (smaller.config.values, smaller.config.hidden) == (17, 17)
    assert _same(network, smaller)
    kept = [channel for channel in range(20) if channel not in idle]
    for before, after in zip(network.body, smaller.body, strict=True):
        for one, two in zip(before.blocks, after.blocks, strict=True):
            assert torch.equal(one.mixer.project_v.weight[kept], two.mixer.project_v.weight)


def test_a_channel_that_repeats_another_is_made_good() -> None:
    network = random_network()
    for name, parameter in network.named_parameters():
        if "feed_forward.project_in" in name or "feed_forward.depthwise" in name:
            parameter[7] = parameter[3]
            parameter[27] = parameter[23]
    assert _same(network, _narrowed(network, hidden=19))


def test_narrow_networks_can_be_narrowed_again() -> None:
    network = _narrowed(random_network(), keys=12, values=16)
    smaller = _narrowed(network, keys=8, hidden=12)
    assert widths(smaller) == {"keys": 8, "values": 16, "hidden": 12}
    assert smaller(LOW, HALF).isfinite().all()


def _error(weight: Tensor, products: Tensor, stays: tuple[int, ...]) -> float:
    """Mean square of what a layer's outputs lose without the other inputs, solved by least squares."""
    index = list(stays)
    solved = weight @ products[:, index] @ torch.linalg.inv(products[index][:, index])
    change = weight.clone()
    change[:, index] -= solved
    return float((change @ products @ change.T).trace())


@pytest.mark.parametrize("count", [1, 3, 5])
def test_elimination_solves_for_those_that_stay_and_chooses_well(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    features = torch.randn(500, 6, generator=generator, dtype=torch.float64) @ torch.randn(
        6, 6, generator=generator, dtype=torch.float64
    )
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    products = features.T @ features / 500
    stays, solved = eliminate(weight, products, count)
    expected = torch.linalg.lstsq(features[:, stays], features @ weight.T).solution.T
    assert torch.allclose(solved, expected)
    errors = sorted(_error(weight, products, each) for each in itertools.combinations(range(6), count))
    ours = _error(weight, products, tuple(stays.tolist()))
    assert ours <= errors[len(errors) // 4]  # one at a time is not always the very best
    if count == 5:  # a single one is
        assert ours == pytest.approx(errors[0])


def test_observing_changes_nothing_and_leaves_no_hooks() -> None:
    network = random_network()
    before = network(LOW, HALF)
    observe(network, [LOW], HALF)
    assert torch.equal(network(LOW, HALF), before)
    assert not any(module._forward_pre_hooks for module in network.modules())
