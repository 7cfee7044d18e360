from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from camixersr.image.panorama import Panorama
from camixersr.inference.compute import compute_tile
from camixersr.inference.cost import Bill
from camixersr.inference.policies import OwnedShare
from camixersr.inference.sources import InMemory
from camixersr.inference.sphere import Spherical
from camixersr.inference.tiles import Beyond, cut, owned
from camixersr.models import CAMixerSR, CAMixerSRConfig, OmniCAMixerSR, OmniCAMixerSRConfig
from camixersr.models.calibration import Calibration
from camixersr.weights import Model
from tests.conftest import TensorComputer, random_network


def panorama(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Noise, smooth enough to be no outlier and different everywhere."""
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    return 0.5 * noise + 0.5 * noise.roll((1, 1), (1, 2))


def upscaler(
    *,
    calibrated: bool = True,
    latitude: bool = False,
    blocks: tuple[int, ...] = (1, 1),
    pool: int = 0,
    **options,
) -> TensorComputer:
    if latitude:
        torch.manual_seed(1)
        config = CAMixerSRConfig(channels=12, scale=2, blocks=blocks, latitude=True, pool=pool)
        network = CAMixerSR(config).eval().requires_grad_(False)
        network.latitude.weight.normal_()
    else:
        network = random_network(channels=12, scale=2, blocks=blocks, pool=pool)
    calibration = Calibration((0.5,), ((0.5,) * sum(blocks),)) if calibrated else None
    return TensorComputer(Model("test", network, calibration), device="cpu", **options)


@settings(max_examples=60)
@given(
    height=st.integers(1, 9),
    top=st.integers(-30, 30),
    left=st.integers(-50, 50),
    rows=st.integers(1, 30),
    columns=st.integers(1, 40),
)
def test_reading_beyond_an_edge_goes_on_where_the_sphere_does(
    height: int, top: int, left: int, rows: int, columns: int
) -> None:
    """Against folding every single pixel."""
    width = 2 * height
    low, whole = panorama(height, width), Panorama.whole(height, width)
    source = Spherical(InMemory(low.numpy()), whole, latitude=True)
    part = torch.from_numpy(source.read(slice(top, top + rows), slice(left, left + columns)))
    assert part.shape == (1, 4, rows, columns)
    cosine = np.cos((np.arange(height) + 0.5) / height * np.pi - np.pi / 2)
    for y in range(rows):
        for x in range(columns):
            row, column = (int(place) for place in whole.fold(top + y + 0.5, left + x + 0.5))
            assert torch.equal(part[0, :3, y, x], low[:, row, column])
            assert float(part[0, 3, y, x]) == pytest.approx(cosine[row], abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"calibrated": False}, {"latitude": True}, {"tile": 64}])
@pytest.mark.parametrize("turn", [16, 48, 64])
def test_a_turned_panorama_is_enlarged_the_same(turn: int, options: dict) -> None:
    """By a multiple of the window: within 1/255."""
    low = panorama(64, 128)
    up = upscaler(**options)
    whole = Panorama.whole(64, 128)
    ratio = 0.5 if options != {"tile": 64} else 0.0
    here = up.run(low, attention_ratio=ratio, panorama=whole).high
    there = up.run(low.roll(turn, 2), attention_ratio=ratio, panorama=whole).high
    assert (there - here.roll(2 * turn, 2)).abs().max() <= 1 / 255


def test_a_flat_enlargement_has_the_seam_that_a_closed_one_has_not() -> None:
    low = panorama(32, 64)
    up = upscaler(blocks=(1,))
    closed = up.run(low, attention_ratio=0.0, panorama=Panorama.whole(32, 64)).high
    flat = up.run(low, attention_ratio=0.0).high
    turned = up.run(low.roll(32, 2), attention_ratio=0.0).high.roll(-64, 2)  # its seam is elsewhere
    edge = [0, 1, -2, -1]
    inner = slice(16, -16)
    assert (closed - turned)[:, inner][..., edge].abs().max() < 0.2 * (flat - turned)[:, inner][
        ..., edge
    ].abs().max()


@pytest.mark.parametrize("options", [{}, {"latitude": True}, {"tile": 64}], ids=str)
@pytest.mark.parametrize("turn", [32, 64])
def test_a_panorama_turned_by_cells_is_enlarged_the_same(turn: int, options: dict) -> None:
    low, whole = panorama(64, 128), Panorama.whole(64, 128)
    low[..., :32] *= 0.1  # cells differ
    up = upscaler(pool=32, **options)
    here = up.run(low, attention_ratio=0.0, panorama=whole).high
    there = up.run(low.roll(turn, 2), attention_ratio=0.0, panorama=whole).high
    assert (there - here.roll(2 * turn, 2)).abs().max() <= 1 / 255


@pytest.mark.parametrize("size", [(80, 160), (75, 150), (90, 181), (50, 100)], ids=str)
@pytest.mark.parametrize("batch", ["auto", 3])
def test_tiles_see_the_cells_of_a_panorama_that_they_do_not_divide(
    size: tuple[int, int], batch: Literal["auto"] | int
) -> None:
    """The last ones are smaller, whichever side they are seen from: as in one piece, and over the poles."""
    low, whole = panorama(*size), Panorama.whole(*size)
    low[:, : size[0] // 3, : size[1] // 3] *= 0.1  # cells differ
    one, many = (upscaler(tile=tile, blocks=(1,), pool=32, batch=batch) for tile in (0, 64))
    expected = one.run(low, attention_ratio=0.5, panorama=whole)
    tiled = many.run(low, attention_ratio=0.5, panorama=whole)
    assert tiled.tiles == len(many.cut(*size, 64, whole)) > 1
    assert (tiled.high - expected.high).abs().max() <= 1e-5
    assert np.array_equal(tiled.shares, expected.shares)


@pytest.mark.parametrize("turn", [1, 7, 13])
def test_any_other_turn_leaves_no_mark_where_the_picture_closes(turn: int) -> None:
    """What a turn changes is no larger at the seam than at any other border of windows."""
    low = panorama(48, 96)
    up = upscaler()
    whole = Panorama.whole(48, 96)
    here = up.run(low, attention_ratio=1.0, panorama=whole).high
    there = up.run(low.roll(turn, 2), attention_ratio=1.0, panorama=whole).high.roll(-2 * turn, 2)
    change = (there - here).abs().mean(dim=(0, 1))
    borders = [float(change.roll(8 - 32 * number)[:16].mean()) for number in range(6)]
    assert borders[0] <= 1.5 * max(borders[1:])


@pytest.mark.parametrize("size", [(1, 2), (5, 10), (17, 34), (33, 65), (40, 79), (50, 101)])
@pytest.mark.parametrize("latitude", [False, True])
def test_every_size_is_enlarged(size: tuple[int, int], latitude: bool) -> None:
    low, whole = panorama(*size), Panorama.whole(*size)
    result = upscaler(latitude=latitude).run(low, attention_ratio=0.5, panorama=whole).high
    assert result.shape == (3, 2 * size[0], 2 * size[1])
    assert bool(result.isfinite().all())


def test_tiles_agree_with_the_panorama_in_one_piece() -> None:
    """With the same pool: one block reaches less than the halo."""
    low = panorama(80, 160)
    whole = Panorama.whole(80, 160)
    many, one = (upscaler(tile=tile, blocks=(1,)) for tile in (64, 0))
    source = Spherical(InMemory(low.numpy()), whole)
    bill = Bill(many.model.config, many.device, 80, 160)
    plan = many.plan(source, bill, attention_ratio=0.5)
    assert len(plan.tiles) == 6
    tiled = many.run(low, attention_ratio=0.5, panorama=whole).high
    (tile,) = one.plan(source, bill, attention_ratio=0.5).tiles
    (piece,) = compute_tile(one.backend, plan, tile, source.read(*tile.computed), bill.watch)
    assert (tiled - torch.from_numpy(piece.high)).abs().max() <= 1e-5


def test_most_windows_attended_are_counted_once() -> None:
    up = upscaler()
    result = up.run(
        panorama(64, 128), attention_ratio=1.0, max_share=0.25, panorama=Panorama.whole(64, 128)
    )
    assert result.shares.shape == (4, 8)
    assert result.attention_share <= 0.25
    share = upscaler(calibrated=False).run(
        panorama(64, 128), attention_ratio=0.5, panorama=Panorama.whole(64, 128)
    )
    assert share.attention_share == pytest.approx(0.5)


def test_memory_shortage_leaves_the_wrap_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    low, whole = panorama(64, 128), Panorama.whole(64, 128)
    up = upscaler(latitude=True, tile=64, blocks=(1,))
    expected = up.run(low, attention_ratio=0.0, panorama=whole).high
    route, refused = up.backend.route, []

    def scarce(part: np.ndarray, *rest: object):
        if part.shape[-1] > 150 and len(refused) < 3:
            refused.append(part.shape)
            raise MemoryError
        return route(part, *rest)

    monkeypatch.setattr(up.backend, "route", scarce)
    assert (up.run(low, attention_ratio=0.0, panorama=whole).high - expected).abs().max() <= 1e-5
    assert refused


@pytest.mark.parametrize("size", [(17, 34), (20, 50), (32, 64)])
def test_the_omnidirectional_network_takes_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = (
        OmniCAMixerSR(OmniCAMixerSRConfig(channels=12, scale=2, blocks=(2,))).eval().requires_grad_(False)
    )
    up = TensorComputer(Model("omni", network), device="cpu")
    low = panorama(*size)
    assert up.run(low, attention_ratio=0.5).high.shape == (3, 2 * size[0], 2 * size[1])
    if size[1] == 2 * size[0]:
        high = up.run(low, panorama=Panorama.whole(*size)).high
        assert bool(high.isfinite().all())
        equator = up.run(low).high
        assert not torch.equal(high, equator)


@settings(max_examples=30)
@given(share=st.floats(0.0, 1.0), seed=st.integers(0, 99))
def test_a_window_and_its_copy_beyond_the_seam_are_attended_alike(share: float, seed: int) -> None:
    """Their log-odds are the same but for rounding; and a tile's own share is that of TopShare."""
    sphere = Panorama.whole(96, 192)
    (tile,) = cut(96, 192, 0, cell=64, beyond=Beyond.of(sphere))
    down, across = (-(-span.length // 16) for span in (tile.rows, tile.columns))
    rng = np.random.default_rng(seed)
    own = rng.permutation(6 * 12).reshape(6, 12).astype(np.float32)
    before = -(tile.columns.start // 16)
    turned = (np.arange(across) - before) % 12
    grid = rng.normal(size=(down, across)).astype(np.float32)
    rows = owned(tile, 16)[0]
    inside = slice(rows.start - tile.rows.start // 16, rows.stop - tile.rows.start // 16)
    grid[inside] = own[:, turned]
    for noise in (0.0, 1e-4):
        logits = grid + noise * rng.uniform(-1, 1, grid.shape).astype(np.float32)
        mask = np.asarray(OwnedShare(tile, share, 16).choose(logits.reshape(1, -1), 0)).reshape(
            down, across
        )
        expected = own >= own.size - int(share * own.size + 0.5)
        assert (mask[inside] == expected[:, turned]).all()
