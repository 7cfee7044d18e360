"""What a predictor is told beside features: of the image, by a *pool*, and of the place, by a condition.

Pools are values, as policies are; nothing here loads torch.
"""

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CONDITIONS", "Pool", "Pooled", "pool_image"]

CONDITIONS = 4
"""Channels of guidance input beside the features: two of global condition, two of position."""


class Pooled(NamedTuple):
    """What channel attention knows around each pixel of a map B x H x W x c.

    The map lies in strips, one below the other. In a strip all pixels of a column know the same.

    Attributes:
        means: B (or 1) x strips x W x c, or with a 1 for W: one for all columns.
        heights: of the strips; they add up to H.
    """

    means: "Tensor"
    heights: tuple[int, ...]


class Pool(Protocol):
    """Who says what channel attention knows of the image: the one thing here that is not local.

    The paper pools over the whole image, of which a tile sees only itself. A network that pools over
    cells has the same values in tiles, as long as these are cut along cells (decision 0004).
    """

    def __call__(self, features: "Tensor", block: int) -> Pooled:
        """Summarise.

        Args:
            features: B x H x W x c, the predictor's of one block.
            block: its number, 0 at the input side.

        Returns:
            The means that belong to each pixel.
        """
        ...


def pool_image(features: "Tensor", block: int) -> Pooled:
    """The paper's pool: the mean over each image that is being computed."""
    return Pooled(features.mean(dim=(1, 2), keepdim=True), (features.shape[1],))
