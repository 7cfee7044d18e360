from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from camixersr.backends import folded
from camixersr.backends.folded import Folded
from camixersr.errors import ShapeError
from camixersr.models import CAMixerSR
from camixersr.models.calibration import Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.nn import ExpectedCount, Policy, TopShare
from camixersr.nn.pool import Pooled
from tests.conftest import NARROW, random_network


@dataclass(frozen=True)
class _Blend:
    """Takes every third window half from each branch, every fourth not at all, the others as attended."""

    def choose(self, logits: Tensor, block: int) -> Tensor:
        number = torch.arange(logits.shape[1]).expand_as(logits) + block
        mask = torch.where(number % 3 == 0, 0.5, 1.0)
        return torch.where(number % 4 == 0, 0.0, mask)


POLICIES: tuple[Policy, ...] = (
    TopShare(0.0),
    TopShare(0.4),
    TopShare(1.0),
    Threshold((0.5, 0.4, 0.6)),
    ExpectedCount(0.5),
    _Blend(),
)


def _shaken(network: CAMixerSR) -> CAMixerSR:
    """Every weight away from its initial value: norms that are not the identity show in the result."""
    for parameter in network.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def _agree(network: CAMixerSR, low: Tensor, policy: Policy) -> None:
    high, routing = Folded(network).route(low, policy)
    expected, decided = network.route(low, policy)
    assert (high - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1.0)
    assert (routing.rows, routing.columns) == (decided.rows, decided.columns)
    for ours, theirs in zip(routing.blocks, decided.blocks, strict=True):
        assert torch.allclose(ours.logits, theirs.logits, atol=2e-5)
        assert torch.equal(ours.mask, theirs.mask) or ours.mask.is_floating_point()


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: str(policy)[:24])
@pytest.mark.parametrize("scale", [2, 4])
def test_it_computes_what_the_network_computes(policy: Policy, scale: int) -> None:
    _agree(_shaken(random_network(scale=scale)), torch.rand(1, 3, 70, 53), policy)


@settings(max_examples=30)
@given(height=st.integers(1, 70), width=st.integers(1, 50), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_every_size(height: int, width: int, share: float) -> None:
    network = _shaken(random_network(channels=12, blocks=(1, 1)))
    _agree(network, torch.rand(1, 3, height, width), TopShare(share))


@pytest.mark.parametrize("channels", [4, 20, 36])
def test_every_width(channels: int) -> None:
    _agree(_shaken(random_network(channels)), torch.rand(1, 3, 40, 40), TopShare(0.5))


@pytest.mark.parametrize("widths", NARROW, ids=str)
def test_pruned_networks(widths: dict[str, int]) -> None:
    for policy in (TopShare(0.5), _Blend()):
        _agree(_shaken(random_network(**widths)), torch.rand(1, 3, 40, 60), policy)


@pytest.mark.parametrize("size", [(70, 53), (16, 40), (100, 100), (96, 64)], ids=str)
@pytest.mark.parametrize("band", [1, 3000, 28_000])
def test_cells(size: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their borders lie anywhere in a band."""
    monkeypatch.setattr(folded, "BAND", band)
    _agree(_shaken(random_network(pool=32)), torch.rand(1, 3, *size), TopShare(0.5))


def test_bands_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _shaken(random_network())
    low = torch.rand(1, 3, 150, 33)
    whole, _ = Folded(network).route(low, TopShare(0.5))
    monkeypatch.setattr(folded, "BAND", 1)  # one row of windows
    banded, _ = Folded(network).route(low, TopShare(0.5))
    assert torch.allclose(banded, whole, atol=1e-6)


def test_offsets_beyond_the_border_read_the_border() -> None:
    network = random_network()
    for name, parameter in network.named_parameters():
        if "offsets.2.bias" in name:
            parameter.fill_(30.0)  # saturated: everything 8 pixels to the right and down
    _agree(network, torch.rand(1, 3, 48, 48), TopShare(1.0))
    for name, parameter in network.named_parameters():
        if "offsets.2.bias" in name:
            parameter.fill_(-30.0)
    _agree(network, torch.rand(1, 3, 48, 48), TopShare(1.0))


def test_images_of_a_batch_are_computed_alone() -> None:
    fast = Folded(random_network())
    low = torch.rand(3, 3, 40, 40)
    masks = FixedWindows(tuple(torch.rand(3, 9) < 0.5 for _ in range(3)))
    high, routing = fast.route(low, masks)
    for number in range(3):
        alone, decided = fast.route(low[number : number + 1], masks.of_image(number))
        assert torch.equal(high[number : number + 1], alone)
        assert torch.equal(routing.attended[:, number : number + 1], decided.attended)


def test_the_pool_is_asked_for_every_block() -> None:
    network = _shaken(random_network())
    low = torch.rand(1, 3, 32, 32)
    seen: list[tuple[Tensor, int]] = []

    def pool(features: Tensor, block: int) -> Pooled:
        seen.append((features.clone(), block))
        return Pooled(torch.zeros(1, 1, 1, features.shape[-1]), (features.shape[1],))

    high, _ = Folded(network).route(low, TopShare(0.5), pool=pool)
    ours, seen = seen, []
    expected, _ = network.route(low, TopShare(0.5), pool=pool)
    assert torch.allclose(high, expected, atol=1e-5)
    for (features, block), (theirs, number) in zip(ours, seen, strict=True):
        assert block == number
        assert torch.allclose(features, theirs, atol=1e-5)


def test_same_bytes_again() -> None:
    network = random_network()
    low = torch.rand(1, 3, 64, 80)
    for dtype in (torch.float32, torch.bfloat16):
        fast = Folded(network, dtype)
        first, _ = fast.route(low, TopShare(0.5))
        assert torch.equal(fast.route(low, TopShare(0.5))[0], first)
        assert torch.equal(Folded(network, dtype).route(low, TopShare(0.5))[0], first)


def test_bfloat16_is_close_and_overflows_no_sooner_than_fp32() -> None:
    network = random_network()
    low = torch.rand(1, 3, 64, 80)
    expected, routing = network.route(low, TopShare(0.5))
    high, _ = Folded(network, torch.bfloat16).route(low, FixedWindows.replay(routing))
    assert 0.0 < (high - expected).square().mean() <= 1e-5 * expected.square().mean()
    for extreme in (torch.zeros(1, 3, 32, 32), 1e4 * torch.rand(1, 3, 32, 32), -1e4 * low):
        assert Folded(network, torch.bfloat16).route(extreme, TopShare(1.0))[0].isfinite().all()


def test_what_is_no_batch_of_images_is_refused() -> None:
    with pytest.raises(ShapeError, match="B x 3 x H x W"):
        Folded(random_network()).route(torch.zeros(1, 4, 8, 8), TopShare(0.5))
