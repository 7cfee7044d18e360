import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from camixersr.nn import TopShare
from camixersr.operations import count
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
