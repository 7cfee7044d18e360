"""CAMixerSR, the classic and large-image super-resolution network (paper section 3.3).

Read from the bottom: `CAMixerSR.route` is the whole forward pass; a `Group` is some `Block`s and a
skip; a `Block` is a mixer and a feed-forward with post-normalisation.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.nn.camixer import CAMixer
from camixersr.nn.layers import FeedForward, conv2d
from camixersr.nn.predictor import Pool, pool_of
from camixersr.nn.routing import BlockRouting, OfImages, Policy, Routing, TopShare
from camixersr.nn.windows import window_position

__all__ = [
    "PANORAMA_PRESETS",
    "PRESETS",
    "RESTORATION_PRESETS",
    "SCALES",
    "CAMixerSR",
    "CAMixerSRConfig",
    "one_by_one",
    "pad_to_windows",
]

SCALES = (2, 3, 4)

HALF = TopShare(0.5)
"""What `CAMixerSR` does if it is not told: attend half of every image's windows."""


@dataclass(frozen=True)
class CAMixerSRConfig:
    """The shape of a network; a checkpoint carries it.

    Attributes:
        channels: feature width C.
        scale: high pixels a low pixel, a side.
        blocks: number of blocks in each group.
        window: side M of a window, in low pixels.
        latitude: the network is told the latitude of each row, for equirectangular panoramas.
        keys: width of attention's queries and keys; 0 is C, as in the paper, and what pruning narrows.
        values: width inside the mixer, of attention's values and the convolution; likewise.
        hidden: pairs of gated channels inside the feed-forward; likewise.
        pool: side of the cells, in low pixels, aligned with the window grid, over which channel
            attention pools; 0: the whole image, as in the paper.

    Raises:
        ValueRangeError: a number is not positive, too small for the predictor, or cells do not
            consist of whole windows.
    """

    channels: int = 60
    scale: int = 4
    blocks: tuple[int, ...] = (4, 4, 6, 6)
    window: int = 16
    latitude: bool = False
    keys: int = 0
    values: int = 0
    hidden: int = 0
    pool: int = 0

    def __post_init__(self) -> None:
        for name in ("keys", "values", "hidden"):
            if getattr(self, name) < 0:
                raise ValueRangeError(f"{name} must be 0 (as wide as channels) or more, got {self}")
            if getattr(self, name) == self.channels:  # one network, one configuration
                object.__setattr__(self, name, 0)
        if self.channels < 4 or self.scale < 1 or self.window < 1 or min(self.blocks, default=0) < 1:
            raise ValueRangeError(
                "expected channels >= 4, scale >= 1, window >= 1 and at least one block in every "
                f"group, got {self}"
            )
        if self.pool < 0 or self.pool % self.window:
            raise ValueRangeError(f"expected pool 0 or a multiple of the window, got {self}")


PRESETS = {
    f"{name}-x{scale}": replace(CAMixerSRConfig(), channels=channels, scale=scale)
    for name, channels in {"s": 36, "m": 48, "b": 60}.items()
    for scale in SCALES
}
"""The paper's sizes S, M and B at x2, x3 and x4, by name: "s-x4" and so on."""

RESTORATION_PRESETS = {
    name.replace("-x2", "-x1"): replace(config, scale=1)
    for name, config in PRESETS.items()
    if config.scale == 2
}
"""The same sizes at scale 1, for what is to be restored and not enlarged: "s-x1" and so on."""

PANORAMA_PRESETS = {
    name.replace("-x", "-360-x"): replace(config, latitude=True) for name, config in PRESETS.items()
}
"""The same with a latitude condition: "s-360-x4" and so on."""


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


