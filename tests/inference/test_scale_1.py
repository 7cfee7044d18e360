"""Nothing beneath the commands minds a scale of 1: fast paths, runtimes and counts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from camixersr.backends.choose import make
from camixersr.backends.folded import Folded
from camixersr.image.degradation import Degradation
from camixersr.image.raw import Layout
from camixersr.inference.tiles import GRID, cut
from camixersr.models import RESTORATION_PRESETS, CAMixerSR
from camixersr.models.calibration import Calibration, Threshold
from camixersr.nn import TopShare
from camixersr.nn.pool import pool_image
from camixersr.operations import count
from camixersr.weights import Model
from tests.conftest import TensorComputer, noise_picture, random_network


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.setenv("CAMIXERSR_CACHE", str(tmp_path))
    network = random_network(channels=12, scale=1, blocks=(2, 1))
    return Model("tiny", network, sha256="0", restores=Degradation("jpeg", 10, 60))


def low(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(noise_picture(height, width)).permute(2, 0, 1)[None].float() / 255.0


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (41, 60)])
def test_the_fast_path_is_the_network(model: Model, size: tuple[int, int]) -> None:
    expected, _ = model.network.route(low(*size), TopShare(0.5))
    high, _ = Folded(model.network).route(low(*size), TopShare(0.5))
    assert high.shape == (1, 3, *size)
    assert torch.allclose(high, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_runtimes_are_the_network(model: Model, name: str) -> None:
    backend = make(model, name, device="cpu")
    policy = Threshold((0.5, 0.4, 0.6))
    expected, _ = model.network.route(low(41, 60), policy)
    found = backend.route(low(41, 60).numpy(), policy, pool_image)
    assert torch.allclose(torch.from_numpy(found.high), expected, atol=2e-6)


def test_tiles_are_the_whole(model: Model) -> None:
    """With thresholds: without them the share of a picture in tiles is an estimate."""
    picture = low(170, 230)[0]
    model = replace(model, calibration=Calibration((0.25, 0.75), ((0.7, 0.7, 0.7), (0.3, 0.3, 0.3))))
    whole, tiled = (TensorComputer(model, device="cpu", tile=tile).run(picture) for tile in (0, 64))
    assert tiled.tiles == 12
    assert 0.1 < whole.attention_share < 0.9
    assert np.allclose(whole.high, tiled.high, atol=2e-3)
    starts = [each.rows.start for each in cut(170, 230, 64)] + [
        each.columns.start for each in cut(170, 230, 64)
    ]
    assert all(start % GRID == 0 for start in starts), "a JPEG's 16-pixel grid is the windows'"


def test_costs_follow_the_scale(model: Model) -> None:
    config = RESTORATION_PRESETS["s-x1"]
    network = CAMixerSR(config)
    macs = 0

    def add(layer: torch.nn.Module, given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
        nonlocal macs
        macs += layer.weight.numel() * given[0].shape[-1] * given[0].shape[-2]

    for layer in (network.head, network.body_tail, network.tail):
        layer.register_forward_hook(add)
    network.eval()(low(32, 48))
    C = config.channels
    others = 32 * 48 * (8 * C + 144 + len(config.blocks) * C * C)
    assert count(config, windows=6, attended=0).head_tail == macs + others
    upscaler = TensorComputer(model, device="cpu")
    layout = Layout(1000, 1000, 3, "uint8")
    assert upscaler.memory.predict(layout, 64) < upscaler.memory.predict(layout, 320)
