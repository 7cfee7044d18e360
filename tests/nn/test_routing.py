import math

import pytest
import torch

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.models.calibration import BAND, Calibration, Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.nn.routing import BlockRouting, ExpectedCount, Routing, TopShare
from camixersr.train.policies import Stochastic


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("windows", [1, 2, 7, 24])
def test_top_share_takes_the_best_of_each_image(share: float, windows: int) -> None:
    logits = torch.randn(3, windows)
    mask = TopShare(share).choose(logits, 0)
    assert mask.dtype == torch.bool
    count = math.floor(share * windows + 0.5)
    for row, chosen in zip(logits.tolist(), mask.tolist(), strict=True):
        best = sorted(range(windows), key=lambda i: (-row[i], i))[:count]
        assert {i for i in range(windows) if chosen[i]} == set(best)


def test_of_equal_scores_the_earlier_window_wins() -> None:
    mask = TopShare(0.5).choose(torch.zeros(2, 6), 0)
    assert mask.tolist() == [[True, True, True, False, False, False]] * 2


def test_a_neighbour_in_the_batch_does_not_matter() -> None:
    one, other = torch.randn(1, 20), 5.0 + torch.randn(1, 20)
    for policy in (TopShare(0.4), ExpectedCount(0.4), Threshold((0.5,))):
        alone = policy.choose(one, 0)
        assert torch.equal(policy.choose(torch.cat((one, other)), 0)[:1], alone)
        assert torch.equal(policy.choose(torch.cat((other, one)), 0)[1:], alone)


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_a_share_outside_zero_to_one_is_refused(share: float) -> None:
    for policy in (TopShare, ExpectedCount):
        with pytest.raises(ValueRangeError, match=r"\[0, 1\]"):
            policy(share)


def test_expected_count_is_the_formula_of_the_paper() -> None:
    logits = 3.0 * torch.randn(2, 50)
    for share in (0.0, 0.25, 0.5, 0.9):
        mask = ExpectedCount(share).choose(logits, 0)
        for row, chosen in zip(logits, mask, strict=True):
            total = 0.0
            for value in row.tolist():
                p = 1 / (1 + math.exp(-value))
                total += 1 / (1 + math.exp(-(p - (1 - p))))
            count = min(50, math.floor(50 * 2 * share * total / 50))
            assert int(chosen.sum()) == count
            assert count == 0 or row[chosen].min() >= row[~chosen].max()
    assert ExpectedCount(1.0).choose(logits, 0).all()


def test_expected_count_is_the_mean_of_the_public_random_mask() -> None:
    """The public code counts a Gumbel mask drawn over probabilities; ours is its expectation."""
    logits = 2.0 * torch.randn(1, 400)
    source = generator()
    drawn = [Stochastic(source, noise_on="probabilities").choose(logits, 0).mean() for _ in range(400)]
    expected = float((2.0 * logits.sigmoid() - 1.0).sigmoid().mean())
    assert abs(float(torch.stack(drawn).mean()) - expected) < 0.005


def test_a_threshold_is_per_block() -> None:
    logits = torch.tensor([[-1.0, 0.1, 1.0]])
    policy = Threshold((0.5, 0.6))
    assert (policy.choose(logits, 0) > 0.0).tolist() == [[False, True, True]]
    assert (policy.choose(logits, 1) > 0.0).tolist() == [[False, False, True]]
    with pytest.raises(ShapeError, match="one threshold a block"):
        policy.choose(logits, 2)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.93])
def test_windows_fade_in_above_their_threshold(threshold: float) -> None:
    at = math.log(threshold / (1.0 - threshold))
    logits = torch.tensor([[at - 1.0, at - 1e-3, at + BAND / 4, at + BAND / 2, at + BAND + 1e-3, at + 9.0]])
    mask = Threshold((threshold,)).choose(logits, 0)
    assert mask.tolist()[0] == pytest.approx([0.0, 0.0, 0.25, 0.5, 1.0, 1.0], abs=1e-5)


def test_no_band_is_a_step_and_the_ends_are_all_and_nothing() -> None:
    logits = torch.tensor([[-50.0, 0.0, 50.0]])
    assert Threshold((0.5,), band=0.0).choose(logits, 0).tolist() == [[False, True, True]]
    for band in (0.0, BAND):
        assert (Threshold((0.0,), band=band).choose(logits, 0) == 1.0).all()
        assert (Threshold((1.0,), band=band).choose(logits, 0) == 0.0).all()
        assert (Threshold((1.5,), band=band).choose(logits, 0) == 0.0).all()
    with pytest.raises(ValueRangeError, match="band"):
        Threshold((0.5,), band=-0.1)


