"""Targets are met, with what does the least damage."""

import pytest
import torch

from camixersr.errors import ValueRangeError
from camixersr.nn import TopShare
from camixersr.operations import macs_at_720p
from camixersr.prune import search
from camixersr.prune.narrow import widths
from camixersr.prune.search import choose, shrink
from tests.conftest import random_network

LOW = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def test_the_least_damage_within_the_limit() -> None:
    damages = {"keys": {8: 0.0, 4: 3.0}, "values": {8: 0.0, 4: 1.0}, "hidden": {8: 0.0, 4: 1.5}}
    assert choose(damages, lambda chosen: sum(chosen.values()), 24) == {"keys": 8, "values": 8, "hidden": 8}
    assert choose(damages, lambda chosen: sum(chosen.values()), 20) == {"keys": 8, "values": 4, "hidden": 8}
    assert choose(damages, lambda chosen: sum(chosen.values()), 17) == {"keys": 8, "values": 4, "hidden": 4}
    with pytest.raises(ValueRangeError, match=r"keeps 0\.500, more than 0\.41"):
        choose(damages, lambda chosen: sum(chosen.values()), 10)


def test_what_is_free_is_not_taken_away() -> None:
    damages = {"keys": {8: 0.0, 4: 0.0}, "hidden": {8: 0.0, 4: 1.0}}
    assert choose(damages, lambda chosen: chosen["hidden"], 8) == {"keys": 8, "hidden": 8}


@pytest.mark.parametrize("share", [0.9, 0.75])
def test_macs_and_parameters_fall_to_the_target(share: float) -> None:
    network = random_network()
    fewer = shrink(network, LOW, of="macs", to=share)
    assert fewer.after.macs == macs_at_720p(fewer.network.config, 0.5) <= share * fewer.before.macs
    smaller = shrink(network, LOW, of="parameters", to=share)
    counted = sum(parameter.numel() for parameter in smaller.network.parameters())
    assert smaller.after.parameters == counted <= share * smaller.before.parameters
    assert smaller.change_db > 10.0
    assert shrink(network, LOW, of="macs", to=share).network.config == fewer.network.config


def test_without_attention_keys_are_left_alone() -> None:
    pruned = shrink(random_network(), LOW, of="macs", to=0.8, attention_ratio=0.0)
    assert widths(pruned.network)["keys"] == 20
    assert set(pruned.damages["keys"].values()) == {0.0}


def test_damages_are_those_of_the_pictures() -> None:
    network = random_network()
    pruned = shrink(network, LOW, of="macs", to=0.7)
    change = pruned.network(LOW, TopShare(0.5)) - network(LOW, TopShare(0.5))
    assert pruned.change_db == pytest.approx(float(-10 * change.square().mean().log10()), abs=0.01)
    for by_width in pruned.damages.values():
        assert by_width[20] == 0.0
        assert by_width[4] > by_width[16] > 0.0


def test_seconds_are_measured_until_they_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a clock that goes by MACs, and always the widest network that meets it."""
    monkeypatch.setattr(
        search,
        "seconds",
        lambda networks, share: [0.2 + macs_at_720p(each.config, share) / 1e10 for each in networks],
    )
    network = random_network()
    pruned = shrink(network, LOW, of="seconds", to=0.85)
    assert pruned.after.seconds <= 0.85 * pruned.before.seconds
    with pytest.raises(ValueRangeError, match="even the narrowest"):
        shrink(network, LOW, of="seconds", to=0.1)


def test_seconds_of_real_networks_are_positive() -> None:
    assert all(each > 0.0 for each in search.seconds([random_network(channels=8)] * 2, 0.5))


@pytest.mark.parametrize("share", [0.0, 1.0, -0.5, float("nan")])
def test_a_share_lies_between_nothing_and_all(share: float) -> None:
    with pytest.raises(ValueRangeError, match="between 0 and 1"):
        shrink(random_network(), LOW, of="macs", to=share)
