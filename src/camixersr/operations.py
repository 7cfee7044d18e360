"""Multiply-adds (MACs) that a routing really cost.

Counted: convolutions, linear layers and attention's two products, on the padded image. Not counted,
as is usual: normalisation, activations, the bilinear warp and other element-wise work.
"""

from dataclasses import dataclass, fields

from camixersr.models import CAMixerSRConfig
from camixersr.nn.predictor import CONDITIONS

__all__ = ["Operations", "count"]


@dataclass(frozen=True)
class Operations:
    """MACs by part of the network.

    Attributes:
        predictor: offsets, scores, spatial and channel attention.
        attention: query and key projections and both products, of attended windows only.
        convolution: value and output projections and the depthwise pair, of all windows.
        feed_forward: the gated feed-forward.
        head_tail: everything outside the blocks.
    """

    predictor: int
    attention: int
    convolution: int
    feed_forward: int
    head_tail: int

    @property
    def total(self) -> int:
        """All parts."""
        return sum(getattr(self, part.name) for part in fields(self))


def count(config: CAMixerSRConfig, *, windows: int, attended: int) -> Operations:
    """Count one image.

    >>> from camixersr.models import PRESETS
    >>> full = count(PRESETS["s-x4"], windows=4, attended=4 * 20)
    >>> half = count(PRESETS["s-x4"], windows=4, attended=2 * 20)
    >>> full.attention == 2 * half.attention, full.convolution == half.convolution
    (True, True)

    Args:
        config: of the network.
        windows: N of the padded image.
        attended: windows attended, summed over all blocks: 0 to N * blocks.

    Returns:
        MACs by part.
    """
    C, M, s = config.channels, config.window, config.scale
    tokens = M * M
    pixels = windows * tokens
    blocks = sum(config.blocks)
    inputs = C + CONDITIONS
    hidden, narrow = inputs // 4, inputs // 8
    per_pixel = inputs * hidden + hidden * narrow + narrow * 2 + 9 * hidden
    per_window = tokens * M + M * 2
    return Operations(
        predictor=blocks * (pixels * per_pixel + windows * per_window + hidden * C),
        attention=attended * (2 * tokens * C * C + 2 * tokens * tokens * C),
        convolution=blocks * pixels * (2 * C * C + 18 * C),
        feed_forward=blocks * pixels * (3 * C * C + 18 * C),
        head_tail=pixels * (27 * C + 8 * C + 144 + len(config.blocks) * C * C + 9 * C * C + 27 * C * s * s),
    )
