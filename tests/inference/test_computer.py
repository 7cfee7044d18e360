import numpy as np
import pytest
import torch

from camixersr.backends.folded import Folded
from camixersr.backends.prepared import TILE as PREPARED_TILE
from camixersr.backends.protocol import AUTO_TILE
from camixersr.errors import DeviceError, MemoryLimitError, ShapeError, UsageError, ValueRangeError
from camixersr.inference.compute import compute_tile
from camixersr.inference.cost import Bill
from camixersr.inference.plan import Plan
from camixersr.inference.sources import InMemory
from camixersr.inference.tiles import cut
from camixersr.models import CAMixerSR, CAMixerSRConfig
from camixersr.models.calibration import Calibration
from camixersr.nn import TopShare
from camixersr.nn.pool import pool_image
from camixersr.operations import count
from camixersr.weights import Model
from tests.conftest import TensorComputer, noise_picture, random_network


def upscaler(
    *,
    calibrated: bool = False,
    scale: int = 2,
    blocks: tuple[int, ...] = (1, 1),
    pool: int = 0,
    **options,
) -> TensorComputer:
    network = random_network(channels=12, scale=scale, blocks=blocks, pool=pool)
    # what attends about half of the windows of `low`
    calibration = Calibration((0.5,), ((0.8676, 0.9773)[: sum(blocks)],)) if calibrated else None
    options = {"backend": "torch", "device": "cpu", **options}  # whose parts are replaced below
    return TensorComputer(Model("test", network, calibration), **options)


def low(height: int = 40, width: int = 70) -> torch.Tensor:
    return torch.from_numpy(noise_picture(height, width)).permute(2, 0, 1).float() / 255.0


def test_a_run_is_the_network_and_its_facts() -> None:
    up = upscaler()
    result = up.run(low(), attention_ratio=0.5)
    expected, routing = up.model.network.route(low()[None], TopShare(0.5))
    assert torch.allclose(result.high, expected[0], atol=1e-5)
    assert result.attention_share == pytest.approx(float(routing.attention_share[0]))
    assert result.shares.shape == (3, 5)
    assert result.shares.mean() == pytest.approx(result.attention_share)
    attended = int(routing.attended.sum())
    assert result.macs == count(up.model.config, windows=15, attended=attended).total
    assert (result.tiles, result.precision) == (1, "fp32")
    assert result.peak_memory_bytes is None or result.peak_memory_bytes > 2**20
    assert result.seconds > 0


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_the_same_input_gives_the_same_bytes(ratio: float) -> None:
    for options in ({}, {"tile": 64}):
        up = upscaler(calibrated=True, **options)
        first = up.run(low(100, 130), attention_ratio=ratio)
        second = up.run(low(100, 130), attention_ratio=ratio)
        assert torch.equal(first.high, second.high)


def planned(up: TensorComputer, picture: torch.Tensor, ratio: float):
    """The plan of a picture, and the bill it is counted on."""
    source = InMemory(picture.numpy())
    bill = Bill(up.model.config, up.device, source.height, source.width)
    return up.plan(source, bill, attention_ratio=ratio), bill


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(150, 210), (97, 131), (64, 200), (17, 81)])
def test_tiles_agree_with_the_whole_picture(size: tuple[int, int], ratio: float) -> None:
    """With the same pool. One block reaches less than 48 pixels, so that nothing is lost."""
    picture = low(*size)
    up = upscaler(calibrated=True, tile=64, blocks=(1,))
    plan, _ = planned(up, picture, ratio)
    whole, routing = up.model.network.route(picture[None], plan.policy, pool=plan.pool)
    many = up.run(picture, attention_ratio=ratio)
    assert many.tiles == len(plan.tiles) > 1
    assert (whole[0] - many.high).abs().max() < 1e-4
    shares = routing.attended[:, 0].double().mean(dim=0).reshape(many.shares.shape)
    assert np.array_equal(many.shares, shares.numpy())
    assert many.attention_share == pytest.approx(float(routing.attention_share[0]))


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [(150, 210), (97, 131), (64, 200), (17, 81)])
@pytest.mark.parametrize("options", [{}, {"batch": 3}, {"precision": "bf16"}], ids=str)
def test_tiles_along_cells_are_the_whole_picture(
    size: tuple[int, int], ratio: float, options: dict
) -> None:
    """With the network's own pool, and without a look at the picture before."""
    picture = low(*size)
    up = upscaler(calibrated=True, tile=64, blocks=(1,), pool=32, **options)
    whole, routing = up.model.network.route(picture[None], up.model.policy(ratio))
    many = up.run(picture, attention_ratio=ratio)
    assert many.tiles == len(up.cut(*size, 64)) > 1
    assert (whole[0] - many.high).abs().max() < (1e-4 if "precision" not in options else 0.02)
    if "precision" not in options:
        assert many.attention_share == pytest.approx(float(routing.attention_share[0]))
    plan, bill = planned(up, picture, ratio)
    assert bill._windows_computed == 0
    assert plan.policy == up.model.policy(ratio)