def pad_to_windows(image: Tensor, window: int) -> Tensor:
    """Pad at the right and bottom to a multiple of `window`.

    By reflection where the image is long enough for it, by replication of the border where it is
    not (a side of 8 pixels or less, for windows of 16).

    Args:
        image: B x C x H x W.
        window: side M of a window, in pixels.

    Returns:
        B x C x H' x W', H' and W' multiples of `window`.
    """
    height, width = image.shape[-2:]
    down, right = -height % window, -width % window
    if down:
        image = F.pad(image, (0, 0, 0, down), mode="reflect" if down < height else "replicate")
    if right:
        image = F.pad(image, (0, right, 0, 0), mode="reflect" if right < width else "replicate")
    return image


def one_by_one(
    route: Callable[[Tensor, Policy, Pool], tuple[Tensor, Routing]],
    low: Tensor,
    policy: Policy,
    pool: Pool,
) -> tuple[Tensor, Routing]:
    """Compute the images of a batch one after another.

    The rounding of a matrix product depends on how many rows it has, so that a neighbour in the
    batch would change the last bits (decision 0002).

    Args:
        route: what computes a batch of one.
        low: B x 3 x H x W.
        policy: of the batch.
        pool: of every image.

    Returns:
        What `CAMixerSR.route` returns.
    """
    if len(low) == 1:
        return route(low, policy, pool)
    results = [
        route(
            low[number : number + 1],
            policy.of_image(number) if isinstance(policy, OfImages) else policy,
            pool,
        )
        for number in range(len(low))
    ]
    return torch.cat([high for high, _ in results]), Routing.join([each for _, each in results])


class CAMixerSR(nn.Module):
    """The network: a low image in, a high image out.

    >>> import torch
    >>> from camixersr.models import CAMixerSR, CAMixerSRConfig
    >>> network = CAMixerSR(CAMixerSRConfig(channels=16, scale=3, blocks=(1,))).eval()
    >>> tuple(network(torch.rand(1, 3, 5, 20)).shape)
    (1, 3, 15, 60)

    Args:
        config: the shape of the network; `PRESETS` holds the paper's.
    """

    kind: ClassVar[str] = "classic"

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

    def forward(self, low: Tensor, policy: Policy = HALF) -> Tensor:
        """Enlarge.

        Args:
            low: B x 3 x H x W, RGB, floating point in [0, 1], any H and W from 1. For a network with
                `latitude`, a fourth channel may give the cosine of each pixel's latitude; without it
                everything lies on the equator.
            policy: who chooses the attended windows.

        Returns:
            B x 3 x sH x sW, RGB; nominally in [0, 1], not clamped.

        Raises:
            ShapeError: `low` is no batch of RGB images.
        """
        return self.route(low, policy)[0]

    def route(
        self, low: Tensor, policy: Policy, *, pool: Pool | None = None, together: bool = False
    ) -> tuple[Tensor, Routing]:
        """Enlarge as `forward` does, and tell what was routed where.

        `pool` says what channel attention knows of the image: by default the means over cells of `low`,
        or over all of it (`CAMixerSRConfig.pool`); for a tile of a picture that is pooled as a whole,
        what `camixersr.inference` measured of that.

        The routing is that of the padded image: rows = ceil(H / M), columns = ceil(W / M). In
        evaluation mode the images of a batch are computed one after another, so that each has the
        same bytes alone and in any company; `together` computes them at once, as training does,
        which fills an accelerator better and may change last bits.
        """
        self.check(low)
        pool = pool or self.pool
        if self.training or together:
            return self._route(low, policy, pool)
        return one_by_one(self._route, low, policy, pool)

    def check(self, low: Tensor) -> None:
        """Raise `ShapeError` unless `low` is what `forward` takes."""
        channels = (3, 4) if self.config.latitude else (3,)
        if low.ndim != 4 or low.shape[1] not in channels or 0 in low.shape:
            raise ShapeError(
                f"expected a batch of RGB images, B x 3 x H x W with H, W >= 1, got {tuple(low.shape)}"
            )

    def _route(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing]:
        """`route`, for images that may share their arithmetic."""
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

    @property
    def block_count(self) -> int:
        """Number of blocks, and so of entries in a `Routing`."""
        return sum(self.config.blocks)
