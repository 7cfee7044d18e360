"""CAMixer as the token mixer of a plain transformer: how to use it where attention was.

    python examples/transformer.py examples/transformer.toml

trains both under the same recipe and compares them: docs/backbones.md.

The block is the plain one, x = x + mixer(norm(x)); x = x + mlp(norm(x)). Its mixer is either multi-head
self-attention in windows, every second block's windows shifted by half (as in Swin, Liu et al. 2021), or
a `CAMixer`, which attends the windows that deserve it and convolves the others.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.models import Backbone, BackboneConfig, pad_to_windows
from camixersr.nn import BlockRouting, CAMixer, Policy, Routing, merge, partition, window_position
from camixersr.nn.layers import conv2d


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(BackboneConfig):
    """A light network: SwinIR-light has 60 channels and 24 blocks."""

    channels: int = 48
    blocks: int = 6
    heads: int = 4
    mixers: bool = False


class ShiftedWindowAttention(nn.Module):
    """Multi-head self-attention in windows of a map B x H x W x C."""

    def __init__(self, config: TransformerConfig, *, shift: int) -> None:
        super().__init__()
        C, M = config.channels, config.window
        self.window, self.heads, self.shift = M, config.heads, shift
        self.place = nn.Parameter(0.02 * torch.randn(M * M, C))  # of a token in its window
        self.project_qkv = nn.Linear(C, 3 * C)
        self.project_out = nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, C = x.shape
        x = x.roll((-self.shift, -self.shift), dims=(1, 2))
        tokens = partition(x, self.window) + self.place  # B N M*M C
        q, k, v = self.project_qkv(tokens).unflatten(-1, (3, self.heads, -1)).flatten(0, 1).unbind(2)
        mixed = F.scaled_dot_product_attention(*(each.transpose(1, 2) for each in (q, k, v)))
        mixed = mixed.transpose(1, 2).reshape(B, -1, self.window**2, C)
        return self.project_out(merge(mixed, H, W)).roll((self.shift, self.shift), dims=(1, 2))


class Block(nn.Module):
    """The plain transformer block, with either mixer."""

    def __init__(self, config: TransformerConfig, number: int) -> None:
        super().__init__()
        C, M = config.channels, config.window
        self.number = number
        self.norm1 = nn.LayerNorm(C)
        self.mixer = (
            CAMixer(C, window=M)
            if config.mixers
            else ShiftedWindowAttention(config, shift=M // 2 if number % 2 else 0)
        )
        self.norm2 = nn.LayerNorm(C)
        self.mlp = nn.Sequential(nn.Linear(C, 2 * C), nn.GELU(), nn.Linear(2 * C, C))

    def forward(
        self, x: Tensor, condition: Tensor, policy: Policy
    ) -> tuple[Tensor, tuple[BlockRouting, ...]]:
        if isinstance(self.mixer, CAMixer):
            # the policy chooses windows mixer by mixer, and knows them by their numbers
            mixed, routing = self.mixer(self.norm1(x), condition, policy, block=self.number)
            decided = (routing,)
        else:
            mixed, decided = self.mixer(self.norm1(x)), ()
        x = x + mixed
        return x + self.mlp(self.norm2(x)), decided


class Transformer(Backbone):
    """Low images B x 3 x H x W in, high ones B x 3 x sH x sW out."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        C = config.channels
        self.head = nn.Conv2d(3, C, 3, padding=1)
        self.body = nn.ModuleList(Block(config, number) for number in range(config.blocks))
        self.norm = nn.LayerNorm(C)
        self.body_tail = nn.Conv2d(C, C, 3, padding=1)
        self.tail = nn.Conv2d(C, 3 * config.scale**2, 3, padding=1)

    def route(self, low: Tensor, policy: Policy) -> tuple[Tensor, Routing]:
        s, M = self.config.scale, self.config.window
        image = pad_to_windows(low, M)  # both mixers want whole windows
        x = conv2d(self.head, image.permute(0, 2, 3, 1))  # from here on channels last
        B, H, W, _ = x.shape
        # what the mixers are told beside the features: two channels of your choice, here none, and
        # where in its window each pixel is
        place = window_position(H, W, M, like=x).expand(B, H, W, 2)
        condition = torch.cat((torch.zeros_like(place), place), dim=-1)
        y = x
        decided: list[BlockRouting] = []
        for block in self.body:
            y, routing = block(y, condition, policy)
            decided += routing
        y = conv2d(self.tail, conv2d(self.body_tail, self.norm(y)) + x)
        high = F.pixel_shuffle(y.permute(0, 3, 1, 2), s)[..., : s * low.shape[2], : s * low.shape[3]]
        return high, Routing(H // M, W // M, tuple(decided))


NETWORKS = {
    "attention": partial(Transformer, TransformerConfig()),
    "camixer": partial(Transformer, TransformerConfig(mixers=True)),
}

if __name__ == "__main__":
    from camixersr.train.compare import main

    main(NETWORKS, __doc__)
