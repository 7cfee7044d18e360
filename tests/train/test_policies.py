"""Policies for training: a share of recent windows, and exploring by measured gain."""

import pytest
import torch

from camixersr.errors import ValueRangeError
from camixersr.train.policies import REMEMBERED, AtLeast, Explore, RecentScores, ranking_gradient
from tests.conftest import random_network


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_share_is_one_of_recent_windows_not_of_a_patchs_own() -> None:
    recent = RecentScores(2)
    assert torch.isneginf(recent.least(0.5)).all(), "before anything is known, everything is attended"
    plain, busy = torch.full((2, 100), -2.0), torch.full((2, 100), 2.0)
    spread = torch.linspace(-0.5, 0.5, 100).expand(2, -1)
    recent.add(torch.cat((plain + spread, busy + spread), dim=1))
    policy = AtLeast(recent.least(0.5))
    assert not policy.choose(plain + spread, 0).any()
    assert policy.choose(busy + spread, 1).all()
    assert torch.isposinf(recent.least(0.0)).all()
    assert torch.isneginf(recent.least(1.0)).all()
    recent.add(torch.zeros(2, 3 * REMEMBERED))
    assert recent.known.shape == (2, REMEMBERED)


def test_exploring_attends_the_share_of_the_whole_batch_by_score() -> None:
    plain, busy = torch.full((1, 8), -1.0), torch.full((1, 8), 1.0)
    logits = torch.cat((plain, busy)) + 0.01 * torch.randn(2, 8)
    mask = Explore(0.5, generator(), temperature=0.0).choose(logits, 0)
    assert mask.dtype == torch.bool
    assert mask.sum() == 8
    assert mask[1].all(), "the plain picture gives its share to the busy one"
    for share in (0.0, 0.3, 1.0):
        assert Explore(share, generator()).choose(logits, 0).sum() == int(share * 16 + 0.5)


def test_exploring_is_its_seeds_and_its_temperatures() -> None:
    logits = torch.linspace(-1, 1, 64)[None]
    best = Explore(0.25, generator(), temperature=0.0).choose(logits, 0)
    drawn = [Explore(0.25, generator(3), temperature=1.0).choose(logits, 0) for _ in range(2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], Explore(0.25, generator(4)).choose(logits, 0))

    def overlap(temperature: float) -> float:
        source = generator(5)
        masks = [Explore(0.25, source, temperature=temperature).choose(logits, 0) for _ in range(50)]
        return float(torch.stack(masks)[:, best].double().mean())

    assert 0.25 < overlap(3.0) < overlap(0.5) < overlap(0.01)
    assert overlap(0.01) > 0.98


def test_noise_is_measured_in_deviations_of_the_scores() -> None:
    logits = torch.randn(2, 32)
    masks = [Explore(0.5, generator(9)).choose(scale * logits + 3.0, 0) for scale in (1.0, 1e-3, 50.0)]
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[0], masks[2])


def test_the_ranking_gradient_is_that_of_its_loss() -> None:
    logits = torch.randn(7, dtype=torch.float64, requires_grad=True)
    gains = torch.randn(7, dtype=torch.float64)
    loss, total = torch.zeros((), dtype=torch.float64), 0.0
    for i in range(7):
        for j in range(i):
            difference = gains[i] - gains[j]
            t = difference.sign() * (logits[i] - logits[j])
            loss = loss + difference.abs() * torch.nn.functional.softplus(-t)
            total += float(difference.abs())
    (loss / total).backward()
    assert logits.grad is not None
    assert torch.allclose(ranking_gradient(logits.detach(), gains), logits.grad)
    assert ranking_gradient(torch.randn(4), torch.ones(4)).abs().max() == 0.0
    assert ranking_gradient(torch.randn(1), torch.ones(1)).tolist() == [0.0]


def test_scores_learn_to_rank_by_gain() -> None:
    """Windows whose attention lowers the loss must end with the higher scores."""
    gains = torch.linspace(-1.0, 1.0, 12)[torch.randperm(12)].reshape(2, 6)
    logits = torch.zeros(2, 6, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    source = generator()
    for _ in range(150):
        mask = Explore(0.5, source, temperature=1.0).choose(logits, 0)
        optimizer.zero_grad()
        (-(mask * gains).sum()).backward()
        optimizer.step()
    best = gains.flatten().argsort()[-4:]
    worst = gains.flatten().argsort()[:4]
    assert logits.flatten()[best].min() > logits.flatten()[worst].max()


def test_a_gain_is_how_much_attention_lowers_the_loss() -> None:
    """Against the truth: the loss with and without attention at a probe, all else as it was."""
    mixer = random_network(channels=24, blocks=(1,)).body[0].blocks[0].mixer.requires_grad_(True).double()
    x, condition = torch.rand(1, 32, 32, 24).double(), torch.zeros(1, 32, 32, 4).double()
    weights = torch.randn(1, 32, 32, 24).double()
    policy = Explore(1.0, generator(), temperature=0.0, probes=0.5)
    y, routing = mixer(x, condition, policy)
    (y * weights).sum().backward()
    gains, known = policy.gains[0]
    mask = routing.mask.detach()
    probes = (mask == 0.5).flatten().nonzero().flatten().tolist()
    assert 0 < len(probes) < 4
    assert gains.shape == known.shape == (len(probes),)

    class Blend:
        def __init__(self, mask: torch.Tensor) -> None:
            self.mask = mask

        def choose(self, logits: torch.Tensor, block: int) -> torch.Tensor:
            return self.mask

    for number, window in enumerate(probes):
        losses: list[float] = []
        for amount in (1.0, 0.0):
            changed = mask.clone()
            changed[0, window] = amount
            losses.append(float((mixer(x, condition, Blend(changed))[0] * weights).sum().detach()))
        assert float(gains[number]) == pytest.approx(losses[1] - losses[0], rel=0.05)


def test_exploring_asks_for_sensible_numbers() -> None:
    for share, temperature, weight in [(1.5, 1.0, 1.0), (0.5, -1.0, 1.0), (0.5, 1.0, -1.0)]:
        with pytest.raises(ValueRangeError):
            Explore(share, generator(), temperature=temperature, weight=weight)
    with pytest.raises(ValueRangeError):
        Explore(0.5, generator(), probes=1.5)
