"""Let attention begin where convolution is, after training without it.

Steps in which no window is attended cost half, so that a long run may begin with them. But the
spatial attention of convolved windows then shrinks, in most blocks to a few hundredths, and what
follows makes up for it; an attended window, whose values know no spatial attention, comes out of its
block ten times too large. In the run that made S x4 attending cost 2.6 dB, and 2,200 steps of training
with attention won back 0.3 of them.

So the mean of a block's spatial attention goes into its values, and spatial attention is 0.9 in the
mean from then on: convolved windows stay nearly what they were, attended ones get their size. Queries
and keys become multiples of the features, at places that do not move: a token attends itself and
those that are like it.
"""

import torch
from torch import Tensor, nn

from camixersr.models import CAMixerSR
from camixersr.nn.camixer import CAMixer
from camixersr.nn.routing import TopShare

__all__ = ["restart_attention"]

OPEN = 0.9
"""Mean of spatial attention afterwards."""

STEEPEST = 4.0
"""Most that its log-odds are stretched by, so that it goes on varying by as much as before."""

LIKENESS = 2.0
"""Length of a query, and half that of a key, for a feature of usual length: a token's likeness to itself is
then 8 above its likeness to one at a right angle."""


@torch.no_grad()
def restart_attention(network: CAMixerSR, low: Tensor) -> None:
    """Fold spatial attention into the values, and let keys and queries be the features.

    Args:
        network: changed in place; not pruned.
        low: B x 3 x H x W in [0, 1], of what it is trained on; with a fourth channel as for
            `CAMixerSR.forward`.
    """
    spatial, length = _measure(network, low)
    for number, mixer in enumerate(_mixers(network)):
        mean, predictor = spatial[number], mixer.predictor
        part = mean / OPEN
        mixer.project_v.weight.mul_(part)
        mixer.project_v.bias.mul_(part)
        predictor.project_in.weight[:, mixer.project_v.out_features :] *= part  # a norm follows: it sees
        predictor.project_in.bias.mul_(part)  # what it saw
        steep = min(STEEPEST, (1.0 - mean) / (1.0 - OPEN))
        convolution = predictor.spatial
        convolution.weight *= steep
        assert convolution.bias is not None
        odds = torch.tensor([mean, OPEN]).logit()
        convolution.bias.copy_(steep * (convolution.bias - odds[0]) + odds[1])
        for projection in (mixer.attention.project_q, mixer.attention.project_k):
            nn.init.eye_(projection.weight)
            projection.weight *= LIKENESS / length[number]
            projection.bias.zero_()
        last = predictor.offsets[-1]
        assert isinstance(last, nn.Linear)
        last.weight.zero_()
        last.bias.zero_()


def _mixers(network: CAMixerSR) -> list[CAMixer]:
    return [module for module in network.modules() if isinstance(module, CAMixer)]


def _measure(network: CAMixerSR, low: Tensor) -> tuple[list[float], list[float]]:
    """Mean spatial attention and usual length of the features, block by block, with nothing attended."""
    spatial: list[float] = []
    length: list[float] = []

    def look(mixer: nn.Module, given: tuple[Tensor, Tensor]) -> None:
        assert isinstance(mixer, CAMixer)
        x, condition = given[:2]
        length.append(x.square().sum(dim=-1).mean().sqrt().item())
        spatial.append(mixer.predictor(mixer.project_v(x), condition).spatial.mean().item())

    hooks = [mixer.register_forward_pre_hook(look) for mixer in _mixers(network)]
    network.route(low, TopShare(0.0), together=True)
    for hook in hooks:
        hook.remove()
    return spatial, length
