"""Alarms: each is set off by a network that has the fault it is for, and by no other."""

import numpy as np
import pytest
import torch
from torch import nn

from camixersr.image.resize import resize
from camixersr.models import CAMixerSR
from camixersr.nn.camixer import CAMixer
from camixersr.nn.routing import TopShare
from camixersr.train.alarms import measure
from camixersr.train.initialise import vary_signs
from camixersr.train.objective import GATE, gate_loss, pixel_loss
from tests.conftest import random_network
from tests.train.test_train import scene


def _images() -> list[tuple[np.ndarray, np.ndarray]]:
    highs = [scene(96, number) for number in range(2)]
    return [(resize(high, height=48, width=48), high) for high in highs]


def _mixers(network: CAMixerSR) -> list[CAMixer]:
    return [module for module in network.modules() if isinstance(module, CAMixer)]


def test_a_closed_gate_is_seen() -> None:
    network = random_network(12, 2, (1, 1))
    before = measure(network, _images())["least_gate"]
    spatial = _mixers(network)[1].predictor.spatial
    nn.init.zeros_(spatial.weight)
    nn.init.constant_(spatial.bias, -4.0)
    after = measure(network, _images())["least_gate"]
    assert after == pytest.approx(torch.tensor(-4.0).sigmoid().item(), rel=1e-4)
    assert before > 10 * after


def test_attention_that_pools_is_seen() -> None:
    network = random_network(12, 2, (1, 1))
    for mixer in _mixers(network):
        for projection in (mixer.attention.project_q, mixer.attention.project_k):
            projection.weight *= 30.0
    sharp = measure(network, _images())["tokens"]
    for mixer in _mixers(network):
        mixer.attention.project_q.weight *= 0.0
        mixer.attention.project_q.bias *= 0.0
    assert measure(network, _images())["tokens"] == pytest.approx(256.0, rel=1e-3)
    assert sharp < 200.0


def test_an_idle_group_is_seen() -> None:
    network = random_network(12, 2, (1, 1))
    nn.init.zeros_(network.body[0].tail.weight)
    nn.init.zeros_(network.body[0].tail.bias)
    assert measure(network, _images())["least_group"] <= 0.0


def test_one_mask_in_all_blocks_is_seen() -> None:
    network = random_network(12, 2, (2, 1))
    nn.init.zeros_(network.body[1].blocks[0].mixer.predictor.mask[2].weight)
    for mixer in _mixers(network):  # scores that are equal everywhere choose the first half
        nn.init.zeros_(mixer.predictor.mask[2].weight)
    assert measure(network, _images())["agreement"] == 1.0


def test_a_dial_that_buys_nothing_is_flat() -> None:
    network = random_network(12, 2, (1, 1))
    for mixer in _mixers(network):  # nothing comes out of a mixer, attended or not
        nn.init.zeros_(mixer.project_out.weight)
    found = measure(network, _images())
    assert found["dial"] == 0.0
    assert found["chosen"] == 0.0
    assert found["project_out"] == 0.0


def test_signs_let_the_mean_of_features_tell_windows_apart() -> None:
    network = random_network(36, 2, (2,))
    for mixer in _mixers(network):  # as they start
        nn.init.ones_(mixer.predictor.norm.weight)
        nn.init.zeros_(mixer.predictor.norm.bias)
    low = torch.from_numpy(_images()[0][0].copy()).permute(2, 0, 1)[None] / 255.0

    def variety() -> list[float]:
        seen: list[torch.Tensor] = []
        hooks = [
            m.predictor.mask.register_forward_pre_hook(lambda _, x: seen.append(x[0]))
            for m in _mixers(network)
        ]
        network.route(low, TopShare(0.0))
        for hook in hooks:
            hook.remove()
        return [float(each.std()) for each in seen]

    before = variety()
    vary_signs(network)
    assert all(after > 2.0 * least for after, least in zip(variety(), before, strict=True))


def test_gates_that_close_cost_and_open_ones_do_not() -> None:
    odds = torch.tensor([[GATE + 0.1, GATE - 2.0]], requires_grad=True)
    loss = gate_loss(odds)
    assert loss.item() == pytest.approx(4.0)
    loss.backward()
    assert odds.grad is not None
    assert odds.grad[0, 0] == 0.0
    assert odds.grad[0, 1] < 0.0, "downhill is open"


def test_losses_of_pixels_against_numpy() -> None:
    draw = np.random.default_rng(0)
    a, b = draw.random((2, 3, 8, 8)), draw.random((2, 3, 8, 8))
    rows = draw.random((2, 8))
    error = (a - b) * rows[:, None, :, None]
    given = [torch.from_numpy(each) for each in (a, b, rows)]
    spectrum = np.fft.rfft2(error)
    parts = np.stack([spectrum.real, spectrum.imag])
    expected = {
        "l1": np.abs(error).mean(),
        "charbonnier": np.sqrt(error**2 + 1e-6).mean(),
        "l1+fft": np.abs(error).mean() + 0.1 * np.abs(parts).mean(),
    }
    for kind, value in expected.items():
        assert pixel_loss(kind, *given).item() == pytest.approx(value, rel=1e-9)  # type: ignore[arg-type]