def test_fixed_windows_replay_a_routing_and_refuse_another_shape() -> None:
    blocks = tuple(BlockRouting(torch.randn(2, 6), torch.rand(2, 6) > 0.5) for _ in range(3))
    routing = Routing(2, 3, blocks)
    policy = FixedWindows.replay(routing)
    for number, block in enumerate(blocks):
        assert torch.equal(policy.choose(torch.randn(2, 6), number), block.mask)
    with pytest.raises(ShapeError, match=r"\(2, 7\)"):
        policy.choose(torch.randn(2, 7), 0)
    with pytest.raises(ShapeError, match="nothing"):
        policy.choose(torch.randn(2, 6), 3)


def test_attention_share_is_a_mean_over_blocks_per_image() -> None:
    masks = (torch.tensor([[True, True], [False, False]]), torch.tensor([[True, False], [True, False]]))
    routing = Routing(1, 2, tuple(BlockRouting(torch.zeros(2, 2), mask) for mask in masks))
    assert routing.attention_share.tolist() == [0.75, 0.25]
    assert routing.attended.shape == (2, 2, 2)


def test_stochastic_is_reproducible_by_its_own_generator_only() -> None:
    logits = torch.randn(4, 64)
    first = Stochastic(generator(3)).choose(logits, 0)
    torch.manual_seed(99)
    torch.rand(10)
    assert torch.equal(Stochastic(generator(3)).choose(logits, 0), first)
    assert not torch.equal(Stochastic(generator(4)).choose(logits, 0), first)


def test_stochastic_leaves_the_global_generator_alone() -> None:
    logits = torch.randn(2, 8)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    Stochastic(generator()).choose(logits, 0)
    assert torch.equal(torch.rand(3), expected)


def test_stochastic_is_hard_in_value_and_soft_in_gradient() -> None:
    logits = torch.randn(4, 64, requires_grad=True)
    mask = Stochastic(generator()).choose(logits, 0)
    assert torch.allclose(mask.detach(), mask.detach().round(), atol=1e-6)
    mask.sum().backward()
    assert logits.grad is not None
    assert (logits.grad > 0).all()


@pytest.mark.parametrize("logit", [-4.0, -1.0, 0.0, 2.0])
def test_noise_on_logits_samples_the_score_and_on_probabilities_does_not(logit: float) -> None:
    logits = torch.full((1, 40_000), logit)
    score = 1 / (1 + math.exp(-logit))
    textbook = float(Stochastic(generator()).choose(logits, 0).mean())
    assert abs(textbook - score) < 0.01
    public = float(Stochastic(generator(), noise_on="probabilities").choose(logits, 0).mean())
    assert abs(public - 1 / (1 + math.exp(-(2 * score - 1)))) < 0.01
    assert 0.26 < public < 0.74  # whatever the predictor says


def test_stochastic_refuses_a_temperature_of_zero() -> None:
    with pytest.raises(ValueRangeError, match="temperature"):
        Stochastic(generator(), temperature=0.0)


def test_calibration_gives_its_thresholds_and_interpolates_between() -> None:
    calibration = Calibration((0.25, 0.75), ((0.8, 0.6), (0.4, 0.2)))
    assert calibration.at(0.25) == Threshold((0.8, 0.6))
    middle = calibration.at(0.5)
    assert isinstance(middle, Threshold)
    assert middle.thresholds == pytest.approx((0.6, 0.4))
    assert calibration.at(0.0) == TopShare(0.0)
    assert calibration.at(1.0) == TopShare(1.0)
    near_all = calibration.at(0.99)
    assert isinstance(near_all, Threshold)
    assert near_all.thresholds == pytest.approx((0.016, 0.008))
    with pytest.raises(ValueRangeError):
        calibration.at(1.5)


def test_more_ratio_never_attends_less() -> None:
    calibration = Calibration((0.25, 0.5), ((0.8,), (0.5,)))
    logits = torch.randn(1, 500)
    counts = [int((calibration.at(ratio / 20).choose(logits, 0) > 0.0).sum()) for ratio in range(21)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 500)


@pytest.mark.parametrize(
    ("ratios", "thresholds"),
    [((), ()), ((0.5, 0.2), ((0.1,), (0.2,))), ((0.5,), ()), ((0.2, 0.5), ((0.1,), (0.2, 0.3)))],
)
def test_a_calibration_that_does_not_fit_together_is_refused(ratios, thresholds) -> None:
    with pytest.raises(ShapeError):
        Calibration(ratios, thresholds)
