"""The paper's omnidirectional network, for equirectangular panoramas.

As `camixersr.models.camixersr`, with the latitude in place of the global condition, shifted windows,
and convolutions that the latitude deforms at the end of each group and of the body.
"""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.models.config import OmniCAMixerSRConfig
from camixersr.models.deform import DeformableConv
from camixersr.models.network import Kind, RoutedNetwork, pad_to_windows
from camixersr.models.omni_parts import SLOPE, OmniFeedForward, OmniMixer
from camixersr.nn.layers import conv2d
from camixersr.nn.pool import Pool, pool_image
from camixersr.nn.routing import BlockRouting, Policy, Routing
from camixersr.nn.windows import window_position

__all__ = ["OmniCAMixerSR"]

MEAN = (0.4488, 0.4371, 0.4040)
"""Of RGB, taken off before and added after."""


class OmniBlock(nn.Module):
    """x = norm(x + mixer(x)); x = norm(x + feed_forward(x))."""

    def __init__(self, config: OmniCAMixerSRConfig, *, shift: int) -> None:
        super().__init__()
        self.mixer = OmniMixer(config.channels, window=config.window, shift=shift)
        self.norm1 = nn.LayerNorm(config.channels, eps=1e-6)
        self.feed_forward = OmniFeedForward(config.channels)
        self.norm2 = nn.LayerNorm(config.channels, eps=1e-6)

    def forward(
        self, x: Tensor, latitude: Tensor, position: Tensor, policy: Policy, block: int, pool: Pool
    ) -> tuple[Tensor, BlockRouting]:
        """B x H x W x C -> the same, and what was decided."""
        mixed, routing = self.mixer(x, latitude, position, policy, block=block, pool=pool)
        x = self.norm1(x + mixed)
        return self.norm2(x + self.feed_forward(x)), routing


def _guide(channels: int) -> nn.Sequential:
    """From the latitude to what tells a deformable convolution where to look."""
    return nn.Sequential(
        nn.Linear(1, channels), nn.LeakyReLU(SLOPE), nn.Linear(channels, channels), nn.LeakyReLU(SLOPE)
    )


class OmniGroup(nn.Module):
    """Some blocks, every second one with shifted windows; a deformed convolution; a skip around all."""

    def __init__(self, config: OmniCAMixerSRConfig, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            OmniBlock(config, shift=config.window // 2 if number % 2 else 0) for number in range(count)
        )
        self.guide = _guide(config.channels)
        self.tail = DeformableConv(config.channels)

    def forward(
        self, x: Tensor, latitude: Tensor, position: Tensor, policy: Policy, first: int, pool: Pool
    ) -> tuple[Tensor, list[BlockRouting]]:
        """B x H x W x C -> the same, and what its blocks, numbered from `first`, decided."""
        y = x
        decided: list[BlockRouting] = []
        for number, block in enumerate(self.blocks, start=first):
            y, routing = block(y, latitude, position, policy, number, pool)
            decided.append(routing)
        return self.tail(y, self.guide(latitude)) + x, decided


class OmniCAMixerSR(RoutedNetwork):
    """The network: a low panorama in, a high panorama out.

    >>> import torch
    >>> from camixersr.models import OmniCAMixerSR, OmniCAMixerSRConfig
    >>> network = OmniCAMixerSR(OmniCAMixerSRConfig(channels=16, scale=2, blocks=(2,))).eval()
    >>> tuple(network(torch.rand(1, 4, 10, 20)).shape)
    (1, 3, 20, 40)

    Args:
        config: the shape of the network; `OMNI_PRESETS` holds the usual ones.
    """

    kind: ClassVar[Kind] = "omni"
    config: OmniCAMixerSRConfig
    mean: ClassVar[tuple[float, float, float]] = MEAN

    def __init__(self, config: OmniCAMixerSRConfig) -> None:
        super().__init__()
        self.config = config
        self.pool = pool_image
        C = config.channels
        self.head = nn.Conv2d(3, C, 3, padding=1)
        self.norm = nn.LayerNorm(C, eps=1e-6)
        self.body = nn.ModuleList(OmniGroup(config, count) for count in config.blocks)
        self.body_tail = nn.Conv2d(C, C, 3, padding=1)
        self.guide = _guide(C)
        self.deformed = DeformableConv(C)
        self.tail = nn.Conv2d(C, 3 * config.scale**2, 3, padding=1)

    def compute(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing]:
        """See `RoutedNetwork.compute`."""
        if low.shape[1] == 3:
            low = torch.cat((low, torch.ones_like(low[:, :1])), dim=1)
        height, width = low.shape[-2:]
        s, M = self.config.scale, self.config.window
        image, latitude = pad_to_windows(low, M).permute(0, 2, 3, 1).split((3, 1), dim=-1)
        B, H, W, _ = image.shape
        mean = image.new_tensor(MEAN)

        x = conv2d(self.head, image - mean)
        position = window_position(H, W, M, like=x).expand(B, H, W, 2)
        y = self.norm(x)
        decided: list[BlockRouting] = []
        for group in self.body:
            y, routing = group(y, latitude, position, policy, len(decided), pool)
            decided.extend(routing)
        y = self.deformed(conv2d(self.body_tail, y), self.guide(latitude)) + x
        high = F.pixel_shuffle(conv2d(self.tail, y).permute(0, 3, 1, 2), s) + mean[:, None, None]
        return high[..., : s * height, : s * width], Routing(H // M, W // M, tuple(decided))
