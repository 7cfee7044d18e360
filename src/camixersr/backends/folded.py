"""The network prepared for a CPU: the same numbers as `CAMixerSR.route`, in less time.

`camixersr.nn` says what is computed; this file says how a processor likes it. Nothing is
approximated: outputs agree to rounding (`tests/inference/test_prepared.py`). What is different:

- **Bands.** A map of a photograph is far larger than the caches, and an operation on a whole map
  waits for memory, fresh from the system at that. Every step runs on a band of rows at a time, small
  enough to stay in the cache, and only five maps are kept whole. Depthwise convolutions read some
  rows beyond their band.
- **Folding.** Weights that act one after another without anything in between are multiplied
  beforehand: what the predictor reads from `project_v` it reads from the block's input; a layer
  norm's scale and shift go into the matrices that read its result, so that the stream between
  blocks is *normal*: zero mean and unit deviation over channels, `scale * normal + shift` being
  what the network calls x. (Bilinear weights add up to one, so that warping may come before it.)
- **The stream carries its condition.** A pixel's C channels and the predictor's 4 channels of
  condition lie side by side, so that one product reads both.
- **The predictor works on planes**, channels first: it has so few channels that a product
  over pixels is the faster one, and its 3 x 3 convolution to one channel is a product and nine
  shifted sums. Everything that reads its features is one product.
- **1 x 1 convolutions go to oneDNN**, which uses the whole vector unit on any x86 processor, where
  the BLAS behind `torch.nn.Linear` may not.
- **Warp, queries, keys and offsets** exist for attended windows only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.models import CAMixerSR
from camixersr.models.batches import one_by_one
from camixersr.models.camixersr import Block, Group
from camixersr.nn.layers import conv2d
from camixersr.nn.pool import CONDITIONS, Pool, Pooled
from camixersr.nn.predictor import MAX_OFFSET, SLOPE
from camixersr.nn.routing import BlockRouting, Policy, Routing
from camixersr.nn.windows import partition

__all__ = ["Folded"]

BAND = 28_000
"""About how many low pixels a band has. Smaller ones drown in the cost of starting operations, larger
ones leave the cache."""

TOGETHER = 8
"""Windows whose scores are held at once where attention is written out: 1 MB in bfloat16."""

EPS = 1e-6  # of every layer norm


@dataclass(frozen=True)
class _Pointwise:
    """A 1 x 1 convolution, on rows x W x C."""

    weight: Tensor  # out x in x 1 x 1
    bias: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor) -> "_Pointwise":
        return cls(weight.float()[:, :, None, None].contiguous(), bias.float())

    def __call__(self, x: Tensor) -> Tensor:
        # Rows are handed in as images of one row: torch gives batches of 16 and more to oneDNN also
        # where it has a single thread.
        return F.conv2d(x.unsqueeze(1).permute(0, 3, 1, 2), self.weight, self.bias).permute(0, 2, 3, 1)[
            :, 0
        ]


@dataclass(frozen=True)
class _Affine:
    """What turns the normal stream into x: `scale * normal + shift`."""

    scale: Tensor  # C, float64
    shift: Tensor

    @classmethod
    def of(cls, norm: nn.LayerNorm) -> "_Affine":
        return cls(norm.weight.double(), norm.bias.double())

    def before(self, weight: Tensor, bias: Tensor | None, *, shifts: float = 1.0) -> tuple[Tensor, Tensor]:
        """A linear layer that takes the normal stream, or a sum of `shifts` such, instead of x."""
        moved = shifts * (weight.double() @ self.shift)
        return weight.double() * self.scale, moved if bias is None else bias.double() + moved


def _beside_condition(weight: Tensor, condition: Tensor | None = None) -> Tensor:
    """Weights for a pixel's channels and condition, side by side; the latter ignored by default."""
    if condition is None:
        condition = weight.new_zeros(len(weight), CONDITIONS)
    return torch.cat((weight, condition.to(weight)), dim=1)


def _normalize(x: Tensor, average: Tensor, out: Tensor) -> None:
    """Layer norm without scale and shift: rows x W x C, destroyed, to `out`."""
    C = x.shape[-1]
    x.sub_(torch.mv(x.view(-1, C), average).view(*x.shape[:-1], 1))
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    torch.mul(x, length.square_().mul_(1.0 / C).add_(EPS).rsqrt_(), out=out)


def _shifted_sum(taps: Tensor, first: int, last: int) -> Tensor:
    """Sum a 3 x 3 convolution's nine products, each moved to where it belongs.

    Args:
        taps: 9 x H x W, the products with each tap, kernel row by kernel row.
        first: first row wanted.
        last: row after the last wanted.

    Returns:
        last - first x W.
    """
    _, H, W = taps.shape
    result = taps[4, first:last].clone()
    for tap in (0, 1, 2, 3, 5, 6, 7, 8):
        down, right = tap // 3 - 1, tap % 3 - 1
        top, bottom = max(first, -down), min(last, H - down)
        left, stop = max(0, -right), min(W, W - right)
        result[top - first : bottom - first, left:stop] += taps[
            tap, top + down : bottom + down, left + right : stop + right
        ]
    return result


