import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from camixersr.backends.orders import choose
from camixersr.backends.plain import Plain
from camixersr.catalogue import find
from camixersr.inference.policies import LogOddsThreshold
from camixersr.inference.survey import PATCH, allow_best, patches, rounds, survey
from camixersr.inference.tiles import smallest_tile
from camixersr.models import CAMixerSR
from camixersr.models.calibration import Calibration, Threshold
from camixersr.nn import TopShare
from camixersr.nn.pool import Pooled, pool_image
from camixersr.weights import Model
from tests.conftest import TensorComputer, noise_picture, random_network


class Source:
    """A picture, read in pieces."""

    def __init__(self, low: torch.Tensor) -> None:
        self.low, (self.height, self.width) = low, low.shape[1:]
        self.panorama = None

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        return self.low.numpy()[None, :, rows, columns]


class Recorder:
    """A pool that keeps what each block's own mean was."""

    def __init__(self) -> None:
        self.means: list[torch.Tensor] = []

    def __call__(self, features: torch.Tensor, block: int) -> Pooled:
        pooled = pool_image(features, block)
        self.means.append(pooled.means)
        return pooled


def low(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(noise_picture(height, width)).permute(2, 0, 1).float() / 255.0


def looker(network: CAMixerSR):
    return Plain(Model("looked at", network), "cpu", "fp32").route


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_patches_are_apart_inside_and_few(height: int, width: int) -> None:
    places = patches(height, width)
    assert places
    assert len(set(map(str, places))) == len(places)
    rows = sorted({(rows.start, rows.stop) for rows, _ in places})
    columns = sorted({(columns.start, columns.stop) for _, columns in places})
    for spans, length in ((rows, height), (columns, width)):
        assert spans[-1][1] <= length
        for start, stop in spans:
            assert 0 <= start < stop <= start + PATCH
            assert start % 16 == 0
        for before, after in pairwise(spans):
            assert before[1] <= after[0]
    sampled = sum((y.stop - y.start) * (x.stop - x.start) for y, x in places)
    assert sampled <= 0.3 * height * width + PATCH**2


def test_a_survey_of_the_whole_picture_is_the_networks_own_pool() -> None:
    """One patch that covers everything: nothing is estimated."""
    network, source = random_network(channels=12, blocks=(1, 1)), Source(low(64, 64))
    policy = Threshold((0.5, 0.5))
    recorder = Recorder()
    high, routing = network.route(source.low[None], policy, pool=recorder)
    seen = survey(looker(network), source, policy)
    for block in (0, 1):
        assert torch.allclose(seen.pool(torch.zeros(1, 1), block).means, recorder.means[block], atol=1e-6)
        assert np.allclose(seen.logits[block], routing.blocks[block].logits[0])
    assert torch.allclose(network.route(source.low[None], policy, pool=seen.pool)[0], high, atol=1e-5)


def test_a_survey_comes_close_to_the_pool_of_a_larger_picture() -> None:
    network, source = random_network(channels=12, blocks=(1, 1)), Source(low(500, 700))
    recorder = Recorder()
    network.route(source.low[None], Threshold((0.5, 0.5)), pool=recorder)
    seen = survey(looker(network), source, Threshold((0.5, 0.5)))
    for block in (0, 1):
        assert (seen.pool(torch.zeros(1, 1), block).means - recorder.means[block]).abs().max() < 0.03


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_a_share_becomes_thresholds_that_attend_it(share: float) -> None:
    network, source = random_network(channels=12, blocks=(1, 1)), Source(low(500, 700))
    assert rounds(TopShare(share)) == 2
    seen = survey(looker(network), source, TopShare(share))
    assert isinstance(seen.policy, LogOddsThreshold)
    chosen = [choose(seen.policy, block[None], number) for number, block in enumerate(seen.logits)]
    assert (np.concatenate(chosen, axis=1) > 0.0).mean() == pytest.approx(share, abs=0.01)
    _, routing = network.route(source.low[None], seen.policy, pool=seen.pool)
    # a sample of a picture; the second block's scores have a gap in the middle, which widens its error
    assert float(routing.attention_share[0]) == pytest.approx(share, abs=0.15)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_and_everything_stay_exact(share: float) -> None:
    network, source = random_network(channels=12, blocks=(1, 1)), Source(low(500, 700))
    assert rounds(TopShare(share)) == 1
    assert survey(looker(network), source, TopShare(share)).policy == TopShare(share)


@pytest.mark.parametrize("tile", [0, 64, 96])
@pytest.mark.parametrize(("height", "width"), [(100, 130), (16, 300), (7, 5)])
def test_the_best_windows_by_the_first_score_are_allowed(height: int, width: int, tile: int) -> None:
    network, source = random_network(channels=12, blocks=(1, 1)), Source(low(height, width))
    _, routing = network.route(source.low[None], TopShare(0.0))
    scores = routing.blocks[0].logits[0].numpy().reshape(routing.rows, routing.columns)
    for share in (0.0, 0.3, 0.5, 1.0):
        allowed = allow_best(
            Plain(Model("t", network), "cpu", "fp32").score, source, share, window=16, tile=tile
        )
        assert allowed.shape == scores.shape
        assert allowed.sum() == math.floor(share * scores.size)
        if 0 < allowed.sum() < scores.size:
            assert scores[allowed].min() >= scores[~allowed].max() - 1e-5


@pytest.mark.parametrize("share", [0.1, 0.35, 0.9])
@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize("tile", [0, 64])
def test_no_block_ever_attends_more_than_the_most(share: float, calibrated: bool, tile: int) -> None:
    calibration = Calibration((0.5,), ((0.3, 0.3),)) if calibrated else None
    model = Model("t", random_network(channels=12, blocks=(1, 1)), calibration)
    up = TensorComputer(model, device="cpu", tile=tile)
    free = up.run(low(150, 230), attention_ratio=0.9)
    result = up.run(low(150, 230), attention_ratio=0.9, max_share=share)
    assert result.attention_share <= share
    assert result.attention_share >= 0.6 * min(share, free.attention_share)
    assert np.count_nonzero(result.shares) <= share * result.shares.size


def test_a_generous_most_changes_little_and_one_nothing() -> None:
    model = Model("t", random_network(channels=12, blocks=(1, 1)), Calibration((0.5,), ((0.5, 0.5),)))
    up = TensorComputer(model, device="cpu", tile=64)
    free = up.run(low(150, 230), attention_ratio=0.5)
    assert torch.equal(free.high, up.run(low(150, 230), attention_ratio=0.5, max_share=1.0).high)


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_busy_half_gets_the_attention(calibrated: bool) -> None:
    """One budget for the whole picture, with thresholds and without: tiles do not spend alike."""
    picture = low(128, 256)
    picture[:, :, :128] = torch.linspace(0.5, 0.6, 128)  # a sky
    model = find("s-x4")
    model = model if calibrated else replace(model, calibration=None)
    tile = smallest_tile(model.config.pool)
    shares = TensorComputer(model, device="cpu", tile=tile).run(picture, attention_ratio=0.5).shares
    sky, facade = shares[:, :7].mean(), shares[:, 9:].mean()
    assert facade >= 3.0 * sky
    assert facade > 0.5
    if not calibrated:
        assert shares.mean() == pytest.approx(0.5, abs=0.1)
