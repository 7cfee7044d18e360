"""What would show early that attention is not being learnt.

Weights that passed every other test had gates that let nothing through, groups of blocks that could be
taken out, attention that was a plain mean, and a dial that bought nothing. Each has a number here.
"""

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camixersr.models import CAMixerSR
from camixersr.nn.attention import WindowAttention
from camixersr.nn.camixer import CAMixer
from camixersr.nn.routing import TopShare
from camixersr.tensors import from_array
from camixersr.train.score import Images, score

__all__ = ["RandomHalf", "measure", "middle"]

PICTURES = 8
"""That are looked at, spread over the validation set, and of each the middle: seconds for S."""

SIDE = 64
"""Of that middle, in low pixels."""

LOOKED_INTO = 3
"""Of which gates and attention are looked into."""


@torch.no_grad()
def measure(network: CAMixerSR, images: Images, projection: str = "flat") -> dict[str, float]:
    """Look into a network.

    Args:
        network: any classic one.
        images: validation pairs.
        projection: as for `camixersr.train.score.score`.

    Returns:
        By name, in dB unless said otherwise:

        - "dial": ratio 1 less ratio 0.
        - "chosen": the model's own windows at ratio 0.5 less as many drawn at random.
        - "least_group": what the group matters that matters least (ratio 0.5, taken out).
        - "least_gate": the smallest median of spatial attention in a block, in [0, 1].
        - "tokens": how many of a window's 256 tokens a query uses, exp of the entropy of its attention, in
          the block where that is most.
        - "project_out": the largest spectral norm of a mixer's last layer.
        - "agreement": share of windows that two blocks treat alike at ratio 0.5, a mean over all pairs.
    """
    scale = network.config.scale
    some = [middle(*pair, scale) for pair in images[:: max(1, len(images) // PICTURES)][:PICTURES]]
    half = score(network, some, TopShare(0.5), projection)
    none, everything = (score(network, some, TopShare(share), projection) for share in (0.0, 1.0))
    found = {"dial": everything - none}
    draw = torch.Generator().manual_seed(0)
    found["chosen"] = half - score(network, some, RandomHalf(draw), projection)
    worth: list[float] = []
    for group in network.body:
        handle = group.register_forward_hook(lambda _, given, out: (given[0], out[1]))
        worth.append(half - score(network, some, TopShare(0.5), projection))
        handle.remove()
    found["least_group"] = min(worth)
    gates, tokens, agreement = _look_into(network, some[:LOOKED_INTO])
    found["least_gate"] = min(gates)
    found["tokens"] = max(tokens)
    found["agreement"] = agreement
    outs = [module.project_out.weight for module in network.modules() if isinstance(module, CAMixer)]
    found["project_out"] = max(float(torch.linalg.matrix_norm(weight, 2)) for weight in outs)
    return found


def middle(
    low: NDArray[np.uint8], high: NDArray[np.uint8], scale: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The middle of a pair, `SIDE` low pixels a side or less: low and high, uint8 RGB."""
    top, left = (max(0, (length - SIDE) // 2) for length in low.shape[:2])
    low = low[top : top + SIDE, left : left + SIDE]
    down, across = (scale * length for length in low.shape[:2])
    return low, high[scale * top : scale * top + down, scale * left : scale * left + across]


class RandomHalf:
    """Half of each picture's windows, whatever their scores.

    Args:
        generator: where the draws come from.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def choose(self, logits: Tensor, block: int) -> Tensor:
        """See `camixersr.nn.routing.Policy.choose`."""
        return TopShare(0.5).choose(torch.rand(logits.shape, generator=self.generator), block)


def _look_into(network: CAMixerSR, images: Images) -> tuple[list[float], list[float], float]:
    """Of each block the median gate and the tokens a query uses; and the agreement of masks."""
    gates: dict[nn.Module, list[Tensor]] = {}
    tokens: dict[nn.Module, list[Tensor]] = {}
    alike: list[float] = []
    with _watching(network, gates, tokens):
        for low, _ in images:
            image = from_array(low)[None]
            masks = network.route(image, TopShare(0.5))[1].attended[:, 0].double()
            same = masks @ masks.T + (1.0 - masks) @ (1.0 - masks).T
            pairs = ~torch.eye(len(masks), dtype=torch.bool)
            alike.append(float((same / masks.shape[1])[pairs].mean()) if len(masks) > 1 else 1.0)
    medians = [float(torch.cat(each).median()) for each in gates.values()]
    used = [float(torch.cat(each).mean()) for each in tokens.values()]
    return medians, used or [0.0], sum(alike) / len(alike)


@contextmanager
def _watching(
    network: CAMixerSR, gates: dict[nn.Module, list[Tensor]], tokens: dict[nn.Module, list[Tensor]]
) -> Generator[None]:
    def see_gate(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        gates.setdefault(module, []).append(out.sigmoid().flatten())

    def see_attention(module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        assert isinstance(module, WindowAttention)
        x, v, offsets, index = given
        own = torch.eye(v.shape[1], dtype=v.dtype).expand(len(v), -1, -1)  # its mixture is the map itself
        part = module.forward(x, own, offsets, index).clamp(min=1e-12)
        tokens.setdefault(module, []).append((-(part * part.log()).sum(dim=-1)).exp().flatten())

    hooks = [
        hook
        for module in network.modules()
        if isinstance(module, CAMixer)
        for hook in (
            module.predictor.spatial.register_forward_hook(see_gate),
            module.attention.register_forward_hook(see_attention),
        )
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
