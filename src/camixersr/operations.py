"""Multiply-adds (MACs) that a routing really cost, and the two conventions of the published tables.

Counted: convolutions, linear layers and attention's two products, on the padded image. Not counted,
as is usual: normalisation, activations, the bilinear warp and other element-wise work.

- `count`: true MACs of one image with its routing.
- `large_image_flops`: the paper's large-image table: attention's products as MACs, the rest as
  2 x MAC, for a low patch of 32 x 32.
- `macs_at_720p`: the paper's lightweight table: true MACs for an output of 1280 x 720, low image
  padded to windows, at an attention ratio of 0.5.
"""

from dataclasses import dataclass, fields

from camixersr.models import Config
from camixersr.models.classes import CLASSES, PATCH, STEP
from camixersr.nn.pool import CONDITIONS

__all__ = ["Operations", "count", "count_classifier", "large_image_flops", "macs_at_720p"]


@dataclass(frozen=True)
class Operations:
    """MACs by part of the network.

    Attributes:
        predictor: offsets, scores, spatial and channel attention.
        attention: query and key projections, of attended windows only.
        attention_products: queries with keys and weights with values, of attended windows only.
        convolution: value and output projections and the depthwise pair, of all windows.
        feed_forward: the gated feed-forward.
        head_tail: everything outside the blocks.
    """

    predictor: int
    attention: int
    attention_products: int
    convolution: int
    feed_forward: int
    head_tail: int

    @property
    def total(self) -> int:
        """All parts."""
        return sum(getattr(self, part.name) for part in fields(self))


def count(config: Config, *, windows: int, attended: int) -> Operations:
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
    inputs = C + (3 if config.kind == "omni" else CONDITIONS)
    hidden, narrow = inputs // 4, inputs // 8
    own = (config.keys, config.values, config.hidden) if config.kind == "classic" else (0, 0, 0)
    D, V, pairs = (each or C for each in own)
    per_pixel = (inputs - C + V) * hidden + hidden * narrow + narrow * 2 + 9 * hidden
    per_window = tokens * M + M * 2
    if config.kind == "omni":
        deformed = 9 * C * 27 + 9 * C * C + C + C * C  # guide to offsets, taps, latitude to guide
        mixing, feeding = 3 * C * C + 50 * C, 3 * C * C + 50 * C
        outside = 27 * C + (len(config.blocks) + 1) * deformed + 9 * C * C + 27 * C * s * s
    else:
        mixing, feeding = 2 * C * V + 18 * V, 3 * C * pairs + 18 * pairs
        outside = 27 * C + 8 * C + 144 + len(config.blocks) * C * C + 9 * C * C + 27 * C * s * s
        outside += C if config.latitude else 0
    # of cells: as many as these windows would fill
    cells = -(-windows // (config.pool // M) ** 2) if config.pool else 1
    return Operations(
        predictor=blocks * (pixels * per_pixel + windows * per_window + cells * hidden * V),
        attention=attended * 2 * tokens * C * D,
        attention_products=attended * tokens * tokens * (D + V),
        convolution=blocks * pixels * mixing,
        feed_forward=blocks * pixels * feeding,
        head_tail=pixels * outside,
    )


def count_classifier(patches: int) -> int:
    """MACs of classifying patches of 32 x 32 low pixels (`camixersr.models.classsr`).

    Args:
        patches: of the padded image.
    """
    cells = (PATCH // STEP) ** 2
    per_cell = 3 * STEP**2 * 128 + 3 * 128 * 128 + 128 * 32
    return patches * (cells * per_cell + 32 * CLASSES)


def large_image_flops(config: Config, attention_ratio: float) -> int:
    """What the paper's large-image table calls FLOPs, for a low patch of 32 x 32 pixels.

    Args:
        config: of the network.
        attention_ratio: gamma in [0, 1], the share of windows attended in every block.

    Returns:
        Attention's products counted once, everything else twice.
    """
    windows = (32 // config.window) ** 2
    parts = count(config, windows=windows, attended=round(windows * attention_ratio) * sum(config.blocks))
    return 2 * parts.total - parts.attention_products


def macs_at_720p(config: Config, attention_ratio: float = 0.5) -> int:
    """True MACs for an output of 1280 x 720 pixels, its low image padded to whole windows.

    Args:
        config: of the network.
        attention_ratio: gamma in [0, 1]; the published figures are at 0.5.

    Returns:
        MACs.
    """
    side = config.scale * config.window
    windows = -(-1280 // side) * -(-720 // side)
    attended = round(windows * attention_ratio) * sum(config.blocks)
    return count(config, windows=windows, attended=attended).total