def test_tiles_along_cells_with_a_share_are_the_whole_picture_with_the_same_thresholds() -> None:
    picture, up = low(150, 210), upscaler(tile=64, blocks=(1,), pool=32)
    plan, bill = planned(up, picture, 0.5)
    assert bill._windows_computed > 0  # a look
    whole, _ = up.model.network.route(picture[None], plan.policy)
    assert (whole[0] - up.run(picture).high).abs().max() < 1e-4


@pytest.mark.parametrize("tile", [80, 400, 48])
def test_a_tile_that_cuts_cells_is_refused(tile: int) -> None:
    with pytest.raises(ValueRangeError, match=f"tile must be 0 or a multiple of 64 from 64 up, got {tile}"):
        upscaler(pool=64, tile=tile)
    assert upscaler(pool=48).memory.auto_tile == 624


def test_the_order_of_tiles_does_not_matter() -> None:
    picture, up = low(150, 210), upscaler(calibrated=True, tile=64)
    expected = up.run(picture).high
    plan, bill = planned(up, picture, 0.5)
    for order in (plan.tiles[::-1], plan.tiles[1::2] + plan.tiles[::2]):
        high = torch.full_like(expected, torch.nan)
        for tile in order:
            low_of_it = InMemory(picture.numpy()).read(*tile.computed)
            (piece,) = compute_tile(up.backend, plan, tile, low_of_it, bill.watch)
            y, x = tile.rows, tile.columns
            high[:, 2 * y.own_start : 2 * y.own_stop, 2 * x.own_start : 2 * x.own_stop] = torch.from_numpy(
                piece.high
            )
        assert torch.equal(high, expected)


def test_a_tile_that_is_too_large_for_the_memory_is_computed_in_smaller_ones(monkeypatch) -> None:
    picture, up = low(150, 210), upscaler(calibrated=True, tile=128, blocks=(1,))
    expected = up.run(picture)
    route, largest = Folded.route, 13_000

    def short_of_memory(self, low, *rest, **options):
        if low.shape[-2] * low.shape[-1] > largest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return route(self, low, *rest, **options)

    monkeypatch.setattr(Folded, "route", short_of_memory)
    result = up.run(picture)
    assert result.tiles > expected.tiles
    assert (result.high - expected.high).abs().max() < 1e-4
    assert np.array_equal(result.shares, expected.shares)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_too_little_memory_for_the_smallest_tile_is_one_error(monkeypatch, error: Exception) -> None:
    up = upscaler(tile=64)

    def never(*_, **__):
        raise error

    monkeypatch.setattr(Folded, "route", never)
    tile = cut(100, 100, 64)[0]
    plan = Plan(100, 100, (tile,), TopShare(0.5), pool_image)
    with pytest.raises(MemoryLimitError, match="out of memory even for"):
        compute_tile(
            up.backend,
            plan,
            tile,
            low(100, 100).numpy()[None, :, :96, :96],
            planned(up, low(8, 8), 0.0)[1].watch,
        )


@pytest.mark.parametrize("pool", [32, 64])
def test_smaller_tiles_are_along_cells_too(monkeypatch, pool: int) -> None:
    picture, up = low(300, 210), upscaler(calibrated=True, tile=192, blocks=(1,), pool=pool)
    expected = up.run(picture)
    route, largest = Folded.route, {32: 45_000, 64: 55_000}[pool]

    def short_of_memory(self, low, *rest, **options):
        if low.shape[-2] * low.shape[-1] > largest:
            raise MemoryError
        return route(self, low, *rest, **options)

    monkeypatch.setattr(Folded, "route", short_of_memory)
    result = up.run(picture)
    assert result.tiles > expected.tiles
    assert (result.high - expected.high).abs().max() < 1e-4


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch) -> None:
    up = upscaler()

    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Folded, "route", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        up.run(low())


def test_tiles_are_larger_where_the_network_runs_prepared() -> None:
    assert upscaler().memory.auto_tile == upscaler(precision="bf16").memory.auto_tile == PREPARED_TILE
    assert upscaler(precision="fp16").memory.auto_tile == upscaler(batch=2).memory.auto_tile == AUTO_TILE


