"""Start as the best linear upsampler instead of from noise.

The body's contribution is switched off at first (`body_tail` = 0: features pass by the skip), which
leaves head and tail, two linear maps of 3 x 3 pixels each. `tail` is then solved by least squares
on photographs, so that the untrained network already is the best linear 5 x 5 upsampler its head
allows, and training only has to learn what a linear filter cannot do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from camixersr.models import CAMixerSR

__all__ = ["initialise_linear"]

RIDGE = 1e-3  # relative to the mean square of the features; keeps the weights small and costs < 0.01 dB


@torch.no_grad()
def initialise_linear(network: CAMixerSR, low: Tensor, high: Tensor) -> None:
    """Set `body_tail` and `tail` of a fresh network.

    Args:
        network: changed in place.
        low: B x 3 x H x W in [0, 1].
        high: B x 3 x sH x sW in [0, 1].
    """
    assert network.body_tail.bias is not None and network.tail.bias is not None
    network.body_tail.weight.zero_()
    network.body_tail.bias.zero_()
    features = F.unfold(network.head(low), 3, padding=1).transpose(1, 2).flatten(0, 1).double()
    features = torch.cat((features, torch.ones_like(features[:, :1])), dim=1)
    wanted = F.pixel_unshuffle(high, network.config.scale).flatten(2).transpose(1, 2)
    wanted = wanted.flatten(0, 1).double()
    gram = features.T @ features
    gram += torch.eye(len(gram), dtype=gram.dtype) * RIDGE * gram.diagonal().mean()
    solution = torch.linalg.solve(gram, features.T @ wanted)  # (C*9 + 1) x 3s^2
    network.tail.weight.copy_(solution[:-1].T.reshape(network.tail.weight.shape))
    network.tail.bias.copy_(solution[-1])
