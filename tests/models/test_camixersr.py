import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.models import PRESETS, CAMixerSR, CAMixerSRConfig
from camixersr.models.calibration import Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.models.network import pad_to_windows
from camixersr.nn import TopShare
from tests.conftest import NARROW, random_network
from tests.oracle import reference

# REFERENCE: parameters of the paper's networks.
PARAMETERS = {
    "s-x2": 339_538, "s-x3": 344_413, "s-x4": 351_238,
    "m-x2": 518_970, "m-x3": 525_465, "m-x4": 534_558,
    "b-x2": 745_846, "b-x3": 753_961, "b-x4": 765_322,
}  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_papers_number_of_parameters(name: str) -> None:
    network = CAMixerSR(PRESETS[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]


def test_every_preset_is_tested() -> None:
    assert set(PRESETS) == set(PARAMETERS)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_network_equals_its_equations(scale: int, share: float) -> None:
    network = random_network(scale=scale)
    low = torch.rand(2, 3, 37, 20)
    high, routing = network.route(low, TopShare(share))
    expected, scores = reference.network(
        low,
        network.state_dict(),
        [block.attended for block in routing.blocks],
        network.config.blocks,
        scale,
    )
    assert high.shape == (2, 3, 37 * scale, 20 * scale)
    assert (high - expected).abs().max() <= 1e-4 * expected.abs().max()
    for block, score in zip(routing.blocks, scores, strict=True):
        assert torch.allclose(block.scores, score, atol=1e-5)
    assert (routing.rows, routing.columns) == (3, 2)


@pytest.mark.parametrize("widths", [*NARROW, {"keys": 30, "hidden": 25}], ids=str)
def test_a_pruned_network_equals_its_equations(widths: dict[str, int]) -> None:
    network = random_network(blocks=(1, 1), **widths)
    low = torch.rand(1, 3, 37, 20)
    high, routing = network.route(low, TopShare(0.5))
    attended = [block.attended for block in routing.blocks]
    expected, _ = reference.network(low, network.state_dict(), attended, (1, 1), 2)
    assert (high - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize("size", [(37, 20), (96, 64), (70, 130)], ids=str)
def test_a_network_that_pools_over_cells_equals_its_equations(size: tuple[int, int]) -> None:
    network = random_network(blocks=(1, 1), pool=32)
    low = torch.rand(1, 3, *size) * torch.linspace(0.0, 4.0, size[0])[:, None]  # cells differ
    high, routing = network.route(low, TopShare(0.5))
    attended = [block.attended for block in routing.blocks]
    expected, _ = reference.network(low, network.state_dict(), attended, (1, 1), 2, pool=32)
    assert (high - expected).abs().max() <= 1e-4 * expected.abs().max()
    over_all, _ = reference.network(low, network.state_dict(), attended, (1, 1), 2)
    assert (high - over_all).abs().max() > 5e-4 * expected.abs().max()


def test_a_patch_of_one_cell_is_the_papers_pool() -> None:
    cells, paper = random_network(pool=64), random_network()
    paper.load_state_dict(cells.state_dict())
    low = torch.rand(2, 3, 64, 50)
    assert torch.equal(cells(low), paper(low))


@pytest.mark.parametrize("pool", [-16, 8, 40])
def test_cells_are_whole_windows(pool: int) -> None:
    with pytest.raises(ValueRangeError, match="pool 0 or a multiple of the window"):
        CAMixerSRConfig(pool=pool)


def test_one_network_has_one_configuration() -> None:
    assert CAMixerSRConfig(keys=60, values=60, hidden=60) == CAMixerSRConfig()
    with pytest.raises(ValueRangeError, match="keys must be 0"):
        CAMixerSRConfig(keys=-1)


@settings(max_examples=40)
@given(height=st.integers(1, 50), width=st.integers(1, 50), share=st.sampled_from([0.0, 0.5, 1.0]))
def test_every_size_works(height: int, width: int, share: float) -> None:
    network = random_network(channels=12, blocks=(1,), scale=3)
    high = network(torch.rand(1, 3, height, width), TopShare(share))
    assert high.shape == (1, 3, 3 * height, 3 * width)
    assert high.isfinite().all()


def test_padding_reflects_where_it_can_and_replicates_where_it_cannot() -> None:
    ramp = torch.arange(9.0)[None, None, :, None].expand(1, 1, 9, 3)
    padded = pad_to_windows(ramp, 16)
    assert padded.shape == (1, 1, 16, 16)
    assert padded[0, 0, :, 0].tolist() == [*range(9), *range(7, 0, -1)]  # 9 pixels: reflection
    short = pad_to_windows(ramp[:, :, :8], 16)
    assert short[0, 0, :, 0].tolist() == [*range(8), *[7] * 8]  # 8 pixels: replication
    whole = torch.rand(1, 3, 32, 16)
    assert pad_to_windows(whole, 16) is whole


def test_forward_is_the_image_of_route_and_one_tensor() -> None:
    network = random_network()
    low = torch.rand(1, 3, 32, 32)
    high, _ = network.route(low, TopShare(0.5))
    assert torch.equal(network(low), high)
    assert torch.equal(network(low, TopShare(0.5)), high)


def test_a_replayed_routing_gives_the_same_bytes() -> None:
    network = random_network()
    low = torch.rand(2, 3, 48, 40)
    high, routing = network.route(low, Threshold((0.5,) * 3))
    assert torch.equal(network(low, FixedWindows.replay(routing)), high)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 3, 0, 8), (1, 4, 8, 8)])
def test_another_shape_is_refused_with_what_was_expected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="B x 3 x H x W"):
        random_network()(torch.zeros(shape))


@pytest.mark.parametrize(
    "change", [{"channels": 3}, {"scale": 0}, {"blocks": ()}, {"blocks": (2, 0)}, {"window": 0}]
)
def test_an_impossible_configuration_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueRangeError, match="expected channels"):
        CAMixerSRConfig(**change)  # type: ignore[arg-type]
