"""The paper's module, bottom up: windows -> routing -> predictor -> attention -> camixer -> layers.

Everything here works on feature maps laid out B x H x W x C (channels last), so that a 1x1
convolution is a `torch.nn.Linear` and a window is a run of contiguous tokens. `H` and `W` are
low-resolution pixels and multiples of the window side `M` = 16; `N` = H/M * W/M is the number of
windows, counted row by row.

Paper: Wang et al., "CAMixerSR: Only Details Need More 'Attention'", CVPR 2024 (arXiv 2402.19289).
"""

from typing import TYPE_CHECKING

from camixersr.lazily import lazily
from camixersr.nn.routing import BlockRouting, ExpectedCount, Policy, Routing, TopShare

if TYPE_CHECKING:
    from camixersr.nn.camixer import CAMixer
    from camixersr.nn.layers import FeedForward
    from camixersr.nn.windows import merge, partition, window_position

__all__ = [
    "BlockRouting",
    "CAMixer",
    "ExpectedCount",
    "FeedForward",
    "Policy",
    "Routing",
    "TopShare",
    "merge",
    "partition",
    "window_position",
]

# what follows loads torch; policies do not
__getattr__ = lazily(
    __name__,
    {
        "CAMixer": "camixersr.nn.camixer",
        "FeedForward": "camixersr.nn.layers",
        "merge": "camixersr.nn.windows",
        "partition": "camixersr.nn.windows",
        "window_position": "camixersr.nn.windows",
    },
)
