"""CAMixer: convolution for plain windows, attention for detailed ones, chosen by content.

Paper section 3.1 and figure 2. `CAMixer` is a token mixer like any other (a map in, a map of the
same shape out) and can be used alone in anybody's network.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.errors import ShapeError, UsageError
from camixersr.nn.attention import WindowAttention
from camixersr.nn.layers import conv2d
from camixersr.nn.pool import CONDITIONS, Pool, pool_image
from camixersr.nn.predictor import Predictor
from camixersr.nn.routing import BlockRouting, Policy
from camixersr.nn.windows import gather, merge, partition, scatter

__all__ = ["CAMixer"]


class CAMixer(nn.Module):
    """Content-aware mixer.

    >>> import torch
    >>> from camixersr.nn import CAMixer, TopShare
    >>> mixer = CAMixer(24)
    >>> x, condition = torch.rand(1, 32, 48, 24), torch.zeros(1, 32, 48, 4)
    >>> y, routing = mixer(x, condition, TopShare(0.5))
    >>> tuple(y.shape), int(routing.attended.sum())
    ((1, 32, 48, 24), 3)

    Args:
        channels: C.
        window: side M of a window, in low pixels.
        keys: width of queries and keys; 0 is C, as in the paper.
        values: V, the width between `project_v` and `project_out`; likewise.
    """

    def __init__(self, channels: int, *, window: int = 16, keys: int = 0, values: int = 0) -> None:
        super().__init__()
        self.window = window
        values = values or channels
        self.project_v = nn.Linear(channels, values)
        self.predictor = Predictor(channels, window, values)
        self.attention = WindowAttention(channels, window, keys)
        self.local = nn.Sequential(
            nn.Conv2d(values, values, 3, padding=1, groups=values),
            nn.Conv2d(values, values, 3, padding=2, dilation=2, groups=values),
        )
        self.project_out = nn.Linear(values, channels)

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        policy: Policy,
        *,
        block: int = 0,
        pool: Pool = pool_image,
    ) -> tuple[Tensor, BlockRouting]:
        """Mix.

        Args:
            x: B x H x W x C, H and W multiples of the window side.
            condition: B x H x W x 4: two channels of global condition and the window position
                (`camixersr.nn.windows.window_position`), or zeros where there is none.
            policy: who chooses the attended windows.
            block: this mixer's number in its network, handed on to the policy and the pool.
            pool: what channel attention knows of the whole image.

        Returns:
            The mixed map, B x H x W x C, and what was decided.

        Raises:
            ShapeError: `x` or `condition` has another shape.
            UsageError: `policy` is none.
        """
        self._require(x, condition, policy)
        _, H, W, _ = x.shape
        v = self.project_v(x)  # B H W V
        guidance = self.predictor(v, condition, pool=pool, block=block)
        mask = policy.choose(guidance.logits, block)  # B N

        plain = partition(v * guidance.spatial, self.window)  # the convolution branch, B N M*M V
        if getattr(policy, "everywhere", False):
            index = torch.arange(mask.numel(), device=x.device)
        else:  # attention runs where it is wanted and nowhere else
            index = (mask.detach() > 0.0).flatten().nonzero().squeeze(1)  # K
        if index.shape[0]:
            values = gather(partition(v, self.window), index)  # K M*M V
            attended = self.attention(x, values, guidance.offsets, index)  # K M*M V
            if mask.dtype != torch.bool:  # the same values, with gradients to the mask
                instead = gather(plain, index)
                attended = instead + mask.flatten()[index, None, None] * (attended - instead)
            mixed = scatter(plain, index, attended)
        else:
            mixed = plain

        y = merge(mixed, H, W)  # B H W V
        local = y
        for convolution in self.local:
            assert isinstance(convolution, nn.Conv2d)
            local = conv2d(convolution, local)
        y = F.gelu(local) * guidance.channel + y
        return self.project_out(y), BlockRouting(logits=guidance.logits, mask=mask)

    def _require(self, x: Tensor, condition: Tensor, policy: Policy) -> None:
        """Refuse what torch would complain of far from here."""
        M, C, shape = self.window, self.project_v.in_features, tuple(x.shape)
        if len(shape) != 4 or shape[3] != C:
            permuted = len(shape) == 4 and shape[1] == C
            hint = "x.permute(0, 2, 3, 1) puts them there" if permuted else "reshape it"
            raise ShapeError(f"expected x as B x H x W x {C}, channels last, got {shape}; {hint}")
        if shape[1] % M or shape[2] % M:
            raise ShapeError(
                f"expected a height and width that are multiples of the window, {M}, got {shape[1]} x "
                f"{shape[2]}; pad x"
            )
        if tuple(condition.shape) != (*shape[:3], CONDITIONS):
            raise ShapeError(
                f"expected a condition {shape[0]} x {shape[1]} x {shape[2]} x {CONDITIONS}, got "
                f"{tuple(condition.shape)}; take zeros where there is none"
            )
        if not hasattr(policy, "choose"):
            raise UsageError(
                f"expected a policy such as camixersr.nn.TopShare(0.5), got {type(policy).__name__}"
            )
