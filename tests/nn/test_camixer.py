import pytest
import torch
from torch import Tensor

from camixersr.errors import ShapeError, UsageError
from camixersr.models.calibration import Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.nn import CAMixer, TopShare
from camixersr.nn.attention import WindowAttention
from camixersr.train.policies import Stochastic
from tests.conftest import random_network
from tests.oracle import reference


class _FloatMask:
    """A mask with gradients in its dtype, so that the masked path runs."""

    def __init__(self, mask: Tensor, *, everywhere: bool = True) -> None:
        self.mask = mask
        self.everywhere = everywhere

    def choose(self, logits: Tensor, block: int) -> Tensor:
        return self.mask.to(logits.dtype)


def _mixer() -> CAMixer:
    mixer = random_network(channels=24, blocks=(1,)).body[0].blocks[0].mixer
    assert isinstance(mixer, CAMixer)
    return mixer


def _inputs(B: int = 2, H: int = 32, W: int = 48) -> tuple[Tensor, Tensor]:
    return torch.rand(B, H, W, 24) - 0.5, torch.rand(B, H, W, 4) - 0.5


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_mixer_equals_its_equations(share: float) -> None:
    mixer, (x, condition) = _mixer(), _inputs()
    mask = torch.rand(2, 6) < share if 0 < share < 1 else torch.full((2, 6), bool(share))
    result, routing = mixer(x, condition, FixedWindows((mask,)))
    expected, scores = reference.mixer(
        x.permute(0, 3, 1, 2), condition.permute(0, 3, 1, 2), mixer.state_dict(), mask
    )
    assert torch.allclose(result, expected.permute(0, 2, 3, 1), atol=2e-6)
    assert torch.allclose(routing.scores, scores, atol=1e-6)
    assert scores.std() > 0.02, "a test of routing needs scores that differ"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_masked_and_gathered_paths_give_the_same_numbers(share: float) -> None:
    mixer, (x, condition) = _mixer(), _inputs()
    gathered, routing = mixer(x, condition, TopShare(share))
    masked, other = mixer(x, condition, _FloatMask(routing.mask))
    assert torch.equal(other.attended, routing.attended)
    assert torch.allclose(gathered, masked, atol=1e-6, rtol=1e-6)


def test_a_window_does_not_jump_at_its_threshold() -> None:
    mixer, (x, condition) = _mixer(), _inputs(B=1)
    _, routing = mixer(x, condition, TopShare(0.0))
    score = float(routing.scores[0].sort().values[3])

    def step(band: float) -> float:
        """What the least step of the threshold across a window's score changes in the result."""
        below, above = (
            mixer(x, condition, Threshold((score + shift,), band=band))[0] for shift in (-1e-5, 1e-5)
        )
        return float((below - above).abs().max())

    assert step(0.0) > 1e-2
    assert step(0.25) < 1e-4


def test_skipped_windows_are_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    mixer, (x, condition) = _mixer(), _inputs()
    seen: list[int] = []
    forward = WindowAttention.forward

    def spy(self: WindowAttention, x: Tensor, v: Tensor, offsets: Tensor, index: Tensor) -> Tensor:
        seen.append(len(index))
        return forward(self, x, v, offsets, index)

    monkeypatch.setattr(WindowAttention, "forward", spy)
    for share in (0.0, 0.5, 1.0):
        mixer(x, condition, TopShare(share))
    assert seen == [6, 12]  # of 12; a share of 0 does not call attention at all


def test_share_zero_is_pure_convolution_and_one_is_pure_attention() -> None:
    mixer, (x, condition) = _mixer(), _inputs()
    without, _ = mixer(x, condition, TopShare(0.0))
    full, _ = mixer(x, condition, TopShare(1.0))
    torch.nn.init.normal_(mixer.attention.project_q.weight)  # attention changed ...
    assert torch.equal(mixer(x, condition, TopShare(0.0))[0], without)
    assert not torch.equal(mixer(x, condition, TopShare(1.0))[0], full)
    attended, _ = mixer(x, condition, TopShare(1.0))
    torch.nn.init.normal_(mixer.predictor.spatial.weight)  # ... and the convolution branch
    assert torch.equal(mixer(x, condition, TopShare(1.0))[0], attended)
    assert not torch.equal(mixer(x, condition, TopShare(0.0))[0], without)


def test_a_stochastic_mask_carries_gradients_to_the_scores() -> None:
    mixer = _mixer().requires_grad_(True)
    x, condition = _inputs()
    result, _ = mixer(x, condition, Stochastic(torch.Generator().manual_seed(0)))
    result.square().sum().backward()
    gradient = mixer.predictor.mask[2].weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_a_mixer_stands_alone_in_any_network() -> None:
    mixer = CAMixer(16, window=8)
    result, routing = mixer(torch.rand(1, 24, 8, 16), torch.zeros(1, 24, 8, 4), TopShare(0.5))
    assert result.shape == (1, 24, 8, 16)
    assert routing.attended.sum() == 2  # half of three, rounded up


@pytest.mark.parametrize(
    ("x", "condition", "policy", "error", "says"),
    [
        (
            (1, 24, 32, 48),
            (1, 32, 48, 4),
            TopShare(0.5),
            ShapeError,
            r"x.permute\(0, 2, 3, 1\) puts",
        ),
        ((32, 48, 24), (1, 32, 48, 4), TopShare(0.5), ShapeError, r"expected x as B x H x W x 24"),
        ((1, 30, 40, 24), (1, 30, 40, 4), TopShare(0.5), ShapeError, r"the window, 16, got 30 x 40; pad x"),
        (
            (1, 32, 48, 24),
            (1, 32, 48, 2),
            TopShare(0.5),
            ShapeError,
            r"condition 1 x 32 x 48 x 4, got",
        ),
        ((1, 32, 48, 24), (1, 32, 48, 4), 0.5, UsageError, r"such as camixersr.nn.TopShare.*got float"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_a_line(
    x: tuple[int, ...], condition: tuple[int, ...], policy, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as refused:
        CAMixer(24)(torch.zeros(x), torch.zeros(condition), policy)
    assert "\n" not in str(refused.value)
