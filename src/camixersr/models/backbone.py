"""A network of one's own around CAMixers, as the trainer takes it: see `examples/`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from camixersr.nn.camixer import CAMixer
from camixersr.nn.routing import Policy, Routing, TopShare

__all__ = ["Backbone", "BackboneConfig"]

HALF = TopShare(0.5)


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """What the trainer asks of any network's shape; derive from it and add what yours needs.

    Attributes:
        channels: feature width C.
        scale: high pixels a low pixel, a side.
        window: side M of the mixers' windows, in low pixels.
    """

    latitude: ClassVar[bool] = False

    channels: int = 48
    scale: int = 4
    window: int = 16


class Backbone(nn.Module, ABC):
    """A super-resolution network of one's own: set `config`, write `route`, and `fit` trains it.

    A network whose first convolution is called `head` (3 -> C), and which ends in two, `body_tail`
    (C -> C) and `tail` (C -> 3 s^2), as pixel_shuffle(tail(body_tail(y) + x)) of its body's input x
    and output y, starts as the best linear upsampler (`camixersr.train.initialise`), and these
    three, 3 x 3 each, learn at a tenth of the rate. Others start as they come and learn at one.

    Attributes:
        config: the shape of the network; kept with the weights.
    """

    config: BackboneConfig

    @abstractmethod
    def route(self, low: Tensor, policy: Policy) -> tuple[Tensor, Routing]:
        """Enlarge, and tell what was routed where.

        Args:
            low: B x 3 x H x W, RGB in [0, 1]; any H and W from 1, unless the network is only ever
                shown multiples of a window.
            policy: who chooses the attended windows; to be handed on to every mixer.

        Returns:
            B x 3 x sH x sW, not clamped, and what the mixers decided, first to last: an empty tuple
            of blocks in a network without any.
        """

    def forward(self, low: Tensor, policy: Policy = HALF) -> Tensor:
        """Enlarge as `route` does: B x 3 x H x W -> B x 3 x sH x sW."""
        return self.route(low, policy)[0]

    @property
    def block_count(self) -> int:
        """Number of mixers, and so of entries in a `Routing`."""
        return sum(isinstance(module, CAMixer) for module in self.modules())
