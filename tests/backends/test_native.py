"""The native backend against torch's: policies, pools and whole pictures."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from camixersr.backends.choose import available, make
from camixersr.backends.native import Native
from camixersr.backends.plain import Plain
from camixersr.backends.pools import OwnedMean, PoolPanorama, Recording, Replayed
from camixersr.backends.protocol import Backend
from camixersr.errors import CancelledError, MissingExtraError, UsageError
from camixersr.image.panorama import Panorama
from camixersr.inference.computer import Computer
from camixersr.models import CAMixerSR, CAMixerSRConfig
from camixersr.models.calibration import Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.models.pools import PoolCells
from camixersr.native.core import FORCE, PATHS, path_for, why_not
from camixersr.nn import ExpectedCount, Policy, TopShare
from camixersr.nn.pool import Pool, pool_image
from camixersr.weights import Model
from tests.conftest import random_network


@pytest.fixture(autouse=True)
def _there(request: pytest.FixtureRequest) -> None:
    if path_for("fp32") is None and "without" not in request.node.name:
        pytest.skip(why_not())


def both(network: CAMixerSR, precision: str = "fp32") -> tuple[Backend, Backend]:
    model = Model("tiny", network)
    native, torch_ = (make(model, name, device="cpu", precision=precision) for name in ("native", "torch"))
    return native, torch_


def planes(height: int, width: int, channels: int = 3) -> np.ndarray:
    return torch.rand(1, channels, height, width).numpy()


@dataclass(frozen=True)
class _Blend:
    """Takes every third window half from each branch, and every fourth not at all."""

    def choose(self, logits: Tensor, block: int) -> Tensor:
        number = torch.arange(logits.shape[1]).expand_as(logits) + block
        return torch.where(number % 4 == 0, 0.0, torch.where(number % 3 == 0, 0.5, 1.0))


WINDOWS = FixedWindows(tuple((torch.arange(20) * step % 7 > 3)[None] for step in (1, 2, 3)))


@pytest.mark.parametrize(
    "policy",
    [TopShare(0.4), Threshold((0.5, 0.4, 0.6)), ExpectedCount(0.5), WINDOWS, _Blend()],
    ids=lambda policy: type(policy).__name__,
)
def test_every_policy_routes(policy: Policy) -> None:
    native, torch_ = both(random_network())
    low = planes(70, 53)
    ours, theirs = (each.route(low, policy, pool_image) for each in (native, torch_))
    assert np.abs(ours.high - theirs.high).max() < 1e-5
    assert np.abs(ours.logits - theirs.logits).max() < 1e-4
    assert (ours.attended == theirs.attended).all()
    assert np.abs(native.score(low) - theirs.logits[0]).max() < 1e-4


MEANS = tuple(np.full(6, 0.1 * (block + 1), np.float32) for block in range(3))


@pytest.mark.parametrize(
    "pool",
    [
        PoolCells(32),
        PoolCells(32, (16, 0)),
        PoolCells(64, (7, 3)),  # of no whole windows: torch computes
        PoolPanorama((16, 48), ((32, 48), (48, 16, 16))),  # cells of several sizes
        PoolPanorama((24, 40), ((80,), (40, 40))),  # of no whole windows: torch computes
        Replayed(MEANS),
        OwnedMean(slice(3, 40), slice(8, 50)),  # of part of the picture: torch computes
    ],
    ids=str,
)
def test_every_pool_counts(pool: Pool) -> None:
    native, torch_ = both(random_network())
    low = planes(64, 80)
    ours, theirs = (each.route(low, TopShare(0.5), pool) for each in (native, torch_))
    assert np.abs(ours.high - theirs.high).max() < 1e-5


@pytest.mark.parametrize(("height", "width"), [(96, 192), (80, 160)])
def test_a_panorama_whose_last_cells_are_smaller_needs_no_torch(
    height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model("tiny", random_network(pool=64))
    low = torch.rand(3, height, width).numpy()
    sphere = Panorama.whole(height, width)
    theirs = Computer(model, backend="torch", device="cpu").run(low, attention_ratio=0.5, panorama=sphere)
    monkeypatch.setattr(Plain, "route", lambda *_: pytest.fail("torch computes"))
    ours = Computer(model, backend="native", device="cpu").run(low, attention_ratio=0.5, panorama=sphere)
    assert np.abs(ours.high - theirs.high).max() < 1e-4


def test_means_are_recorded() -> None:
    native, torch_ = both(random_network())
    low, ours, theirs = planes(48, 64), Recording(pool_image, {}), Recording(Replayed(MEANS), {})
    native.route(low, TopShare(0.5), ours)
    torch_.route(low, TopShare(0.5), expected := Recording(pool_image, {}))
    assert ours.means.keys() == expected.means.keys() == {0, 1, 2}
    assert all(np.abs(ours.means[block] - expected.means[block]).max() < 1e-5 for block in range(3))
    native.route(low, TopShare(0.5), theirs)  # handed in, and its own noted
    assert np.abs(theirs.means[0] - ours.means[0]).max() < 1e-6


def test_latitude_and_batches_go_their_way() -> None:
    network = random_network(latitude=True)
    torch.nn.init.normal_(network.latitude.weight, std=0.3)
    native, torch_ = both(network)
    for low in (planes(40, 70, 4), np.concatenate([planes(32, 32), planes(32, 32)])):
        ours, theirs = (each.route(low, TopShare(0.5), pool_image) for each in (native, torch_))
        assert np.abs(ours.high - theirs.high).max() < 1e-5


def test_step_ends_the_computation() -> None:
    native, _ = both(random_network())
    steps: list[int] = []

    def step() -> None:
        steps.append(1)
        if len(steps) == 2:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        native.route(planes(32, 32), TopShare(0.5), pool_image, step)
    assert len(steps) == 2


def test_a_picture_in_tiles() -> None:
    model = Model("tiny", random_network(pool=64))
    low = torch.rand(3, 200, 230).numpy()
    ours, theirs = (
        Computer(model, backend=name, device="cpu", tile=64).run(low, attention_ratio=0.5)
        for name in ("native", "torch")
    )
    assert np.abs(ours.high - theirs.high).max() < 1e-4
    assert ours.attention_share == theirs.attention_share


def test_bf16_falls_back_on_its_own_fp32() -> None:
    if path_for("bf16") is None:
        pytest.skip("no path in bfloat16 here")
    native, _ = both(random_network(), "bf16")
    assert (native.precision, native.full.precision) == ("bf16", "fp32")
    assert native.full.name == "native"


def test_what_it_cannot_compute_is_refused() -> None:
    wide = CAMixerSR(CAMixerSRConfig(channels=80, blocks=(1,)))
    with pytest.raises(UsageError, match="more than 64 channels"):
        make(Model("wide", wide), "native", device="cpu")
    with pytest.raises(UsageError, match="on this machine, not in fp16"):
        make(Model("tiny", random_network()), "native", device="cpu", precision="fp16")


@pytest.mark.parametrize("path", [path for paths in PATHS.values() for path in paths])
def test_a_path_that_is_named_computes_and_the_other_precision_is_as_before(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {precision: path_for(precision) for precision in PATHS}
    monkeypatch.setenv(FORCE, path)
    for precision, paths in PATHS.items():
        if path not in paths:
            assert path_for(precision) == before[precision]
        elif path_for(precision) is None:
            pytest.skip(f"this processor has no {path}")
        else:
            backend = make(Model("tiny", random_network()), "native", device="cpu", precision=precision)
            assert isinstance(backend, Native)
            assert backend.path == path


def test_without_it_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, "off")
    (native,) = (each for each in available() if each.name == "native")
    assert native.precisions == ()
    with pytest.raises(MissingExtraError, match=FORCE):
        make(Model("tiny", random_network()), "native", device="cpu")
