"""The same input gives the same bytes: alone, in a batch, again, and in whatever company."""

import numpy as np
import pytest
import torch

from camixersr.catalogue import find
from camixersr.metrics import psnr
from camixersr.models.calibration import Threshold
from camixersr.nn import ExpectedCount, Policy, TopShare
from camixersr.weights import load_file
from tests.conftest import noise_picture, random_network, shared

RATIOS = [0.0, 0.25, 0.5, 0.75, 1.0]


def _picture(height: int, width: int, seed: int) -> torch.Tensor:
    pixels = noise_picture(height, width, seed=seed).transpose(2, 0, 1)
    return torch.from_numpy(pixels[None].astype(np.float32) / 255.0)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(("height", "width"), [(32, 32), (37, 61), (96, 48), (5, 130)])
def test_neighbours_in_the_batch_change_no_bit(ratio: float, height: int, width: int) -> None:
    network = random_network(channels=36, scale=4, blocks=(2, 2))
    pictures = [_picture(height, width, seed) for seed in range(3)]
    policies: list[Policy] = [TopShare(ratio), ExpectedCount(ratio), Threshold((1.0 - ratio,) * 4)]
    for policy in policies:
        batch = network(torch.cat(pictures), policy)
        for number, picture in enumerate(pictures):
            alone = network(picture, policy)
            assert torch.equal(alone, network(picture, policy)), "the same call twice"
            assert torch.equal(alone[0], batch[number]), "alone and in a batch"


@pytest.mark.parametrize("ratio", RATIOS)
def test_the_embedded_model_is_deterministic(ratio: float) -> None:
    model = find("s-x4")
    one, other = _picture(48, 80, 1), _picture(48, 80, 2)
    batch = model.network(torch.cat((one, other)), model.policy(ratio))
    for number, picture in enumerate((one, other)):
        alone = model.network(picture, model.policy(ratio))
        assert torch.equal(alone, model.network(picture, model.policy(ratio)))
        assert torch.equal(alone[0], batch[number])


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_the_authors_checkpoint_is_deterministic_in_our_hands(ratio: float) -> None:
    """The public code gives another picture each time, and another one beside a neighbour."""
    network = load_file(shared("official/CAMixerSR_S.pth")).network
    one, other = _picture(64, 80, 1), _picture(64, 80, 2)
    batch = network(torch.cat((one, other)), ExpectedCount(ratio))
    assert torch.equal(network(one, ExpectedCount(ratio))[0], batch[0])
    assert torch.equal(network(other, ExpectedCount(ratio))[0], batch[1])


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.5, 1.0])
def test_another_thread_count_changes_nothing_visible(ratio: float) -> None:
    model = find("s-x4")
    picture = _picture(64, 96, 3)
    torch.set_num_threads(1)
    one, first = model.network.route(picture, model.policy(ratio))
    torch.set_num_threads(2)
    two, second = model.network.route(picture, model.policy(ratio))
    assert torch.equal(first.attended, second.attended)
    assert psnr(one[0].numpy() * 255.0, two[0].numpy() * 255.0) >= 75.0
    visible = [(each[0] * 255.0).round().clamp(0, 255) for each in (one, two)]
    assert (visible[0] - visible[1]).abs().max() <= 1.0
