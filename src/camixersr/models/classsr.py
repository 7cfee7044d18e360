"""ClassSR: a small classifier tells how much attention each patch of a picture deserves.

Kong et al., "ClassSR: A General Framework to Accelerate Super-Resolution Networks by Data
Characteristic", CVPR 2021 (arXiv 2103.04039); the paper of CAMixerSR combines both (section 4). A
picture is cut into patches of 32 x 32 low pixels; each has one of three classes, and each class its
branch: here an attention ratio of one network. All else of the network sees the picture whole, so
that patches leave no seam: only which windows are attended follows from the class.

Differs from the paper's code: there each patch is enlarged alone, with an overlap of 4 pixels, and
the results are averaged.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.errors import ShapeError
from camixersr.models.classes import CLASSES, PATCH, STEP
from camixersr.models.network import pad_to_windows

__all__ = [
    "PatchClassifier",
    "average_loss",
    "blend",
    "class_loss",
    "windows_of",
]

CONTRAST = 4.0  # detail is a few hundredths of [0, 1]; at the start it is made this much more

SLOPE = 0.1  # of every LeakyReLU in the classifier


class PatchClassifier(nn.Module):
    """Classes of patches, from their pixels alone: 60,035 weights.

    The published layers: a 4 x 4 convolution of stride 4, four 1 x 1 convolutions, a mean over the
    patch, and one linear layer. As none of them looks beyond a patch, a picture is classified in one
    go, and each of its patches as if it were alone.

    >>> import torch
    >>> PatchClassifier()(torch.rand(1, 3, 70, 32)).shape
    torch.Size([1, 3, 3, 1])
    """

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 128, STEP, stride=STEP)
        hidden = [nn.Conv2d(128, outputs, 1) for outputs in (128, 128, 128, 32)]
        self.hidden = nn.ModuleList(hidden)
        self.out = nn.Linear(32, CLASSES)
        # He et al. (ICCV 2015): five layers of torch's own start would leave little of the pixels. The
        # first one starts blind to brightness, which says nothing of difficulty and would drown the rest.
        for layer in (self.patch, *hidden):
            nn.init.kaiming_normal_(layer.weight, a=SLOPE)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.patch.weight.sub_(self.patch.weight.mean(dim=(1, 2, 3), keepdim=True)).mul_(CONTRAST)

    def forward(self, low: Tensor) -> Tensor:
        """Classify.

        Args:
            low: B x 3 x H x W, RGB in [0, 1], any H and W from 1; padded at the right and bottom as
                the network pads.

        Returns:
            B x 3 x ceil(H / 32) x ceil(W / 32) logits.

        Raises:
            ShapeError: `low` is no batch of RGB images.
        """
        if low.ndim != 4 or low.shape[1] != 3 or 0 in low.shape:
            raise ShapeError(f"expected a batch of RGB images, B x 3 x H x W, got {tuple(low.shape)}")
        x = self.patch(pad_to_windows(low, PATCH))
        for layer in self.hidden:
            x = layer(F.leaky_relu(x, SLOPE))
        mean = F.avg_pool2d(x, PATCH // STEP)
        return self.out(mean.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def classes(self, low: Tensor) -> Tensor:
        """The likeliest class of every patch: B x ceil(H / 32) x ceil(W / 32), int64."""
        return self(low).argmax(dim=1)


def windows_of(patches: Tensor, rows: int, columns: int, window: int) -> Tensor:
    """Classes of windows from those of patches: a window has the class of the patch its middle is in.

    Args:
        patches: B x h x w.
        rows: windows down.
        columns: windows across.
        window: side of a window, in low pixels.

    Returns:
        B x rows * columns.
    """
    down, across = (
        ((2 * torch.arange(count, device=patches.device) + 1) * window // (2 * PATCH)).clamp(max=length - 1)
        for count, length in zip((rows, columns), patches.shape[1:], strict=True)
    )
    return patches[:, down][:, :, across].flatten(1)


def blend(probabilities: Tensor, highs: Sequence[Tensor], side: int) -> Tensor:
    """The classes' results, weighted patch by patch (training only).

    Args:
        probabilities: B x 3 x h x w.
        highs: of each class, B x C x H x W.
        side: of a patch in these, in pixels; the last ones down and across may be cut off.

    Returns:
        B x C x H x W.
    """
    weights = probabilities.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
    weights = weights[..., : highs[0].shape[-2], : highs[0].shape[-1]]
    blended = torch.zeros_like(highs[0])
    for number, high in enumerate(highs):
        blended = blended + weights[:, number : number + 1] * high
    return blended


def class_loss(probabilities: Tensor) -> Tensor:
    """Small where the classifier is sure: M - 1 minus all differences between two classes.

    Args:
        probabilities: B x M x h x w.

    Returns:
        A mean over patches: 0 if each has one class for certain, M - 1 if all classes are as likely.

    Source:
        The Class-Loss of ClassSR, plus the constant M - 1 of its code.
    """
    M = probabilities.shape[1]
    differences = (probabilities[:, :, None] - probabilities[:, None]).abs().sum(dim=(1, 2)) / 2.0
    return (M - 1 - differences).mean()


def average_loss(probabilities: Tensor) -> Tensor:
    """Small where classes are equally many in a batch.

    Args:
        probabilities: B x M x h x w.

    Returns:
        Between 0 and (M - 1) / 2.

    Source:
        The Average-Loss of ClassSR: the sum over classes of |sum of probabilities - patches / M|,
        divided by 4 patches / M as in its code.
    """
    M = probabilities.shape[1]
    share = probabilities.mean(dim=(0, 2, 3))
    return (share - 1.0 / M).abs().sum() * M / 4.0
