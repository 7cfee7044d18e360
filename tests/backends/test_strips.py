import pytest
import torch

from camixersr.backends.strips import STRIP, enter_in_strips, leave_in_strips
from camixersr.models import CAMixerSR


@pytest.mark.parametrize("height", [1, 16, STRIP - 1, STRIP, STRIP + 1, STRIP + 2, 2 * STRIP + 3])
def test_the_networks_end_is_the_same_in_strips(network: CAMixerSR, height: int) -> None:
    """Also where rows were padded to windows, and where a strip has one row only."""
    padded, width, C = -(-height // 16) * 16, 21, network.config.channels
    y, x = torch.rand(2, 1, padded, 32, C)
    expected = network.leave(y, x, height, width)
    found = leave_in_strips(network, y, x, height, width)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize("height", [1, 16, 17, STRIP, STRIP + 1, 2 * STRIP - 16, 2 * STRIP + 40])
def test_the_networks_beginning_is_the_same_in_strips(network: CAMixerSR, height: int) -> None:
    image = torch.rand(1, 3, height, 37)
    for found, expected in zip(enter_in_strips(network, image), network.enter(image), strict=True):
        assert found.shape == expected.shape
        assert (found - expected).abs().max() < 1e-5
