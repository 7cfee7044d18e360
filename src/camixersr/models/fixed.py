"""A routing that is given, and not chosen."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from camixersr.errors import ShapeError
from camixersr.nn.routing import Routing

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FixedWindows"]


@dataclass(frozen=True)
class FixedWindows:
    """Attend exactly the given windows: replay a routing, or route by hand.

    Attributes:
        masks: for each block a tensor B x N, bool or floating point in [0, 1].
    """

    masks: "tuple[Tensor, ...]"

    @classmethod
    def replay(cls, routing: Routing) -> "FixedWindows":
        """Repeat what `routing` recorded."""
        return cls(tuple(block.mask.detach() for block in routing.blocks))

    def of_image(self, number: int) -> "FixedWindows":
        """The masks of one image of the batch."""
        return FixedWindows(tuple(mask[number : number + 1] for mask in self.masks))

    def choose(self, logits: "Tensor", block: int) -> "Tensor":
        """See `Policy.choose`."""
        if block >= len(self.masks) or self.masks[block].shape != logits.shape:
            given = tuple(self.masks[block].shape) if block < len(self.masks) else "nothing"
            raise ShapeError(
                f"expected a mask of shape {tuple(logits.shape)} for block {block}, got {given}; "
                "give one B x N mask for each block of the network"
            )
        return self.masks[block].to(logits.device)
