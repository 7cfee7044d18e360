"""A deadline is kept by a clock that the tests wind."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.enlarge.enlarge import enlarge
from camixersr.enlarge.upscaler import Upscaler
from camixersr.errors import CamixerError
from camixersr.image.picture import Picture
from camixersr.inference import pace as pacing
from camixersr.inference.computer import Computer
from camixersr.inference.deadline import measure_speed
from camixersr.inference.pace import NUMBERS, Pace, Paced, Speed
from camixersr.inference.sources import InMemory
from camixersr.inference.tiles import cut
from camixersr.nn.routing import TopShare
from camixersr.weights import Model
from tests.conftest import noise_picture, random_network

BLOCKS = 20
SPEED = Speed(1e-5, 3e-5, 1e-6)


class Machine:
    """Computes tiles by a model of time, on a clock of its own, and is slower than was measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, slower: float, spends: float) -> None:
        self.now, self.slower, self.spends = 100.0, slower, spends
        monkeypatch.setattr(pacing.time, "monotonic", lambda: self.now)

    def policy(self, number: int) -> TopShare:
        """Ratio 1 is exact, as it is for a model."""
        return TopShare(1.0 if number == NUMBERS - 1 else self.spends * number / 100)

    def compute(self, pace: Pace) -> list[float]:
        """Of every block of every tile the share that was attended."""
        shares: list[float] = []
        for tile in pace.todo:
            policy = Paced(pace, tile, self.policy)
            for block in range(BLOCKS):
                chosen = policy.choose(torch.rand(1, 400), block)
                shares.append(float(chosen.float().mean()))
                self.now += self.slower * SPEED.of(tile.pixels / BLOCKS, shares[-1])
            self.now += self.slower * SPEED.ends * tile.pixels
        return shares


@pytest.mark.parametrize("place", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("slower", [0.7, 1.0, 1.6])
@pytest.mark.parametrize("spends", [0.6, 1.0])
@pytest.mark.parametrize("tile", [0, 128])
def test_a_deadline_is_kept_though_it_goes_otherwise(
    monkeypatch: pytest.MonkeyPatch, place: float, slower: float, spends: float, tile: int
) -> None:
    machine = Machine(monkeypatch, slower=slower, spends=spends)
    tiles = tuple(cut(400, 500, tile))
    pixels = sum(each.pixels for each in tiles)
    least, most = (slower * SPEED.estimate(pixels, share) for share in (0.0, 1.0))
    seconds = least + place * (most - least)
    policies = [TopShare(number / 100) for number in range(NUMBERS)]
    shares = machine.compute(Pace(policies, SPEED, BLOCKS, 100.0 + seconds, tiles))
    taken = machine.now - 100.0
    assert taken <= 1.02 * seconds
    assert taken >= least + 0.8 * (seconds - least), "what there is, is used"
    assert len(shares) == BLOCKS * len(tiles)


def test_what_cannot_be_kept_is_attended_nowhere_and_what_is_easy_everywhere(monkeypatch) -> None:
    for seconds, share in ((0.001, 0.0), (1e6, 1.0)):
        machine = Machine(monkeypatch, slower=1.0, spends=1.0)
        policies = [TopShare(number / 100) for number in range(NUMBERS)]
        made = machine.compute(Pace(policies, SPEED, BLOCKS, 100.0 + seconds, tuple(cut(100, 100, 0))))
        assert set(made) == {share}


def test_a_backend_that_is_told_once_a_tile_gets_numbers(monkeypatch) -> None:
    Machine(monkeypatch, slower=1.0, spends=1.0)
    (tile,) = cut(64, 64, 0)
    policies = [TopShare(number / 100) for number in range(NUMBERS)]
    paced = Paced(Pace(policies, SPEED, BLOCKS, 1e9, (tile,)), tile, lambda number: policies[number])
    given = paced.orders(BLOCKS, 16)
    assert given is not None
    assert given.count == 16


def test_a_patch_is_timed_in_its_blocks() -> None:
    computer = Computer(Model("small", random_network(blocks=(2, 2))))
    speed, sample = measure_speed(computer, InMemory(np.random.rand(3, 90, 70).astype(np.float32)))
    assert 0 < speed.plain <= speed.attended
    assert speed.ends >= 0
    assert sample.shape == (128, 128, 3)


@pytest.mark.parametrize("kind", ["float", "alpha", "reduced", "grey"])
def test_every_kind_of_picture_has_deadlines(kind: str) -> None:
    computer = Computer(Model("small", random_network()))
    pixels = noise_picture(40, 50, 1 if kind == "grey" else 3)
    alpha = noise_picture(40, 50, 1)[:, :, 0] if kind == "alpha" else None
    picture = Picture(pixels.astype(np.float32) / 255 if kind == "float" else pixels, alpha)
    size = (20, 25) if kind == "reduced" else None
    for until, share in ((time.monotonic() - 1, 0.0), (time.monotonic() + 1000, 1.0)):
        cost, made = enlarge(computer, picture, size=size, until=until)
        assert made.pixels.dtype == picture.pixels.dtype
        if kind != "reduced":
            assert cost is not None
            assert cost.attention_share == share


@pytest.mark.parametrize("form", ["streamed", "bytes", "pages"])
def test_a_file_says_what_it_missed(form: str, tmp_path: Path) -> None:
    upscaler = Upscaler(Model("small", random_network()))
    source, target = tmp_path / "low.tif", tmp_path / "high.tif"
    image = Image.fromarray(noise_picture(40, 50))
    image.save(source, save_all=form == "pages", append_images=[image] if form == "pages" else [])
    given = source.read_bytes() if form == "bytes" else source
    from camixersr import Options

    late = upscaler.upscale_file(given, target, options=Options(seconds=1e-4))
    assert late.cost is not None
    assert late.cost.attention_share == 0.0
    assert any("of the deadline" in note for note in late.notes)
    early = upscaler.upscale_file(given, target, options=Options(seconds=1e4), overwrite=True)
    assert early.cost is not None
    assert early.cost.attention_share == 1.0
    assert not any("of the deadline" in note for note in early.notes)


def test_devices_share_a_deadline() -> None:
    with pytest.raises(CamixerError):
        Computer(Model("small", random_network()), device="nowhere")
    computer = Computer(Model("small", random_network()), device="cpu,cpu", tile=64)
    low = np.random.rand(3, 70, 130).astype(np.float32)
    speed, _ = measure_speed(computer, InMemory(low))
    made = computer.run(low, pacing=(speed, time.monotonic() + 1e5))
    assert made.attention_share == 1.0
    assert computer.workers is not None
    computer.workers.close()