def test_large_pictures_are_tiled_by_themselves() -> None:
    up = upscaler()
    assert up.run(low(64, 128), attention_ratio=0.0).tiles == 1
    assert (up.auto(736, 736), up.auto(736, 737)) == (0, PREPARED_TILE)  # what such a tile computes
    assert up.run(low(740, 740), attention_ratio=0.0).tiles == 4
    plain = upscaler(batch=2)
    assert (plain.auto(512, 512), plain.auto(512, 513)) == (0, AUTO_TILE)


@pytest.mark.parametrize("calibrated", [False, True])
def test_progress_rises_to_its_total(calibrated: bool) -> None:
    seen: list[tuple[int, int]] = []
    upscaler(tile=64, calibrated=calibrated).run(
        low(64, 100), progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1][0] == seen[-1][1]
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert len({total for _, total in seen}) == 1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_is_close_to_fp32(precision: str) -> None:
    full = upscaler().run(low(), attention_ratio=1.0).high
    result = upscaler(precision=precision).run(low(), attention_ratio=1.0)
    assert result.high.dtype == torch.float32
    assert result.precision == precision
    scale = float(full.abs().max())
    assert 0 < (result.high - full).abs().max() < 0.1 * scale


def test_an_overflow_in_reduced_precision_is_recomputed_in_fp32() -> None:
    up, full = upscaler(precision="fp16"), upscaler()
    for each in (up, full):
        each.model.network.head.weight.mul_(1e6)  # beyond fp16
    result = up.run(low())
    assert result.high.isfinite().all()
    assert torch.equal(result.high, full.run(low()).high)
    assert result.precision == "fp32"


def test_a_result_far_out_of_range_in_reduced_precision_is_recomputed_in_fp32() -> None:
    up, full = upscaler(precision="bf16"), upscaler()
    for each in (up, full):
        each.model.network.tail.bias.fill_(3.0)  # finite, and no picture
    result = up.run(low())
    assert result.precision == "fp32"
    assert torch.equal(result.high, full.run(low()).high)


def test_only_the_tile_that_fails_is_recomputed(monkeypatch) -> None:
    up = upscaler(precision="bf16", tile=64, calibrated=True)
    picture = low(64, 200)
    fine = up.run(picture)
    assert fine.precision == "bf16"
    route, calls = Folded.route, []

    def sometimes(self, image, *rest, **options):
        high, routing = route(self, image, *rest, **options)
        reduced = self.dtype == torch.bfloat16
        if reduced and image.shape[-1] == 160 and not any(calls):  # the middle tile, the first time
            calls.append(True)
            high = high * torch.nan
        return high, routing

    monkeypatch.setattr(Folded, "route", sometimes)
    mended = up.run(picture)
    assert mended.high.isfinite().all()
    assert mended.precision == "bf16"
    different = (mended.high != fine.high).any(dim=0).any(dim=0)
    assert different.any()
    plan, _ = planned(up, picture, 0.5)
    tile = next(each for each in plan.tiles if each.columns.length == 160)
    columns = different.nonzero().squeeze(1)
    assert tile.columns.own_start * 2 <= columns.min()
    assert columns.max() < tile.columns.own_stop * 2


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown device"):
        TensorComputer(Model("t", random_network()), device="gpu")
    with pytest.raises(UsageError, match="unknown precision"):
        upscaler(precision="int8")
    with pytest.raises(ValueRangeError, match="multiple of 16"):
        upscaler(tile=50)
    with pytest.raises(ValueRangeError, match=r"\[0, 1\]"):
        upscaler().run(low(), attention_ratio=1.5)
    with pytest.raises(ShapeError, match="3 x H x W"):
        upscaler().run(torch.zeros(1, 8, 8))
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no cuda device"):
            TensorComputer(Model("t", random_network()), device="cuda")


@pytest.mark.parametrize("window", [8, 32])
def test_other_windows_are_computed_whole_or_in_tiles_that_fit(window: int) -> None:
    torch.manual_seed(1)
    network = CAMixerSR(CAMixerSRConfig(channels=12, scale=2, blocks=(1,), window=window)).eval()
    network.requires_grad_(False)
    model = Model("odd", network)
    picture = low(100, 150)
    whole = TensorComputer(model, device="cpu", tile=0).run(picture, attention_ratio=0.5)
    assert torch.allclose(whole.high, network(picture[None], TopShare(0.5))[0], atol=1e-5)
    if window == 8:
        tiled = TensorComputer(model, device="cpu", tile=64).run(picture, attention_ratio=1.0)
        whole = TensorComputer(model, device="cpu", tile=0).run(picture, attention_ratio=1.0)
        assert tiled.tiles > 1
        assert torch.allclose(tiled.high, whole.high, atol=1e-3)
    else:
        with pytest.raises(ValueRangeError, match="windows of 32 pixels, as odd has, do not fit"):
            TensorComputer(model, device="cpu")
