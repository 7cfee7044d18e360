"""CAMixerSR, the classic and large-image super-resolution network (paper section 3.3).

Read from the bottom: `CAMixerSR.compute` is the whole forward pass; a `Group` is some `Block`s and a
skip; a `Block` is a mixer and a feed-forward with post-normalisation.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.models.config import CAMixerSRConfig
from camixersr.models.network import Kind, RoutedNetwork, pad_to_windows
from camixersr.models.pools import pool_of
from camixersr.nn.camixer import CAMixer
from camixersr.nn.layers import FeedForward, conv2d
from camixersr.nn.pool import Pool
from camixersr.nn.routing import BlockRouting, Policy, Routing
from camixersr.nn.windows import window_position

__all__ = ["CAMixerSR"]


class Block(nn.Module):
    """x = norm(x + mixer(x)); x = norm(x + feed_forward(x))."""

    def __init__(self, config: CAMixerSRConfig) -> None:
        super().__init__()
        self.mixer = CAMixer(config.channels, window=config.window, keys=config.keys, values=config.values)
        self.norm1 = nn.LayerNorm(config.channels, eps=1e-6)
        self.feed_forward = FeedForward(config.channels, config.hidden)
        self.norm2 = nn.LayerNorm(config.channels, eps=1e-6)

    def forward(
        self, x: Tensor, condition: Tensor, policy: Policy, block: int, pool: Pool
    ) -> tuple[Tensor, BlockRouting]:
        """B x H x W x C -> the same, and what was decided."""
        mixed, routing = self.mixer(x, condition, policy, block=block, pool=pool)
        x = self.norm1(x + mixed)
        return self.norm2(x + self.feed_forward(x)), routing


class Group(nn.Module):
    """Some blocks, a 1x1 convolution, and a skip around both."""

    def __init__(self, config: CAMixerSRConfig, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(config) for _ in range(count))
        self.tail = nn.Linear(config.channels, config.channels)

    def forward(
        self, x: Tensor, condition: Tensor, policy: Policy, first: int, pool: Pool
    ) -> tuple[Tensor, list[BlockRouting]]:
        """B x H x W x C -> the same, and what its blocks, numbered from `first`, decided."""
        y = x
        decided: list[BlockRouting] = []
        for number, block in enumerate(self.blocks, start=first):
            y, routing = block(y, condition, policy, number, pool)
            decided.append(routing)
        return self.tail(y) + x, decided


class CAMixerSR(RoutedNetwork):
    """The network: a low image in, a high image out.

    >>> import torch
    >>> from camixersr.models import CAMixerSR, CAMixerSRConfig
    >>> network = CAMixerSR(CAMixerSRConfig(channels=16, scale=3, blocks=(1,))).eval()
    >>> tuple(network(torch.rand(1, 3, 5, 20)).shape)
    (1, 3, 15, 60)

    Args:
        config: the shape of the network; `PRESETS` holds the paper's.
    """

    kind: ClassVar[Kind] = "classic"
    config: CAMixerSRConfig

    def __init__(self, config: CAMixerSRConfig) -> None:
        super().__init__()
        self.config = config
        self.pool = pool_of(config.pool)
        C = config.channels
        self.head = nn.Conv2d(3, C, 3, padding=1)
        if config.latitude:
            self.latitude = nn.Linear(1, C, bias=False)
            nn.init.zeros_(self.latitude.weight)  # at first the network for flat pictures
        self.global_in = nn.Linear(C, 8)
        self.global_out = nn.Conv2d(8, 2, 3, padding=1)
        self.body = nn.ModuleList(Group(config, count) for count in config.blocks)
        self.body_tail = nn.Conv2d(C, C, 3, padding=1)
        self.tail = nn.Conv2d(C, 3 * config.scale**2, 3, padding=1)

    def compute(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing]:
        """See `RoutedNetwork.compute`."""
        # Under autocast the ends stay float32, and with them the stream that blocks add to: the picture
        # itself goes through them. In bfloat16 they alone leave 49 dB, the body alone 77 to 82 (s-x4).
        full = torch.autocast(low.device.type, enabled=False)
        with full:
            x, condition = self.enter(low.to(self.head.weight.dtype))
        _, H, W, _ = x.shape
        y = x
        decided: list[BlockRouting] = []
        for group in self.body:
            y, routing = group(y, condition, policy, len(decided), pool)
            decided.extend(routing)
        with full:
            high = self.leave(y, x, *low.shape[-2:])
        return high, Routing(H // self.config.window, W // self.config.window, tuple(decided))

    def enter(self, low: Tensor) -> tuple[Tensor, Tensor]:
        """What comes before the body: B x 3 x h x w -> features B x H x W x C, condition B x H x W x 4.

        H and W are h and w padded to windows.
        """
        M = self.config.window
        image = pad_to_windows(low, M).permute(0, 2, 3, 1)
        x = conv2d(self.head, image[..., :3])
        if low.shape[1] == 4:
            x = x + self.latitude(1.0 - image[..., 3:])  # nothing at the equator
        B, H, W, _ = x.shape
        hidden = F.leaky_relu(self.global_in(x), 0.1)
        picture = F.leaky_relu(conv2d(self.global_out, hidden), 0.1)  # of the picture at large
        place = window_position(H, W, M, like=x).expand(B, H, W, 2)
        return x, torch.cat((picture, place), dim=-1)

    def leave(self, y: Tensor, x: Tensor, height: int, width: int) -> Tensor:
        """What comes after the body, from its result and what it was given: the high image.

        Both are B x H x W x C; height and width are the low image's.
        """
        s = self.config.scale
        tail = conv2d(self.tail, conv2d(self.body_tail, y) + x)
        return F.pixel_shuffle(tail.permute(0, 3, 1, 2), s)[..., : s * height, : s * width]
