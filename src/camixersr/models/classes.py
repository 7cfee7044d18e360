"""What the classes of a ClassSR's patches mean for its attention: values, without torch.

`camixersr.models.classsr` is what tells the classes, and says where it all comes from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.nn.routing import Policy

if TYPE_CHECKING:
    from torch import Tensor

    from camixersr.models.classsr import PatchClassifier

__all__ = ["CLASSES", "PATCH", "STEP", "ByClass", "Classes", "check_ratios"]

PATCH = 32
"""Side of a classified patch, in low pixels."""

CLASSES = 3
"""Of least, middle and most attention."""

STEP = 4
"""Side of the cells that a patch is looked at in, in low pixels."""


def check_ratios(ratios: Sequence[float]) -> None:
    """Raise `ValueRangeError` unless these are the attention ratios of three classes."""
    inside = all(0.0 <= ratio <= 1.0 for ratio in ratios)
    if len(ratios) != CLASSES or not inside or list(ratios) != sorted(ratios):
        raise ValueRangeError(
            f"expected {CLASSES} ascending attention ratios in [0, 1], one a class, got {list(ratios)}"
        )


@dataclass(frozen=True)
class Classes:
    """What a model's file has beside its network if it is a ClassSR.

    Attributes:
        classifier: tells the class of every patch.
        ratios: attention ratio of each class, in [0, 1], ascending.

    Raises:
        ValueRangeError: these are no three such ratios.
    """

    classifier: "PatchClassifier"
    ratios: tuple[float, ...]

    def __post_init__(self) -> None:
        check_ratios(self.ratios)

    def at(self, dial: float) -> tuple[float, ...]:
        """The classes' ratios where the user's dial is not at 0.5, where they are as trained.

        >>> from camixersr.models import PatchClassifier
        >>> Classes(PatchClassifier(), (0.0, 0.5, 1.0)).at(0.25)
        (0.0, 0.25, 0.5)

        Args:
            dial: attention ratio asked for, in [0, 1]; 0 attends nothing and 1 everything.

        Returns:
            One a class.

        Raises:
            ValueRangeError: `dial` lies outside [0, 1].
        """
        if not 0.0 <= dial <= 1.0:
            raise ValueRangeError(f"attention ratio must lie in [0, 1], got {dial}")
        if dial <= 0.5:
            return tuple(2.0 * dial * ratio for ratio in self.ratios)
        return tuple(ratio + (2.0 * dial - 1.0) * (1.0 - ratio) for ratio in self.ratios)


@dataclass(frozen=True)
class ByClass:
    """Let the class of a window decide who routes it.

    Each policy sees the windows of its own class only, image by image: a `TopShare` is a share of
    these.

    Attributes:
        policies: one a class.
        classes: B x N int64, the class of every window: an index into `policies`; tensor or array.
    """

    policies: tuple[Policy, ...]
    classes: "Tensor | NDArray[np.int64]"

    def of_image(self, number: int) -> "ByClass":
        """The classes of one image of the batch."""
        return ByClass(self.policies, self.classes[number : number + 1])

    def choose(self, logits: Any, block: int) -> Any:
        """See `Policy.choose`."""
        import torch

        if self.classes.shape != logits.shape:
            raise ShapeError(
                f"expected the classes of {tuple(logits.shape)} windows, got {tuple(self.classes.shape)}; "
                "give one class for each window of each image"
            )
        classes = torch.as_tensor(self.classes, device=logits.device)
        parts: list[tuple[Tensor, Tensor]] = []
        for image in range(len(logits)):
            for number, policy in enumerate(self.policies):
                own = (classes[image] == number).nonzero().squeeze(1)
                if len(own):
                    chosen = policy.choose(logits[image : image + 1, own], block)[0]
                    parts.append((image * logits.shape[1] + own, chosen))
        # one that blends makes all floating point
        floating = any(chosen.dtype != torch.bool for _, chosen in parts)
        mask = torch.zeros_like(logits, dtype=logits.dtype if floating else torch.bool).flatten()
        for where, chosen in parts:
            mask = mask.index_copy(0, where, chosen.to(mask.dtype))
        return mask.view_as(logits)
