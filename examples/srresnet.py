"""SRResNet with and without CAMixers: how to use the mixer in a convolutional network of your own.

    python examples/srresnet.py examples/srresnet.toml

trains both under the same recipe and compares them: docs/backbones.md.

SRResNet (Ledig et al., CVPR 2017) is a row of residual blocks of two convolutions each, here without
batch norm (EDSR, Lim et al. 2017) and with one pixel shuffle at the end. `mixers=True` replaces every
convolution of its blocks by a `CAMixer`, as the CAMixerSR paper does.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.models import Backbone, BackboneConfig, pad_to_windows
from camixersr.nn import BlockRouting, CAMixer, Policy, Routing, window_position


@dataclass(frozen=True, kw_only=True)
class SRResNetConfig(BackboneConfig):
    """The paper has 64 channels and 16 blocks; these are sizes for a processor's patience."""

    channels: int = 48
    blocks: int = 6
    mixers: bool = False


class ConvolutionBlock(nn.Module):
    """x + conv(prelu(conv(x))), on maps B x C x H x W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = nn.PReLU()
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.activation(self.first(x)))


class MixerBlock(nn.Module):
    """The same, with mixers for convolutions. A mixer works channels last, on B x H x W x C."""

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        self.first = CAMixer(channels, window=window)
        self.activation = nn.PReLU()
        self.second = CAMixer(channels, window=window)

    def forward(
        self, x: Tensor, condition: Tensor, policy: Policy, number: int
    ) -> tuple[Tensor, list[BlockRouting]]:
        # the policy chooses windows mixer by mixer, and knows them by their numbers
        y, first = self.first(x, condition, policy, block=number)
        y, second = self.second(self.activation(y), condition, policy, block=number + 1)
        return x + y, [first, second]


class SRResNet(Backbone):
    """Low images B x 3 x H x W in, high ones B x 3 x sH x sW out."""

    def __init__(self, config: SRResNetConfig) -> None:
        super().__init__()
        self.config = config
        C = config.channels
        self.head = nn.Conv2d(3, C, 3, padding=1)
        self.body = nn.ModuleList(
            MixerBlock(C, config.window) if config.mixers else ConvolutionBlock(C)
            for _ in range(config.blocks)
        )
        self.body_tail = nn.Conv2d(C, C, 3, padding=1)
        self.tail = nn.Conv2d(C, 3 * config.scale**2, 3, padding=1)

    def route(self, low: Tensor, policy: Policy) -> tuple[Tensor, Routing]:
        height, width = low.shape[-2:]
        x = self.head(pad_to_windows(low, self.config.window))  # mixers want whole windows
        H, W = x.shape[-2:]
        y, decided = self._mix(x, policy) if self.config.mixers else (self._convolve(x), [])
        high = F.pixel_shuffle(self.tail(self.body_tail(y) + x), self.config.scale)
        high = high[..., : height * self.config.scale, : width * self.config.scale]
        return high, Routing(H // self.config.window, W // self.config.window, tuple(decided))

    def _convolve(self, y: Tensor) -> Tensor:
        for block in self.body:
            y = block(y)
        return y

    def _mix(self, x: Tensor, policy: Policy) -> tuple[Tensor, list[BlockRouting]]:
        y = x.permute(0, 2, 3, 1)
        # what the mixers are told beside the features: two channels of your choice, here none, and
        # where in its window each pixel is
        place = window_position(*y.shape[1:3], self.config.window, like=y).expand(*y.shape[:3], 2)
        condition = torch.cat((torch.zeros_like(place), place), dim=-1)
        decided: list[BlockRouting] = []
        for block in self.body:
            y, routing = block(y, condition, policy, len(decided))
            decided += routing
        return y.permute(0, 3, 1, 2), decided


NETWORKS = {
    "srresnet": partial(SRResNet, SRResNetConfig()),
    "srresnet-camixer": partial(SRResNet, SRResNetConfig(mixers=True)),
}

if __name__ == "__main__":
    from camixersr.train.compare import main

    main(NETWORKS, __doc__)
