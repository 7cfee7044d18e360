"""The mixer of the omnidirectional network: `camixersr.nn.camixer` told the latitude.

It differs from the classic mixer in what the predictor knows (the cosine of the latitude instead of a
global condition, no normalisation, offsets without a bound), in queries that come from the warped
features as the keys do, in windows that every second block shifts by half a side around the map, and
in larger depthwise kernels. What both share is taken from the classic one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.nn.attention import sample
from camixersr.nn.layers import conv2d
from camixersr.nn.pool import Pool, pool_image
from camixersr.nn.predictor import Guidance, spread
from camixersr.nn.routing import BlockRouting, Policy
from camixersr.nn.windows import gather, merge, partition, scatter

__all__ = ["OmniFeedForward", "OmniMixer", "OmniPredictor"]

SLOPE = 0.2  # of every LeakyReLU


class OmniPredictor(nn.Module):
    """Offsets, scores, spatial and channel attention from features, latitude and window position.

    Args:
        channels: C of the features.
        window: side M of a window, in low pixels.
    """

    def __init__(self, channels: int, window: int) -> None:
        super().__init__()
        inputs = channels + 3
        hidden = inputs // 4
        self.window = window
        self.project_in = nn.Linear(inputs, hidden)
        self.offsets = nn.Sequential(
            nn.Linear(hidden, inputs // 8), nn.LeakyReLU(SLOPE), nn.Linear(inputs // 8, 2)
        )
        self.mask = nn.Sequential(
            nn.Linear(window * window, window), nn.LeakyReLU(SLOPE), nn.Linear(window, 2)
        )
        self.channel = nn.Linear(hidden, channels)
        self.spatial = nn.Conv2d(hidden, 1, 3, padding=1)

    def forward(self, v: Tensor, condition: Tensor, *, pool: Pool = pool_image, block: int = 0) -> Guidance:
        """Look at the features.

        Args:
            v: B x H x W x C.
            condition: B x H x W x 3, the cosine of the latitude and the window position.
            pool: what channel attention knows of the whole image.
            block: the block's number, handed on to the pool.

        Returns:
            The `Guidance` of this block; its offsets have no bound.
        """
        f = F.leaky_relu(self.project_in(torch.cat((v, condition), dim=-1)), SLOPE)
        plain = partition(f.mean(dim=-1, keepdim=True), self.window).squeeze(-1)  # B N M*M
        attend, convolve = self.mask(plain).unbind(dim=-1)
        pooled = pool(f, block)
        return Guidance(
            logits=attend - convolve,
            offsets=self.offsets(f),
            spatial=conv2d(self.spatial, f).sigmoid(),
            channel=spread(self.channel(pooled.means).sigmoid(), pooled.heights),
        )


class OmniMixer(nn.Module):
    """Content-aware mixer of a panorama.

    Args:
        channels: C.
        window: side M of a window, in low pixels.
        shift: how far windows are shifted around the map, in low pixels.
    """

    def __init__(self, channels: int, *, window: int = 16, shift: int = 0) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.project_v = nn.Linear(channels, channels)
        self.predictor = OmniPredictor(channels, window)
        self.project_q = nn.Linear(channels, channels)
        self.project_k = nn.Linear(channels, channels)
        self.local = nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, channels, 5, padding=2, groups=channels),
            nn.Conv2d(channels, channels, 5, padding=6, dilation=3, groups=channels),
        )
        self.project_out = nn.Linear(channels, channels)

    def forward(
        self,
        x: Tensor,
        latitude: Tensor,
        position: Tensor,
        policy: Policy,
        *,
        block: int = 0,
        pool: Pool = pool_image,
    ) -> tuple[Tensor, BlockRouting]:
        """Mix.

        Args:
            x: B x H x W x C, H and W multiples of the window side.
            latitude: B x H x W x 1, its cosine.
            position: B x H x W x 2, see `camixersr.nn.windows.window_position`.
            policy: who chooses the attended windows.
            block: this mixer's number in its network.
            pool: what channel attention knows of the whole image.

        Returns:
            The mixed map, B x H x W x C, and what was decided.
        """
        _, H, W, _ = x.shape
        # As in the paper's code, features and position are shifted and the latitude is not.
        v = self.project_v(self._shifted(x))
        condition = torch.cat((latitude, self._shifted(position)), dim=-1)
        guidance = self.predictor(v, condition, pool=pool, block=block)
        mask = policy.choose(guidance.logits, block)

        plain = partition(v * guidance.spatial, self.window)
        if getattr(policy, "everywhere", False):
            index = torch.arange(mask.numel(), device=x.device)
        else:
            index = (mask.detach() > 0.0).flatten().nonzero().squeeze(1)
        mixed = plain
        if index.shape[0]:
            attended = self._attend(x, gather(partition(v, self.window), index), guidance.offsets, index)
            if mask.dtype != torch.bool:  # the same values, with gradients to the mask
                instead = gather(plain, index)
                attended = instead + mask.flatten()[index, None, None] * (attended - instead)
            mixed = scatter(plain, index, attended)

        y = local = self._shifted(merge(mixed, H, W), back=True)
        for convolution in self.local:
            assert isinstance(convolution, nn.Conv2d)
            local = conv2d(convolution, local)
        y = self.project_out(F.gelu(local) * guidance.channel + y)
        return y, BlockRouting(logits=guidance.logits, mask=mask)

    def _shifted(self, x: Tensor, *, back: bool = False) -> Tensor:
        """B x H x W x c, rolled so that shifted windows lie on the window grid; or back again."""
        if not self.shift:
            return x
        move = self.shift if back else -self.shift
        return x.roll((move, move), dims=(1, 2))

    def _attend(self, x: Tensor, v: Tensor, offsets: Tensor, index: Tensor) -> Tensor:
        """Attention of the windows at `index` (K) among warped features; v and result K x M*M x C."""
        B, H, W, C = x.shape
        K, M = index.shape[0], self.window
        columns = W // M
        image = index // ((H // M) * columns)
        inside = torch.arange(M, device=x.device)
        row = ((index // columns % (H // M) * M)[:, None, None] + inside[:, None]).expand(K, M, M)
        column = ((index % columns * M)[:, None, None] + inside).expand(K, M, M)
        # the warp is of the map that is not shifted; a shifted window takes its part of the result
        row, column = (row + self.shift) % H, (column + self.shift) % W
        row, column = row.reshape(-1), column.reshape(-1)
        image = image.repeat_interleave(M * M)
        move = offsets.reshape(B * H * W, 2).index_select(0, (image * H + row) * W + column)
        warped = sample(x, image, column + move[:, 0], row + move[:, 1])
        q = self.project_q(warped).reshape(K, 1, M * M, C)
        k = self.project_k(warped).reshape(K, 1, M * M, C)
        return F.scaled_dot_product_attention(q, k, v[:, None], scale=1.0).squeeze(1)


class OmniFeedForward(nn.Module):
    """Gated feed-forward with a 5x5 depthwise convolution inside: GELU(a) * b.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(channels, 2 * channels)
        self.depthwise = nn.Conv2d(2 * channels, 2 * channels, 5, padding=2, groups=2 * channels)
        self.project_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """B x H x W x C -> B x H x W x C."""
        a, b = conv2d(self.depthwise, self.project_in(x)).chunk(2, dim=-1)
        return self.project_out(F.gelu(a) * b)