def _attend(q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """Attention of K windows, q and k K x M*M x D and v K x M*M x V fp32, with products in `dtype`."""
    if dtype == torch.float32 and q.shape == v.shape:  # torch fuses it for one width only
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=1.0)[:, 0]
    attended = torch.empty_like(v)
    for first in range(0, len(q), TOGETHER):
        some = slice(first, first + TOGETHER)
        scores = torch.bmm(q[some].to(dtype), k[some].to(dtype).transpose(1, 2))
        attended[some] = torch.bmm(scores.softmax(dim=-1), v[some].to(dtype))
    return attended


@dataclass(frozen=True)
class _Map:
    """The maps of one image that are kept whole, H x W pixels.

    Attributes:
        stream: H x W x (C + 4), the normal stream and its condition.
        features: c x H x W, the predictor's, as planes.
        reads: 15 x H x W planes, what is read from them: nine taps, the mean, hidden offsets.
        mixed: H x W x V, the windows of both branches.
        middle: H x W x C, the normal stream between mixer and feed-forward.
    """

    stream: Tensor
    features: Tensor
    reads: Tensor
    mixed: Tensor
    middle: Tensor


class _PreparedBlock:
    """A block's folded weights and its steps, each on the rows first:last of a `_Map`."""

    def __init__(self, block: Block, x: _Affine, dtype: torch.dtype) -> None:
        mixer, feed_forward = block.mixer, block.feed_forward
        predictor, attention = mixer.predictor, mixer.attention
        self.dtype = dtype
        V, C = mixer.project_v.weight.shape
        self.window = mixer.window
        self.average = torch.full((C,), 1.0 / C)
        self.scale = x.scale.float()

        # the predictor, from x and the condition; its norm subtracts a mean, which the weights can do
        v_weight, v_bias = x.before(mixer.project_v.weight, mixer.project_v.bias)
        of_v = predictor.project_in.weight[:, :V].double()
        weight = _beside_condition(of_v @ v_weight, predictor.project_in.weight[:, V:])
        bias = predictor.project_in.bias.double() + of_v @ v_bias
        self.features_weight = (weight - weight.mean(dim=0)).float()
        self.features_bias = (bias - bias.mean()).float()[:, None]
        self.features_scale = predictor.norm.weight[:, None]
        self.features_shift = predictor.norm.bias[:, None]
        first, _, second = predictor.offsets
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        hidden = first.in_features
        taps = predictor.spatial.weight[0].flatten(1).T
        self.mean = torch.full((1, hidden), 1.0 / hidden)
        self.reads_weight = torch.cat((taps, self.mean, first.weight))
        assert predictor.spatial.bias is not None
        self.spatial_bias = predictor.spatial.bias
        self.hidden_bias = first.bias[:, None]
        self.offsets_weight, self.offsets_bias = second.weight, second.bias[:, None]
        self.mask, self.channel = predictor.mask, predictor.channel

        # the mixer
        self.v = _Pointwise.of(_beside_condition(v_weight), v_bias)
        weight, bias = x.before(attention.project_q.weight, attention.project_q.bias)
        self.q = _Pointwise.of(_beside_condition(weight), bias)
        weight, bias = x.before(attention.project_k.weight, attention.project_k.bias, shifts=2.0)
        self.k = _Pointwise.of(_beside_condition(weight), bias)
        self.local = mixer.local
        out = mixer.project_out
        self.out = _Pointwise.of(out.weight, out.bias.double() + x.shift)

        # the feed-forward, whose input is normal too
        middle = _Affine.of(block.norm1)
        self.middle_scale = middle.scale.float()
        self.feed_in = _Pointwise.of(*middle.before(feed_forward.project_in.weight, None))
        self.depthwise = feed_forward.depthwise
        self.feed_out = _Pointwise.of(feed_forward.project_out.weight, middle.shift)

    def predict(self, maps: _Map, first: int, last: int) -> None:
        """The predictor's features of some rows, and what is read from them."""
        x = maps.stream[first:last].flatten(0, 1)
        f = torch.addmm(self.features_bias, self.features_weight, x.T)
        f *= (self.mean @ f.square()).add_(EPS).rsqrt_()
        f.mul_(self.features_scale).add_(self.features_shift)
        f = F.leaky_relu_(f, SLOPE)
        maps.features[:, first:last] = f.view(len(f), last - first, -1)
        maps.reads[:, first:last] = (self.reads_weight @ f).view(-1, last - first, maps.reads.shape[2])

    def logits(self, maps: _Map) -> Tensor:
        """Log-odds of attention: 1 x N."""
        plain = partition(maps.reads[None, 9, :, :, None], self.window).squeeze(-1)
        attend, convolve = self.mask(plain).unbind(dim=-1)
        return attend - convolve

    def mix(self, maps: _Map, mask: Tensor, first: int, last: int) -> None:
        """Both branches of the windows in some rows; `mask` H/M x W/M."""
        M = self.window
        x, mixed = maps.stream[first:last], maps.mixed[first:last]
        v = self.v(x)
        spatial = _shifted_sum(maps.reads[:9], first, last).add_(self.spatial_bias).sigmoid_()
        torch.mul(v, spatial[..., None], out=mixed)
        rows, columns = (mask[first // M : last // M] > 0.0).nonzero(as_tuple=True)
        if not len(rows):
            return
        windows = self._windows(mixed)
        own, values = self._windows(x)[rows, columns], self._windows(v)[rows, columns]
        keys = own + self._warped(maps, rows + first // M, columns).view_as(own)
        shape = len(rows), M * M, -1
        q, k = (
            project(tokens.flatten(0, 1)).reshape(shape)
            for project, tokens in ((self.q, own), (self.k, keys))
        )
        attended = _attend(q, k, values.view(shape), self.dtype).view(values.shape)
        if mask.dtype != torch.bool:
            share = mask[first // M : last // M][rows, columns]
            (some,) = (share < 1.0).nonzero(as_tuple=True)  # the few that blend both branches
            attended[some] = torch.lerp(
                windows[rows[some], columns[some]], attended[some], share[some, None, None, None].to(v)
            )
        windows[rows, columns] = attended

    def _windows(self, x: Tensor) -> Tensor:
        """The windows of a map, rows x W x C: a view rows/M x W/M x M x M x C."""
        M = self.window
        return x.view(x.shape[0] // M, M, x.shape[1] // M, M, -1).transpose(1, 2)

    def _warped(self, maps: _Map, rows: Tensor, columns: Tensor) -> Tensor:
        """The stream at the warped positions of K windows: K*M*M x (C + 4)."""
        M = self.window
        H, W, _ = maps.stream.shape
        hidden = maps.reads[10:].view(-1, H // M, M, W // M, M).transpose(2, 3)[:, rows, columns]
        hidden = F.leaky_relu_(hidden.flatten(1).add_(self.hidden_bias), SLOPE)
        move = torch.addmm(self.offsets_bias, self.offsets_weight, hidden).tanh_().mul_(MAX_OFFSET)
        right, down = move.view(2, len(rows), M, M)
        inside = torch.arange(M)
        column = (right + (columns[:, None] * M + inside)[:, None, :]).clamp_(0.0, W - 1.0)
        row = (down + (rows[:, None] * M + inside)[:, :, None]).clamp_(0.0, H - 1.0)
        left, top = column.floor().nan_to_num_(), row.floor().nan_to_num_()
        right_weight, bottom_weight = column.sub_(left), row.sub_(top)
        left_weight, top_weight = 1.0 - right_weight, 1.0 - bottom_weight
        above = left.int().add_(top.int(), alpha=W)
        # at the border the second sample has no weight, and may as well be the first
        step = (left < W - 1).int()
        below = above + W * (top < H - 1).int()
        corners = torch.stack((above, above + step, below, below + step), dim=-1)
        weights = torch.stack(
            (
                left_weight * top_weight,
                right_weight * top_weight,
                left_weight * bottom_weight,
                right_weight * bottom_weight,
            ),
            dim=-1,
        )
        # a weighted sum of four rows of a table: exactly what an embedding bag is
        return F.embedding_bag(
            corners.view(-1, 4),
            maps.stream.flatten(0, 1),
            per_sample_weights=weights.view(-1, 4),
            mode="sum",
        )

    def finish(self, maps: _Map, pooled: Pooled, first: int, last: int) -> None:
        """The convolution over both branches, the skip and the norm of some rows."""
        top, bottom = max(0, first - 3), min(len(maps.mixed), last + 3)
        local = maps.mixed[top:bottom].unsqueeze(0)
        for convolution in self.local:
            assert isinstance(convolution, nn.Conv2d)
            local = conv2d(convolution, local)  # beyond the image are zeros, beyond the band nonsense
        local = F.gelu(local[0, first - top : last - top])
        stop = 0
        for strip, height in zip(pooled.means[0], pooled.heights, strict=True):
            start, stop = stop, stop + height
            above, below = max(start, first), min(stop, last)
            if above < below:
                channel = self.channel(strip).sigmoid_()  # W (or 1) x V
                rows = local[above - first : below - first]
                torch.addcmul(maps.mixed[above:below], rows, channel, out=rows)
        y = self.out(local)
        y.addcmul_(maps.stream[first:last, :, :-CONDITIONS], self.scale)
        _normalize(y, self.average, maps.middle[first:last])

    def feed_forward(self, maps: _Map, first: int, last: int) -> None:
        """The gated feed-forward, the skip and the norm of some rows."""
        top, bottom = max(0, first - 1), min(len(maps.middle), last + 1)
        both = conv2d(self.depthwise, self.feed_in(maps.middle[top:bottom])[None])
        a, b = both[0, first - top : last - top].chunk(2, dim=-1)
        y = self.feed_out(F.gelu(a.contiguous()).mul_(b))
        y.addcmul_(maps.middle[first:last], self.middle_scale)
        _normalize(y, self.average, maps.stream[first:last, :, :-CONDITIONS])


class Folded:
    """A network with its weights folded, for inference on a CPU.

    >>> import torch
    >>> from camixersr.models import CAMixerSR, CAMixerSRConfig
    >>> from camixersr.nn import TopShare
    >>> network = CAMixerSR(CAMixerSRConfig(channels=16, scale=2, blocks=(1,))).eval()
    >>> high, routing = Folded(network).route(torch.rand(1, 3, 20, 30), TopShare(0.5))
    >>> tuple(high.shape)
    (1, 3, 40, 60)

    Args:
        network: fp32, on the CPU. Its weights are copied as far as they are folded; prepare it
            anew when they change.
        dtype: of attention's two products, the bulk of the arithmetic: float32, or bfloat16. All
            else stays float32, so that nothing can overflow.
    """

    def __init__(self, network: CAMixerSR, dtype: torch.dtype = torch.float32) -> None:
        self._network = network
        self.dtype = dtype
        self._groups: list[tuple[list[_PreparedBlock], _Pointwise]] = []
        C = network.config.channels
        with torch.no_grad():
            for group in network.body:
                assert isinstance(group, Group)
                # a group begins with features that no norm has seen
                x = _Affine(torch.ones(C, dtype=torch.float64), torch.zeros(C, dtype=torch.float64))
                blocks: list[_PreparedBlock] = []
                for block in group.blocks:
                    assert isinstance(block, Block)
                    blocks.append(_PreparedBlock(block, x, dtype))
                    x = _Affine.of(block.norm2)
                weight, bias = x.before(group.tail.weight, group.tail.bias)
                self._groups.append((blocks, _Pointwise.of(_beside_condition(weight), bias)))

    @torch.inference_mode()
    def route(self, low: Tensor, policy: Policy, *, pool: Pool | None = None) -> tuple[Tensor, Routing]:
        """As `CAMixerSR.route`, images one by one.

        Args:
            low: B x 3 x H x W, RGB float32 in [0, 1], any H and W from 1.
            policy: who chooses the attended windows.
            pool: what channel attention knows of the image; the network's own by default.

        Returns:
            B x 3 x sH x sW, and what was decided.

        Raises:
            ShapeError: `low` is no batch of RGB images.
        """
        self._network.check(low)
        return one_by_one(self._route, low, policy, pool or self._network.pool)

    def _route(self, low: Tensor, policy: Policy, pool: Pool) -> tuple[Tensor, Routing]:
        network = self._network
        M, C = network.config.window, network.config.channels
        head, condition = network.enter(low.float())
        _, H, W, _ = head.shape
        reads, hidden = self._groups[0][0][0].reads_weight.shape
        maps = _Map(
            stream=torch.empty(H, W, C + CONDITIONS),
            features=torch.empty(hidden, H, W),
            reads=torch.empty(reads, H, W),
            mixed=torch.empty(H, W, network.config.values or C),
            middle=torch.empty(H, W, C),
        )
        maps.stream[..., :C] = head[0]
        maps.stream[..., C:] = condition[0]
        group_input = head[0].clone()
        step = max(1, round(BAND / (M * W))) * M
        bands = [(first, min(H, first + step)) for first in range(0, H, step)]

        def everywhere(work: Callable[..., None], *given: object) -> None:
            for band in bands:
                work(maps, *given, *band)

        decided: list[BlockRouting] = []
        for blocks, tail in self._groups:
            for block in blocks:
                everywhere(block.predict)
                logits = block.logits(maps)
                mask = policy.choose(logits, len(decided))
                pooled = pool(maps.features.permute(1, 2, 0)[None], len(decided))
                everywhere(block.mix, mask.view(H // M, W // M))
                everywhere(block.finish, pooled)
                everywhere(block.feed_forward)
                decided.append(BlockRouting(logits=logits, mask=mask))
            for first, last in bands:
                group_input[first:last] += tail(maps.stream[first:last])
                maps.stream[first:last, :, :C] = group_input[first:last]
        high = network.leave(group_input[None], head, *low.shape[-2:])
        return high, Routing(H // M, W // M, tuple(decided))
