"""The network as one first writes it: the yardstick that every claim of speed is a ratio to.

Eager fp32 on B x C x H x W maps, straight from the paper and in the manner of its public code: 1x1
convolutions are convolutions, the whole map is warped by `grid_sample`, whole maps are rearranged
into windows, an order of the windows says which are gathered, attention is two products and a
softmax, layer norms over channels are written out. No tricks, and nothing slow on purpose: attention
runs on the attended windows only.

It holds a network's own parameters and asks the same policies, so that both compute the same thing
(`tests/speed/test_reference.py`), and a ratio of their times is about how, not about what.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.errors import ShapeError
from camixersr.models import CAMixerSR
from camixersr.models.camixersr import Block, Group
from camixersr.models.network import pad_to_windows
from camixersr.nn.camixer import CAMixer
from camixersr.nn.layers import FeedForward
from camixersr.nn.predictor import MAX_OFFSET, SLOPE
from camixersr.nn.routing import Policy

__all__ = ["Reference"]


def _as_conv(linear: nn.Linear) -> nn.Conv2d:
    """The 1x1 convolution that a linear layer on channels-last maps is."""
    state = linear.state_dict()
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, bias="bias" in state)
    conv.load_state_dict(state | {"weight": linear.weight[:, :, None, None]})
    return conv


def _to_windows(x: Tensor, window: int) -> Tensor:
    """B x C x H x W -> B x N x (M*M*C)."""
    B, C, H, W = x.shape
    x = x.reshape(B, C, H // window, window, W // window, window)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(B, (H // window) * (W // window), window * window * C)


def _from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse: B x N x (M*M*C) -> B x C x H x W."""
    x = windows.reshape(len(windows), height // window, width // window, window, window, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(len(windows), -1, height, width)


def _select(windows: Tensor, order: Tensor) -> Tensor:
    """Gather windows of each image: B x N x D, B x K -> B x K x D."""
    return windows.gather(1, order[:, :, None].expand(-1, -1, windows.shape[2]))


def _warp(x: Tensor, offsets: Tensor) -> Tensor:
    """Move every pixel's sampling position by its offset in pixels, x first."""
    _, _, H, W = x.shape
    rows, columns = torch.meshgrid(
        torch.arange(H, device=x.device), torch.arange(W, device=x.device), indexing="ij"
    )
    column = 2.0 * (columns + offsets[:, 0]) / max(W - 1, 1) - 1.0
    row = 2.0 * (rows + offsets[:, 1]) / max(H - 1, 1) - 1.0
    grid = torch.stack((column, row), dim=3)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=True)


