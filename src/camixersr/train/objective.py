"""What training asks of a network: of its pictures, of its scores, and of its gates.

**Pixels.** The mean over pixels of |error| ("l1"), of sqrt(error^2 + 1e-6) ("charbonnier"), or L1 and a
tenth of the mean |difference| of the two Fourier transforms, not normalised ("l1+fft"): a wrong texture
costs there what it does not cost pixel by pixel. A teacher's picture may stand beside the photograph, or
in its place.

**Scores.** "detail": the score of a window should be the *percentile* of its local detail among the windows
of the training photographs. A score then says "more detailed than this share of all windows", the
threshold 1 - gamma attends a share gamma on average over photographs, and spread and sign of the
scores are right from the start. The loss is the cross-entropy to that percentile, in every block. It
trains the two layers that score and nothing before them (`detach_scores`): its gradient on what they
read was 18 times the pixels', so that the whole predictor became a detector of edges.
"paper": 2 * gamma * (mean of all masks - 1/2)^2, one mean over blocks, images and windows. Kept
for comparison: it is satisfied by half the blocks on and half off, whatever the content.

**Gates.** Spatial attention multiplies the values of a convolved window and not those of an attended
one, so that small gates and large values do to convolution what large gates and small values do. In
nine of twenty blocks it went to zero, and attended windows came out far too large. Where its mean
log-odds over a patch fall below `GATE`, the square of what is missing is added to the loss. Attended values
are left without the gate, as in the paper: what attention hands on is for its own softmax to weigh.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.nn.predictor import Predictor
from camixersr.nn.routing import Routing

__all__ = [
    "GATE",
    "PixelLoss",
    "detach_scores",
    "detail_loss",
    "gate_loss",
    "paper_loss",
    "percentile",
    "pixel_loss",
]

PixelLoss = Literal["l1", "charbonnier", "l1+fft"]

GATE = -1.0
"""Least mean log-odds of spatial attention that costs nothing: a gate of 0.27."""

FOURIER = 0.1
"""Weight of the Fourier transforms' difference beside L1."""


def pixel_loss(kind: PixelLoss, result: Tensor, wanted: Tensor, rows: Tensor | None = None) -> Tensor:
    """How far pictures are from what they should be.

    Args:
        kind: see the module's text.
        result: B x 3 x H x W, in [0, 1] units.
        wanted: likewise.
        rows: B x H, what an error in each row counts; 1 by default.

    Returns:
        A scalar, a mean over everything.
    """
    error = result - wanted
    if rows is not None:
        error = error * rows[:, None, :, None]
    if kind == "charbonnier":
        return (error.square() + 1e-6).sqrt().mean()
    if kind == "l1":
        return error.abs().mean()
    spectrum = torch.fft.rfft2(error)
    return error.abs().mean() + FOURIER * torch.view_as_real(spectrum).abs().mean()


def gate_loss(odds: Tensor) -> Tensor:
    """What closed gates cost.

    Args:
        odds: B x K, mean log-odds of spatial attention of K blocks over each patch.

    Returns:
        A scalar: a mean over patches, a sum over blocks.
    """
    return (GATE - odds).clamp(min=0.0).square().sum(dim=-1).mean()


def detach_scores(network: nn.Module) -> None:
    """Let no gradient of the scores into what they are computed from.

    Args:
        network: changed in place, for good; what it computes stays the same.
    """
    for module in network.modules():
        if isinstance(module, Predictor):
            module.mask.register_forward_pre_hook(_detach)


def _detach(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.detach() for each in given)


def percentile(values: Tensor, quantiles: Tensor) -> Tensor:
    """Where values stand in a population.

    Args:
        values: any shape.
        quantiles: Q ascending values at equal steps of probability, from 0 to 1.

    Returns:
        The same shape, in [0, 1].
    """
    place = torch.searchsorted(quantiles, values.detach().contiguous())
    return place.to(values.dtype) / quantiles.numel()


def detail_loss(routing: Routing, target: Tensor) -> Tensor:
    """Cross-entropy between every block's scores and the windows' percentiles of detail.

    Args:
        routing: of the step.
        target: B x N in [0, 1].

    Returns:
        A scalar.
    """
    logits = torch.stack([block.logits for block in routing.blocks])
    return F.binary_cross_entropy_with_logits(logits, target.expand_as(logits))


def paper_loss(routing: Routing, ratio: float) -> Tensor:
    """The paper's classification loss.

    Args:
        routing: of the step, with masks that carry gradients.
        ratio: gamma.

    Returns:
        A scalar.
    """
    mean = torch.stack([block.mask for block in routing.blocks]).mean()
    return 2.0 * ratio * (mean - 0.5).square()
