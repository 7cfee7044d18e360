import pytest
import torch

from camixersr.errors import ShapeError
from camixersr.models.fixed import FixedWindows
from camixersr.nn import TopShare
from camixersr.speed.reference import Reference
from tests.conftest import NARROW, random_network


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_it_computes_what_the_network_computes(scale: int, share: float) -> None:
    network = random_network(scale=scale)
    low = torch.rand(1, 3, 37, 50)
    policy = FixedWindows(tuple(torch.rand(1, 12) < share for _ in range(network.block_count)))
    expected, _ = network.route(low, policy)
    assert (Reference(network)(low, policy) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("widths", NARROW, ids=str)
def test_pruned_networks(widths: dict[str, int]) -> None:
    network = random_network(**widths)
    low = torch.rand(1, 3, 37, 50)
    expected = network(low, TopShare(0.5))
    assert (Reference(network)(low, TopShare(0.5)) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_cells() -> None:
    network = random_network(pool=32)
    low = torch.rand(1, 3, 37, 70)
    assert torch.allclose(Reference(network)(low, TopShare(0.5)), network(low, TopShare(0.5)), atol=1e-5)


def test_it_is_routed_by_the_same_scores() -> None:
    network = random_network()
    low = torch.rand(1, 3, 48, 48)
    assert torch.allclose(Reference(network)(low, TopShare(0.5)), network(low, TopShare(0.5)), atol=1e-5)


def test_it_takes_one_image() -> None:
    with pytest.raises(ShapeError, match="one RGB image"):
        Reference(random_network())(torch.rand(2, 3, 16, 16), TopShare(0.5))