class _ChannelNorm(nn.Module):
    """Layer norm over the channels of B x C x H x W."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.data.clone()[:, None, None])
        self.bias = nn.Parameter(norm.bias.data.clone()[:, None, None])
        self.eps = norm.eps

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        return self.weight * ((x - mean) / torch.sqrt(variance + self.eps)) + self.bias


class _Mixer(nn.Module):
    def __init__(self, mixer: CAMixer, pool: int) -> None:
        super().__init__()
        predictor, attention = mixer.predictor, mixer.attention
        self.window = mixer.window
        self.project_v = _as_conv(mixer.project_v)
        self.project_q, self.project_k = attention.project_q, attention.project_k
        self.route_in = nn.Sequential(
            _as_conv(predictor.project_in), _ChannelNorm(predictor.norm), nn.LeakyReLU(SLOPE)
        )
        first, _, second = predictor.offsets
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        self.route_offsets = nn.Sequential(_as_conv(first), nn.LeakyReLU(SLOPE), _as_conv(second))
        self.route_mask = predictor.mask
        whole, cells = nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(pool or 1, ceil_mode=True)
        self.pool = pool
        self.route_channel = nn.Sequential(
            cells if pool else whole, _as_conv(predictor.channel), nn.Sigmoid()
        )
        self.route_spatial = nn.Sequential(predictor.spatial, nn.Sigmoid())
        self.local = mixer.local
        self.project_out = _as_conv(mixer.project_out)

    def forward(self, x: Tensor, condition: Tensor, policy: Policy, block: int) -> Tensor:
        B, C, H, W = x.shape
        M = self.window
        v = self.project_v(x)
        side = torch.linspace(-1.0, 1.0, M, device=x.device)
        place = torch.stack(torch.meshgrid(side, side, indexing="ij"))
        place = place.repeat(B, 1, H // M, W // M).reshape(B, 2, H, W)
        f = self.route_in(torch.cat((v, condition, place), dim=1))
        offsets = MAX_OFFSET * torch.tanh(self.route_offsets(f))
        channel, spatial = self.route_channel(f), self.route_spatial(f)
        if self.pool:
            channel = F.interpolate(channel, scale_factor=float(self.pool))[:, :, :H, :W]
        scores = self.route_mask(_to_windows(f.mean(1, keepdim=True), M))
        mask = policy.choose(scores[..., 0] - scores[..., 1], block)
        order = mask.int().argsort(dim=1, descending=True, stable=True)
        count = int(mask.sum())
        attended, convolved = order[:, :count], order[:, count:]

        pairs = _to_windows(torch.cat((x, x + _warp(x, offsets)), dim=1), M)
        values, scaled = _to_windows(v, M), _to_windows(v * spatial, M)
        pairs = _select(pairs, attended).reshape(B * count, M * M, 2 * C)
        queries, keys = pairs.chunk(2, dim=2)
        q, k = self.project_q(queries), self.project_k(keys)
        weights = (q @ k.transpose(1, 2)).softmax(dim=-1)
        seen = weights @ _select(values, attended).reshape(B * count, M * M, v.shape[1])

        mixed = torch.empty_like(values)
        for which, windows in ((attended, seen), (convolved, _select(scaled, convolved))):
            windows = windows.reshape(B, -1, values.shape[2])
            mixed.scatter_(1, which[:, :, None].expand_as(windows), windows)
        y = _from_windows(mixed, M, H, W)
        return self.project_out(F.gelu(self.local(y)) * channel + y)


class _FeedForward(nn.Module):
    def __init__(self, feed_forward: FeedForward) -> None:
        super().__init__()
        self.project_in = _as_conv(feed_forward.project_in)
        self.depthwise = feed_forward.depthwise
        self.project_out = _as_conv(feed_forward.project_out)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.depthwise(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(a) * b)


class _Block(nn.Module):
    def __init__(self, block: Block, pool: int) -> None:
        super().__init__()
        self.mixer, self.norm1 = _Mixer(block.mixer, pool), _ChannelNorm(block.norm1)
        self.feed_forward, self.norm2 = _FeedForward(block.feed_forward), _ChannelNorm(block.norm2)

    def forward(self, x: Tensor, condition: Tensor, policy: Policy, number: int) -> Tensor:
        x = self.norm1(x + self.mixer(x, condition, policy, number))
        return self.norm2(x + self.feed_forward(x))


class _Group(nn.Module):
    def __init__(self, group: Group, pool: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in group.blocks:
            assert isinstance(block, Block)
            self.blocks.append(_Block(block, pool))
        self.tail = _as_conv(group.tail)

    def forward(self, x: Tensor, condition: Tensor, policy: Policy, first: int) -> Tensor:
        y = x
        for number, block in enumerate(self.blocks, start=first):
            y = block(y, condition, policy, number)
        return self.tail(y) + x


class Reference(nn.Module):
    """A network computed plainly.

    >>> import torch
    >>> from camixersr.models import CAMixerSR, CAMixerSRConfig
    >>> from camixersr.nn import TopShare
    >>> network = CAMixerSR(CAMixerSRConfig(channels=16, scale=2, blocks=(1,))).eval()
    >>> tuple(Reference(network)(torch.rand(1, 3, 20, 30), TopShare(0.5)).shape)
    (1, 3, 40, 60)

    Args:
        network: whose parameters to take; not changed.
    """

    def __init__(self, network: CAMixerSR) -> None:
        super().__init__()
        network = copy.deepcopy(network)
        self.scale, self.window = network.config.scale, network.config.window
        self.head = network.head
        self.global_predictor = nn.Sequential(
            _as_conv(network.global_in), nn.LeakyReLU(0.1), network.global_out, nn.LeakyReLU(0.1)
        )
        self.groups = nn.ModuleList()
        for group in network.body:
            assert isinstance(group, Group)
            self.groups.append(_Group(group, network.config.pool))
        self.body_tail, self.tail = network.body_tail, network.tail
        self.eval().requires_grad_(False)

    def forward(self, low: Tensor, policy: Policy) -> Tensor:
        """Enlarge.

        Args:
            low: 1 x 3 x H x W, RGB float32 in [0, 1].
            policy: who chooses the attended windows; its masks must be bool.

        Returns:
            1 x 3 x sH x sW.

        Raises:
            ShapeError: `low` is not one RGB image.
        """
        if low.ndim != 4 or low.shape[:2] != (1, 3):
            raise ShapeError(f"expected one RGB image, 1 x 3 x H x W, got {tuple(low.shape)}")
        height, width = low.shape[-2:]
        x = self.head(pad_to_windows(low, self.window))
        condition = self.global_predictor(x)
        y, number = x, 0
        for group in self.groups:
            assert isinstance(group, _Group)
            y = group(y, condition, policy, number)
            number += len(group.blocks)
        y = self.tail(self.body_tail(y) + x)
        return F.pixel_shuffle(y, self.scale)[..., : self.scale * height, : self.scale * width]
