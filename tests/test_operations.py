from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from camixersr.models import PRESETS
from camixersr.nn import TopShare
from camixersr.operations import count, large_image_flops, macs_at_720p
from tests.conftest import random_network


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_macs_equal_torchs_own_counter(share: float, scale: int) -> None:
    network = random_network(channels=24, scale=scale, blocks=(2, 1))
    # the counter does not know the fused attention of the CPU; its plain form is two products
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _, routing = network.route(torch.rand(1, 3, 40, 50), TopShare(share))
    ours = count(network.config, windows=12, attended=int(routing.attended.sum())).total
    assert 2 * ours == counter.get_total_flops()


@pytest.mark.parametrize("widths", [{"keys": 9, "values": 9}, {"values": 12, "keys": 12, "hidden": 7}])
def test_macs_of_pruned_networks(widths: dict[str, int]) -> None:
    network = random_network(channels=24, **widths)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _, routing = network.route(torch.rand(1, 3, 40, 50), TopShare(0.5))
    attended = int(routing.attended.sum())
    assert 2 * count(network.config, windows=12, attended=attended).total == counter.get_total_flops()
    fewer = replace(network.config, keys=4)  # where the product has unequal widths, keys save theirs
    saved = count(network.config, windows=12, attended=attended)
    saved = saved.attention_products - count(fewer, windows=12, attended=attended).attention_products
    assert saved == attended * 256 * 256 * (widths["keys"] - 4)


@pytest.mark.parametrize(
    ("preset", "ratio", "published"),
    [
        ("s-x4", 1.0, 894e6),
        ("s-x4", 0.5, 652e6),
        ("m-x4", 1.0, 1.37e9),
        ("m-x4", 0.5, 1.03e9),
        ("b-x4", 1.0, 1.957e9),
        ("b-x4", 0.5, 1.495e9),
    ],
)
def test_the_papers_large_image_table(preset: str, ratio: float, published: float) -> None:
    assert large_image_flops(PRESETS[preset], ratio) == pytest.approx(published, rel=0.01)


def test_the_papers_lightweight_table() -> None:
    assert macs_at_720p(PRESETS["b-x4"]) == pytest.approx(53.8e9, rel=0.01)
