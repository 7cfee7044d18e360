"""The audit tells a router that follows content from one that has collapsed and one that guesses."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor

from camixersr.audit import audit, measure_gain, observe, rank_correlation
from camixersr.errors import ShapeError
from camixersr.image.resize import resize
from camixersr.models.calibration import Threshold
from camixersr.models.detail import window_detail
from camixersr.models.fixed import FixedWindows
from camixersr.nn import BlockRouting, Policy, Routing, TopShare
from camixersr.weights import Model, save
from camixersr.worth import Worth, measure_worth, ranked
from tests.conftest import noise_picture, random_network, run, shared

BLOCKS = 10


def images(count: int = 12) -> list[Tensor]:
    """From plain to busy, 96 x 128 each: noise of growing strength in a growing part."""
    result: list[Tensor] = []
    for number in range(count):
        rng = np.random.default_rng(number)
        picture = np.full((96, 128, 3), 0.5) + np.linspace(0, 0.2, 128)[:, None]
        strength = rng.random((6, 8, 1, 1, 1)) * 0.4 * (number + 1) / count
        noise = rng.normal(0, 1, (6, 8, 16, 16, 3)) * strength
        picture += noise.transpose(0, 2, 1, 3, 4).reshape(96, 128, 3)
        result.append(torch.from_numpy(picture.clip(0, 1)).float().permute(2, 0, 1)[None])
    return result


def route(low: Tensor, router: str, number: int) -> Routing:
    """A routing made by hand."""
    detail = window_detail(low, 16)
    generator = torch.Generator().manual_seed(number)
    blocks: list[BlockRouting] = []
    for block in range(BLOCKS):
        noise = torch.randn(detail.shape, generator=generator)
        if router == "gradient":
            logits = 0.7 * (detail + 4.0) + 0.3 * noise
        elif router == "constant":  # half the layers on, half off; scores hardly vary
            logits = (3.0 if block % 2 else -3.0) + 0.01 * noise
        else:
            logits = noise
        blocks.append(BlockRouting(logits, logits > 0))
    return Routing(6, 8, tuple(blocks))


def judge(router: str):
    return audit(
        [
            observe(str(number), low, route(low, router, number), window=16)
            for number, low in enumerate(images())
        ]
    )


def test_a_router_that_follows_gradients_is_recognised() -> None:
    result = judge("gradient")
    assert result.follows
    assert result.detail > 0.6
    assert result.collapsed == 0
    assert result.plain_share < 0.5 * result.busy_share
    assert "follows content" in result.verdict
    assert "does not follow" not in result.verdict
    assert result.pays is None
    assert "not measured" in result.verdict


def test_a_collapsed_router_is_recognised() -> None:
    result = judge("constant")
    assert not result.follows
    assert result.collapsed == BLOCKS
    assert all(block.score_spread < 0.01 for block in result.blocks)
    assert result.plain_share == result.busy_share == 0.5
    assert "does not follow" in result.verdict


def test_a_guessing_router_is_recognised() -> None:
    result = judge("random")
    assert not result.follows
    assert abs(result.detail) < 0.1
    assert result.collapsed == 0


class Bench:
    """A network of which the truth is known: each window attended in a block takes its gain off the error.

    Its scores rank windows by detail (gradient), by that gain (oracle) or by nothing (random), or they
    send whole blocks one way (constant).
    """

    def __init__(self, router: str, high: Tensor, number: int) -> None:
        self.config = SimpleNamespace(window=16, scale=1)
        self.high = high
        self.draw = torch.Generator().manual_seed(number)
        detail = window_detail(high, 16)[0]
        self.gains = torch.rand(BLOCKS, 48, generator=self.draw) ** 3 * (0.1 + (detail + 4.0).sigmoid())
        noise = torch.rand(BLOCKS, 48, generator=self.draw)
        self.logits = {
            "gradient": (detail + 4.0).expand(BLOCKS, -1),
            "oracle": 10.0 * (self.gains - 0.1),
            "random": noise - 0.5,
            "constant": (torch.arange(BLOCKS) % 2 * 6.0 - 3.0)[:, None] + 0.01 * noise,
        }[router]

    def route(self, low: Tensor, policy: Policy) -> tuple[Tensor, Routing]:
        blocks = [
            BlockRouting(each[None], policy.choose(each[None], n)) for n, each in enumerate(self.logits)
        ]
        routing = Routing(6, 8, tuple(blocks))
        missed = (self.gains * ~routing.attended[:, 0]).sum(dim=0).reshape(1, 1, 6, 8)
        error = 0.01 + 0.01 * missed.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
        return self.high + torch.where(self.high > 0.5, -error, error), routing


@pytest.mark.parametrize(
    ("router", "follows", "pays", "alike"),
    [
        ("gradient", True, False, True),  # looks right, and pays no more than chance
        ("oracle", True, True, False),
        ("random", False, False, False),
        ("constant", False, False, False),
    ],
)
def test_a_verdict_must_be_earned(router: str, follows: bool, pays: bool, alike: bool) -> None:
    seen = []
    for number, high in enumerate(images()):
        bench = Bench(router, high, number)
        least = Threshold((0.5,) * BLOCKS)
        worth, routing = measure_worth(cast(Any, bench), high, high, least)
        assert worth.dial > 0.1
        seen.append(observe(str(number), high, routing, window=16, worth=worth))
    result = audit(seen)
    assert (result.follows, result.pays) == (follows, pays), result.verdict
    assert result.agreement is not None
    assert (result.agreement >= 0.85) == alike == ("choose alike" in result.verdict)
    assert ("pays where it goes" in result.verdict) == pays
    assert ("chosen or not" in result.verdict) == (not pays)
    if router == "constant":
        assert result.agreement == pytest.approx(20 / 45)  # the pairs of a kind
    if router == "oracle":
        assert result.worth is not None
        assert result.worth.own > result.worth.detail


def test_worth_fills_the_same_numbers() -> None:
    network = random_network(channels=8, scale=2, blocks=(1, 1))
    low = torch.rand(1, 3, 40, 48)
    high, routing = network.route(low, TopShare(1.0))
    worth, own = measure_worth(network, low, high, TopShare(1 / 3))
    assert torch.equal(own.attended, network.route(low, TopShare(1 / 3))[1].attended)
    assert worth.everything > 100.0  # the original is what the network makes with all attended
    assert worth.everything > max(worth.own, worth.random, worth.inverted, worth.detail, worth.nothing)
    policy = ranked([torch.tensor([3.0, 1.0, 2.0, 1.0])], [2])
    assert policy.masks[0].tolist() == [[True, False, True, False]]
    masks = FixedWindows((torch.ones(1, 9, dtype=torch.bool), torch.zeros(1, 9, dtype=torch.bool)))
    worth, _ = measure_worth(network, low, high, masks)
    assert worth.own == pytest.approx(worth.blocks), "all of one block, however they are drawn"
    counted: list[list[int]] = []

    class Seen:
        """The network, and how many windows each block attended."""

        config = network.config

        def route(self, image: torch.Tensor, policy):
            high, routing = network.route(image, policy)
            counted.append([int(block.attended.sum()) for block in routing.blocks])
            return high, routing

    measure_worth(cast(Any, Seen()), low, high, masks)
    assert sorted(counted) == sorted([[9, 0]] * 3 + [[4, 5]] * 4 + [[0, 0], [9, 9]])
    with pytest.raises(ShapeError, match="one image"):
        Worth.mean([])
    assert routing.attended.all()


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_is_scipys(ties: bool) -> None:
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=50), rng.normal(size=50)
    two += one
    if ties:
        one, two = one.round(), two.round()
    assert rank_correlation(one, two) == pytest.approx(spearmanr(one, two).statistic)
    assert rank_correlation(one, np.zeros(50)) == 0.0


def test_gain_is_what_toggling_a_block_costs_a_window() -> None:
    network = random_network(channels=12, scale=2, blocks=(1, 1))
    low = torch.rand(1, 3, 40, 32)
    high = torch.rand(1, 3, 80, 64)
    gain = measure_gain(network, low, high)
    assert gain.shape == (2, 6)
    full = network(low, TopShare(1.0)).clamp(0, 1)
    for block in range(2):
        masks = [torch.ones(1, 6, dtype=torch.bool) for _ in range(2)]
        masks[block][:] = False
        without = network(low, FixedWindows(tuple(masks))).clamp(0, 1)
        for window in range(6):
            rows = slice(window // 2 * 32, window // 2 * 32 + 32)
            columns = slice(window % 2 * 32, window % 2 * 32 + 32)
            there = (0, slice(None), rows, columns)
            expected = (without - high).abs()[there].mean() - (full - high).abs()[there].mean()
            assert float(gain[block, window]) == pytest.approx(float(expected), abs=1e-6)


def test_gain_is_told_where_it_was_measured() -> None:
    low = images(1)[0]
    routing = route(low, "gradient", 0)
    gain = torch.stack([block.logits[0] for block in routing.blocks])
    result = audit([observe("a", low, routing, window=16, gain=gain)])
    assert result.gain == pytest.approx(1.0)
    assert all(block.gain == pytest.approx(1.0) for block in result.blocks)


def test_bad_observations_are_refused() -> None:
    with pytest.raises(ShapeError, match="one network"):
        audit([])
    with pytest.raises(ShapeError, match="one image"):
        observe("a", torch.rand(2, 3, 16, 16), route(images(1)[0], "random", 0), window=16)


def test_the_authors_checkpoint_does_not_follow_content() -> None:
    """REFERENCE: in its S, 19 of 20 layers send every window of every photo the same way."""
    from camixersr.nn import ExpectedCount
    from camixersr.weights import load_file

    network = load_file(shared("official/CAMixerSR_S.pth")).network
    seen = []
    for number in (1, 5, 13, 20):
        photo = np.asarray(Image.open(shared(f"data/photo/{number}.png")))[:256, :384]
        low = torch.from_numpy(resize(photo, height=64, width=96)).permute(2, 0, 1)[None].float() / 255
        seen.append(observe(str(number), low, network.route(low, ExpectedCount(0.5))[1], window=16))
    result = audit(seen)
    assert not result.follows
    assert np.median([block.score_spread for block in result.blocks]) < 0.04
    assert result.collapsed >= 15


def test_the_command_audits_prints_and_draws(tmp_path: Path, capsys) -> None:
    model = tmp_path / "m.safetensors"
    save(model, Model("tiny", random_network(channels=8, scale=2, blocks=(1, 2))))
    (tmp_path / "high").mkdir()
    for name in ("a", "b"):
        picture = noise_picture(64, 96, seed=ord(name))
        Image.fromarray(picture).save(tmp_path / "high" / f"{name}.png")
        Image.fromarray(resize(picture, height=32, width=48)).save(tmp_path / f"{name}.png")
    out, facts = tmp_path / "maps", tmp_path / "f.json"
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    originals = ["--high", tmp_path / "high", "--gain"]
    code = run("routes", *files, "--model", model, *originals, "-o", out, "--json", facts)
    assert code == 0
    text = capsys.readouterr().out
    assert "content: the plainest images attend" in text.splitlines()[-1]
    assert "chosen windows" in text.splitlines()[-1]
    assert "inverted" in text
    assert {path.name for path in out.iterdir()} == {
        "a_routes.png", "a_scores.png", "b_routes.png", "b_scores.png",
    }  # fmt: skip
    result = json.loads(facts.read_text())
    assert len(result["audit"]["blocks"]) == 3
    assert set(result["audit"]["worth"]) == {
        "nothing", "own", "random", "blocks", "inverted", "detail", "everything",
    }  # fmt: skip
    assert result["pays"] in (True, False)
    gain = result["audit"]["blocks"][0]["gain"]
    assert gain is not None
    same = [tmp_path / "high" / path.name for path in files]
    assert run("routes", *same, "--model", model, "--reduce", "--gain", "--json", facts) == 0
    assert json.loads(facts.read_text())["audit"]["blocks"][0]["gain"] == pytest.approx(gain)
    assert run("routes", *files, "--model", model, "--gain") == 2
    assert run("routes", *files, "--model", model, "--reduce", "--high", tmp_path / "high") == 2
    capsys.readouterr()

    (tmp_path / "c.png").write_text("no picture")
    assert run("routes", *files, tmp_path / "c.png", "--model", model) == 3
    assert "c.png" in capsys.readouterr().err
    assert run("routes", tmp_path / "c.png", "--model", model) == 3
    assert run("routes", *files, "--model", model, "--attention-ratio", 3) == 2
